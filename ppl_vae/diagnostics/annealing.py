"""Annealed importance sampling with HMC: the evidence bracketed, where plain importance sampling may be lost."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.distributions import biject_to

from ppl_vae.batches import take
from ppl_vae.diagnostics.evaluation import no_evidence
from ppl_vae.diagnostics.evidence import StreamingEvidence
from ppl_vae.diagnostics.simulate import simulate, template
from ppl_vae.diagnostics.tiles import Tiling, as_pair_takes, as_split, inference, plan
from ppl_vae.errors import CheckError
from ppl_vae.predictive import predict
from ppl_vae.terms import Terms, terms

if TYPE_CHECKING:
    import pandas as pd

    from ppl_vae.vae import VAE

Point = dict[str, Tensor]
Start = Literal["guide", "prior"]


def ais(
    vae: "VAE",
    data: Any,
    chains: int = 16,
    steps: int = 200,
    *,
    leapfrog: int = 5,
    start: Start = "guide",
    memory: int | str = "1GB",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> "pd.DataFrame":
    r"""Estimate log p(x) per datum by annealing from the guide (or the prior) to the posterior.

    Through f_β(z) = q(z)^{1−β} p(x, z)^β, β from 0 to 1 in `steps`, with an HMC transition at each,

    $$\log w = \sum_t (β_t − β_{t−1}) [\log p(x, z_t) − \log q(z_t)], \qquad E[w] = p(x),$$

    so the mean of w over chains is unbiased for p(x), and its logarithm a lower bound in expectation. Step sizes are
    adapted in a run of their own and then held, so that the estimate is exactly valid.

    Args:
        vae: the pair; its local latents must be continuous, and no latent global.
        data: a `Split`, a tensor or a tuple of them.
        chains: chains per datum.
        steps: temperatures.
        leapfrog: leapfrog steps per transition.
        start: where chains begin: `"guide"` (near the goal) or `"prior"` (independent of the guide).
        memory: upper limit of the working memory.
        seed: of everything drawn; the caller's random state is untouched.
        progress: called with the number of data done and of all data.

    Returns:
        A row per datum: `log_evidence`, `log_evidence_se` (delta method over chains), `ess` of the chains, and the
        mean `acceptance` of transitions.

    Raises:
        CheckError: for discrete, global or auxiliary latents, and for deterministic codes.

    Reference:
        Neal (2001), Annealed importance sampling, Statistics and Computing 11.
        Wu, Burda, Salakhutdinov, Grosse (2017), On the quantitative analysis of decoder-based generative models, ICLR.
    """
    import pandas as pd

    split = as_split(data)
    n = len(split)
    first = as_pair_takes(split.batch(slice(0, min(n, 2))), vae)
    tables = []
    with inference(vae, first):
        tiling = _tiling(vae, first, n, chains, memory, seed)
        for begin in range(0, n, tiling.data):
            batch = as_pair_takes(split.batch(slice(begin, begin + tiling.data)), vae)
            tiling.seed_all(begin, 0)
            tables.append(_forward(vae, batch, chains, _schedule(steps), leapfrog, start)[0])
            if progress is not None:
                progress(min(begin + tiling.data, n), n)
    table = pd.concat(tables, ignore_index=True)
    table.index = pd.Index(split.indices.cpu().numpy(), name="datum")
    return table


def bracket(
    vae: "VAE",
    n: int = 100,
    chains: int = 16,
    steps: int = 200,
    *,
    leapfrog: int = 5,
    start: Start = "guide",
    like: Any = None,
    memory: int | str = "1GB",
    seed: int = 0,
) -> "pd.DataFrame":
    """Bracket log p(x*) of simulated data between annealing forwards and, from the known z*, backwards.

    The backward chains begin at an exact draw of the posterior, the z* that made x*, so E[1/w] = 1/p(x*) and the
    logarithm of the mean is an upper bound in expectation. A narrow bracket says that both are right, and so that
    `ais` with these settings can be believed on data like these.

    Args:
        vae: the pair.
        n: simulated data.
        chains: chains per datum and direction.
        steps: temperatures.
        leapfrog: leapfrog steps per transition.
        start: as in `ais`.
        like: a batch whose shapes the simulated data take; by default the first batch the pair has seen.
        memory: upper limit of the working memory.
        seed: of everything drawn; the caller's random state is untouched.

    Returns:
        A row per simulated datum: `lower`, `lower_se`, `upper`, `upper_se`, `gap`, in nats.

    Raises:
        CheckError: as `ais`; or if the prior cannot be drawn from.

    Reference:
        Grosse, Ghahramani, Adams (2015), Sandwiching the marginal likelihood using bidirectional Monte Carlo,
        https://arxiv.org/abs/1511.02543
    """
    import pandas as pd

    first = as_pair_takes(template(vae, like), vae)
    tables = []
    with inference(vae, first):
        tiling = _tiling(vae, first, n, chains, memory, seed)
        for begin in range(0, n, tiling.data):
            tiling.seed_all(begin, 0)
            batch, truth = simulate(vae, first, min(tiling.data, n - begin), begin)
            betas = _schedule(steps)
            forward, sizes = _forward(vae, batch, chains, betas, leapfrog, start)
            path = AnnealedPath(vae, batch, chains, start)
            point = path.unconstrained({name: site.raw for name, site in truth.items()}, repeat=True)
            log_w, _, _ = _anneal(path, point, betas.flip(0), leapfrog, sizes.flip(0))
            stream = StreamingEvidence(chains)
            stream.update(log_w.reshape(chains, -1))
            backward = stream.result()
            tables.append(
                pd.DataFrame(
                    {
                        "lower": forward["log_evidence"],
                        "lower_se": forward["log_evidence_se"],
                        "upper": -backward.log_evidence.cpu().numpy(),
                        "upper_se": backward.log_evidence_se.cpu().numpy(),
                    }
                )
            )
    table = pd.concat(tables, ignore_index=True)
    table["gap"] = table["upper"] - table["lower"]
    return table


def _tiling(vae: "VAE", batch: tuple[Any, ...], n: int, chains: int, memory: int | str, seed: int) -> Tiling:
    rows = plan(vae, batch, n * chains, 1, memory, seed).data
    return Tiling(max(1, rows // chains), chains, seed)


def _schedule(steps: int, sharpness: float = 4.0) -> Tensor:
    """Inverse temperatures from 0 to 1, densest at both ends, `(steps + 1,)`."""
    if steps < 1:
        raise ValueError(f"Got steps={steps}, expected at least 1.")
    s = torch.sigmoid(sharpness * torch.linspace(-1, 1, steps + 1, dtype=torch.float64))
    return (s - s[0]) / (s[-1] - s[0])


def _forward(
    vae: "VAE", batch: tuple[Any, ...], chains: int, betas: Tensor, leapfrog: int, start: Start
) -> tuple["pd.DataFrame", Tensor]:
    """Anneal forwards: a first time to find step sizes per temperature and datum, a second time with these."""
    import pandas as pd

    path = AnnealedPath(vae, batch, chains, start)
    sizes = _anneal(path, path.begin(), betas, leapfrog, None)[1]
    # One size for all chains of a datum: the geometric mean.
    sizes = sizes.log().reshape(len(sizes), chains, -1).mean(1, keepdim=True).exp().expand(-1, chains, -1).flatten(1)
    log_w, _, acceptance = _anneal(path, path.begin(), betas, leapfrog, sizes)
    stream = StreamingEvidence(chains)
    stream.update(log_w.reshape(chains, -1))
    e = stream.result()
    columns = {
        "log_evidence": e.log_evidence,
        "log_evidence_se": e.log_evidence_se,
        "ess": e.ess,
        "acceptance": acceptance.reshape(chains, -1).mean(0),
    }
    return pd.DataFrame({name: column.double().cpu().numpy() for name, column in columns.items()}), sizes


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
        size = terms(vae, batch).batch_size
        self.index = torch.arange(size).repeat(chains)
        self.batch = take(batch, self.index)
        t = terms(vae, self.batch)
        if start not in ("guide", "prior"):
            raise ValueError(f"Got start={start!r}, expected 'guide' or 'prior'.")
        for name, site in t.latents.items():
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
        self.transform = {name: biject_to(s.fn.support) for name, s in t.latents.items()}

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
        latents = terms(self.vae, self.batch).latents
        return self.unconstrained({name: latents[name].raw for name in self.axis})

    def unconstrained(self, values: Point, repeat: bool = False) -> Point:
        """Map latents to all reals; `repeat` one value per datum for all chains."""
        if repeat:
            values = {n: v.index_select(v.dim() + self.axis[n], self.index.to(v.device)) for n, v in values.items()}
        return {name: self.transform[name].inv(values[name]).clone() for name in self.axis}

    def __call__(self, point: Point) -> "_Densities":
        """Evaluate log f₀ and log f₁, `(rows,)`."""
        values = {name: self.transform[name](u) for name, u in point.items()}
        t: Terms = terms(self.vae, self.batch, values=values)
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


def _anneal(
    path: AnnealedPath, point: Point, betas: Tensor, leapfrog: int, sizes: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Give log-weights `(rows,)`, step sizes used `(temperatures, rows)`, and the mean acceptance `(rows,)`."""
    betas = betas.to(path.vae.device)
    now = path(point)
    log_w = torch.zeros_like(now.goal)
    size = torch.full_like(log_w, 0.2)
    used, accepted = [], torch.zeros_like(log_w)
    inner = range(1, len(betas) - 1)
    for i in range(1, len(betas)):
        log_w = log_w + (betas[i] - betas[i - 1]) * (now.goal - now.start)
        if i not in inner:
            break
        step = size if sizes is None else sizes[i - 1]
        point, now, probability = hmc(path, point, now, betas[i], step, leapfrog)
        used.append(step)
        accepted = accepted + probability
        if sizes is None:
            size = size * torch.exp(0.2 * (probability - 0.7))
    return log_w, torch.stack(used) if used else size[None], accepted / max(len(inner), 1)


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
