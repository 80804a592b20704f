"""Keys of a derived guide's weights: any name of a site has one, and weights of earlier versions are taken."""

import itertools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import ppl_vae as pv
from ppl_vae.guides import Derived

NAMES = [
    "z.loc",
    "z/loc",
    "z/loc_",
    "a b",
    "forward",
    "forward_",
    "training",
    "_modules",
    "_parameters",
    "keys",
    "ž",
    "0",
    "",
]


def model_of(names):
    def model(x):
        with pyro.plate("data", x.shape[0]):
            total = 0.0
            for name in names:
                total = total + pyro.sample(name, dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(total, 1.0), obs=x)

    return model


@pytest.mark.parametrize("names", [NAMES, NAMES[::-1], *([n] for n in NAMES)], ids=str)
def test_any_name_of_a_site(names, tmp_path):
    model = model_of(names)
    guide = Derived(model, hidden=[4])
    vae = pv.VAE(model, guide)
    x = torch.randn(5)
    pv.prepare(vae, (x,))
    bound = pv.objectives.ELBO()(vae, (x,), total=5)
    (-bound.surrogate).backward()
    assert all(p.grad is not None for p in guide.parameters())
    assert len(guide.heads) == len(names)
    torch.save(vae.state_dict(), tmp_path / "weights.pt")
    other = Derived(model, hidden=[4])
    again = pv.VAE(model, other)
    pv.prepare(again, (x,))
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    for name in names:
        heads = [g.heads[next(s.key for s in g.prototype.sites if s.name == name)] for g in (guide, other)]
        assert torch.equal(heads[0].net[0].weight, heads[1].net[0].weight)


def test_names_that_were_keys_stay_keys():
    for before in itertools.permutations(["z", "z.loc", "forward", "a b"]):
        guide = Derived(model_of(before), hidden=[4])
        guide(torch.randn(3))
        assert {s.name: s.key for s in guide.prototype.sites} == {
            "z": "z", "z.loc": "z/loc", "forward": "forward_", "a b": "a b"
        }  # fmt: skip


def test_weights_of_an_earlier_version():
    """Then local latents did not see global ones, and counts were Poisson: numbers are as they were."""

    def model(x):
        data = pyro.plate("data", x.shape[0])
        with data:
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
        w = pyro.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        m = pyro.sample("m", dist.Poisson(2.0))
        with data:
            b = pyro.sample("b", dist.Normal(a + w.sum() + m, 1.0))
            n = pyro.sample("n", dist.Poisson(b.exp()))
            pyro.sample("x", dist.Normal(n, 1.0), obs=x)

    torch.manual_seed(0)
    x = torch.randn(5)
    guide = Derived(model, hidden=[4], head_hidden=[3])
    guide(x)
    state = guide.state_dict()
    old = {k: v.clone() for k, v in state.items()}
    old["heads.b.net.0.weight"] = state["heads.b.net.0.weight"][:, [0, 1, 2, 3, 4]]  # h, a
    old["heads.n.net.0.weight"] = state["heads.n.net.0.weight"][:, [0, 1, 2, 3, 4, 8]]  # h, a, b
    old["heads.n.net.2.weight"], old["heads.n.net.2.bias"] = torch.randn(1, 3), torch.randn(1)
    old["heads.m.raw"] = torch.randn(1)
    for key in ("m", "n"):
        old[f"heads.{key}.loc"] = torch.zeros(old[f"heads.{key}.loc"].shape)
    vae = pv.VAE(model, guide)
    parameters = list(vae.parameters())
    guide.load_state_dict(old)
    assert all(a is b for a, b in zip(parameters, vae.parameters(), strict=True))
    with pyro.plate("particles", 3, dim=-2):
        q = poutine.trace(guide).get_trace(x)
    a, b, n, m = (q.nodes[k] for k in "abnm")
    h = torch.cat([guide.encoder(x).expand(3, 5, 4), a["value"][..., None]], -1)
    net = guide.heads["b"].net
    torch.testing.assert_close(b["fn"].loc, guide.heads["b"].loc + guide.heads["b"].scale * net(h)[..., 0])
    h = torch.cat([h, b["value"][..., None]], -1)
    torch.testing.assert_close(n["fn"].mean, guide.heads["n"].net(h)[..., 0].exp())
    torch.testing.assert_close(m["fn"].mean.flatten()[0], old["heads.m.raw"].exp()[0])
    assert {k: v.shape for k, v in guide.state_dict().items()} == {k: v.shape for k, v in old.items()}


def test_it_prints_a_table_of_its_sites():
    def model(x):
        w = pyro.sample("w", dist.Gamma(2.0, 1.0))
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), w).to_event(1))
            n = pyro.sample("n", dist.Poisson(z.exp().sum(-1)))
            pyro.sample("x", dist.Normal(n, 1.0), obs=x)

    guide = Derived(model, family="full_rank")
    assert "pv.prepare(vae, batch)" in str(guide)
    guide(torch.zeros(4))
    assert [line.split("  ")[0] for line in str(guide).splitlines()] == ["site", "w", "z", "n"]
    table = " ".join(guide.describe().split())
    assert "w diagonal nothing none ()" in table
    assert "z full_rank the batch, w data (2,)" in table
    assert "n root_normal the batch, w, z data ()" in table
