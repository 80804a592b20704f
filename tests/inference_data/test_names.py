import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.errors import DataError
from ppl_vae.inference_data._arviz import to_tree
from ppl_vae.inference_data.groups import load
from ppl_vae.inference_data.names import variable_names

N, D = 5, 6
X = torch.randn(N, D)


def pair(latent="z", observed="x", plate="rows"):
    torch.manual_seed(0)
    encode, decode = nn.Linear(D, 4), nn.Linear(2, D)

    def model(x):
        with pyro.plate(plate, x.shape[0]):
            z = pyro.sample(latent, dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample(observed, dist.Normal(decode(z), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate(plate, x.shape[0]):
            loc, scale = encode(x).chunk(2, -1)
            pyro.sample(latent, dist.Normal(loc, scale.exp()).to_event(1))

    return pv.VAE(model, guide)


RESERVED = ["vae/z", "draw", "chain", "datum", "log_weight", "pareto_k", "ess", "feature", "channel"]


@pytest.mark.parametrize("latent", RESERVED)
@pytest.mark.parametrize("path", [None, "p.nc"])
def test_sites_of_any_name_are_kept(latent, path, tmp_path):
    file = None if path is None else tmp_path / path
    drawn = to_tree(pv.posterior(pair(latent), X, draws=3, path=file))
    plain = to_tree(pv.posterior(pair(), X, draws=3))
    name = latent.replace("/", ".") if "/" in latent else f"{latent}_"
    np.testing.assert_array_equal(drawn["posterior"][name].values, plain["posterior"]["z"].values)
    assert drawn["posterior"][name].dims == ("chain", "draw", "datum", f"{name}_dim")
    assert drawn.attrs["renamed_sites"] == f"{name} = {latent}"
    assert "renamed_sites" not in plain.attrs
    drawn.to_netcdf(tmp_path / "again.nc", engine="h5netcdf")
    assert name in load(tmp_path / "again.nc")["posterior"]


@pytest.mark.parametrize("observed", RESERVED)
def test_observed_sites_of_any_name_are_kept(observed):
    drawn = to_tree(pv.posterior(pair(observed=observed), X, draws=3))
    (name,) = drawn["observed_data"].data_vars
    np.testing.assert_array_equal(drawn["observed_data"][name].values, X.numpy())
    assert name in drawn["log_likelihood"]


def test_two_sites_of_one_variable_are_refused():
    with pytest.raises(DataError, match=r"'a/z' and 'a\.z', expected names that differ.*Rename"):
        variable_names(["a/z", "a.z"])


def test_labels_of_the_data_are_kept(tmp_path):
    labels = [f"c{i}" for i in range(N)]
    for path in (None, tmp_path / "p.nc"):
        drawn = to_tree(pv.posterior(pair(), X, draws=2, coords={"datum": labels}, path=path))
        for group in ("posterior", "observed_data", "log_likelihood"):
            assert drawn[group].coords["datum"].values.tolist() == labels


def test_names_of_dimensions_are_kept():
    options = {"dims": {"z": ["unit"], "x": ["gene"]}, "coords": {"unit": ["a", "b"], "gene": list("uvwxyz")}}
    drawn = to_tree(pv.posterior(pair(), X, draws=2, **options))
    assert drawn["posterior"]["z"].dims == ("chain", "draw", "datum", "unit")
    assert drawn["observed_data"].coords["gene"].values.tolist() == list("uvwxyz")
    by_site = to_tree(pv.posterior(pair("a/z"), X, draws=2, dims={"a/z": ["unit"]}))
    assert by_site["posterior"]["a.z"].dims[-1] == "unit"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dims": {"zz": ["unit"]}}, "Got dims for 'zz', expected names of sites: x, z"),
        ({"dims": {"z": ["a", "b"]}}, r"Got dims=\['a', 'b'\] for 'z', expected 1 names"),
        ({"dims": {"z": "unit"}}, "Got dims='unit' for 'z'"),
        ({"coords": {"latnt": ["a", "b"]}}, "dimension 'latnt', expected one of chain, datum, feature, z_dim"),
        ({"coords": {"z_dim": ["a"]}}, r"shape \(1,\) for the dimension 'z_dim', expected 2 labels"),
        ({"coords": {"datum": ["a"]}}, r"shape \(1,\) for the dimension 'datum', expected 5 labels"),
        ({"coords": {"draw": [1, 2]}}, "dimension 'draw'"),
    ],
    ids=str,
)
def test_names_of_what_is_not_there_are_refused_before_anything_is_drawn(options, message, monkeypatch):
    import ppl_vae.inference_data.draw

    monkeypatch.setattr(ppl_vae.inference_data.draw, "_draws", None)
    with pytest.raises(DataError, match=message):
        pv.posterior(pair(), X, draws=2, **options)


@pytest.mark.parametrize("path", [None, "p.nc"])
def test_masks_are_kept_as_booleans(path, tmp_path):
    def model(x, mask):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z.unsqueeze(-1), 1.0).mask(mask).to_event(1), obs=x)

    def guide(x, mask):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal((x * mask).mean(-1), 0.8))

    mask = torch.rand(N, D) > 0.3
    file = None if path is None else tmp_path / path
    drawn = to_tree(pv.posterior(pv.VAE(model, guide), (X, mask), draws=3, path=file))
    kept = drawn["constant_data"]["input_1"]
    assert kept.dtype == bool
    assert np.array_equal(kept.values, mask.numpy())
    assert np.array_equal(np.isnan(drawn["observed_data"]["x"].values), ~mask.numpy())
    assert np.array_equal(drawn["observed_data"]["x"].values[mask], X[mask].numpy())
