import numpy as np
import pytest
import scipy.sparse

from ppl_vae.datasets import from_arrays, memory
from ppl_vae.errors import DataError


def test_what_is_free_is_a_number_of_bytes():
    free = memory.available()
    assert free is None or 2**20 < free < 2**50


def test_what_does_not_fit_is_said_before_it_is_made(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 2**20)
    memory.check_fits(2**20, "x", "Do less.")
    with pytest.raises(DataError, match=r"Got x of 0\.0 GiB in memory, expected at most the 0\.0 GiB .* Do less\."):
        memory.check_fits(2**20 + 1, "x", "Do less.")
    with pytest.raises(DataError, match="sparse train of"):
        from_arrays(scipy.sparse.csr_matrix((1000, 1000), dtype=np.float32))


def test_a_system_that_says_nothing_refuses_nothing(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: None)
    memory.check_fits(2**60, "x", "Do less.")
