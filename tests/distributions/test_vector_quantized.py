"""The nearest vector against a search, and the gradient that passes by the quantization."""

import pytest
import torch

from ppl_vae.distributions import Nearest, StraightThrough
from ppl_vae.errors import ArgumentError
from ppl_vae.nn import Codebook


def test_the_code_is_the_nearest_vector():
    torch.manual_seed(0)
    h, table = torch.randn(7, 5, 3), torch.randn(6, 3)
    q = Nearest(h, table)
    z = q.rsample()
    assert z.shape == (7, 5)
    assert torch.equal(z.long(), torch.cdist(h, table).argmin(-1))
    assert bool((q.log_prob(z) == 0).all())
    assert bool((q.log_prob((z + 1) % 6) == -torch.inf).all())
    wide = q.expand([2, 7])
    assert wide.rsample().shape == (2, 7, 5)
    assert bool(wide.support.check(wide.sample()).all())
    assert wide.log_prob(z).shape == (2, 7)


def test_the_gradient_is_that_at_the_vectors():
    torch.manual_seed(0)
    book = Codebook(6, 3)
    h = torch.randn(7, 5, 3, requires_grad=True)
    z = Nearest(h, book.table).sample()
    q = StraightThrough(h, z, book)
    e = q.rsample()
    assert torch.equal(e, book(z))  # to the bit
    assert bool((q.log_prob(e) == 0).all())
    assert bool((q.log_prob(e + 1) == -torch.inf).all())
    e.sin().sum().backward()
    torch.testing.assert_close(h.grad, book(z).cos())
    torch.testing.assert_close(q.distance, (book(z) - h).square().sum((1, 2)))
    assert q.expand([2, 7]).rsample().shape == (2, 7, 5, 3)


def test_other_shapes_are_refused():
    for h, table in ((torch.zeros(4, 2), torch.zeros(3, 1)), (torch.zeros(2), torch.zeros(3, 2))):
        with pytest.raises(ArgumentError, match=r"expected \(…, positions, dim\)"):
            Nearest(h, table)
