"""Flows of zuko as guides and as priors: densities by quadrature, gradients by finite differences, every verb's way."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.contrib.zuko import ZukoToPyro
from torch import nn

import ppl_vae as pv
from ppl_vae.distributions.adapted import Adapted

zuko = pytest.importorskip("zuko")
pyro.enable_validation(True)  # `import zuko` switches the checks of all distributions off

SMALL = {"transforms": 2, "hidden_features": [8]}


class Pair(nn.Module):
    def __init__(self, way=lambda fn: fn, flow="NSF"):
        super().__init__()
        flow = getattr(zuko.flows, flow)
        self.q, self.p = flow(2, 3, **SMALL), flow(2, **SMALL)
        self.decoder, self.way = nn.Linear(2, 3), way

    def model(self, x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", self.way(self.p()))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", self.way(self.q(x)))


def pair(way=lambda fn: fn, flow="NSF"):
    torch.manual_seed(0)
    made = Pair(way, flow)
    return pv.VAE(made.model, made.guide), torch.randn(12, 3)


@pytest.mark.parametrize("program", ["guide", "model"])
def test_the_density_of_a_spline_flow_integrates_to_one(program):
    """By the trapezoidal rule on [−9, 9]², outside which a flow with bounds at ±5 and normal tails has no mass."""
    vae, x = pair()
    line = torch.linspace(-9, 9, 201)
    grid = torch.cartesian_prod(line, line)
    z = grid[:, None].expand(-1, 1, 2)  # a particle for each point
    with torch.no_grad():
        log_p = getattr(pv.terms(vae, x[:1], particles=len(grid), values={"z": z}), program)["z"].log_prob
    mass = torch.trapezoid(torch.trapezoid(log_p.exp().reshape(201, 201), line, dim=0), line, dim=0)
    assert float(mass) == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("way", [lambda fn: fn, ZukoToPyro], ids=["plain", "wrapped"])
def test_pathwise_gradients_of_the_bound_are_those_of_finite_differences(way):
    """The same noise, in doubles; each of ten parameters of guide and prior moved by 10⁻⁵."""
    vae, x = pair(way)
    vae, x = vae.double(), x.double()
    objective = pv.objectives.ELBO(num_particles=3)

    def value():
        torch.manual_seed(1)
        return objective(vae, x).surrogate

    value()
    parameters = list(vae.parameters())
    gradients = torch.autograd.grad(value(), parameters)
    seen = 0
    for parameter, gradient in zip(parameters, gradients, strict=True):
        index = int(gradient.abs().flatten().argmax())
        flat = parameter.data.view(-1)
        with torch.no_grad():
            before = float(flat[index])
            flat[index] = before + 1e-5
            high = float(value())
            flat[index] = before - 1e-5
            low = float(value())
            flat[index] = before
        assert (high - low) / 2e-5 == pytest.approx(float(gradient.flatten()[index]), rel=1e-4, abs=1e-7)
        seen += 1
    assert seen >= 10


def test_a_draws_density_on_the_way_is_that_of_the_way_back():
    vae, x = pair()
    q = Adapted(vae.guide.self.q(x))
    z = q.rsample((4,))
    torch.testing.assert_close(q.log_prob(z), q.base.log_prob(z), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(q.log_prob(z.clone()), q.base.log_prob(z))
    assert q.expand((5, 12)).rsample().shape == (5, 12, 2)
    assert isinstance(q.support, type(torch.distributions.constraints.real_vector))


@pytest.mark.parametrize("estimator", [pv.estimators.StickingTheLanding, pv.estimators.ScoreFunction])
def test_other_estimators_train_it(estimator):
    vae, x = pair(ZukoToPyro)
    vae = pv.VAE(vae.model, vae.guide, estimators={"z": estimator()})
    bound = pv.objectives.ELBO(num_particles=2)(vae, x)
    gradients = torch.autograd.grad(bound.surrogate, list(vae.guide.self.q.parameters()))
    assert all(float(g.abs().sum()) > 0 for g in gradients)


@pytest.mark.slow
def test_a_recorded_step_is_the_programs():
    vae, x = pair()
    eager = pv.fit(vae, x, epochs=2, batch_size=4, seed=0, progress=False, compile="off")
    vae, x = pair()
    recorded = pv.fit(vae, x, epochs=2, batch_size=4, seed=0, progress=False, compile="export")
    assert "export" in recorded.compiled
    assert recorded["train/bound"] == pytest.approx(eager["train/bound"], rel=1e-6)


@pytest.mark.slow
def test_every_use_of_a_trained_pair():
    vae, x = pair(ZukoToPyro)
    assert pv.check(vae, x).warnings == ()
    assert "draws of NormalizingFlow can be differentiated" in str(pv.check(vae, x))
    pv.fit(vae, x, epochs=2, progress=False)
    assert pv.evaluate(vae, x, num_particles=20).summary["gap"] >= 0
    assert pv.posterior(vae, x[:3], draws=4)["posterior"]["z"].shape == (1, 4, 3, 2)
    assert pv.generate(vae, 4).shape == (4, 3)
    assert pv.encode(vae, x)["z"].loc.shape == (12, 2)
    assert pv.reconstruct(vae, x).shape == (12, 3)
    table = pv.diagnostics.ais(vae, x[:2], chains=4, steps=4)
    assert table["log_evidence"].notna().all()
    split = pv.diagnostics.gaps(vae, x[:2], steps=3, num_particles=50)
    assert split["elbo_local"].notna().all()


def test_weights_are_saved_and_read_again(tmp_path):
    vae, x = pair()
    pv.prepare(vae, x)
    other, _ = pair(flow="NSF")
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    other.load_state_dict(vae.state_dict())
    torch.manual_seed(1)
    mine = pv.terms(vae, x).log_weights
    torch.manual_seed(1)
    torch.testing.assert_close(pv.terms(other, x).log_weights, mine)


def test_a_guide_is_derived_from_a_model_whose_prior_is_a_flow():
    vae, x = pair()
    derived = pv.VAE(vae.model, pv.guides.Derived(vae.model))
    assert pv.evaluate(derived, x, num_particles=5).summary["gap"] >= 0


def test_naming_it_in_a_config_changes_no_checks():
    from ppl_vae.config import listed

    assert listed.find("zuko.flows.NSF", "model.prior") is zuko.flows.NSF
    assert torch.distributions.Distribution._validate_args
