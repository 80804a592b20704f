"""Pairs that a stranger writes: sequences of several lengths, tokens, functions with parameters of their own."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import ppl_vae as pv


class Sequences(nn.Module):
    def __init__(self):
        super().__init__()
        self.decoder = nn.Linear(2, 3)

    def forward(self, x, lengths):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            loc = self.decoder(z).unsqueeze(-2).expand(*z.shape[:-1], x.shape[-2], 3)
            there = (torch.arange(x.shape[-2]) < lengths[..., None])[..., None]
            pyro.sample("x", dist.Normal(loc, 1.0).mask(there).to_event(2), obs=x)


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(3, 8, batch_first=True), nn.Linear(8, 4)

    def forward(self, x, lengths):
        _, h = self.rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        loc, scale = self.head(h[-1]).chunk(2, -1)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


def sequences(n=20):
    """A pair, and a batch of (x, lengths) for it."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, 6, (n,), generator=generator)
    x = torch.randn(n, 5, 3, generator=generator) * (torch.arange(5) < lengths[:, None])[..., None]
    return pv.VAE(Sequences(), Reader()), (x, lengths)


def sequence_data(folder=None):
    """The same as a data set, as a config names it."""
    return pv.datasets.from_arrays(sequences(60)[1], validation=10, test=10, support="real")


class Tokens(nn.Module):
    """Words, of which the encoder has an embedding: integers stay integers."""

    def __init__(self):
        super().__init__()
        self.decoder = nn.Linear(2, 10)

    def forward(self, x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            logits = self.decoder(z).unsqueeze(-2).expand(*z.shape[:-1], x.shape[-1], 10)
            pyro.sample("x", dist.Categorical(logits=logits).to_event(1), obs=x)


class Embedded(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(10, 4), nn.Linear(4, 4)

    def forward(self, x):
        loc, scale = self.head(self.table(x).mean(-2)).chunk(2, -1)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


def tokens(n=20):
    """A pair, and a batch of int64 words `(data, 6)` for it."""
    x = torch.randint(1, 10, (n, 6), generator=torch.Generator().manual_seed(0))  # 0 is padding, and in no text
    return pv.VAE(Tokens(), Embedded()), (x,)


def functions(n=20):
    """A pair of functions that make their parameters when first run, one of a size per column."""

    def model(x):
        loc = pyro.param("loc", lambda: torch.zeros(x.shape[1]))
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(loc + z[..., None], 1.0).to_event(1), obs=x)

    def guide(x):
        scale = pyro.param("scale", torch.tensor(0.5), constraint=dist.constraints.positive)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x.mean(-1), scale))

    return pv.VAE(model, guide), (torch.randn(n, 3, generator=torch.Generator().manual_seed(0)),)


def per_datum(n=20):
    """An autoguide over local latents: a parameter of a size per datum, legal with all data in one batch."""

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    guide = pyro.infer.autoguide.AutoNormal(pyro.poutine.block(model, hide=["x"]))
    return pv.VAE(model, guide), (torch.randn(n, generator=torch.Generator().manual_seed(0)),)
