"""Data as rows of tokens: back again to the bit, and refused where it has no rows."""

import pytest
import torch

from ppl_vae.datasets.spec import Spec
from ppl_vae.errors import DataError, PplVaeError
from ppl_vae.nn.tokens import Tokens

SHAPES = {
    "an image": ((2, 6, 8), (3, 2), (8, 12)),
    "rows of an image": ((2, 6, 8), (1, 8), (6, 16)),
    "a sequence": ((5, 3), (1, 3), (5, 3)),
    "a vector": ((7,), (1, 7), (7, 1)),
}


@pytest.mark.parametrize(("shape", "patch", "size"), SHAPES.values(), ids=SHAPES)
def test_back_again(shape, patch, size):
    tokens = Tokens(Spec(shape, "real"), patch)
    x = torch.randn(4, *shape)
    cut = tokens.cut(x)
    assert cut.shape == (4, *size) == (4, tokens.count, tokens.width)
    assert torch.equal(tokens.join(torch.stack([cut, -cut], 1)), torch.stack([x, -x], 1))


def test_a_token_is_a_patch():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert Tokens(Spec((1, 4, 4), "real"), (2, 2)).cut(x)[0, 1].tolist() == [2, 3, 6, 7]


@pytest.mark.parametrize("patch", [(3, 4), (4, 3), (0, 1), (4,), (1, 2, 3)])
def test_a_patch_that_does_not_divide_is_refused(patch):
    with pytest.raises(PplVaeError, match=r"divide those of the images, 8 and 8, such as \[4,4\]"):
        Tokens(Spec((1, 8, 8), "binary"), patch)


@pytest.mark.parametrize("shape", [(), (2, 3, 4, 5)])
def test_other_numbers_of_axes_are_refused(shape):
    with pytest.raises(DataError, match="encoder=mlp"):
        Tokens(Spec(shape, "real"), (1, 1))
