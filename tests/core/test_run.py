"""What preparing learns, and what is refused because no right number could be given."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.errors import ArgumentError, CheckError

X = torch.tensor([0.3, -1.2, 2.2, 0.8])


def model(x):
    with pyro.plate("data", x.shape[0]):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def guide(x):
    with pyro.plate("data", x.shape[0]):
        pyro.sample("z", dist.Normal(x / 2, 0.7))


def test_what_is_learnt_is_frozen_and_kept_by_mode():
    vae = pv.VAE(model, guide)
    known = pv.prepare(vae, X)
    assert pv.prepare(vae, X) is known
    with pytest.raises(AttributeError):
        known.strategy = "loop"
    assert pv.prepare(vae, X, mode="draw").mode == "draw"
    assert pv.prepare(vae, X).mode == "estimate"
    vae.eval()
    assert pv.prepare(vae, X) is not known


def test_another_estimator_is_prepared_anew():
    vae = pv.VAE(model, guide)
    assert isinstance(pv.prepare(vae, X).estimators["z"], pv.estimators.Pathwise)
    vae.estimators = {"z": pv.estimators.ScoreFunction()}
    assert isinstance(pv.prepare(vae, X).estimators["z"], pv.estimators.ScoreFunction)


def test_a_strategy_is_chosen_in_the_mode_it_is_used_in():
    """Batch norm mixes the particles of a tile in training, so that only a loop is right; in evaluation a plate is."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

        def forward(self, x):
            with pyro.plate("data", x.shape[0]):
                z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
                h = self.norm(z.reshape(-1, 2)).reshape(z.shape)
                pyro.sample("x", dist.Normal(h.sum(-1), 1.0), obs=x)

    def pair_guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x[:, None].expand(-1, 2) / 2, 0.7).to_event(1))

    vae = pv.VAE(Model(), pair_guide)
    assert pv.prepare(vae, X, 2).strategy == "loop"
    assert pv.prepare(vae.eval(), X, 2).strategy == "plate"


def test_a_relaxed_pair_is_evaluated_as_it_is_declared():
    """The evidence of a binary latent is exact; draws are one-hot. 4,000 draws, 5 standard errors."""

    def binary(x):
        with pyro.plate("data", x.shape[0]):
            c = pyro.sample("c", dist.OneHotCategorical(torch.tensor([0.3, 0.7])))
            pyro.sample("x", dist.Normal(3 * c[..., 0], 1.0), obs=x)

    def binary_guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("c", dist.OneHotCategorical(logits=torch.stack([x, -x], -1)))

    vae = pv.VAE(binary, binary_guide, estimators={"c": pv.estimators.Concrete(0.7)})
    density = dist.Normal(torch.tensor([3.0, 0.0]), 1.0).log_prob(X[:, None]) + torch.tensor([0.3, 0.7]).log()
    summary = pv.evaluate(vae, X, 4000).summary
    assert abs(summary["nll"] + float(density.logsumexp(-1).mean())) < 5 * summary["nll_se"]
    drawn = torch.as_tensor(pv.posterior(vae, X, draws=20)["posterior"]["c"].values)
    assert bool(((drawn == 0) | (drawn == 1)).all())


def test_dependent_noise_does_not_flatter_a_standard_error():
    """Evaluation draws independently: the error is that of plain draws, whatever noise training uses."""
    plain = pv.evaluate(pv.VAE(model, guide), X, 400).summary
    for estimator in (pv.estimators.Pathwise(antithetic=True), pv.estimators.Pathwise(common=True)):
        found = pv.evaluate(pv.VAE(model, guide, estimators={"z": estimator}), X, 400).summary
        assert found["nll"] == plain["nll"]
        assert found["nll_se"] == plain["nll_se"]


def outside(x):
    with pyro.plate("data", x.shape[0]):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(z.sum(-1), 1.0), obs=torch.tensor(1.0))


