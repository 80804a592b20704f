"""Arrays to groups, to a file and back, and through ArviZ. Runs without torch, on both ArviZ generations."""

import numpy as np
import pytest
import xarray as xr

from ppl_vae.errors import DataError, RunError
from ppl_vae.inference_data import _arviz
from ppl_vae.inference_data.groups import Dimensions, datatree, load, save
from ppl_vae.inference_data.writer import PosteriorWriter

CHAINS, DRAWS, DATA = 2, 60, 5


@pytest.fixture
def tree():
    rng = np.random.default_rng(0)
    lead = (CHAINS, DRAWS, DATA)
    draws = {
        "z": rng.normal(size=(*lead, 2)),
        "c": rng.integers(0, 3, size=lead),
        "w": rng.normal(size=(CHAINS, DRAWS)),
    }
    image = rng.integers(0, 2, size=(*lead, 1, 3, 4)).astype(np.uint8)
    groups = {
        "posterior": draws,
        "prior": draws,
        "posterior_predictive": {"x": image},
        "prior_predictive": {"x": image},
        "log_likelihood": {"x": rng.normal(size=lead)},
        "sample_stats": {"log_weight": rng.normal(size=lead), "pareto_k": rng.normal(size=DATA)},
        "observed_data": {"x": image[0, 0]},
        "constant_data": {"label": np.arange(DATA)},
    }
    dimensions = Dimensions(
        local=frozenset({"z", "c", "x", "log_weight", "pareto_k", "label"}),
        dims={"z": ["latent"], "x": ["channel", "height", "width"]},
        coords={"datum": np.arange(10, 10 + DATA), "latent": ["first", "second"]},
    )
    return datatree(groups, dimensions, {"seed": 3})


def test_dimensions_are_named_and_labelled(tree):
    assert tree["posterior"]["z"].dims == ("chain", "draw", "datum", "latent")
    assert tree["posterior"]["w"].dims == ("chain", "draw")
    assert tree["posterior_predictive"]["x"].dims == ("chain", "draw", "datum", "channel", "height", "width")
    assert tree["observed_data"]["x"].dims == ("datum", "channel", "height", "width")
    assert tree["log_likelihood"]["x"].dims == ("chain", "draw", "datum")
    assert tree["sample_stats"]["pareto_k"].dims == ("datum",)
    assert list(tree["posterior"]["latent"].values) == ["first", "second"]
    assert tree["posterior"].sel(datum=12, latent="second")["z"].shape == (CHAINS, DRAWS)
    assert tree.attrs["seed"] == 3


def test_unnamed_dimensions_are_numbered():
    tree = datatree({"posterior": {"m": np.zeros((1, 7, 2, 3))}})
    assert tree["posterior"]["m"].dims == ("chain", "draw", "m_dim_0", "m_dim_1")


def test_file_is_identical_when_loaded(tree, tmp_path):
    path = save(tree, tmp_path / "posterior.nc")
    again = load(path)
    xr.testing.assert_identical(tree, again)
    assert all(again[g][v].dtype == tree[g][v].dtype for g in tree.children for v in tree[g].data_vars)
    assert [p.name for p in tmp_path.iterdir()] == ["posterior.nc"]


def test_interrupted_save_leaves_the_old_file(tree, tmp_path, monkeypatch):
    path = save(tree, tmp_path / "posterior.nc")
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(xr.DataTree, "to_netcdf", fail)
    with pytest.raises(KeyboardInterrupt):
        save(tree, path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_errors_say_what_to_do(tree, tmp_path):
    with pytest.raises(RunError, match=r"when writing .*posterior\.nc, expected a folder"):
        save(tree, tmp_path / "nowhere" / "posterior.nc")
    with pytest.raises(RunError, match="ppl-vae posterior run=DIR"):
        load(tmp_path / "posterior.nc")
    (tmp_path / "broken.nc").write_bytes(b"not a netCDF file")
    with pytest.raises(RunError, match="no readable netCDF"):
        load(tmp_path / "broken.nc")
    with pytest.raises(DataError, match="'latent' has length 3 in 'y' and 2 in 'z'"):
        datatree(
            {"posterior": {"z": np.zeros((1, 4, 2)), "y": np.zeros((1, 4, 3))}},
            Dimensions(dims={"z": ["latent"], "y": ["latent"]}),
        )
    with pytest.raises(DataError, match="start with"):
        datatree({"posterior": {"z": np.zeros(4)}})
    with pytest.raises(DataError, match="2 dimension"):
        datatree({"posterior": {"z": np.zeros((1, 4, 2, 2))}}, Dimensions(dims={"z": ["latent"]}))


def test_arviz_takes_it(tree):
    data = _arviz.from_tree(tree)
    table = _arviz.summary(data, var_names=["z", "w"])
    assert len(table) == DATA * 2 + 1
    expected = float(tree["posterior"]["z"].sel(datum=11, latent="first").mean())
    # Indices differ between generations ("z[11, first]"); both are rounded.
    assert table.loc["z[11, first]", "mean"] == pytest.approx(expected, abs=0.06)


def test_round_trip_through_this_arviz(tree):
    xr.testing.assert_identical(_arviz.to_tree(_arviz.from_tree(tree)), tree)


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_sign_of_pareto_k_on_a_known_tail(shape):
    """100 samples of 5,000: the mean of k̂ is within 0.06 of the truth (bias of the prior included); a wrong
    sign gives k̂ < −0.5 here. False-alarm rate below 1e-6."""
    rng = np.random.default_rng(1)
    log_weights = np.log1p(rng.pareto(1 / shape, size=(5_000, 100)))
    smoothed, k = _arviz.psis(log_weights)
    assert k.mean() == pytest.approx(shape, abs=0.06)
    assert smoothed.shape == log_weights.shape
    assert np.allclose(np.exp(smoothed).sum(0), 1)
    assert np.corrcoef(smoothed[:, 0], log_weights[:, 0])[0, 1] > 0.9


@pytest.mark.parametrize("suffix", ["nc", "zarr"])
def test_blocks_are_one_file(tmp_path, suffix):
    """Written in three blocks, and read again: what was written at once. Needs no torch, so both ArviZ are tested."""
    if suffix == "zarr":
        pytest.importorskip("zarr")
    rng = np.random.default_rng(0)
    z, w, label = rng.normal(size=(2, 5, 7, 3)), rng.normal(size=(2, 5)), np.arange(7)

    dimensions = Dimensions(frozenset({"z", "label"}), {"z": ["unit"]}, {"unit": ["a", "b", "c"], "datum": 10 + label})

    def part(at):
        return {"posterior": {"z": z[:, :, at], "w": w}, "constant_data": {"label": label[at]}}

    path = tmp_path / f"posterior.{suffix}"
    with PosteriorWriter(path, dimensions, {"seed": 3}) as stream:
        for start in (0, 3, 6):
            stream.write(part(slice(start, start + 3)), start)
    again = load(path)
    whole = datatree(part(slice(None)), dimensions)
    for group in ("posterior", "constant_data"):
        xr.testing.assert_equal(again[group].to_dataset(), whole[group].to_dataset())
    assert again.attrs["seed"] == 3
    assert len(_arviz.summary(_arviz.from_tree(again), var_names=["z", "w"])) == 22
