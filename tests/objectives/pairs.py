"""Pairs so small that every expectation is a sum or a quadrature, written out without any code of ppl_vae.

`expected(bound, K)` gives E[(1/N) Σᵢ L(l₁ᵢ … l_Kᵢ)] of a bound L, a function of log-weights `(particles, …)`; its
gradient by autograd is the exact gradient in all parameters.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

F64 = torch.float64
X = torch.tensor([-1.2, 0.3, 2.0], dtype=F64)


def normal(x: Tensor, mean: Tensor | float, scale: Tensor | float) -> Tensor:
    scale = torch.as_tensor(scale, dtype=F64)
    return -0.5 * ((x - mean) / scale) ** 2 - scale.log() - 0.5 * math.log(2 * math.pi)


class Program(nn.Module):
    """A program with scalar parameters, by name."""

    def __init__(self, program: Callable, **values: float) -> None:
        super().__init__()
        self.p = nn.ParameterDict({name: torch.tensor(value, dtype=F64) for name, value in values.items()})
        self.program = program

    def forward(self, *batch: Tensor) -> None:
        self.program(self.p, *batch)


class Pair:
    """A model, a guide, and what is to be expected of them."""

    model: Program
    guide: Program

    def parameters(self) -> dict[str, nn.Parameter]:
        return {**dict(self.model.p.items()), **dict(self.guide.p.items())}

    def gradients(self, value: Tensor) -> dict[str, float]:
        names, params = zip(*self.parameters().items(), strict=True)
        found = torch.autograd.grad(value, params, allow_unused=True)
        return {n: 0.0 if g is None else float(g) for n, g in zip(names, found, strict=True)}


class Gaussian(Pair):
    """z ~ N(0, 1),  x | z ~ N(w z + b, e^2s);  q(z | x) = N(a x + c, e^2r)."""

    def __init__(self) -> None:
        def model(p, x):
            with pyro.plate("data", x.shape[0]):
                z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=F64), 1.0))
                pyro.sample("x", dist.Normal(p["w"] * z + p["b"], p["s"].exp()), obs=x)

        def guide(p, x):
            with pyro.plate("data", x.shape[0]):
                pyro.sample("z", dist.Normal(p["a"] * x + p["c"], p["r"].exp()))

        self.model = Program(model, w=0.9, b=-0.2, s=-0.3)
        self.guide = Program(guide, a=0.4, c=0.3, r=-0.5)

    def log_p(self, z: Tensor, x: Tensor) -> Tensor:
        m = self.model.p
        return normal(z, 0.0, 1.0) + normal(x, m["w"] * z + m["b"], m["s"].exp())

    def log_q(self, z: Tensor, x: Tensor) -> Tensor:
        g = self.guide.p
        return normal(z, g["a"] * x + g["c"], g["r"].exp())

    def draws(self, particles: int, x: Tensor = X, nodes: int = 48) -> tuple[Tensor, Tensor]:
        """Draws z(ε) on a Gauss-Hermite grid, `(particles, data, nodes^K)`, and its weights, `(nodes^K,)`."""
        points, weights = (torch.tensor(a, dtype=F64) for a in np.polynomial.hermite_e.hermegauss(nodes))
        weights = weights / weights.sum()
        eps = torch.cartesian_prod(*[points] * particles).reshape(-1, particles).mT[:, None]
        weight = torch.cartesian_prod(*[weights] * particles).reshape(-1, particles).prod(-1)
        g = self.guide.p
        return g["a"] * x[:, None] + g["c"] + g["r"].exp() * eps, weight

    def expected(self, bound: Callable[[Tensor], Tensor], particles: int) -> Tensor:
        z, weight = self.draws(particles)
        x = X[:, None]
        return (bound(self.log_p(z, x) - self.log_q(z, x)) * weight).sum(-1).mean()

    def log_evidence(self) -> Tensor:
        m = self.model.p
        return normal(X, m["b"], (m["w"] ** 2 + (2 * m["s"]).exp()).sqrt())


class Coin(Pair):
    """z ~ Bernoulli(σ(t)),  x | z ~ N(u z, 1);  q(z | x) = Bernoulli(σ(a x + c)); one z for each datum."""

    def __init__(self) -> None:
        def model(p, x):
            with pyro.plate("data", x.shape[0]):
                z = pyro.sample("z", dist.Bernoulli(logits=p["t"]))
                pyro.sample("x", dist.Normal(p["u"] * z, torch.ones((), dtype=F64)), obs=x)

        def guide(p, x):
            with pyro.plate("data", x.shape[0]):
                pyro.sample("z", dist.Bernoulli(logits=p["a"] * x + p["c"]))

        self.model = Program(model, t=-0.4, u=1.3)
        self.guide = Program(guide, a=0.5, c=0.2)

    def log_p(self, z: Tensor, x: Tensor) -> Tensor:
        m = self.model.p
        return _bernoulli(z, m["t"]) + normal(x, m["u"] * z, 1.0)

    def log_q(self, z: Tensor, x: Tensor) -> Tensor:
        return _bernoulli(z, self.guide.p["a"] * x + self.guide.p["c"])

    def draws(self, particles: int, x: Tensor = X) -> tuple[Tensor, Tensor]:
        """All values of all particles, `(particles, 1, 2^K)`, and their probabilities, `(data, 2^K)`."""
        z = torch.tensor(list(itertools.product((0.0, 1.0), repeat=particles)), dtype=F64).mT[:, None]
        return z, self.log_q(z, x[:, None]).sum(0).exp()

    def expected(self, bound: Callable[[Tensor], Tensor], particles: int) -> Tensor:
        z, weight = self.draws(particles)
        x = X[:, None]
        return (bound(self.log_p(z, x) - self.log_q(z, x)) * weight).sum(-1).mean()

    def log_evidence(self) -> Tensor:
        z = torch.tensor([0.0, 1.0], dtype=F64)[:, None]
        return torch.logsumexp(self.log_p(z, X), 0)


def _bernoulli(z: Tensor, logits: Tensor) -> Tensor:
    return z * nn.functional.logsigmoid(logits) + (1 - z) * nn.functional.logsigmoid(-logits)


def repeated(copies: int) -> Tensor:
    """The data many times over: the mean over a batch is then the mean over that many independent draws."""
    return X.repeat(copies)


def log_mean_exp(log_w: Tensor) -> Tensor:
    return torch.logsumexp(log_w, 0) - math.log(log_w.shape[0])
