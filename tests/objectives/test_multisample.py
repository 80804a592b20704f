"""Bounds with one weight for all data: on the full data, and nowhere else."""

import itertools

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import ppl_vae as pv
from ppl_vae.errors import CheckError
from ppl_vae.estimators import Enumerate, LeaveOneOut, Neural, ScoreFunction
from ppl_vae.objectives import ELBO, IWAE, Renyi
from ppl_vae.objectives.multisample import joint_bound
from tests.objectives.pairs import F64, Coin, X, log_mean_exp
from tests.oracles import CONJUGATE, normal_hierarchy


@pytest.mark.parametrize("name", CONJUGATE)
def test_global_latents_alone(name: str) -> None:
    """Exact posteriors give log p(x) in every draw; others approach it from below as K grows."""
    oracle = CONJUGATE[name]()
    exact = float(oracle.log_evidence) / len(oracle.x)
    assert float(IWAE(3, joint=True)(pv.VAE(oracle.model, oracle.guide()), oracle.x).value) == pytest.approx(exact)
    vae = pv.VAE(oracle.model, oracle.guide(factor=1.3))
    values = [float(IWAE(k, joint=True)(vae, oracle.x).value) for k in (20_000, 40_000)]
    assert values == pytest.approx([exact, exact], abs=0.01)


def test_global_and_local_latents() -> None:
    oracle = normal_hierarchy()
    vae = pv.VAE(oracle.model, oracle.guide())
    for objective in (IWAE(4, joint=True), Renyi(0.5, 4, joint=True)):
        assert float(objective(vae, oracle.x).value) == pytest.approx(float(oracle.log_evidence()) / 10, rel=1e-9)


def test_without_a_plate_over_data() -> None:
    """A sequence that is one observation: x ~ N(0, I + 11ᵀ) of three values, with a guide that is too wide."""

    def model(x: Tensor) -> None:
        z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=F64), 1.0))
        pyro.sample("x", dist.Normal(z[..., None].expand(*z.shape, 3), 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.sample("z", dist.Normal(x.sum() / 4, 0.8))

    exact = dist.MultivariateNormal(torch.zeros(3, dtype=F64), torch.eye(3, dtype=F64) + 1).log_prob(X) / 3
    vae = pv.VAE(model, guide)
    assert float(IWAE(50_000, joint=True)(vae, X).value) == pytest.approx(float(exact), abs=0.01)
    pyro.set_rng_seed(0)
    elbo = ELBO(7, kl="sampled")(vae, X).value
    pyro.set_rng_seed(0)
    torch.testing.assert_close(Renyi(1.0, 7, joint=True)(vae, X).value, elbo)


def test_a_minibatch_has_no_joint_bound() -> None:
    oracle = normal_hierarchy()
    vae = pv.VAE(oracle.model, oracle.guide())
    with pytest.raises(CheckError, match="a batch of 5 out of 10"):
        IWAE(2, joint=True)(vae, oracle.x[:5], total=10)


@pytest.mark.parametrize("baseline", [None, LeaveOneOut()], ids=["none", "leave one out"])
def test_score_function_is_unbiased(baseline: nn.Module | None) -> None:
    """The mean of the estimator over all 16 draws of two particles of two data is the exact gradient."""
    pair, x = Coin(), X[:2]
    vae = pv.VAE(pair.model, pair.guide, estimators={"z": ScoreFunction(baseline)})
    draws = torch.tensor(list(itertools.product((0.0, 1.0), repeat=4)), dtype=F64).reshape(16, 2, 2)
    exact, mean = torch.zeros((), dtype=F64), dict.fromkeys(pair.parameters(), 0.0)
    for z in draws:
        log_q = pair.log_q(z, x)
        probability = log_q.sum().exp()
        exact = exact + probability * log_mean_exp((pair.log_p(z, x) - log_q).sum(-1, keepdim=True)).sum() / 2
        bound = joint_bound(pv.terms(vae, x, 2, values={"z": z}), log_mean_exp)
        for name, g in pair.gradients(bound.surrogate).items():
            mean[name] += float(probability.detach()) * g
    assert mean == pytest.approx(pair.gradients(exact), rel=1e-9)


@pytest.mark.parametrize(
    ("estimator", "legal"),
    [(Enumerate(), "ScoreFunction"), (ScoreFunction(Neural(nn.Linear(1, 1).double())), "LeaveOneOut")],
)
def test_illegal_estimators_raise(estimator: object, legal: str) -> None:
    pair = Coin()
    with pytest.raises(CheckError, match=legal):
        IWAE(2, joint=True)(pv.VAE(pair.model, pair.guide, estimators={"z": estimator}), X)
