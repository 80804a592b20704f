"""The source of a derived guide is a program equal to it, to the bit; what it cannot hold is refused by name."""

from contextlib import nullcontext

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import ppl_vae as pv
from ppl_vae.errors import PplVaeError
from ppl_vae.guides import Derived, source
from tests.guides.test_derived import PRIORS

B = 5
HELD = sorted(set(PRIORS) - {"Uniform", "masked"})


def executed(text):
    names = {"__name__": "guide"}
    exec(compile(text, "guide.py", "exec"), names)
    return names["Guide"]


def equal(derived, other, x, particles):
    for seed in range(3):
        traces = []
        for guide in (derived, other):
            pyro.set_rng_seed(seed)
            with pyro.plate("particles", particles, dim=-2) if particles else nullcontext():
                traces.append(poutine.trace(guide).get_trace(x))
        traces[0].compute_log_prob()
        traces[1].compute_log_prob()
        sites = [[n for n in t.nodes.values() if n["type"] == "sample" and n["name"] != "particles"] for t in traces]
        sites = [[n for n in s if type(n["fn"]).__name__ != "_Subsample"] for s in sites]
        assert [n["name"] for n in sites[0]] == [n["name"] for n in sites[1]]
        for a, b in zip(*sites, strict=True):
            assert torch.equal(a["value"], b["value"])
            assert torch.equal(a["log_prob"], b["log_prob"])


@pytest.mark.parametrize("particles", [None, 3])
@pytest.mark.parametrize("family", ["diagonal", "full_rank"])
@pytest.mark.parametrize("name", HELD)
def test_equal_to_the_bit_for_every_family(name, family, particles):
    prior = PRIORS[name]

    def model(x):
        pyro.sample("w.0", prior())
        with pyro.plate("data", x.shape[0]):
            pyro.sample("forward", prior())
            pyro.sample("c", prior())
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    torch.manual_seed(0)
    x = torch.randn(B)
    guide = Derived(model, hidden=[6], head_hidden=[4], family=family)
    guide(x)
    with torch.no_grad():
        for p in guide.parameters():
            p.add_(0.3 * torch.randn_like(p))
    other = executed(source(guide))()
    other.load_state_dict(guide.state_dict())
    assert list(other.state_dict()) == list(guide.state_dict())
    equal(guide, other, x, particles)


def test_of_a_ready_made_pair_with_a_spec_and_it_trains():
    data = pv.datasets.load("digits")
    model = pv.models.Hierarchical(data.spec)
    guide = Derived(model, data.spec, hidden=[8])
    batch = data.train.batch(slice(0, 4))
    guide(*batch)
    other = executed(source(guide))(guide.encoder)
    other.load_state_dict(guide.state_dict())
    equal(guide, other, batch[0], None)
    bound = pv.objectives.ELBO()(pv.VAE(model, other), batch, total=4)
    (-bound.surrogate).backward()
    assert all(p.grad is not None for p in other.parameters())


REFUSED = {
    "a support that moves": lambda x: pyro.sample("z", dist.Uniform(-1.0, 1 + x.abs())),
    "a mask or scale": lambda x: pyro.sample("z", dist.Normal(0.0, 1.0).mask(x > 0)),
    "a flow": lambda x: pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1)).sum(-1),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_refused_by_name(reason):
    def model(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("x", dist.Normal(REFUSED[reason](x), 1.0), obs=x)

    guide = Derived(model, family="flow")
    with pytest.raises(PplVaeError, match=r"pv\.prepare"):
        source(guide)
    guide(torch.randn(B))
    with pytest.raises(PplVaeError, match=f"'z' has {reason}"):
        source(guide)


def test_further_plates_are_refused():
    def model(x):
        with pyro.plate("other", 2, dim=-2), pyro.plate("data", x.shape[0], dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x.expand(2, -1))

    guide = Derived(model)
    guide(torch.randn(B))
    with pytest.raises(PplVaeError, match="'z' has further plates"):
        source(guide)
