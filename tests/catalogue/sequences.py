"""Time: deep Markov models with masks and packed sequences, state-space models, recurrent guides."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import rnn

from tests.catalogue.case import case

B, T, D, Z, H = 4, 5, 3, 2, 6


class Gate(nn.Module):
    """p(z_t | z_{t−1}) or q(z_t | z_{t−1}, h_t)."""

    def __init__(self, inputs):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(inputs, H), nn.ReLU(), nn.Linear(H, 2 * Z))

    def forward(self, *parts):
        loc, scale = self.net(torch.cat(parts, -1)).chunk(2, -1)
        return loc, F.softplus(scale) + 1e-3


def reverse(x, lengths):
    """Each sequence backwards in time, its padding left in place."""
    out = torch.zeros_like(x)
    for i, n in enumerate(lengths.tolist()):
        out[i, :n] = x[i, :n].flip(0)
    return out


class DeepMarkov(nn.Module):
    """The deep Markov model: emissions from z_t, a recurrent guide that reads the sequence backwards."""

    def __init__(self, flows=0):
        super().__init__()
        self.emit, self.step, self.combine = nn.Linear(Z, D), Gate(Z), Gate(Z + H)
        self.rnn = nn.RNN(D, H, batch_first=True)
        self.z_0, self.z_q, self.h_0 = (nn.Parameter(torch.zeros(n)) for n in (Z, Z, H))
        self.iafs = nn.ModuleList(
            [dist.transforms.affine_autoregressive(Z, hidden_dims=[H], stable=True) for _ in range(flows)]
        )

    def model(self, x, reversed_x, mask, lengths, annealing=1.0):
        pyro.module("dmm", self)
        z = self.z_0.expand(x.size(0), Z)
        with pyro.plate("z_minibatch", len(x)):
            for t in pyro.markov(range(1, x.size(1) + 1)):
                with poutine.scale(None, annealing):
                    z = pyro.sample(f"z_{t}", dist.Normal(*self.step(z)).mask(mask[:, t - 1 : t]).to_event(1))
                probs = torch.sigmoid(self.emit(z))
                pyro.sample(
                    f"obs_x_{t}", dist.Bernoulli(probs).mask(mask[:, t - 1 : t]).to_event(1), obs=x[:, t - 1, :]
                )

    def guide(self, x, reversed_x, mask, lengths, annealing=1.0):
        pyro.module("dmm", self)
        h_0 = self.h_0.expand(1, x.size(0), H).contiguous()
        packed, _ = self.rnn(reversed_x, h_0)
        out, sizes = rnn.pad_packed_sequence(packed, batch_first=True)
        out = reverse(out, sizes)
        z = self.z_q.expand(x.size(0), Z)
        with pyro.plate("z_minibatch", len(x)):
            for t in pyro.markov(range(1, x.size(1) + 1)):
                h = out[:, t - 1, :].expand(*z.shape[:-1], H)
                q = dist.Normal(*self.combine(z, h))
                if self.iafs:
                    q = dist.TransformedDistribution(q.to_event(1), list(self.iafs))
                    with poutine.scale(None, annealing):
                        z = pyro.sample(f"z_{t}", q.mask(mask[:, t - 1]))
                else:
                    with poutine.scale(None, annealing):
                        z = pyro.sample(f"z_{t}", q.mask(mask[:, t - 1 : t]).to_event(1))


def sequences(annealing=1.0):
    lengths = torch.tensor([5, 5, 3, 2])
    mask = (torch.arange(T) < lengths[:, None]).float()
    x = torch.bernoulli(torch.full((B, T, D), 0.5)) * mask[..., None]
    packed = rnn.pack_padded_sequence(reverse(x, lengths), lengths, batch_first=True)
    return x, packed, mask, lengths, annealing


@case(generic=False)
def deep_markov_model():
    pair = DeepMarkov()
    return pair.model, pair.guide, sequences(), sequences(0.5)


@case(generic=False)
def deep_markov_model_with_flows():
    pair = DeepMarkov(flows=2)
    pair.iafs.requires_grad_(True)
    return pair.model, pair.guide, sequences()


@case(kl=True)
def state_space_in_one_site():
    """A sequence as one event: the guide gives all steps at once."""
    net = nn.GRU(D, Z, batch_first=True, bidirectional=True)
    decode = nn.Linear(Z, D)

    def model(x):
        with pyro.plate("sequences", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(T, Z), 1.0).to_event(2))
            pyro.sample("x", dist.Normal(decode(z.cumsum(-2)), 1.0).to_event(2), obs=x)

    def guide(x):
        loc, scale = net(x)[0].chunk(2, -1)
        with pyro.plate("sequences", x.shape[0]):
            pyro.sample("z", dist.Normal(loc, F.softplus(scale)).to_event(2))

    return model, guide, (torch.randn(B, T, D),)


@case()
def local_level_with_markov():
    """A state-space model per datum with global scales."""
    net = nn.Linear(T, 2 * T)

    def model(x):
        tau = pyro.sample("tau", dist.LogNormal(x.new_zeros(()), 0.5))
        with pyro.plate("series", x.shape[0]):
            level = x.new_zeros(())
            for t in pyro.markov(range(x.shape[-1])):
                level = pyro.sample(f"level_{t}", dist.Normal(level, tau))
                pyro.sample(f"x_{t}", dist.Normal(level, 0.5), obs=x[:, t])

    def guide(x):
        pyro.sample("tau", dist.LogNormal(pyro.param("loc", torch.tensor(0.0)), 0.3))
        loc, scale = net(x).chunk(2, -1)
        with pyro.plate("series", x.shape[0]):
            for t in pyro.markov(range(x.shape[-1])):
                pyro.sample(f"level_{t}", dist.Normal(loc[..., t], scale[..., t].exp()))

    return model, guide, (torch.randn(B, T),)


@case(kl=True)
def time_in_a_plate():
    """Steps that are independent given one latent, in a plate of their own."""
    net = nn.Linear(T, 2 * Z)
    decode = nn.Linear(Z, T)

    def model(x):
        with pyro.plate("series", x.shape[0], dim=-2):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1, Z), 1.0).to_event(1))
            mean = decode(z).squeeze(-2)
            with pyro.plate("time", T, dim=-1):
                pyro.sample("x", dist.Normal(mean, 1.0), obs=x)

    def guide(x):
        loc, scale = net(x).unsqueeze(-2).chunk(2, -1)
        with pyro.plate("series", x.shape[0], dim=-2):
            pyro.sample("z", dist.Normal(loc, F.softplus(scale)).to_event(1))

    return model, guide, (torch.randn(B, T),)