def test_a_site_outside_the_plate_that_ties_data_together():
    vae = pv.VAE(outside, guide)
    assert torch.isfinite(pv.objectives.ELBO()(vae, X).value)
    for refused in (
        lambda: pv.objectives.ELBO()(vae, X, total=40),
        lambda: pv.objectives.IWAE(3)(vae, X),
        lambda: pv.evaluate(vae, X, 3),
    ):
        with pytest.raises(CheckError, match="'y'"):
            refused()


def test_score_functions_below_such_a_site_are_charged_for_it():
    """Gradient of E[log p(y | z)] by 40 draws of 32 against pathwise ones, 5 standard errors (6e-7)."""
    loc = nn.Parameter(torch.tensor(0.2))

    def moved(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(pyro.param("loc", loc), 0.7))

    found = {}
    for estimator in (pv.estimators.Pathwise(), pv.estimators.ScoreFunction(pv.estimators.LeaveOneOut())):
        vae = pv.VAE(outside, moved, estimators={"z": estimator})
        pyro.set_rng_seed(0)
        grads = torch.stack([torch.autograd.grad(pv.objectives.ELBO(32)(vae, X).surrogate, loc)[0] for _ in range(40)])
        found[type(estimator).__name__] = grads.mean(), grads.std() / len(grads) ** 0.5
    (a, a_se), (b, b_se) = found.values()
    assert abs(float(a - b)) < 5 * float((a_se**2 + b_se**2).sqrt())


def test_a_plate_within_a_datum_that_subsamples_has_no_importance_weights():
    def words(x):
        with pyro.plate("data", x.shape[0], dim=-2), pyro.plate("words", 6, subsample_size=2, dim=-1) as i:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, None].expand(-1, 6)[:, i])

    def words_guide(x):
        with pyro.plate("data", x.shape[0], dim=-2), pyro.plate("words", 6, subsample_size=2, dim=-1):
            pyro.sample("z", dist.Normal(x[:, None] / 2, 0.7))

    vae = pv.VAE(words, words_guide)
    assert torch.isfinite(pv.objectives.ELBO()(vae, X).value)
    for refused in (lambda: pv.objectives.IWAE(3)(vae, X), lambda: pv.evaluate(vae, X, 3)):
        with pytest.raises(CheckError, match="subsamples"):
            refused()


def test_an_auxiliary_site_needs_its_reverse():
    def mixed(x):
        with pyro.plate("data", x.shape[0]):
            a = pyro.sample("a", dist.Normal(0.0, 0.1), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Normal(x / 2 + a, 0.7))

    def reversed_model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("a", dist.Normal(0.1 * z, 0.1))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(CheckError, match="'a' has no reverse"):
        pv.terms(pv.VAE(model, mixed), X)
    summary = pv.evaluate(pv.VAE(reversed_model, mixed), X, 2000).summary
    evidence = float(dist.Normal(0.0, 2**0.5).log_prob(X).mean())
    assert abs(-summary["nll"] - evidence) < 5 * summary["nll_se"] + 0.01


