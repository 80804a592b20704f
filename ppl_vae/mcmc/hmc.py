"""Hamiltonian Monte Carlo along a path of densities, over all latents of a pair at once."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ppl_vae.core.batch import take
from ppl_vae.core.evidence import no_evidence
from ppl_vae.core.predict import predict
from ppl_vae.core.run import terms
from ppl_vae.core.terms import Terms
from ppl_vae.distributions.bijections import bijection
from ppl_vae.distributions.unwrap import family, support_of
from ppl_vae.errors import CheckError, one_of

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


Point = dict[str, Tensor]
Start = Literal["guide", "prior"]


@dataclass
class _Densities:
    start: Tensor
    goal: Tensor

    def at(self, beta: Tensor) -> Tensor:
        return self.start + beta * (self.goal - self.start)


class AnnealedPath:
    """log f₀ and log f₁ as functions of all latents, unconstrained; one row per chain and datum.

    Args:
        vae: the pair.
        batch: data.
        chains: rows per datum.
        start: what f₀ is: the guide's density or the prior's; f₁ is the joint density.

    Raises:
        CheckError: for discrete, global or auxiliary latents.
    """

    def __init__(self, vae: "VAE", batch: tuple[Any, ...], chains: int, start: Start) -> None:
        self.vae, self.chains, self.kind = vae, chains, start
        size = terms(vae, batch, mode="draw").batch_size
        self.index = torch.arange(size).repeat(chains)
        self.batch = take(batch, self.index)
        t = terms(vae, self.batch, mode="draw")
        one_of("start", start, ("guide", "prior"))
        for name, site in t.latents.items():
            if support_of(site.fn) is None:
                raise CheckError(
                    f"Annealing moves all latents by HMC, on the support of each; {family(site.fn)} at {name!r} does "
                    "not tell its own. Give the distribution a `support`, or use evaluate, whose importance sampling "
                    "takes any latent."
                )
            if not site.is_local or site.is_auxiliary or site.fn.support.is_discrete or name not in t.model:
                raise CheckError(
                    f"Annealing moves all latents by HMC, but {name!r} is global, discrete or auxiliary. Use evaluate, "
                    "whose importance sampling takes any latent."
                )
        reason = no_evidence(t)
        if reason is not None:
            raise CheckError(f"There is no evidence to anneal to: {reason}.")
        self.axis = {name: (s.data_dim or -1) - s.fn.event_dim for name, s in t.latents.items()}
        self.shape = {name: tuple(s.raw.shape) for name, s in t.latents.items()}
        self.transform = {name: _to_support(name, s.fn) for name, s in t.latents.items()}

    @property
    def size(self) -> int:
        """Units per row (of a pair whose transforms keep the shape)."""
        rows = len(self.index)
        return sum(math.prod(shape) // rows for shape in self.shape.values())

    def begin(self) -> Point:
        """Draw from f₀."""
        if self.kind == "prior":
            sites = predict(self.vae, self.batch)[1]
            return self.unconstrained({name: sites[name].raw for name in self.axis})
        latents = terms(self.vae, self.batch, mode="draw").latents
        return self.unconstrained({name: latents[name].raw for name in self.axis})

    def unconstrained(self, values: Point, repeat: bool = False) -> Point:
        """Map latents to all reals; `repeat` one value per datum for all chains."""
        if repeat:
            values = {n: v.index_select(v.dim() + self.axis[n], self.index.to(v.device)) for n, v in values.items()}
        return {name: self.transform[name].inv(values[name]).clone() for name in self.axis}

    def __call__(self, point: Point) -> "_Densities":
        """Evaluate log f₀ and log f₁, `(rows,)`."""
        values = {name: self.transform[name](u) for name, u in point.items()}
        t: Terms = terms(self.vae, self.batch, values=values, mode="draw")
        volume = torch.zeros((), device=t.log_weights.device)
        for name, u in point.items():
            volume = volume + self.rows(name, self.transform[name].log_abs_det_jacobian(u, values[name]), u.dim())
        goal = t.sum(t.model, True)[0]
        if self.kind == "guide":
            start = t.sum(t.guide, True)[0]
        else:
            start = t.sum(t.model, True, where=lambda site: not site.is_observed)[0]
        return _Densities((start + volume).double(), (goal + volume).double())

    def rows(self, name: str, x: Tensor, dim: int) -> Tensor:
        """Sum over all axes but that of the rows."""
        keep = dim + self.axis[name]
        return x.sum([i for i in range(x.dim()) if i != keep]) if x.dim() > 1 else x

    def spread(self, name: str, rows: Tensor, like: Tensor) -> Tensor:
        """Put a number per row where the rows of a latent are."""
        shape = [1] * like.dim()
        shape[like.dim() + self.axis[name]] = -1
        return rows.reshape(shape).to(like)


def _to_support(name: str, fn: Any) -> Any:
    try:
        return bijection(fn)
    except NotImplementedError:
        raise CheckError(
            f"Annealing moves latents on all reals, and no bijection leads from there to the support of {family(fn)} "
            f"at {name!r} ({fn.support}). Use evaluate, whose importance sampling takes any latent."
        ) from None


def hmc(
    path: AnnealedPath, point: Point, now: _Densities, beta: Tensor, size: Tensor, leapfrog: int
) -> tuple[Point, _Densities, Tensor]:
    """Take one Hamiltonian transition that leaves f_β invariant, row by row."""
    momentum = {name: torch.randn_like(u) for name, u in point.items()}

    def kinetic(p: Point) -> Tensor:
        total = torch.zeros_like(size)
        for name, value in p.items():
            total = total + path.rows(name, 0.5 * value.square(), value.dim()).double()
        return total

    def gradient(u: Point) -> tuple[Point, _Densities]:
        with torch.enable_grad():
            leaves = {name: value.detach().requires_grad_() for name, value in u.items()}
            densities = path(leaves)
            grads = torch.autograd.grad(densities.at(beta).sum(), list(leaves.values()))
        grads_by_name = {n: g.nan_to_num(0.0, 0.0, 0.0) for n, g in zip(leaves, grads, strict=True)}
        return grads_by_name, _Densities(densities.start.detach(), densities.goal.detach())

    before = now.at(beta) - kinetic(momentum)
    moved, p = point, momentum
    step = {name: path.spread(name, size, u) for name, u in point.items()}
    grad, after = gradient(moved)
    for _ in range(leapfrog):
        p = {name: p[name] + 0.5 * step[name] * grad[name] for name in p}
        moved = {name: moved[name] + step[name] * p[name] for name in p}
        grad, after = gradient(moved)
        p = {name: p[name] + 0.5 * step[name] * grad[name] for name in p}
    change = (after.at(beta) - kinetic(p) - before).nan_to_num(nan=-torch.inf)
    probability = change.clamp(max=0).exp()
    accept = torch.rand_like(probability) < probability
    new = {name: torch.where(path.spread(name, accept, u).bool(), moved[name], u) for name, u in point.items()}
    densities = _Densities(torch.where(accept, after.start, now.start), torch.where(accept, after.goal, now.goal))
    return new, densities, probability
