"""All data are looked at once: values outside supports, missing values, plates that subsample by themselves."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

import ppl_vae as pv
from ppl_vae.core import supports as looking
from ppl_vae.core.data import take_data
from ppl_vae.distributions.unwrap import support_of
from ppl_vae.errors import CheckError, DataError, NonFiniteError
from ppl_vae.inference_data._arviz import to_tree

D = 4


def pair(likelihood, read=lambda x: x, observe=lambda x: x):
    """A pair whose decoder gives one number per column."""
    torch.manual_seed(0)
    encode, decode = nn.Linear(D, 4), nn.Linear(2, D)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", likelihood(decode(z)).to_event(1), obs=observe(x))

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            loc, scale = encode(read(x)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    return pv.VAE(model, guide)


LIKELIHOODS = {
    "Bernoulli": (lambda h: dist.Bernoulli(logits=h), 1.0, 0.5, "0 or 1"),
    "Poisson": (lambda h: dist.Poisson(h.exp()), 3.0, -1.0, "greater than 0"),
    "Gamma": (lambda h: dist.Gamma(h.exp(), 1.0), 2.0, -1.0, "greater than 0"),
    "Beta": (lambda h: dist.Beta(h.exp(), 1.0), 0.5, 2.0, "interval 0 to 1"),
    "Uniform": (lambda h: dist.Uniform(torch.zeros_like(h), 4.0), 1.0, 5.0, ""),
    "Normal": (lambda h: dist.Normal(h, 1.0), 0.0, None, ""),
}
DOORS = {
    "fit": lambda vae, x: pv.fit(vae, x, epochs=1, batch_size=50, progress=False),
    "validation": lambda vae, x: pv.fit(vae, pv.datasets.from_arrays(x[:20], x), epochs=1, progress=False),
    "evaluate": lambda vae, x: pv.evaluate(vae, x, num_particles=2),
    "posterior": lambda vae, x: pv.posterior(vae, x, draws=2),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("observe", [lambda x: x, lambda x: x + 0.0], ids=["as it is", "computed"])
@pytest.mark.parametrize("name", [n for n in LIKELIHOODS if n != "Normal"])
def test_one_value_outside_the_support_is_found_wherever_it_is(name, observe, door):
    likelihood, good, bad, told = LIKELIHOODS[name]
    x = torch.full((300, D), good)
    x[211, 2] = bad
    where = rf"the first {bad:g} in datum 211( .number 231 in the data set.)? at \[2\].*expected .*{told}"
    with pytest.raises(DataError, match=rf"Got 1 value outside the support of {name} at site 'x', {where}"):
        DOORS[door](pair(likelihood, observe=observe), x)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_data_inside_the_support_pass(name, door):
    likelihood, good, *_ = LIKELIHOODS[name]
    DOORS[door](pair(likelihood), torch.full((60, D), good))


def test_columns_are_named():
    data = pv.datasets.from_arrays(torch.tensor([[0.0, 1.0, 1.0, 1.0]]).repeat(9, 1), feature_names=list("abcd"))
    data.train.tensors[0][5, 1] = 7
    with pytest.raises(DataError, match="7 in datum 5, column 'b'"):
        pv.fit(pair(LIKELIHOODS["Bernoulli"][0]), data, epochs=1, progress=False)


def test_what_is_masked_is_not_looked_at():
    x = torch.ones(30, D)
    x[11, 1] = -5.0
    seen = x >= 0

    def masked(h):
        return dist.Bernoulli(logits=h).mask(seen[: h.shape[-2]])

    take_data(pair(masked), x)
    seen[11, 1] = True
    with pytest.raises(DataError, match=r"-5 in datum 11 at \[1\]"):
        take_data(pair(masked), x)


def test_validation_switched_off_is_the_users_word():
    x = torch.rand(10, D)
    take_data(pair(lambda h: dist.Bernoulli(logits=h, validate_args=False)), x)


def test_a_support_that_hangs_on_latents_is_no_fault_of_the_data():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Uniform(0.0, 1.0))
            pyro.sample("x", dist.Uniform(0.0, z, validate_args=None), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Uniform(0.0, 1.0))

    take_data(pv.VAE(model, guide), torch.full((50,), 0.5))


def test_the_programs_run_once_where_an_argument_is_observed_as_it_is():
    runs = []
    vae = pair(LIKELIHOODS["Bernoulli"][0], read=lambda x: runs.append(len(x)) or x)
    take_data(vae, torch.ones(5000, D))
    assert runs == [128, 2]


def test_the_pair_and_the_generators_are_left_as_found():
    vae = pair(LIKELIHOODS["Bernoulli"][0], observe=lambda x: x + 0.0)
    vae.train()
    vae.guide.register_buffer("count", torch.zeros(()))
    before = torch.get_rng_state()
    take_data(vae, torch.ones(600, D))
    assert torch.equal(before, torch.get_rng_state())
    assert all(module.training for module in vae.modules())


# --- missing values


def masking(how, encode_missing=True):
    """A pair that masks NaN in one of Pyro's three ways."""
    torch.manual_seed(0)
    encode, decode = nn.Linear(D, 4), nn.Linear(2, D)

    def model(x):
        there = ~x.isnan()
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            if how == "on the distribution":
                pyro.sample("x", dist.Normal(decode(z), 1.0).mask(there).to_event(1), obs=x)
            elif how == "poutine.mask":
                with pyro.plate("columns", D, dim=-2), poutine.mask(mask=there.T):
                    pyro.sample("x", dist.Normal(decode(z).movedim(-1, -2), 1.0), obs=x.T)
            elif how == "whole data":
                with poutine.mask(mask=there.all(-1)):
                    pyro.sample("x", dist.LogNormal(decode(z), 1.0).to_event(1), obs=x.exp())
            else:
                pyro.sample("x", dist.Normal(decode(z), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            loc, scale = encode(x.nan_to_num() if encode_missing else x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    return pv.VAE(model, guide)


def with_gaps():
    x = torch.randn(40, D, generator=torch.Generator().manual_seed(0))
    x[3, 1] = x[25, 0] = x[25, 3] = torch.nan
    return x


@pytest.mark.parametrize("how", ["on the distribution", "poutine.mask", "whole data"])
def test_missing_values_are_legal_where_the_program_masks_them(how):
    x = with_gaps()
    vae = masking(how)
    pv.check(vae, x)
    history = pv.fit(vae, x, epochs=3, batch_size=16, progress=False)
    assert np.isfinite(history["train/bound"]).all()
    assert all(p.isfinite().all() for p in vae.parameters())
    assert np.isfinite(pv.evaluate(vae, x, num_particles=5).summary["nll"])
    observed = to_tree(pv.posterior(vae, x, draws=3))["observed_data"]["x"].transpose("datum", ...).values
    gaps = x.isnan().numpy() if how != "whole data" else x.isnan().any(1, keepdim=True).expand(40, D).numpy()
    assert np.array_equal(np.isnan(observed), gaps)


def test_the_density_is_that_of_what_is_there():
    """Missing values, and any number in their place, give equal numbers."""
    x = with_gaps()
    vae = masking("on the distribution")
    nll = pv.evaluate(vae, x, num_particles=5).table["nll"]
    other = x.clone()
    other[3, 1] = 1e6
    there = ~x.isnan()
    encode, decode = vae.guide, vae.model

    def model(x, there):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            h = next(m for m in decode.modules() if isinstance(m, nn.Linear))(z)
            pyro.sample("x", dist.Normal(h, 1.0).mask(there).to_event(1), obs=x)

    def guide(x, there):
        with pyro.plate("data", x.shape[0]):
            h = next(m for m in encode.modules() if isinstance(m, nn.Linear))(torch.where(there, x, 0.0))
            loc, scale = h.chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    again = pv.evaluate(pv.VAE(model, guide), (other.nan_to_num(7.0), there), num_particles=5).table["nll"]
    np.testing.assert_allclose(nll, again, rtol=1e-5)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("encode_missing", [True, False])
def test_missing_values_that_nothing_masks_are_refused_with_their_place(door, encode_missing):
    x = with_gaps().roll(20, 0).repeat(4, 1)
    with pytest.raises(DataError, match=r"\d+ missing values \(NaN\) in x, the first in datum 5.* at \[0\].*mask"):
        DOORS[door](masking("", encode_missing), x)


@pytest.mark.parametrize("encode_missing", [True, False])
def test_check_tells_missing_values_that_nothing_masks(encode_missing):
    with pytest.raises(CheckError, match=r"3 missing values \(NaN\) in x, the first in datum 3 at \[1\]"):
        pv.check(masking("", encode_missing), with_gaps())


def test_a_missing_input_that_reaches_the_density_is_refused():
    def model(x, age):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + age, 1.0), obs=x)

    def guide(x, age):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x / 2, 1.0))

    age = torch.zeros(300)
    age[250] = torch.nan
    with pytest.raises(DataError, match=r"1 missing value \(NaN\) in argument 1 .*, the first in datum 250.*site 'x'"):
        take_data(pv.VAE(model, guide), (torch.zeros(300), age))


