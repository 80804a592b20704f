"""The short form of the search over data (`python -m tests.doors`): one outcome at every door."""

import random

import pytest
import torch

from ppl_vae.core import data
from tests.doors.cases import Case, draw
from tests.doors.law import broken

RNG = random.Random(5)
CASES = [draw(RNG) for _ in range(24)]
KINDS = [  # those that the search found first
    Case(defect="no rows"),
    Case(defect="no columns"),
    Case(container="torch", shape="number"),
    Case(defect="inf", container="tensor set"),
    Case(container="set"),
    Case(shape="one datum"),
    Case("tokens"),
    Case("tokens", "int64", defect="outside", row=4),
    Case("masked", defect="nan"),
]


@pytest.mark.parametrize("case", [*CASES, *KINDS], ids=range(len(CASES) + len(KINDS)))
def test_every_door_gives_the_same_outcome(case, tmp_path):
    assert broken(case, tmp_path, ("check", "terms", "fit", "evaluate", "generate")) is None, str(case)


def test_the_law_sees_a_door_of_its_own(tmp_path, monkeypatch):
    """`fit`, `evaluate` and `posterior` once took whole numbers as floats."""
    split = data.as_split

    def floats(x):
        found = split(x)
        return data.Split(tuple(t.to(torch.float32) for t in found.tensors))

    case = Case("tokens", "int64")
    assert broken(case, tmp_path, ("terms", "evaluate")) is None
    monkeypatch.setattr(data, "as_split", floats)
    assert broken(case, tmp_path, ("terms", "evaluate")) is not None
