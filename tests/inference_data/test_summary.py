"""A posterior summed up: the numbers of ArviZ 0.23, and those that follow from the definition."""

import numpy as np
import pytest
import xarray as xr

from ppl_vae.inference_data import _arviz
from ppl_vae.inference_data import summary as module
from ppl_vae.inference_data.groups import Dimensions, datatree, read_group, save
from ppl_vae.inference_data.summary import summary

RNG = np.random.default_rng(0)


def posterior(**variables):
    dimensions = Dimensions(frozenset({"z", "c"}), {"z": ["unit"]}, {"unit": ["a", "b"], "datum": [10, 11, 12]})
    return datatree({"posterior": variables}, dimensions)


@pytest.mark.skipif(_arviz.GENERATION != 0, reason="the later generation has another interval")
@pytest.mark.parametrize("draws", [2, 60, 333])
def test_numbers_and_names_are_those_of_arviz(draws):
    lead = (2, draws, 3)
    tree = posterior(
        z=RNG.gamma(0.7, 10.0, size=(*lead, 2)), c=RNG.integers(0, 4, size=lead), w=RNG.normal(size=lead[:2]),
        b=RNG.random(lead[:2]) < 0.3, v=RNG.normal(size=(*lead[:2], 4)),
    )  # fmt: skip
    table, theirs = summary(tree["posterior"].to_dataset()), _arviz.summary(tree)
    assert table.index.tolist() == theirs.index.tolist()
    assert table.columns.tolist() == theirs.columns.tolist()
    np.testing.assert_array_equal(table.to_numpy(), theirs.to_numpy())


def test_the_interval_is_the_narrowest_of_all(monkeypatch):
    """Of all pairs of draws with 94% of the draws between them; however many units are sorted at a time."""
    z = RNG.normal(size=(1, 50, 3, 2)) ** 3
    whole = summary(posterior(z=z)["posterior"].to_dataset())
    draws = np.sort(z.reshape(50, 6), axis=0)
    for unit, (low, high) in enumerate(whole[["hdi_3%", "hdi_97%"]].to_numpy()):
        narrowest = min(((draws[i, unit], draws[i + 47, unit]) for i in range(3)), key=lambda pair: pair[1] - pair[0])
        assert (low, high) == pytest.approx(narrowest, abs=5.1e-4)  # three decimals
    monkeypatch.setattr(module, "AT_ONCE", 120)
    assert summary(posterior(z=z)["posterior"].to_dataset()).equals(whole)


def test_what_is_not_known_is_not_summed_up():
    z = RNG.normal(size=(1, 20, 3, 2))
    z[0, 3, 1, 0] = np.nan
    table = summary(posterior(z=z)["posterior"].to_dataset())
    assert table.loc["z[11, a]"].isna().all()
    assert table.drop("z[11, a]").notna().all(axis=None)


def test_one_draw_has_no_spread():
    table = summary(posterior(w=np.full((1, 1), 2.5))["posterior"].to_dataset())
    assert table.loc["w", ["mean", "hdi_3%", "hdi_97%"]].tolist() == [2.5, 2.5, 2.5]
    assert np.isnan(table.loc["w", "sd"])


def test_units_with_one_label_have_a_row_each():
    tree = datatree({"posterior": {"v": RNG.normal(size=(1, 9, 2))}}, Dimensions(coords={"v_dim_0": ["same", "same"]}))
    assert summary(tree["posterior"].to_dataset()).index.tolist() == ["v[same]", "v[same]"]


def test_no_variable_has_no_row():
    assert summary(xr.Dataset()).shape == (0, 4)


def test_some_data_of_a_group_are_read(tmp_path):
    tree = posterior(z=RNG.normal(size=(1, 4, 3, 2)), w=RNG.normal(size=(1, 4)))
    path = save(tree, tmp_path / "posterior.nc")
    whole = tree["posterior"].to_dataset()
    xr.testing.assert_identical(read_group(path, "posterior"), whole)
    xr.testing.assert_identical(read_group(path, "posterior", data=2), whole.isel(datum=slice(2)))
    assert list(read_group(path, "posterior", ["w", "y"]).data_vars) == ["w"]
    assert not read_group(path, "prior")
