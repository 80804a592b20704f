"""Small pairs to train, data for them, and short runs."""

import functools
import math
import signal

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import ppl_vae as pv

quiet = functools.partial(pv.fit, progress=False)
adam = functools.partial(torch.optim.Adam, lr=0.01)


class Model(nn.Module):
    """Bernoulli pixels; batch norm in the decoder where asked for."""

    def __init__(self, columns: int = 6, norm: bool = False) -> None:
        super().__init__()
        middle = nn.BatchNorm1d(4) if norm else nn.Tanh()
        self.decoder = nn.Sequential(nn.Linear(2, 4), middle, nn.Linear(4, columns))

    def forward(self, x, *_):
        zero = x.new_zeros(2)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(zero, torch.ones_like(zero)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)


class Guide(nn.Module):
    """An amortized normal; dropout where asked for."""

    def __init__(self, columns: int = 6, dropout: bool = False) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(columns, 4), nn.Dropout(0.3) if dropout else nn.Tanh(), nn.Linear(4, 4))

    def forward(self, x, *_):
        loc, raw = self.encoder(x).chunk(2, -1)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(loc, nn.functional.softplus(raw) + 1e-4).to_event(1))


def pair(seed: int = 0, norm: bool = False, dropout: bool = False) -> pv.VAE:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return pv.VAE(Model(norm=norm), Guide(dropout=dropout))


def dataset(
    binarization: str = "threshold", train: int = 50, validation: int = 20, flip: tuple[int, int] | None = None
) -> pv.datasets.Dataset:
    generator = torch.Generator().manual_seed(0)
    low, high = (torch.rand(train + validation, n, generator=generator) for n in (3, 3))
    x = torch.cat([low * 0.5, high * 0.5 + 0.5], dim=1)
    if flip is not None:
        x[flip] = 1 - x[flip]
    return pv.datasets.from_arrays(x[:train], x[train:] if validation else None, binarization=binarization)


class Fragile(Guide):
    """Gives NaN for a datum of ones alone."""

    def forward(self, x, *_):
        loc, raw = self.encoder(x).chunk(2, -1)
        loc = loc + torch.where(x.sum(-1, keepdim=True) > 5.5, math.nan, 0.0)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(loc, nn.functional.softplus(raw) + 1e-4).to_event(1))


def fragile(norm: bool = True) -> pv.VAE:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return pv.VAE(Model(norm=norm), Fragile())


def breaking(*bad: int, train: int = 50) -> pv.datasets.Dataset:
    """Data on which `Fragile` breaks at some rows."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(train + 20, 6, generator=generator) > 0.6).float()
    x[:, 0] = 0.0
    x[list(bad)] = 1.0
    return pv.datasets.from_arrays(x[:train], x[train:])


def weights(vae: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in vae.state_dict().items()}


def identical(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def rows(history: pv.History) -> list[dict[str, float]]:
    """Everything but times."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history.rows]


def interrupt_at(step: int, number: int = signal.SIGINT):
    """A batch-norm free way to be interrupted in the middle of an epoch: the model sends itself the signal."""
    count = 0

    class Signalling(pv.objectives.ELBO):
        def forward(self, vae, batch, total=None):
            nonlocal count
            count += vae.training
            if vae.training and count == step:
                signal.raise_signal(number)
            return super().forward(vae, batch, total)

    Signalling.__name__ = "ELBO"  # the same objective, as far as the run is concerned
    return Signalling(beta=warm_up())


def warm_up():
    return pv.schedules.linear(0.1, 1.0, over=15)


def train(vae, directory, *, resume=False, objective=None, **options):
    defaults = {"epochs": 5, "batch_size": 16, "seed": 3, "optimizer": adam, "keep": "last"}
    options = {"data": dataset("dynamic")} | defaults | options
    objective = objective or pv.objectives.ELBO(beta=warm_up())
    return quiet(vae, options.pop("data"), objective, directory=directory, resume=resume, **options)
