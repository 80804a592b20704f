"""Imports do not look for garbage, and leave the search as they found it."""

import gc
import subprocess
import sys

import pytest

from ppl_vae import imports
from tests.cli.small import SMALL


@pytest.fixture
def thawed():
    """Nothing is frozen for the tests after these."""
    yield
    gc.unfreeze()


@pytest.mark.parametrize("enabled", [True, False])
def test_the_search_is_as_it_was_afterwards_also_after_an_error(enabled):
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with imports.unsearched():
            assert not gc.isenabled()
        assert gc.isenabled() is enabled
        with pytest.raises(ImportError), imports.unsearched():
            raise ImportError
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_only_what_is_new_is_kept_for_good(thawed):
    gc.unfreeze()
    imports.load("json")
    assert gc.get_freeze_count() == 0  # a job after the first leaves no garbage of the one before for good
    sys.modules.pop("this", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda *_: None)
        imports.load("this")
    assert gc.get_freeze_count() > 0
    assert gc.isenabled()


def test_an_array_needs_no_pandas():
    code = """
import sys
import numpy as np
import ppl_vae as pv
pv.datasets.from_arrays(np.random.default_rng(0).random((50, 3)))
pv.datasets.load("digits")
print("pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_run_is_made_without_arviz(tmp_path):
    """Its import takes longer than all that a small run draws."""
    code = f"""
import sys
from ppl_vae.__main__ import main
words = {[*SMALL, "results.figures=true", "results.posterior=true", "results.draws=9", "hydra.run.dir=run"]}
print(main(["train", *words]), "arviz" in sys.modules, "matplotlib.pyplot" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "0 False False"
    assert (tmp_path / "run" / "posterior.csv").exists()
