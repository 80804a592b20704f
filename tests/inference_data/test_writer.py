"""Posteriors written block by block: the same as in memory, and atomic."""

import sys

import h5py
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr

from ppl_vae import posterior as draw
from ppl_vae.core import tiles
from ppl_vae.core.pair import VAE
from ppl_vae.datasets.split import Split
from ppl_vae.errors import DataError, RunError
from ppl_vae.inference_data import _arviz
from ppl_vae.inference_data.groups import Dimensions, datatree, load
from ppl_vae.inference_data.writer import PosteriorWriter
from tests import oracles


@pytest.fixture
def oracle(monkeypatch):
    monkeypatch.setattr(tiles, "TILE", 2_000)  # so that there are many blocks
    return oracles.linear_gaussian(num_data=9)


@pytest.mark.parametrize("suffix", ["nc", "zarr"])
def test_the_file_holds_what_memory_would(oracle, tmp_path, suffix):
    if suffix == "zarr":
        pytest.importorskip("zarr")
    vae = VAE(*oracle.pair(diagonal=True))
    data = Split((oracle.x,), labels=torch.arange(9) % 3)[1:]
    seen = []
    path = tmp_path / f"posterior.{suffix}"
    options = {"draws": 12, "chains": 2, "predictive_draws": 5}
    streamed = draw(vae, data, path=path, progress=lambda *a: seen.append(a), **options)
    assert len(seen) > 1
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    xr.testing.assert_equal(_arviz.to_tree(streamed), _arviz.to_tree(draw(vae, data, **options)))
    assert _arviz.to_tree(streamed).attrs["draws"] == 12


def test_global_latents_are_written_once(monkeypatch, tmp_path):
    oracle = oracles.normal_hierarchy()
    monkeypatch.setattr(tiles, "TILE", 500)
    vae = VAE(oracle.model, oracle.guide())
    streamed = _arviz.to_tree(draw(vae, oracle.x, draws=7, path=tmp_path / "p.nc"))
    inside = _arviz.to_tree(draw(vae, oracle.x, draws=7, predictive_draws=streamed.attrs["predictive_draws"]))
    xr.testing.assert_equal(streamed["posterior"].to_dataset(), inside["posterior"].to_dataset())


def test_an_interrupted_stream_leaves_the_old_file(oracle, tmp_path):
    vae, path = VAE(*oracle.pair()), tmp_path / "posterior.nc"
    draw(vae, oracle.x, draws=5, path=path)
    before = path.read_bytes()

    def interrupt(done, total):
        if done > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw(vae, oracle.x, draws=5, path=path, progress=interrupt)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_memory_is_bounded_by_a_block(oracle, tmp_path):
    """The predictive draws that fit are counted for a block, not for all data."""
    vae = VAE(*oracle.pair())
    tree = _arviz.to_tree(draw(vae, oracle.x, draws=20, path=tmp_path / "p.nc", memory=4_000))
    alone = _arviz.to_tree(draw(vae, oracle.x, draws=20, memory=4_000))
    assert tree.attrs["predictive_draws"] > alone.attrs["predictive_draws"]


def test_what_does_not_get_smaller_is_not_compressed(tmp_path):
    """Noise is written as it is, and whole numbers are packed; both are read as they were, to the bit."""
    rng, lead = np.random.default_rng(0), (1, 100, 50)
    noise = rng.normal(size=lead).astype(np.float32)
    ink = (rng.random((*lead, 4)) < 0.3).astype(np.float32)
    far = rng.integers(0, 3, size=lead) * 2**40  # of eight bytes six are equal
    groups = {"posterior": {"noise": noise, "ink": ink, "far": far, "sure": noise > 0, "w": rng.normal(size=lead[:2])}}
    dimensions = Dimensions(frozenset({"noise", "ink", "far", "sure"}), coords={"datum": np.arange(50)})
    tree = datatree(groups, dimensions)
    with PosteriorWriter(tmp_path / "p.nc", dimensions) as stream:
        stream.write(groups, 0)
    with h5py.File(tmp_path / "p.nc") as file:
        found = {name: file["posterior"][name] for name in groups["posterior"]}
        assert {name: v.compression for name, v in found.items()} == {
            "noise": None, "ink": "gzip", "far": "gzip", "sure": "gzip", "w": None
        }  # fmt: skip
        assert found["ink"].id.get_storage_size() < ink.nbytes / 8
    again = load(tmp_path / "p.nc")["posterior"].to_dataset()
    xr.testing.assert_identical(again, tree["posterior"].to_dataset())
    assert {v: again[v].dtype for v in again.data_vars} == {v: a.dtype for v, a in groups["posterior"].items()}


class Lossy(dist.Bernoulli):
    """Draws that are not always 0 or 1."""

    def sample(self, *args, **kwargs):
        return torch.where(torch.rand(()) < 2, torch.nan, super().sample(*args, **kwargs))


@pytest.mark.parametrize(("likelihood", "kind"), [(dist.Bernoulli, np.int8), (Lossy, np.float32)])
def test_zeros_and_ones_are_bytes(tmp_path, likelihood, kind):
    """In the file as in memory; draws of another class than torch's may hold anything."""

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", likelihood(logits=z.unsqueeze(-1).expand(*z.shape, 3)).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x.mean(-1), 1.0))

    x = torch.eye(3)
    streamed, inside = (
        _arviz.to_tree(draw(VAE(model, guide), x, draws=6, predictive_draws=6, path=path))
        for path in (tmp_path / "p.nc", None)
    )
    for group in ("posterior_predictive", "prior_predictive"):
        assert streamed[group]["x"].dtype == inside[group]["x"].dtype == kind
    xr.testing.assert_equal(streamed, inside)


def test_bad_paths(tmp_path):
    dimensions = Dimensions(coords={"datum": np.arange(3)})
    with pytest.raises(DataError, match=r"\.nc"):
        PosteriorWriter(tmp_path / "posterior.csv", dimensions)
    with pytest.raises(RunError, match="no such folder"):
        PosteriorWriter(tmp_path / "nowhere" / "posterior.nc", dimensions)


def test_large_files_are_read_when_used(oracle, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["ppl_vae.inference_data.groups"], "LAZY", 100)
    tree = _arviz.to_tree(draw(VAE(*oracle.pair()), oracle.x, draws=5, path=tmp_path / "p.nc"))
    assert not tree["posterior"]["z"].variable._in_memory
    assert tree["posterior"]["z"].shape == (1, 5, 9, 2)
    tree.close()
