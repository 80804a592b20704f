"""A seeded sample of `mutate_data`; `python -m tests.torture.mutate_data COUNT` searches for longer."""

import os

import pytest

from tests.torture.mutate_data import run

COUNT = int(os.environ.get("TORTURE", "0")) or 4000


def test_a_sample_keeps_the_law():
    found = run(250, 11)
    assert found.clean, str(found)
    assert found.tried == 250
    assert found.refused > 250 / 8


@pytest.mark.slow
def test_a_longer_one():
    found = run(COUNT, 1000)
    assert found.clean, str(found)
