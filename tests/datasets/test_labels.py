import numpy as np
import pytest
import torch

from ppl_vae.datasets.convert import encode_labels
from ppl_vae.errors import DataError


@pytest.mark.parametrize(
    ("labels", "codes", "names", "number"),
    [
        ([0, 1, 2], [0, 1, 2], None, 3),
        ([0, 2, 2], [0, 2, 2], None, 3),
        ([0.0, 1.0], [0, 1], None, 2),
        ([-1, 1], [0, 1], ("-1", "1"), 2),
        ([1000, 5000], [0, 1], ("1000", "5000"), 2),
        (["b", "a", "b"], [1, 0, 1], ("a", "b"), 2),
        (np.array(["b", "a"], dtype=object), [1, 0], ("a", "b"), 2),
        (np.array([b"b", b"a"]), [1, 0], ("a", "b"), 2),
        ([True, False], [1, 0], None, 2),
        (torch.tensor([[2], [0]]), [2, 0], None, 3),
    ],
    ids=str,
)
def test_codes(labels, codes, names, number):
    (tensor,), found, count = encode_labels([labels])
    assert tensor.dtype == torch.int64
    assert (tensor.tolist(), found, count) == (codes, names, number)


def test_one_code_for_all_splits():
    (a, b, c), names, number = encode_labels([["x", "y"], None, ["z", "a"]])
    assert (a.tolist(), b, c.tolist(), names, number) == ([1, 2], None, [3, 0], ("a", "x", "y", "z"), 4)


def test_targets_of_a_regression_are_no_classes():
    (y,), names, number = encode_labels([[0.5, 1.5]])
    assert (y.dtype, names, number) == (torch.float32, None, None)


def test_class_names():
    (_,), names, number = encode_labels([[0, 1]], ["no", "yes", "perhaps"])
    assert (names, number) == (("no", "yes", "perhaps"), 3)


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 3], ["a", "b"], "expected integers from 0 to 1"),
        (np.eye(3), None, "argmax"),
        ([], None, "one per datum"),
        (np.array(["a", None], dtype=object), None, "1 missing labels .the first is of datum 1"),
        (np.array([[1, 2], [3]], dtype=object), None, "labels of type list, expected one number or text"),
        ([0.0, float("nan")], None, "NaN"),
        (np.zeros(2, complex), None, "dtype complex"),
    ],
    ids=str,
)
def test_refuses(labels, names, message):
    with pytest.raises(DataError, match=message):
        encode_labels([labels], names)
