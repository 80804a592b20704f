"""A masked site costs nothing and keeps its law: sums over it weigh its values as they are."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import ppl_vae as pv
from ppl_vae.errors import DataError

X = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
KEPT = torch.arange(3) < torch.tensor([3, 1])[:, None]
PI = torch.tensor([0.3, 0.7], dtype=torch.float64)
MEANS = torch.tensor([-1.0, 1.5], dtype=torch.float64)
UNIT = torch.ones((), dtype=torch.float64)


def by_handler(name, fn, kept, obs=None, **infer):
    with poutine.mask(mask=kept):
        return pyro.sample(name, fn, obs=obs, infer=infer)


def by_distribution(name, fn, kept, obs=None, **infer):
    return pyro.sample(name, fn.mask(kept), obs=obs, infer=infer)


def program(sample, guided, **infer):
    def model(x, kept):
        with pyro.plate("rows", x.shape[0]):
            for t in range(3):
                c = sample(f"c_{t}", dist.Categorical(PI), kept[:, t], **infer)
                sample(f"x_{t}", dist.Normal(MEANS[c], UNIT), kept[:, t], obs=x[:, t])

    def guide(x, kept):
        with pyro.plate("rows", x.shape[0]):
            for t in range(3):
                shown = x[:, t].nan_to_num()
                logits = torch.stack([torch.zeros_like(shown), shown], -1)
                sample(f"c_{t}", dist.Categorical(logits=logits), kept[:, t])

    return model, guide if guided else lambda x, kept: None


def exact():
    """ELBO, evidence, KL and reconstruction per datum, written out."""
    log_q = torch.log_softmax(torch.stack([torch.zeros_like(X), X], -1), -1)
    likelihood = dist.Normal(MEANS, UNIT).log_prob(X[..., None])
    q, log_p = log_q.exp(), PI.log() + likelihood
    each = {
        "elbo": (q * (log_p - log_q)).sum(-1),
        "evidence": log_p.logsumexp(-1),
        "kl": (q * (log_q - PI.log())).sum(-1),
        "reconstruction": -(q * likelihood).sum(-1),
    }
    return {name: float((value * KEPT).sum(-1).mean()) for name, value in each.items()}


@pytest.mark.parametrize("sample", [by_handler, by_distribution])
def test_sites_enumerated_by_the_guide(sample):
    """ELBO −3.515 and evidence −3.163, which a masked q(c) turned into −5.841 and −2.470."""
    want, batch = exact(), (X, KEPT)
    for objective in (pv.objectives.ELBO(), pv.objectives.ELBO(kl="analytic")):
        bound = objective(pv.VAE(*program(sample, True)), batch)
        assert float(bound.value) == pytest.approx(want["elbo"], abs=1e-9)
        assert float(bound.metrics["elbo"]) == pytest.approx(want["elbo"], abs=1e-9)
    iwae = pv.objectives.IWAE(2)(pv.VAE(*program(sample, True)), batch)
    assert float(iwae.value) == pytest.approx(want["evidence"], abs=1e-9)
    summary = pv.evaluate(pv.VAE(*program(sample, True)), batch, 5).summary
    assert -summary["nll"] == pytest.approx(want["evidence"], abs=1e-9)
    for name in ("elbo", "kl", "reconstruction"):
        assert summary[name] == pytest.approx(want[name], abs=1e-9)


@pytest.mark.parametrize("sample", [by_handler, by_distribution])
def test_sites_that_only_the_model_has(sample):
    vae = pv.VAE(*program(sample, False, enumerate="parallel"))
    assert float(pv.objectives.ELBO()(vae, (X, KEPT)).value) == pytest.approx(exact()["evidence"], abs=1e-9)


def test_a_chain_of_the_model_ends_with_its_sequence():
    """Forward recursion over as many steps as each sequence has."""
    transition = torch.tensor([[0.8, 0.2], [0.3, 0.7]], dtype=torch.float64)

    def model(x, kept):
        with pyro.plate("rows", x.shape[0]):
            s = torch.tensor(0)
            for t in pyro.markov(range(3)):
                with poutine.mask(mask=kept[:, t]):
                    s = pyro.sample(f"s_{t}", dist.Categorical(transition[s]), infer={"enumerate": "parallel"})
                    pyro.sample(f"x_{t}", dist.Normal(MEANS[s], UNIT), obs=x[:, t])

    evidence = 0.0
    for x, length in zip(X, KEPT.sum(1).tolist(), strict=True):
        alpha = torch.tensor([1.0, 0.0], dtype=torch.float64)
        for t in range(length):
            alpha = (alpha @ transition) * dist.Normal(MEANS, UNIT).log_prob(x[t]).exp()
        evidence += math.log(float(alpha.sum())) / len(X)
    bound = pv.objectives.ELBO()(pv.VAE(model, lambda x, kept: None), (X, KEPT))
    assert float(bound.value) == pytest.approx(evidence, abs=1e-9)


def test_a_masked_draw_is_scored_for_what_depends_on_it():
    """c is masked and x is not: E_q log p(x | c) moves with q. 400 x 200 draws, 5 standard errors (6e-7)."""
    logit = torch.nn.Parameter(torch.tensor(0.3, dtype=torch.float64))
    x = torch.full((200,), 0.7, dtype=torch.float64)

    def model(x):
        with pyro.plate("rows", x.shape[0]):
            with poutine.mask(mask=False):
                c = pyro.sample("c", dist.Bernoulli(0.5 * UNIT))
            pyro.sample("x", dist.Normal(2 * c, UNIT), obs=x)

    def guide(x):
        with pyro.plate("rows", x.shape[0]), poutine.mask(mask=False):
            pyro.sample("c", dist.Bernoulli(logits=pyro.param("logit", logit)))

    q = torch.sigmoid(logit)
    density = dist.Normal(torch.tensor([0.0, 2.0], dtype=torch.float64), UNIT).log_prob(x[0])
    want = torch.autograd.grad(torch.stack([1 - q, q]) @ density, logit)[0]
    for estimator in (pv.estimators.Enumerate(), pv.estimators.ScoreFunction(pv.estimators.LeaveOneOut())):
        vae = pv.VAE(model, guide, estimators={"c": estimator})
        pyro.set_rng_seed(0)
        runs = 1 if estimator.enumerates else 400
        grads = [
            torch.autograd.grad(pv.objectives.ELBO(2)(vae, x).surrogate, list(vae.parameters()))[0] for _ in range(runs)
        ]
        found = torch.stack(grads)
        error = float(found.std() / runs**0.5) if runs > 1 else 1e-10
        assert abs(float(found.mean() - want)) < 5 * error


def test_a_site_that_is_masked_as_a_whole_has_no_divergence():
    """torch's closed form is then a number and no tensor."""

    def program(loc):
        def run(x):
            with pyro.plate("rows", x.shape[0]):
                z = pyro.sample("z", dist.Normal(loc * UNIT, UNIT).mask(False))
                if loc == 0:
                    pyro.sample("x", dist.Normal(0 * z, UNIT), obs=x)

        return run

    x = torch.zeros(3, dtype=torch.float64)
    bound = pv.objectives.ELBO(kl="analytic")(pv.VAE(program(0), program(1)), x)
    assert float(bound.value) == pytest.approx(-0.5 * math.log(2 * math.pi))


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("sample", [by_handler, by_distribution])
def test_a_mask_beside_what_is_enumerated_leaves_data_as_they_are(sample, guided):
    """A distribution's mask has the axes of what is enumerated above it; the data that it hides have none."""
    model, guide = program(sample, guided, **({} if guided else {"enumerate": "parallel"}))

    def with_latent(x, kept):
        with pyro.plate("latent", x.shape[0]):
            pyro.sample("z", dist.Normal(0 * UNIT, UNIT))

    def both(program):
        return lambda x, kept: (with_latent(x, kept), program(x, kept))[1]

    x = X.masked_fill(~KEPT, float("nan"))
    vae = pv.VAE(both(model), both(guide))
    want, got = (pv.posterior(vae, (data, KEPT), draws=3, seed=0) for data in (X, x))
    for t in range(3):
        shown = got["observed_data"]["x"].sel(time=t)
        assert shown.shape == (2,)
        assert torch.equal(torch.isnan(torch.as_tensor(shown.values)), ~KEPT[:, t])
    for name, a in want["log_likelihood"].items():
        assert (a.values == got["log_likelihood"][name].values).all()


def test_a_mask_that_is_enumerated_hides_no_value_outside_the_support():
    """The check of supports held its peace where it could not broadcast the mask."""

    def model(x):
        with pyro.plate("rows", x.shape[0]):
            c = pyro.sample("c", dist.Bernoulli(0.5 * UNIT), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Exponential(1 + c).mask(c == 1), obs=x)

    with pytest.raises(DataError, match="'x'"):
        pv.objectives.ELBO()(pv.VAE(model, lambda x: None), torch.tensor([0.5, -1.0], dtype=torch.float64))
