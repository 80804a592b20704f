import pytest
import torch

from ppl_vae.datasets.support import check_finite, find_support
from ppl_vae.errors import DataError


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (torch.tensor([True, False]), ("binary", None)),
        (torch.tensor([0.0, 1.0]), ("binary", None)),
        (torch.tensor([0, 1], dtype=torch.uint8), ("binary", None)),
        (torch.tensor([0, 2], dtype=torch.uint8), ("integers", 256)),
        (torch.tensor([0, 300]), ("counts", None)),
        (torch.tensor([-1, 3]), ("real", None)),
        (torch.tensor([0.0, 0.5]), ("unit", None)),
        (torch.tensor([0.0, 200.0]), ("counts", None)),
        (torch.tensor([0.0, 200.5]), ("real", None)),
        (torch.tensor([0.0, float("nan"), 3.0]), ("counts", None)),
        (torch.tensor([0.0, float("nan"), 1.0]), ("binary", None)),
        (torch.tensor([-0.5]), ("real", None)),
    ],
    ids=str,
)
def test_is_found(x, expected):
    assert find_support({"train": x}, None, None) == expected


def test_all_splits_have_a_say():
    assert find_support({"train": torch.tensor([0.5]), "test": torch.tensor([1.5])}, None, None)[0] == "real"


@pytest.mark.parametrize(
    ("support", "levels", "x"),
    [
        ("counts", None, torch.tensor([0, 2], dtype=torch.uint8)),
        ("real", None, torch.tensor([0.5])),
        ("positive", None, torch.tensor([0.5])),
        ("integers", 4, torch.tensor([0.0, 3.0])),
        (None, 4, torch.tensor([0, 3])),
        (None, 4, torch.tensor([False, True])),
    ],
)
def test_may_be_said(support, levels, x):
    assert find_support({"train": x}, support, levels) == (support or "integers", levels)


@pytest.mark.parametrize(
    ("support", "levels", "x", "message"),
    [
        ("binary", None, [[0.0, 0.3]], "1 value of train outside.*0.3 in datum 0 at .1.*choose a binarization"),
        ("unit", None, [[0.0, 255.0]], "divide by the largest.*255 for 8-bit"),
        ("counts", None, [[1.5]], "whole numbers of at least 0"),
        ("counts", None, [[-1]], "whole numbers of at least 0"),
        ("positive", None, [[0.0]], "above 0"),
        ("integers", None, [[0.5]], "say levels=256"),
        (None, 16, [[16]], "whole numbers from 0 to 15"),
        ("real", 16, [[1]], "expected at least 2, with support 'integers'"),
        (None, 1, [[0]], "at least 2"),
        ("grey", None, [[0]], "expected one of binary"),
    ],
)
def test_refuses(support, levels, x, message):
    with pytest.raises(DataError, match=message):
        find_support({"train": torch.tensor(x)}, support, levels)


def test_levels_that_are_said_hold_for_pixels_too():
    with pytest.raises(DataError, match=r"1 value of train .*the first is 41 in datum 1.*whole numbers from 0 to 40"):
        find_support({"train": torch.tensor([40, 41], dtype=torch.uint8)}, None, 41)


@pytest.mark.parametrize("bad", [float("inf"), -float("inf")])
def test_the_first_infinite_value_is_named(bad):
    x = torch.zeros(5, 2, 2)
    x[3, 1, 0] = x[4, 0, 0] = x[4, 1, 1] = bad
    with pytest.raises(DataError, match=r"3 values of train infinite \(the first is -?inf in datum 3 at \[1, 0\]\)"):
        check_finite(x, "train")


def test_missing_values_are_no_infinite_ones_and_in_every_support():
    x = torch.full((5000, 2), float("nan"))
    x[4500] = 2.0
    check_finite(x, "train")
    assert find_support({"train": x}, "positive", None) == ("positive", None)
    with pytest.raises(DataError, match=r"2 values of train outside the support 'unit' .the first is 2 in datum 4500"):
        find_support({"train": x}, "unit", None)
