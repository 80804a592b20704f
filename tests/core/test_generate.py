"""New data: right distribution, right shapes, right refusals."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.core import tiles
from ppl_vae.core.generate import generate
from ppl_vae.core.pair import VAE
from ppl_vae.errors import ArgumentError, CheckError
from tests import oracles
from tests.runs.pairs import sequences


@pytest.fixture
def oracle():
    return oracles.linear_gaussian()


def test_new_data_have_the_marginal_of_x(oracle):
    """40,000 draws: means and variances of five columns within 5 standard errors; false-alarm rate 6e-6."""
    x = generate(VAE(*oracle.pair()), 40_000, like=oracle.x, seed=0)
    variance = oracle.covariance.diagonal()
    assert x.shape == (40_000, 5)
    assert ((x.mean(0) - oracle.bias).abs() < 5 * (variance / 40_000).sqrt()).all()
    assert ((x.var(0) / variance - 1).abs() < 5 * (2 / 40_000) ** 0.5).all()


def test_means_have_no_noise(oracle):
    vae = VAE(*oracle.pair())
    x = generate(vae, 50_000, like=oracle.x, mean=True, seed=0)
    expected = oracle.weight @ oracle.weight.mT
    assert torch.allclose(x.T.cov(), expected, atol=0.15 * float(expected.max()))


def test_template_seeds_and_chunks(oracle, monkeypatch):
    vae = VAE(*oracle.pair())
    with pytest.raises(CheckError, match="like=batch"):
        generate(vae, 3)
    pv.prepare(vae, oracle.x)
    assert generate(vae, 3).shape == (3, 5)
    before = torch.get_rng_state()
    assert torch.equal(generate(vae, 3, seed=1), generate(vae, 3, seed=1))
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(generate(vae, 3), generate(vae, 3))
    monkeypatch.setattr(tiles, "TILE", 2_000)
    many = generate(vae, 1_000, seed=1)
    assert len(many.unique(dim=0)) == 1_000
    for n in (0, 2.5, True, "3"):
        with pytest.raises(ArgumentError, match=f"n={n!r}, expected a whole number"):
            generate(vae, n)


def test_conditions_are_cycled():
    def model(x, c):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1e-3))
            pyro.sample("x", dist.Normal(z + c, 1e-3), obs=x)

    def guide(x, c):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x - c, 1.0))

    x = generate(VAE(model, guide), 5, like=(torch.zeros(3), torch.tensor([0.0, 10.0, 20.0])))
    assert x.round().tolist() == [0, 10, 20, 0, 10]


def test_several_observed_sites_give_a_dict():
    def model(x, y):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)
            pyro.sample("y", dist.Poisson(z.exp()), obs=y)

    def guide(x, y):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x, 1.0))

    new = generate(VAE(model, guide), 7, like=(torch.zeros(2), torch.ones(2)))
    assert {name: tuple(v.shape) for name, v in new.items()} == {"x": (7,), "y": (7,)}


def test_improper_priors_and_joint_observations_are_refused():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.ImproperUniform(dist.constraints.real, (), ()))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Delta(x))

    with pytest.raises(CheckError, match="prior of 'z' is improper"):
        generate(VAE(model, guide), 3, like=torch.zeros(2))

    def joint(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0).expand(x.shape).to_event(1), obs=x)

    with pytest.raises(CheckError, match="plate"):
        generate(VAE(joint, lambda x: pyro.sample("z", dist.Normal(0.0, 1.0))), 3, like=torch.zeros(2))


class Sized(nn.Module):
    """Counts of a sequence of genes, given their total; the label only where the guide reads it."""

    def forward(self, x, size, _label):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            rate = torch.softmax(torch.cat([z, z], -1), -1) * size.exp()[:, None]
            pyro.sample("x", dist.Poisson(rate).to_event(1), obs=x)


def sized():
    def guide(x, size, label):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x[:, :2] + label[:, None], 1.0).to_event(1))

    vae = VAE(Sized(), guide)
    batch = torch.tensor([[40.0, 30.0, 10.0, 8.0]] * 6), torch.full((6,), 88.0).log(), torch.arange(6.0)
    pv.prepare(vae, batch)
    return vae, batch


def test_what_a_model_takes_beside_its_data_has_to_be_said():
    """Totals of 4,000 draws are Poisson(88): a mean within 5 of its standard errors; false-alarm rate 6e-7."""
    vae, batch = sized()
    with pytest.raises(ArgumentError, match=r"Got no size for a model that takes size .* given=\{'size': …\}.* like="):
        generate(vae, 3)
    for said in ({"given": {"size": math.log(88.0)}}, {"like": batch}, {"given": {"size": np.full(4_000, np.log(88))}}):
        totals = generate(vae, 4_000, seed=0, **said).sum(-1)
        assert abs(float(totals.mean()) - 88) < 5 * (88 / 4_000) ** 0.5


def test_given_values_go_each_to_its_datum(monkeypatch):
    vae, _ = sized()
    monkeypatch.setattr(tiles, "TILE", 2_000)  # many chunks
    sizes = torch.tensor([0.0, 5.0]).repeat(300)
    totals = generate(vae, 600, given={"size": sizes}, seed=0).sum(-1)
    assert float(totals[::2].max()) < 30 < float(totals[1::2].min())


def test_a_run_is_no_pair_but_has_one(tmp_path):
    with pytest.raises(ArgumentError, match=r"vae=a Run, expected a pair: pv.VAE.* The pair of a run is run\.vae"):
        generate(pv.Run(tmp_path), 3)
    with pytest.raises(ArgumentError, match=r"Got lik=… for generate, .*Did you mean like\?"):
        generate(sized()[0], 3, lik=None)


WRONG = {
    "unknown": ({"sise": 3.0}, "expected names among those of the model's arguments: x, size, _label"),
    "shape": ({"size": [1.0, 2.0]}, r"of shape \(2,\), expected \(3,\): 3 values"),
    "kind": ({"size": "large"}, "expected numbers"),
    "the data": ({"x": 1.0, "size": 0.0}, "'x': .* something left to draw"),
}


@pytest.mark.parametrize(("given", "says"), WRONG.values(), ids=WRONG)
def test_what_is_given_wrongly_is_refused(given, says):
    with pytest.raises(ArgumentError, match=says):
        generate(sized()[0], 3, given=given)


def test_fractions_are_no_labels():
    def model(x, label):
        table = torch.tensor([0.0, 10.0, 20.0])
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1e-3))
            pyro.sample("x", dist.Normal(z + table[label], 1e-3), obs=x)

    def guide(x, label):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x, 1.0))

    vae = VAE(model, guide)
    pv.prepare(vae, (torch.zeros(2), torch.tensor([0, 1])))
    assert generate(vae, 3, given={"label": 2}).round().tolist() == [20, 20, 20]
    assert generate(vae, 3, given={"label": np.array([2, 0, 1])}).round().tolist() == [20, 0, 10]
    with pytest.raises(ArgumentError, match="expected values of int64"):
        generate(vae, 3, given={"label": 0.5})


def digits(under_latent):
    """A label that is observed: above z and beside it, or below it."""

    def model(x, y):
        with pyro.plate("data", x.shape[0]):
            if under_latent:
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                y = pyro.sample("y", dist.Bernoulli(logits=z), obs=y)
            else:
                y = pyro.sample("y", dist.Bernoulli(x.new_tensor(0.5)), obs=y)
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(100.0 * y + z, 1.0), obs=x)

    def guide(x, y):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x / 100, 1.0))

    vae = VAE(model, guide)
    pv.prepare(vae, (torch.tensor([0.0, 100.0, 99.0]), torch.tensor([0.0, 1.0, 1.0])))
    return vae


def test_data_that_depend_on_no_latent_may_be_given():
    new = generate(digits(False), 50, given={"y": 1.0}, seed=0)
    assert new["y"].tolist() == [1.0] * 50
    assert float(new["x"].min()) > 50
    assert len(set(generate(digits(False), 50, seed=0)["y"].tolist())) == 2
    assert generate(digits(False), 2, given={"y": [0, 1]}, mean=True)["y"].tolist() == [0.0, 1.0]


def test_data_that_depend_on_a_latent_may_not():
    """To hold them and draw z from its prior would be no draw of x given them."""
    with pytest.raises(ArgumentError, match="'y' depends on 'z'"):
        generate(digits(True), 3, given={"y": 1.0})
    assert set(generate(digits(True), 3)) == {"x", "y"}


def test_an_argument_that_no_batch_had_may_be_given():
    """The pair has seen unlabelled data alone."""

    def model(x, y=None):
        with pyro.plate("data", x.shape[0]):
            y = pyro.sample("y", dist.Bernoulli(x.new_tensor(0.5)), obs=y)
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(100.0 * y + z, 1.0), obs=x)

    def guide(x, y=None):
        with pyro.plate("data", x.shape[0]):
            if y is None:
                pyro.sample("y", dist.Bernoulli(logits=x - 50))
            pyro.sample("z", dist.Normal(x / 100, 1.0))

    vae = VAE(model, guide)
    pv.prepare(vae, (torch.tensor([0.0, 100.0]),))
    assert generate(vae, 20, seed=0).shape == (20,)
    new = generate(vae, 20, given={"y": 1.0}, seed=0)
    assert new["y"].tolist() == [1.0] * 20
    assert float(new["x"].min()) > 50


def classified():
    """A class that is a latent of data without one, in a pair with a term for the classifier; or always an input."""
    table = torch.tensor([0.0, 100.0, 200.0])

    def model(x, y=None):
        with pyro.plate("data", x.shape[0]):
            if y is not None:
                pyro.sample("y_aux", dist.Categorical(logits=torch.stack([x, -x, 0 * x], -1)), obs=y)
            y = pyro.sample("y", dist.Categorical(torch.ones(3)), obs=y)
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(table[y.long()] + z, 1.0), obs=x)

    def guide(x, y=None):
        with pyro.plate("data", x.shape[0]):
            if y is None:
                pyro.sample("y", dist.Categorical(torch.ones(3)))
            pyro.sample("z", dist.Normal(x / 100, 1.0))

    return VAE(model, guide)


BATCHES = {"without": (torch.zeros(2),), "with": (torch.zeros(2), torch.tensor([0, 2]))}


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_a_class_that_is_given_is_one_and_is_given_back(batch):
    """At each site that observes it."""
    vae = classified()
    pv.prepare(vae, batch)
    new = generate(vae, 3, given={"y": [0, 2, 1]}, like=batch, seed=0)
    assert set(new) == {"x", "y", "y_aux"}
    assert (new["x"] / 100).round().tolist() == new["y"].tolist() == new["y_aux"].tolist() == [0, 2, 1]


def test_data_that_are_observed_twice_are_drawn_twice():
    """Two measurements of one latent are two sites, whatever their names."""

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            for name in ("x", "again"):
                pyro.sample(name, dist.Normal(z, 0.1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x, 0.1))

    vae = VAE(model, guide)
    pv.prepare(vae, (torch.randn(4),))
    new = generate(vae, 50, seed=0)
    assert set(new) == {"x", "again"}
    assert 0 < (new["x"] - new["again"]).abs().max() < 1


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_a_class_that_is_none_is_refused(batch):
    vae = classified()
    pv.prepare(vae, batch)
    assert generate(vae, 3, given={"y": 2}, like=batch)["y"].tolist() == [2] * 3
    for wrong in (3, -1, 12, 2.5, float("nan"), [0, 1, 5]):
        with pytest.raises(ArgumentError, match=r"expected (classes of y: whole numbers from 0 to 2|values of int64)"):
            generate(vae, 3, given={"y": wrong}, like=batch)


def test_classes_that_ready_made_models_take_are_known_to_them():
    """One that is an input alone stands at no site: another code would be the class of nothing."""
    data = pv.datasets.load("digits", with_labels=True)
    model = pv.models.Conditional(data.spec, latent_dim=2, hidden=[4])
    vae = VAE(model, pv.guides.Amortized(data.spec, model, hidden=[4]))
    assert generate(vae, 3, given={"y": 9}, like=data.test[:2].batch()).shape == (3, 1, 8, 8)
    with pytest.raises(ArgumentError, match=r"Got 10 in 'y' \(datum \d\), expected a code from 0 to 9"):
        generate(vae, 3, given={"y": [1, 10, 2]}, like=data.test[:2].batch())


def test_lengths_of_sequences_are_asked_for():
    """Lengths of 0 are nowhere made up: `pack_padded_sequence` refuses them."""
    vae, batch = sequences()
    pv.prepare(vae, batch)
    with pytest.raises(ArgumentError, match="takes lengths beside"):
        generate(vae, 2)
    assert generate(vae, 7, given={"lengths": 3}).shape == (7, 5, 3)
    assert generate(vae, 7, like=batch).shape == (7, 5, 3)


def released(first, rows=2):
    """A model whose x depends on another observed value, by a way that is right for one particle; by `first`."""

    def model(x, y):
        with pyro.plate("data", x.shape[0]):
            y = pyro.sample("y", dist.Bernoulli(0.5).expand([x.shape[0]]), obs=y)
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 0.01).to_event(1))
            pyro.sample("x", dist.Normal(z + 100 * first(y), 0.01).to_event(1), obs=x)

    def guide(x, y):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(torch.zeros(x.shape[0], 2), 0.01).to_event(1))

    return pv.VAE(model, guide), (torch.zeros(rows, 2), torch.zeros(rows))


@pytest.mark.parametrize("rows", [2, 3])
@pytest.mark.parametrize(
    ("first", "strategy"), [(lambda y: y[:, None], "loop"), (lambda y: y[..., None], "plate")], ids=["left", "right"]
)
def test_particles_of_drawn_data_are_those_of_a_run_alone(first, strategy, rows):
    """A label that is drawn has an axis of particles, which `y[:, None]` takes for that of data."""
    vae, batch = released(first, rows)
    drawn = pv.posterior(vae, batch, draws=40)
    for group in ("posterior_predictive", "prior_predictive"):
        y, x = (torch.as_tensor(drawn[group][name].values[0]) for name in ("y", "x"))
        assert 0 < y.float().mean() < 1
        assert torch.allclose(x, 100.0 * y[..., None], atol=0.2)
    assert {prepared.released for prepared in vae.prepared.values() if prepared.released} == {strategy}