def test_not_finite_parameters_are_told_as_such():
    for value, place in ((torch.nan, 0), (torch.nan, 3), (torch.inf, 3)):
        vae = masking("")
        weight = next(p for n, p in vae.guide.named_parameters() if n.endswith("weight"))
        with torch.no_grad():
            weight[place, 0] = value
        with pytest.raises(
            CheckError, match=r"parameter 'guide\..*weight' holds 1 NaN or infinite value among 16"
        ) as e:
            pv.check(vae, torch.randn(8, D))
        assert len(e.value.findings) == 1
        with pytest.raises(NonFiniteError, match="weight"):
            pv.fit(vae, torch.randn(8, D), epochs=1, progress=False)


# --- a plate that subsamples by itself


def own(size):
    torch.manual_seed(0)
    encode, decode = nn.Linear(D, 4), nn.Linear(2, D)

    def model(x):
        with pyro.plate("data", x.shape[0], subsample_size=size(x)) as i:
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decode(z), 1.0).to_event(1), obs=x[i])

    def guide(x):
        with pyro.plate("data", x.shape[0], subsample_size=size(x)) as i:
            loc, scale = encode(x[i]).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    return pv.VAE(model, guide)


EACH = {
    "evaluate": lambda vae, x: pv.evaluate(vae, x, num_particles=2),
    "posterior": lambda vae, x: pv.posterior(vae, x, draws=2),
    "generate": lambda vae, x: pv.generate(vae, 5, like=x),
    "refine": lambda vae, x: pv.refine(vae, x),
}


