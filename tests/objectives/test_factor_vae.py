"""FactorVAE: a discriminator that finds the total correlation, and who gets which gradient."""

import functools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import ppl_vae as pv
from ppl_vae.errors import CheckError
from ppl_vae.objectives import ELBO, FactorVAE
from ppl_vae.objectives.factor_vae import permuted
from tests.oracles import linear_gaussian


def pair() -> tuple[nn.Module, nn.Module, Tensor]:
    oracle = linear_gaussian(orthogonal=True)
    return *oracle.pair(diagonal=True), oracle.x


def gradients(gamma: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    model, guide, x = pair()
    vae = pv.VAE(model, guide)
    torch.manual_seed(1)
    objective = FactorVAE(gamma, latent_dim=2, hidden=(16,))
    pyro.set_rng_seed(0)
    objective(vae, x).surrogate.backward()
    return tuple(  # type: ignore[return-value]
        {n: p.grad.clone() for n, p in m.named_parameters() if p.grad is not None} for m in (vae, objective)
    )


def test_the_discriminator_learns_from_its_own_loss_alone() -> None:
    """Its gradient does not depend on γ; with γ = 0 the pair's is the ELBO's."""
    (without, learnt), (with_, learnt_too) = gradients(0.0), gradients(5.0)
    torch.testing.assert_close(learnt, learnt_too)
    assert any(bool((g != 0).any()) for g in learnt.values())
    model, guide, x = pair()
    vae = pv.VAE(model, guide)
    pyro.set_rng_seed(0)
    ELBO()(vae, x).surrogate.backward()
    torch.testing.assert_close(without, {n: p.grad for n, p in vae.named_parameters() if p.grad is not None})
    assert not torch.allclose(with_["guide.gain"], without["guide.gain"])


def test_the_pair_descends_the_total_correlation() -> None:
    """Its gradient is that of ELBO − γ mean d(z), with d as it stands."""
    model, guide, x = pair()
    vae = pv.VAE(model, guide)
    objective = FactorVAE(5.0, latent_dim=2, hidden=(16,)).double()
    pyro.set_rng_seed(0)
    objective(vae, x).surrogate.backward()
    pyro.set_rng_seed(0)
    t = pv.terms(vae, x)
    value = ELBO().of(t).surrogate - 5.0 * objective.discriminator(t.guide["z"].value[0]).mean()
    torch.testing.assert_close(guide.gain.grad, torch.autograd.grad(value, guide.gain)[0])


def test_permuted_codes_keep_their_margins() -> None:
    z = torch.randn(50, 3)
    mixed = permuted(z)
    torch.testing.assert_close(mixed.sort(0).values, z.sort(0).values)
    assert not torch.equal(mixed.argsort(0)[:, 0], mixed.argsort(0)[:, 1])


def test_training_finds_the_total_correlation() -> None:
    """Codes of correlation 0.8: −½ log(1 − 0.64) = 0.51 nats, from 2,000 data.

    With γ = 0 and no parameters the pair has nothing to learn. The estimate of a trained discriminator is within 0.12:
    its error is that of a density ratio from 2,000 points.
    """
    A = torch.linalg.cholesky(torch.tensor([[1.0, 0.8], [0.8, 1.0]]))
    x = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0)) @ A.mT

    def model(x: Tensor) -> None:
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x, 0.01).to_event(1))

    torch.manual_seed(0)
    objective = FactorVAE(0.0, latent_dim=2, hidden=(32, 32))
    vae = pv.VAE(model, guide)
    adam = functools.partial(torch.optim.Adam, lr=0.01)
    history = pv.fit(vae, x, objective=objective, optimizer=adam, epochs=30, batch_size=250, progress=False)
    assert history.last["train/total_correlation"] == pytest.approx(-0.5 * math.log(1 - 0.64), abs=0.12)
    assert history.last["train/discriminator_loss"] < 0.65


def test_a_discriminator_of_your_own() -> None:
    model, guide, x = pair()
    own = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    objective = FactorVAE(1.0, discriminator=own)
    assert {id(p) for p in objective.parameters()} == {id(p) for p in own.parameters()}
    objective(pv.VAE(model, guide), x).surrogate.backward()
    assert all(p.grad is not None for p in own.parameters())


def test_codes_of_another_size_are_refused() -> None:
    model, guide, x = pair()
    with pytest.raises(CheckError, match=r"latent_dim=2"):
        FactorVAE(latent_dim=3)(pv.VAE(model, guide), x)
    with pytest.raises(ValueError, match="expected one of the two"):
        FactorVAE(latent_dim=3, discriminator=nn.Linear(3, 1))


def test_the_discriminator_takes_its_size_from_the_codes() -> None:
    model, guide, x = pair()
    vae = pv.VAE(model, guide)
    objective = FactorVAE(2.0, hidden=(16,))
    pv.fit(vae, x, objective, epochs=1, batch_size=20, progress=False)
    first = objective.discriminator[0]
    assert first.in_features == 2
    start = first.weight.detach().clone()
    pv.fit(vae, x, objective, epochs=1, batch_size=20, progress=False)
    assert not torch.equal(first.weight, start)
