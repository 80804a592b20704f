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
HELD = sorted(set(PRIORS) - {"masked"})


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
@pytest.mark.parametrize("family", ["diagonal", "full_rank", "flow"])
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
            p.add_((0.1 if family == "flow" else 0.3) * torch.randn_like(p))
    other = executed(source(guide, x))()
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


def test_plates_masks_scales_and_bounds_read_as_one_would_write_them():
    def model(x, known):
        with pyro.plate("data", x.shape[0], dim=-2), poutine.mask(mask=known.unsqueeze(-1)):
            w = pyro.sample("w", dist.Gamma(2.0, 2.0))
            with pyro.plate("time", 3, dim=-1), poutine.scale(scale=0.5):
                u = pyro.sample("u", dist.Uniform(-w, w + x.abs()))
                pyro.sample("x", dist.Normal(u, 1.0), obs=x)

    x, known = torch.randn(B, 3), torch.arange(B) < 4
    guide = Derived(model, hidden=[4])
    with pytest.raises(PplVaeError, match=r"pv\.prepare"):
        source(guide)
    guide(x, known)
    with pytest.raises(PplVaeError, match=r"Pass a batch: source\(guide, \*batch\)"):
        source(guide)
    text = source(guide, x, known)
    for line in (
        'plate_1 = pyro.plate("time", 3, dim=-1)',
        "    unsqueeze = torch.unsqueeze(x1, -1)",
        "    neg = torch.neg(value_0)",
        "given_1_0, given_1_1, given_1_2 = given_1(*batch, value_0)",
        "with data, plate_1, poutine.mask(mask=given_1_0), poutine.scale(scale=0.5):",
    ):
        assert line in text, text
    other = executed(text)()
    other.load_state_dict(guide.state_dict())
    for size in (B, 2):  # sizes are not written into it
        x, known = torch.randn(size, 3), torch.arange(size) < 1
        pyro.set_rng_seed(0)
        first = poutine.trace(guide).get_trace(x, known)
        pyro.set_rng_seed(0)
        second = poutine.trace(other).get_trace(x, known)
        for name in "wu":
            assert torch.equal(first.nodes[name]["value"], second.nodes[name]["value"])
            assert torch.equal(first.nodes[name]["mask"], second.nodes[name]["mask"])
        assert second.nodes["u"]["scale"] == 0.5


def test_a_minibatch_that_the_model_draws():
    def model(x):
        with pyro.plate("data", x.shape[0], subsample_size=3) as index:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[index])

    x = torch.randn(B)
    guide = Derived(model, hidden=[4])
    guide(x)
    other = executed(source(guide, x))()
    other.load_state_dict(guide.state_dict())
    equal(guide, other, x, None)


def test_a_batch_as_long_as_an_event_does_not_fix_its_length():
    def model(x):
        with pyro.plate("data", x.shape[0]), poutine.mask(mask=x > 0):
            a = pyro.sample("a", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            b = pyro.sample("b", dist.Normal(a @ torch.ones(3), 1.0))
            c = pyro.sample("c", dist.Normal(b, 1.0))
            pyro.sample("x", dist.Normal(c, 1.0), obs=x)

    guide = Derived(model, hidden=[4])
    guide(torch.randn(3))
    other = executed(source(guide, torch.randn(3)))()
    other.load_state_dict(guide.state_dict())
    equal(guide, other, torch.randn(7), None)


def test_a_point_of_the_model_and_no_latent_at_all():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            y = pyro.sample("y", dist.Delta(2 * z + x))
            pyro.sample("x", dist.Normal(y, 1.0), obs=x)

    x = torch.randn(B)
    guide = Derived(model, hidden=[4])
    guide(x)
    other = executed(source(guide, x))()
    other.load_state_dict(guide.state_dict())
    equal(guide, other, x, None)
    equal(guide, other, x, 3)
    guide = Derived(lambda x: None)
    guide(x)
    executed(source(guide))()(x)


class Bounded(torch.nn.Module):
    """A bound that is learned."""

    def __init__(self):
        super().__init__()
        self.top = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return dist.Uniform(0.0, self.top)


MANY = torch.ones(1500)
REFUSED = {
    "the model's parameters": Bounded(),
    "the parameter 'top'": lambda x: dist.Uniform(0.0, pyro.param("top", torch.tensor(2.0))),
    "chance": lambda x: dist.Normal(0.0, 1.0).mask(torch.rand(x.shape[0]) > 0.5),
    "masked element by element": lambda x: (
        dist.Normal(torch.zeros(2), 1.0).mask(torch.tensor([True, False])).to_event(1)
    ),
    "Write sizes as x.shape": lambda x: dist.Normal(0.0, 1.0).mask(torch.arange(len(x)) < len(x) - 1),
    "of 1500 numbers": lambda x: dist.Normal(0.0, 1.0).mask(MANY[: x.shape[0]] > 0),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_refused_by_name(reason):
    def model(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", REFUSED[reason](x))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    x = torch.randn(B)
    guide = Derived(model)
    with pyro.get_param_store().scope():
        guide(x)
        with pytest.raises(PplVaeError, match=reason) as refused:
            source(guide, x)
    assert "'z'" in str(refused.value)


def test_arguments_that_are_no_tensors_are_refused():
    def model(x, top):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Uniform(0.0, top))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    guide = Derived(model)
    guide(torch.randn(B), 2.0)
    with pytest.raises(PplVaeError, match="argument 1 of the batch is a float"):
        source(guide, torch.randn(B), 2.0)
