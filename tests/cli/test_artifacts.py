from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from ppl_vae.cli import artifacts
from ppl_vae.cli.artifacts import calibration_ranks, save_figures
from ppl_vae.errors import RunError


def test_a_site_with_a_slash_in_its_name_has_a_figure(tmp_path):
    (path,) = save_figures(tmp_path, {"calibration_vae/z": Figure()})
    assert path == tmp_path / "figures" / "calibration_vae.z.png"
    assert path.stat().st_size > 0


def test_ranks_count_as_what_they_become(tmp_path, monkeypatch):
    """A byte a number in the file is eight in memory: a small file made a page take gigabytes."""
    (tmp_path / "calibration").mkdir()
    np.savez_compressed(tmp_path / "calibration" / "ranks.npz", z=np.zeros((20, 100), np.int8))
    run = SimpleNamespace(directory=tmp_path)
    monkeypatch.setattr(artifacts, "LARGEST_RANKS", 20 * 100 * 8)
    assert calibration_ranks(run)["z"].dtype == np.float64
    monkeypatch.setattr(artifacts, "LARGEST_RANKS", 20 * 100 * 8 - 1)
    with pytest.raises(RunError, match=r"ranks\.npz cannot be read \(it is too large\)"):
        calibration_ranks(run)


def test_ranks_of_more_units_than_a_page_can_choose_from_are_refused(tmp_path):
    (tmp_path / "calibration").mkdir()
    np.savez_compressed(tmp_path / "calibration" / "ranks.npz", z=np.zeros((2, 60_000)), y=np.zeros((2, 300, 200)))
    with pytest.raises(RunError, match=r"ranks\.npz cannot be read \(it has more than 100,000 units\)"):
        calibration_ranks(SimpleNamespace(directory=tmp_path))
