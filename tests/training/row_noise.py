"""Pairs whose noise is a function of the datum: the same whether a batch is taken whole or in shares.

So the gradient of a batch has an exact oracle, noise and all.
"""

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor, nn
from torch.distributions import kl_divergence, register_kl
from torch.distributions.utils import broadcast_all

import ppl_vae as pv

COLUMNS = 3


class RowNormal(TorchDistribution):
    """A normal whose draw is loc + scale ε with ε a fixed function of its row's code, dimension and particle."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012
    support = constraints.real
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, code: Tensor, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        self.code = code
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self):
        return self.loc

    @property
    def variance(self):
        return self.scale**2

    def expand(self, batch_shape, _instance=None):
        return RowNormal(self.loc.expand(batch_shape), self.scale.expand(batch_shape), self.code)

    def log_prob(self, value):
        return dist.Normal(self.loc, self.scale).log_prob(value)

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(torch.Size(sample_shape))
        code = self.code.expand(shape)
        for place, size in enumerate(shape[: len(shape) - self.code.dim()]):
            steps = torch.arange(1.0, size + 1, dtype=code.dtype)
            code = code * (1 + steps.view(*(1,) * place, size, *(1,) * (len(shape) - place - 1)))
        return self.loc + self.scale * 1.4 * torch.sin(code)


@register_kl(RowNormal, dist.Normal)
def _kl(q, p):
    return kl_divergence(dist.Normal(q.loc, q.scale), p)


class Model(nn.Module):
    """A regression on z, with a global intercept w where asked for."""

    def __init__(self, shared: bool) -> None:
        super().__init__()
        self.shared = shared
        self.decoder = nn.Linear(2, COLUMNS)

    def forward(self, x: Tensor) -> None:
        w = pyro.sample("w", dist.Normal(x.new_zeros(()), 2.0)) if self.shared else 0.0
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), x.new_ones(2)).to_event(1))
            pyro.sample(
                "x", dist.Normal(self.decoder(z) + (w[..., None, None] if self.shared else 0.0), 0.7).to_event(1), obs=x
            )


class Guide(nn.Module):
    """An amortized normal, and a normal of w."""

    def __init__(self, shared: bool) -> None:
        super().__init__()
        self.shared = shared
        self.encoder = nn.Linear(COLUMNS, 4)
        self.w = nn.Parameter(torch.tensor([0.3, -0.5]))
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> None:
        if self.shared:
            pyro.sample("w", RowNormal(self.w[0], self.w[1].exp(), x.new_tensor(1.3)))
        loc, scale = self.encoder(x).chunk(2, -1)
        code = 40 * x.sum(-1, keepdim=True) * x.new_tensor([1.0, 1.7])
        with pyro.plate("data", len(x)):
            pyro.sample("z", RowNormal(loc, scale.exp(), code).to_event(1))


def pair(*, shared: bool = False, seed: int = 0, **settings: object) -> pv.VAE:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, guide = Model(shared), Guide(shared)
    return pv.VAE(model.double(), guide.double(), **settings)


def data(size: int = 40) -> Tensor:
    return torch.randn(size, COLUMNS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
