"""What programs hold beside tensors is seen; what is learnt of a pair holds as long as that is the same."""

import itertools

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.core import run
from ppl_vae.core.plain import numbers


def test_plain_values_and_containers_of_them_are_copied():
    net = nn.Sequential(nn.Dropout(0.5))
    net.limits, net.names, net.act = [0, {"a": (1.0, None)}], {"x", "y"}, torch.tanh
    before = numbers(net)
    assert before["0.p"] == 0.5
    assert ".act" not in before
    assert numbers(net) == before
    net.limits[1]["a"] = (2.0, None)
    assert {name for name, value in numbers(net).items() if value != before[name]} == {".limits"}
    net.names.add("z")
    assert {name for name, value in numbers(net).items() if value != before[name]} == {".limits", ".names"}


def test_long_containers_are_not_copied_in_each_run():
    net = nn.Module()
    net.names = [str(i) for i in range(30_000)]
    assert numbers(net, most=run.FEW)[".names"] == (list, 30_000)
    assert numbers(net)[".names"][1][-1] == "29999"


KINDS = ("normal", "gamma", "bernoulli", "categorical", "two sites", "global", "vector", "masked")


class Program(nn.Module):
    """A model or a guide whose site is of the kind that it is told."""

    def __init__(self, kind, is_guide):
        super().__init__()
        self.loc, self.how, self.is_guide = nn.Parameter(torch.tensor(0.3)), {"kind": kind}, is_guide

    def site(self):
        kind, loc = self.how["kind"], self.loc
        return {
            "normal": dist.Normal(loc, 1.0),
            "two sites": dist.Normal(loc, 1.0),
            "gamma": dist.Gamma(loc.exp(), 2.0),
            "bernoulli": dist.Bernoulli(logits=loc),
            "categorical": dist.Categorical(logits=torch.stack([loc, -loc, loc * 0])),
            "vector": dist.Normal(loc.expand(2), 1.0).to_event(1),
            "masked": dist.Normal(loc, 1.0).mask(torch.tensor([True, False, True, True, False, True])),
        }[kind]

    def forward(self, x):
        kind = self.how["kind"]
        z = pyro.sample("z", dist.Normal(self.loc, 1.0)) if kind == "global" else None
        with pyro.plate("data", x.shape[0]):
            if z is None:
                z = pyro.sample("z", self.site())
            if kind == "two sites":
                z = z + pyro.sample("w", dist.Normal(self.loc, 1.0))
            if kind == "vector":
                z = z.sum(-1)
            if not self.is_guide:
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def made(kind):
    return pv.VAE(Program(kind, False), Program(kind, True))


def results(vae, particles):
    """Log-weights, a bound and its gradient, by the same noise."""
    x = torch.linspace(-2, 2, 6)
    torch.manual_seed(1)
    weights = pv.terms(vae, (x,), particles=particles).log_weights.detach()
    vae.zero_grad()
    bound = pv.objectives.ELBO(num_particles=particles)(vae, (x,))
    (-bound.surrogate).backward()
    return [weights, bound.value.detach(), *(p.grad for p in vae.parameters())]


@pytest.mark.parametrize("before", KINDS)
def test_a_pair_whose_programs_became_others_is_the_pair_that_they_make(before):
    for number, after in enumerate(kind for kind in KINDS if kind != before):
        particles = (1, 3)[number % 2]
        vae = made(before)
        results(vae, particles)
        vae.model.how["kind"] = vae.guide.how["kind"] = after
        for found, expected in itertools.zip_longest(results(vae, particles), results(made(after), particles)):
            assert torch.equal(found, expected), (after, particles)


def test_numbers_that_move_as_programs_run_are_learnt_once():
    class Counting(Program):
        def forward(self, x):
            self.count = getattr(self, "count", 0) + 1
            super().forward(x)

    vae = pv.VAE(Program("normal", False), Counting("normal", True))
    for _ in range(5):
        pv.terms(vae, (torch.zeros(3),))
    assert len(vae.prepared) == 1


def test_the_memory_of_numbers_that_somebody_moves_is_bounded():
    vae = made("normal")
    for temperature in range(2 * run.KNOWN):
        vae.guide.temperature = temperature
        pv.terms(vae, (torch.zeros(3),))
    assert len(vae.prepared) == run.KNOWN
