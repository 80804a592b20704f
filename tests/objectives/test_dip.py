"""DIP-VAE against covariances written out."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import ppl_vae as pv
from ppl_vae.errors import CheckError
from ppl_vae.objectives import DIP, ELBO
from ppl_vae.objectives.base import charged_kl
from ppl_vae.objectives.dip import covariance
from tests.oracles import linear_gaussian


@pytest.mark.parametrize("kind", ["I", "II"])
@pytest.mark.parametrize("particles", [1, 3])
def test_is_the_elbo_less_the_distance(kind: str, particles: int) -> None:
    oracle = linear_gaussian(orthogonal=True)
    model, guide = oracle.pair(diagonal=True)
    mean = guide.mean(oracle.x).detach()
    C = torch.cov(mean.mT, correction=0)
    if kind == "II":
        C = C + guide.covariance.detach()
    distance = 3.0 * 2 * C[0, 1] ** 2 + 7.0 * ((C[0, 0] - 1) ** 2 + (C[1, 1] - 1) ** 2)
    bound = DIP(kind, 3.0, 7.0, num_particles=particles)(pv.VAE(model, guide), oracle.x)
    torch.testing.assert_close(bound.metrics["dip"], distance)
    kl = charged_kl(pv.terms(pv.VAE(model, guide), oracle.x))["z"]  # closed, whatever is drawn
    torch.testing.assert_close(bound.value, bound.metrics["log_likelihood"] - kl - distance)


def test_type_two_is_the_covariance_of_codes() -> None:
    """Cov[μ] + E[σ²] against the covariance of 200,000 draws."""
    oracle = linear_gaussian(orthogonal=True)
    model, guide = oracle.pair(diagonal=True)
    x = oracle.x.repeat(20_000, 1)
    with torch.no_grad():
        z = pv.terms(pv.VAE(model, guide), x).guide["z"].value[0]
        analytic = covariance(guide.mean(x)) + guide.covariance
    torch.testing.assert_close(torch.cov(z.mT, correction=0), analytic, atol=0.02, rtol=0.02)


def test_default_weights_are_the_papers() -> None:
    oracle = linear_gaussian(orthogonal=True)
    for kind, ratio in (("I", 10.0), ("II", 1.0)):
        values = []
        for diagonal in (None, 4.0 * ratio):
            pyro.set_rng_seed(0)
            vae = pv.VAE(*oracle.pair(diagonal=True))
            values.append(DIP(kind, 4.0, diagonal)(vae, oracle.x).value)
        torch.testing.assert_close(*values)


def test_weights_of_zero_give_the_elbo() -> None:
    oracle, values = linear_gaussian(orthogonal=True), []
    for objective in (DIP("II", 0.0, 0.0), ELBO()):
        pyro.set_rng_seed(0)
        values.append(objective(pv.VAE(*oracle.pair(diagonal=True)), oracle.x).value)
    torch.testing.assert_close(*values)


def test_scalar_codes_and_other_plates() -> None:
    """Dimensions of a code may be an event, or a plate beside that over data, on either side of it."""
    x = torch.randn(6, 3)
    distances = []
    for dim in (None, -2):

        def program(x: Tensor, observed: bool, dim: int | None = dim) -> None:
            data = pyro.plate("data", len(x), dim=-1)
            loc = x / 2 if observed is False else torch.zeros(3)
            if dim is None:
                with data:
                    z = pyro.sample("z", dist.Normal(loc, 0.5).to_event(1))
                    if observed:
                        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)
            else:
                with pyro.plate("units", 3, dim=dim), data:
                    z = pyro.sample("z", dist.Normal(loc.mT if loc.dim() > 1 else loc[:, None], 0.5))
                    if observed:
                        pyro.sample("x", dist.Normal(z, 1.0), obs=x.mT)

        vae = pv.VAE(lambda x, p=program: p(x, True), lambda x, p=program: p(x, False))
        distances.append(DIP("II")(vae, x).metrics["dip"])
    torch.testing.assert_close(*distances)


def test_codes_without_moments_are_refused() -> None:
    def guide(x: Tensor) -> None:
        with pyro.plate("data", x.shape[0]):
            flow = dist.transforms.SigmoidTransform()
            pyro.sample("z", dist.TransformedDistribution(dist.Normal(x[:, :2], 1.0), [flow]).to_event(1))

    def model(x: Tensor) -> None:
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Uniform(torch.zeros(2), torch.ones(2)).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x[:, 0])

    with pytest.raises(CheckError, match="mean and variance"):
        DIP()(pv.VAE(model, guide), torch.randn(4, 3))
