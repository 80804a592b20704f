"""A seeded sample of `mutate_runs`; `python -m tests.torture.mutate_runs COUNT` searches for longer."""

import os

import pytest

from tests.torture.mutate_runs import run

COUNT = int(os.environ.get("TORTURE", "0")) or 300


@pytest.mark.slow
def test_a_sample_keeps_the_law():
    found = run(60, 11)
    assert found.clean, str(found)
    assert found.tried == 60
    assert found.refused > 60 / 8


@pytest.mark.slow
def test_a_longer_one():
    found = run(COUNT, 1000)
    assert found.clean, str(found)
