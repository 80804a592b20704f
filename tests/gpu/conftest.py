"""Inductor leaves marks of its own in the process, which these tests are the only ones to call in it."""

import pytest


@pytest.fixture(autouse=True)
def no_global_change() -> None:
    """In the place of the guard over global state."""
