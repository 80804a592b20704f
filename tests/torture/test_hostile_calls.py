"""A seeded sample of `hostile_calls`; `python -m tests.torture.hostile_calls COUNT` searches for longer."""

import os

import pytest

from tests.torture.hostile_calls import run

COUNT = int(os.environ.get("TORTURE", "0")) or 4000


def test_a_sample_keeps_the_law():
    found = run(200, 11)
    assert found.clean, str(found)
    assert found.tried == 200
    assert found.refused > 200 / 8


@pytest.mark.slow
def test_a_longer_one():
    found = run(COUNT, 1000)
    assert found.clean, str(found)
