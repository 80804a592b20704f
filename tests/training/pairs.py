"""Small pairs to train, and data for them."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import ppl_vae as pv


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


def weights(vae: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in vae.state_dict().items()}


def identical(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def rows(history: pv.History) -> list[dict[str, float]]:
    """Everything but times."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history.rows]
