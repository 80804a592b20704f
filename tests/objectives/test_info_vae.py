"""InfoVAE: the discrepancy of Gaussian samples in closed form, and the limits of the objective."""

import math

import pyro
import pytest
import torch

import ppl_vae as pv
from ppl_vae.objectives import ELBO, InfoVAE
from ppl_vae.objectives.info_vae import mmd
from tests.oracles import linear_gaussian

F64 = torch.float64


def gaussian_mmd(mean: torch.Tensor, variance: float, c: float) -> float:
    """MMD² of N(m, v I) and N(0, I) under k(a, b) = exp(−‖a − b‖² / c): E k of N(μ, s I) is (1 + 2s/c)^(−L/2) e^…."""
    size = len(mean)

    def expected(squared: float, s: float) -> float:
        return (1 + 2 * s / c) ** (-size / 2) * math.exp(-squared / (c + 2 * s))

    return expected(0, 2 * variance) + expected(0, 2) - 2 * expected(float(mean.square().sum()), 1 + variance)


@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_mmd_is_the_closed_form_without_bias(shift: float) -> None:
    """400 pairs of samples of 20 points; the tolerance is 5 standard errors: a false alarm in 1.7 million."""
    objective = InfoVAE(kernel="rbf", bandwidth=0.7)
    mean, variance = torch.full((3,), shift, dtype=F64), 0.6
    values = torch.stack(
        [
            mmd(
                mean + variance**0.5 * torch.randn(20, 3, dtype=F64),
                torch.randn(20, 3, dtype=F64),
                objective.similarity,
            )
            for _ in range(400)
        ]
    )
    exact = gaussian_mmd(mean, variance, 2 * 3 * 0.7**2)
    assert abs(float(values.mean()) - exact) < 5 * float(values.std()) / 20


@pytest.mark.parametrize("kernel", ["imq", "rbf", lambda squared: torch.exp(-squared.clamp_min(1e-12).sqrt())])
def test_equal_laws_have_no_discrepancy(kernel: object) -> None:
    objective = InfoVAE(kernel=kernel)  # type: ignore[arg-type]
    values = torch.stack([mmd(torch.randn(20, 3), torch.randn(20, 3), objective.similarity) for _ in range(400)])
    assert abs(float(values.mean())) < 5 * float(values.std()) / 20
    assert float(values.min()) < 0 < float(values.max())  # unbiased, so on both sides


def test_alpha_zero_and_lambda_one_is_the_elbo() -> None:
    oracle, values = linear_gaussian(orthogonal=True), []
    for objective in (InfoVAE(alpha=0.0, lambda_=1.0), ELBO()):
        pyro.set_rng_seed(0)
        values.append(objective(pv.VAE(*oracle.pair(diagonal=True)), oracle.x).value)
    torch.testing.assert_close(*values)


def test_weights() -> None:
    """(1 − α) on the KL, α + λ − 1 on MMD²; the reported ELBO has neither."""
    oracle = linear_gaussian(orthogonal=True)
    vae = pv.VAE(*oracle.pair(diagonal=True))
    for alpha, weight in ((1.0, 30.0), (0.25, 29.25)):
        pyro.set_rng_seed(0)
        bound = InfoVAE(alpha, lambda_=30.0)(vae, oracle.x)
        m = bound.metrics
        pyro.set_rng_seed(0)
        kl = m["log_likelihood"] - ELBO()(vae, oracle.x).value
        want = m["log_likelihood"] - (1 - alpha) * kl - weight * m["mmd"]
        torch.testing.assert_close(bound.value, want)


def test_the_prior_may_learn() -> None:
    """The discrepancy moves a prior with parameters, too."""
    import pyro.distributions as dist

    loc = torch.nn.Parameter(torch.ones(2))

    def model(x: torch.Tensor) -> None:
        pyro.param("loc", loc)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: torch.Tensor) -> None:
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x, 0.1).to_event(1))

    vae = pv.VAE(model, guide)
    InfoVAE(1.0)(vae, torch.randn(50, 2) - 1.0).surrogate.backward()
    (p,) = vae.parameters()
    assert bool((p.grad < 0).all())  # α = 1: no KL, so this is the discrepancy's alone; codes lie below the prior


@pytest.mark.parametrize("settings", [{"kernel": "linear"}, {"bandwidth": 0.0}])
def test_nonsense_is_refused(settings: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        InfoVAE(**settings)