@pytest.mark.parametrize(
    "size", [lambda x: 8, lambda x: 2, lambda x: 1, lambda x: min(8, len(x))], ids=["8", "2", "1", "most"]
)
def test_a_plate_that_subsamples_trains_and_is_refused_where_each_datum_counts(size):
    x = torch.randn(24, D)
    report = pv.check(own(size), x)
    assert [f.kind for f in report.warnings] == ["subsamples by itself"]
    assert pv.fit(own(size), x, epochs=2, batch_size=24, progress=False).status == "finished"
    for door in EACH.values():
        with pytest.raises(CheckError, match=r"'data' draws . of the 24 data by itself.*leave out subsample_size"):
            door(own(size), x)


def test_all_data_of_a_plate_that_subsamples_are_looked_at():
    """It takes 8 of each batch of 20; the last batch of 10 it could not even run on before it is trained."""
    x = torch.zeros(110, D)
    vae = own(lambda x: 8)
    take_data(vae, x, every_datum=False, rows=20)
    x[101, 1] = torch.inf
    with pytest.raises(DataError, match=r"1 value of data infinite"):
        take_data(vae, x, every_datum=False, rows=20)

    def binary(x):
        with pyro.plate("data", x.shape[0], subsample_size=8) as i:
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=z.sum(-1, keepdim=True).expand(-1, D)).to_event(1), obs=x[i])

    x[101, 1] = 7.0
    with pytest.raises(DataError, match=r"the first 7 in datum 101 at \[1\]"):
        take_data(pv.VAE(binary, vae.run_guide), x, every_datum=False, rows=20)
    take_data(pv.VAE(binary, vae.run_guide), x[:101], every_datum=False, rows=20)


def test_a_plate_of_another_size_may_subsample():
    vae = pair(LIKELIHOODS["Normal"][0])
    inner = vae.run_model

    def model(x):
        with pyro.plate("words", 100, subsample_size=5):
            pass
        inner(x)

    take_data(pv.VAE(model, vae.run_guide), torch.zeros(9, D))


def test_supports_in_words():
    told = {
        "0 or 1": dist.Bernoulli(0.5),
        "integer interval 0 to 3": dist.Categorical(torch.ones(4)),
        "greater than 0": dist.LogNormal(0.0, 1.0).expand([3]).to_event(1),
        "the real line": dist.Normal(0.0, 1.0),
    }
    for words, fn in told.items():
        assert looking.told(support_of(fn)) == words


@pytest.mark.parametrize("name", ["Bernoulli", "Poisson", "Gamma"])
def test_terms_say_what_is_outside_a_support(name):
    likelihood, good, bad, told = LIKELIHOODS[name]
    x = torch.full((7, D), good)
    x[3, 2] = bad
    where = rf"the first {bad:g} at \[3, 2\].*expected .*{told}"
    with pytest.raises(DataError, match=rf"Got 1 value outside the support of {name} at site 'x', {where}"):
        pv.terms(pair(likelihood), x)


def test_a_program_that_fails_by_chance_blames_no_data():
    """One that reads a column by the place of a datum fails for some draws: whole numbers in it are not its fault."""

    def model(x):
        with pyro.plate("data", x.shape[0], subsample_size=2) as i:
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x[:, :2].mT[i][:, 0])

    x, kinds = torch.ones(5, 3), set()
    for seed in range(20):
        pyro.set_rng_seed(seed)
        try:
            pv.fit(pv.VAE(model, lambda x: None), x, epochs=1, progress=False)
        except Exception as error:
            kinds.add(type(error))
    assert kinds
    assert not any(issubclass(kind, DataError) for kind in kinds), kinds
