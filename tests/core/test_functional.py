"""Other tensors for one call, and a module's own ever after."""

import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.core.functional import call_with


class Shared(nn.Module):
    """One network by two paths, one parameter in two networks, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(2, 2)
        self.again = self.a
        self.b = nn.Linear(2, 2)
        self.b.weight = self.a.weight
        self.register_buffer("shift", torch.ones(2))

    def forward(self, x):
        return self.again(self.a(x)) + self.b(x) + self.shift


def test_every_place_is_swapped_and_put_back():
    net, x = Shared(), torch.randn(3, 2)
    before, state = net(x), dict(net.named_parameters(remove_duplicate=False))
    zeros = {id(t): torch.zeros_like(t) for t in (*net.parameters(), *net.buffers())}
    assert torch.equal(call_with(net, zeros, x), torch.zeros(3, 2))
    assert torch.equal(net(x), before)
    after = dict(net.named_parameters(remove_duplicate=False))
    assert state.keys() == after.keys()
    assert all(after[name] is parameter for name, parameter in state.items())


def test_put_back_after_an_error():
    net = Shared()
    weight = net.a.weight
    with pytest.raises(RuntimeError):
        call_with(net, {id(weight): torch.zeros(2, 2)}, torch.zeros(3, 5))
    assert net.a.weight is weight
    assert net.b.weight is weight


class Both(nn.Module):
    """A network that the model and the guide of a pair share."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(6, 4)

    def model(self, x):
        zero = x.new_zeros(2)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(zero, 1.0).to_event(1))
            logits = torch.cat([z, z], -1) @ self.net.weight
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", x.shape[0]):
            loc, log_scale = self.net(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


@pytest.mark.parametrize("estimator", [None, pv.estimators.StickingTheLanding()])
@pytest.mark.parametrize("mode", ["off", "export"])
def test_a_network_that_both_programs_share_is_trained(estimator, mode):
    x = (torch.rand(20, 6, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    found = []
    for way in ("off", mode):
        torch.manual_seed(0)
        both = Both()
        own = both.net.weight
        start = own.detach().clone()
        vae = pv.VAE(both.model, both.guide, estimators={} if estimator is None else {"z": estimator})
        history = pv.fit(
            vae, x, optimizer=functools.partial(torch.optim.Adam, lr=0.01), epochs=3, compile=way, progress=False
        )
        assert history.compiled == ("eager" if way == "off" else way) + ": asked for"
        assert both.net.weight is own
        assert isinstance(own, nn.Parameter)
        assert not torch.equal(own, start)
        found.append(own.detach())
    assert torch.equal(*found)