@pytest.mark.parametrize("carries", [True, False])
def test_an_auxiliary_site_is_one_of_a_delta_only_where_that_is_made_of_it(carries):
    def one_for_all(x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("x", dist.Normal(w, 1.0), obs=x)

    def guide(x):
        a = pyro.sample("a", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
        pyro.sample("w", dist.Delta(2 * a if carries else torch.tensor(0.3)))

    if carries:
        pv.terms(pv.VAE(one_for_all, guide), X)
    else:
        with pytest.raises(CheckError, match="'a' has no reverse"):
            pv.terms(pv.VAE(one_for_all, guide), X)


def test_estimators_are_objects_by_site():
    for wrong in (pv.estimators.Pathwise, "pathwise", 3):
        with pytest.raises(ArgumentError, match=r"Got .*, expected"):
            pv.VAE(model, guide, estimators={"z": wrong})
    with pytest.raises(ArgumentError, match="mapping"):
        pv.VAE(model, guide, estimators=pv.estimators.Pathwise())


@pytest.mark.parametrize("wrong", [pv.objectives.ELBO, "elbo", pyro.infer.Trace_ELBO(), lambda x: x, 3])
def test_objectives_are_objects_or_functions_of_a_pair(wrong):
    for door in (
        lambda: pv.fit(pv.VAE(model, guide), X, objective=wrong, epochs=1, progress=False),
        lambda: pv.check(pv.VAE(model, guide), X, wrong),
    ):
        with pytest.raises(ArgumentError, match=r"Got .*, expected an objective"):
            door()


def test_a_function_that_returns_no_bound_is_told_so():
    with pytest.raises(ArgumentError, match="expected a Bound"):
        pv.objectives.as_objective(lambda vae, batch, total=None: torch.zeros(()))(pv.VAE(model, guide), X)


@pytest.mark.parametrize("seed", range(6))
def test_coins_that_fall_alike_hide_no_wrong_way_to_draw_particles(seed):
    """t sees a sum over all of the data plate: particles in that plate, or beside it, would be summed with it."""

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Bernoulli(0.1))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        pyro.sample("t", dist.Normal(z.sum(-1), 1.0), obs=torch.tensor(0.7))

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Bernoulli(0.2))

    pyro.set_rng_seed(seed)
    assert pv.prepare(pv.VAE(model, guide), X[:2], 3).strategy == "loop"


def test_a_plate_that_subsamples_draws_once_for_all_particles():
    """Where particles are looped over, a bound over particles of one datum needs the same data in each."""

    def model(x):
        with pyro.plate("data", x.shape[0], subsample_size=2) as i:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            w = torch.cat([z.flatten()[:2], torch.zeros(1)])[:2]  # knows no axis of particles
            pyro.sample("x", dist.Normal(w, 1.0), obs=x[i])

    def guide(x):
        with pyro.plate("data", x.shape[0], subsample_size=2) as i:
            pyro.sample("z", dist.Normal(x[i], 0.1))

    x = 10 * torch.arange(6.0)
    vae = pv.VAE(model, guide)
    assert pv.prepare(vae, x, 3).strategy == "loop"
    for seed in range(5):
        pyro.set_rng_seed(seed)
        z = pv.terms(vae, x, 3).guide["z"].raw
        assert torch.equal((z / 10).round(), (z[:1] / 10).round().expand_as(z))


def test_a_plate_that_only_the_model_subsamples_draws_once_too():
    def model(x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", x.shape[0], subsample_size=2) as i:
            loc = torch.cat([w.flatten()[:1], torch.zeros(1)])  # knows no axis of particles
            pyro.sample("x", dist.Normal(loc, 1.0), obs=x[i])

    x = 10 * torch.arange(6.0)
    vae = pv.VAE(model, lambda x: pyro.sample("w", dist.Normal(0.0, 1.0)))
    assert pv.prepare(vae, x, 3).strategy == "loop"
    for seed in range(5):
        pyro.set_rng_seed(seed)
        seen = pv.terms(vae, x, 3).model["x"].value
        assert torch.equal(seen, seen[:1].expand_as(seen))


def test_what_is_observed_is_no_latent_that_others_depend_on():
    """p(x | y, z), y observed and read again by the program: x depends on z alone, and y may be given."""

    def model(x, y):
        with pyro.plate("data", x.shape[0]):
            y = pyro.sample("y", dist.Normal(0.0, 1.0), obs=y)
            z = pyro.sample("z", dist.Normal(y, 1.0))
            t = pyro.sample("t", dist.Normal(y, 1.0), obs=x)
            pyro.sample("x", dist.Normal(z + t, 1.0), obs=x)

    def guide(x, y):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x + y, 1.0))

    parents = pv.prepare(pv.VAE(model, guide), (X, X + 1)).plates.parents
    assert parents == {"y": frozenset(), "z": frozenset(), "t": frozenset(), "x": frozenset("z")}
