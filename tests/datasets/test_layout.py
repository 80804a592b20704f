import pytest
import torch

from ppl_vae.datasets import from_arrays
from ppl_vae.datasets.layout import channels_first
from ppl_vae.errors import DataError


@pytest.mark.parametrize(
    ("shape", "channels", "expected"),
    [
        ((5, 8, 9), None, (5, 8, 9)),
        ((5, 8, 9), "none", (5, 1, 8, 9)),
        ((5, 8, 9), "auto", (5, 1, 8, 9)),
        ((5, 8, 9, 3), "auto", (5, 3, 8, 9)),
        ((5, 8, 9, 3), "last", (5, 3, 8, 9)),
        ((5, 8, 9, 3), "keep", (5, 8, 9, 3)),
        ((5, 3, 8, 9), "auto", (5, 3, 8, 9)),
        ((5, 3, 8, 3), "auto", (5, 3, 8, 3)),
        ((5, 7, 8, 9), "last", (5, 9, 7, 8)),
        ((5, 64), "auto", (5, 64)),
    ],
    ids=str,
)
def test_shapes(shape, channels, expected):
    assert channels_first(torch.zeros(shape, dtype=torch.uint8), channels).shape == expected


def test_pixels_stay_where_they_are():
    x = torch.randint(0, 256, (2, 5, 6, 3), dtype=torch.uint8)
    assert torch.equal(channels_first(x, "last")[1, 2, 3, 4], x[1, 3, 4, 2])


def test_colours_last_are_not_taken_for_rows():
    with pytest.raises(DataError, match="channels='last'"):
        from_arrays(torch.zeros(4, 8, 8, 3, dtype=torch.uint8))
    assert from_arrays(torch.rand(4, 8, 8, 3)).spec.shape == (8, 8, 3)  # numbers may be anything


@pytest.mark.parametrize(("shape", "channels"), [((5, 8), "none"), ((5, 8, 9), "last"), ((5, 8, 9), "first")], ids=str)
def test_refuses_what_is_no_image(shape, channels):
    with pytest.raises(DataError, match="axes"):
        channels_first(torch.zeros(shape), channels)


def test_refuses_unknown_names():
    with pytest.raises(DataError, match="expected one of keep, auto"):
        channels_first(torch.zeros(2, 3, 3), "hwc")
