"""Data by name, and the values that fields may have, at every door."""

from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import ArgumentError, DataError

X = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
SITES = ["k", "l", "l", "k", "k", "l"]
CODES = torch.tensor([0, 1, 1, 0, 0, 1])

DOORS = {
    "check": lambda vae, data: pv.check(vae, data),
    "fit": lambda vae, data: pv.fit(vae, data, epochs=1, progress=False),
    "encode": lambda vae, data: pv.encode(vae, data)["z"].loc,
    "evaluate": lambda vae, data: pv.evaluate(vae, data, num_particles=2).table["nll"].to_numpy(),
    "posterior": lambda vae, data: pv.posterior(vae, data, draws=2),
    "generate": lambda vae, data: pv.generate(vae, 6, like=data, mean=True, seed=0),
    "gradients": lambda vae, data: pv.gradients(vae, data, samples=10),
}


def conditional(data=None):
    data = data or pv.datasets.from_arrays({"x": X, "site": SITES})
    torch.manual_seed(0)
    model = pv.models.Conditional(data.spec, latent_dim=2, hidden=[4])
    return pv.VAE(model, pv.guides.ConditionalAmortized(data.spec, model, hidden=[4]))


def counts(**options):
    given = {"x": torch.arange(18).reshape(6, 3), "batch": SITES, "depth": np.full(6, 9.0)}
    data = pv.datasets.from_arrays(given, support="counts")
    model = pv.models.Counts(data.spec, latent_dim=2, hidden=[4], **options)
    vae = pv.VAE(model, pv.guides.CountsAmortized(data.spec, model, hidden=[4]))
    return vae, data.train.batch()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("code", [2, 99, -1, 0.5])
def test_codes_that_no_class_has_are_refused_at_every_door(door, code):
    codes = torch.full((6,), code)
    with pytest.raises(
        DataError, match=rf"Got {code:g} in 'site' \(datum 0\), expected a code from 0 to 1 \(of k, l\)"
    ):
        DOORS[door](conditional(), (X, codes))


@pytest.mark.parametrize("door", ["fit", "encode", "evaluate"])
@pytest.mark.parametrize("code", [7, -1])
def test_batches_of_counts_are_looked_at_too(door, code):
    vae, (x, batch, depth) = counts(dispersion="gene_batch")
    batch[4] = code
    with pytest.raises(DataError, match=rf"Got {code} in 'batch' \(datum 4\)"):
        DOORS[door](vae, (x, batch, depth))


def test_the_datum_is_that_of_the_data_set():
    vae = conditional()
    split = pv.datasets.from_arrays((X, torch.tensor([0, 1, 0, 1, 5, 0]))).train[3:]
    with pytest.raises(DataError, match=r"Got 5 in 'site' \(datum 4\)"):
        pv.encode(vae, split)


def test_labels_are_classes_by_the_specs_word_and_only_where_they_are_read():
    data = pv.datasets.from_arrays(X, labels=CODES, with_labels=True)
    with pytest.raises(DataError, match="Got 2 in 'y'"):
        pv.encode(conditional(data), (X, CODES + 2))
    model = pv.models.VAE(data.spec, latent_dim=2, hidden=[4])
    plain = pv.VAE(model, pv.guides.Amortized(data.spec, model, hidden=[4]))
    assert len(pv.encode(plain, (X, CODES + 2))["z"].loc) == 6


@pytest.mark.parametrize("door", ["fit", "encode", "evaluate", "generate"])
@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_an_exposure_is_above_zero(door, bad):
    vae, (x, batch, depth) = counts(exposure="depth")
    with pytest.raises(DataError, match=rf"Got {bad:g} in 'depth' \(datum 1\), expected numbers above 0"):
        DOORS[door](vae, (x, batch, depth.index_fill(0, torch.tensor(1), bad)))


@pytest.mark.parametrize("given", ["l", 1, torch.tensor(1), ["l"] * 4, np.array([1] * 4), torch.ones(4, dtype=int)])
def test_a_class_is_given_by_its_name_or_its_code(given):
    vae = conditional()
    same = pv.generate(vae, 4, given={"site": torch.ones(4, dtype=torch.int64)}, like=(X, CODES), seed=0)
    assert torch.equal(pv.generate(vae, 4, given={"site": given}, like=(X, CODES), seed=0), same)


@pytest.mark.parametrize(
    ("given", "got"), [("m", "'m'"), (99, "99"), (-1, "-1"), ([0, 1, 2, 0], "2"), (["k", "l", "m", "k"], "'m'")]
)
def test_classes_that_are_not_there_cannot_be_given(given, got):
    with pytest.raises(ArgumentError, match=rf"Got {got} in 'site'.*expected a code from 0 to 1 \(of k, l\)"):
        pv.generate(conditional(), 4, given={"site": given}, like=(X, CODES))
    with pytest.raises(ArgumentError, match=rf"Got {got} in 'site'"):
        pv.decode(conditional(), torch.zeros(4, 2), given={"site": given}, like=(X, CODES))


def test_an_exposure_that_is_given_is_above_zero():
    vae, like = counts(exposure="depth")
    with pytest.raises(ArgumentError, match="Got -1 in 'depth'"):
        pv.generate(vae, 2, given={"depth": -1.0, "batch": "k"}, like=like)


class Annotated(SimpleNamespace):
    """What an AnnData looks like."""


def annotated():
    obs = pd.DataFrame({"other": 0, "site": pd.Categorical(SITES)})
    return Annotated(X=X.numpy(), obs=obs, var_names=list("abc"), obs_names=list("123456"), layers={})


NAMED = {
    "mapping": lambda: {"x": X, "site": CODES},
    "another order": lambda: {"site": CODES, "x": X.numpy()},
    "text": lambda: {"x": X, "site": SITES},
    "categorical": lambda: {"x": X, "site": pd.Series(SITES, dtype="category")},
    "named tuple": lambda: namedtuple("Cells", "site x")(SITES, X),
    "annotated": annotated,
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", NAMED)
def test_names_say_the_order_at_every_door(door, kind):
    found, expected = (DOORS[door](conditional(), data) for data in (NAMED[kind](), (X, CODES)))
    if isinstance(expected, torch.Tensor | np.ndarray):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"x": X}, "x, site: 'site' is missing"),
        ({"x": X, "sit": CODES}, "'sit' is none of them. Did you mean 'site'"),
        ({"x": X, "site": CODES, "age": CODES}, "'age' is none of them"),
        ({"x": X, "site": ["m"] * 6}, "Got 'm' in 'site', expected a code from 0 to 1"),
        (namedtuple("Cells", "x batch")(X, CODES), "'batch' is none of them"),
    ],
)
def test_other_names_are_refused_at_every_door(door, data, message):
    with pytest.raises(DataError, match=message):
        DOORS[door](conditional(), data)


def test_numbers_that_may_be_names_or_codes_are_refused():
    data = pv.datasets.from_arrays({"x": X, "site": [1, 2, 2, 1, 1, 2]}, categories=["site"])
    vae = conditional(data)
    with pytest.raises(DataError, match=r"Got whole numbers in 'site', whose classes have numbers as names \(1, 2\)"):
        pv.encode(vae, {"x": X, "site": [1] * 6})
    for site in (["2"] * 6, torch.ones(6, dtype=torch.int64)):
        assert torch.equal(pv.encode(vae, {"x": X, "site": site})["z"].loc, pv.encode(vae, (X, CODES * 0 + 1))["z"].loc)


def test_an_annotated_matrix_has_the_words_of_its_source():
    data = pv.datasets.from_arrays({"x": X, "site": [1, 2, 2, 1, 1, 2]}, categories=["site"])
    vae, table = conditional(data), annotated()
    table.obs["site"] = [1, 2, 2, 1, 1, 2]
    assert torch.equal(pv.encode(vae, table)["z"].loc, pv.encode(vae, (X, CODES))["z"].loc)


def own():
    """A pair of the user's own, of which some names can be left out."""

    def model(x, dose, weight=None):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + dose, 1.0), obs=x)

    def guide(x, dose, weight=None):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal((x - dose) / 2, 0.5**0.5))

    return pv.VAE(model, guide)


def test_pairs_of_the_users_own_have_the_names_of_their_arguments():
    x, dose = torch.zeros(3), torch.ones(3)
    for data in ({"dose": dose, "x": x}, namedtuple("B", "dose x")(dose, x), namedtuple("B", "batch y")(x, dose)):
        assert pv.encode(own(), data)["z"].loc.tolist() == [-0.5] * 3
    with pytest.raises(DataError, match="'dose' is missing"):
        pv.encode(own(), {"x": x})
    with pytest.raises(
        DataError, match="Got data by the names x, y, expected those of arguments of the model, x, dose"
    ):
        pv.encode(own(), {"x": x, "y": dose})


def test_a_program_may_take_a_dict():
    def model(batch):
        with pyro.plate("data", len(batch["a"])):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=batch["a"])

    def guide(batch):
        with pyro.plate("data", len(batch["a"])):
            pyro.sample("z", dist.Normal(batch["a"] / 2, 1.0))

    assert pv.terms(pv.VAE(model, guide), {"a": torch.zeros(3)}).log_weights.shape == (1, 3)


def test_a_pair_that_ignores_what_follows_x_takes_data_with_and_without_it():
    data = pv.datasets.from_arrays({"x": X, "site": SITES})
    model = pv.models.VAE(data.spec, latent_dim=2, hidden=[4])
    vae = pv.VAE(model, pv.guides.Amortized(data.spec, model, hidden=[4]))
    expected = pv.encode(vae, X)["z"].loc
    for given in ({"x": X}, {"x": X, "site": SITES}, annotated()):
        assert torch.equal(pv.encode(vae, given)["z"].loc, expected)
