"""The loss of a guide, split by cause: its family is too poor, or its network not good enough."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ppl_vae.core.data import take_data
from ppl_vae.core.evidence import Evidence, StreamingEvidence
from ppl_vae.core.half import array_of
from ppl_vae.core.tiles import Block, blocks, first_data, inference, plan_rows
from ppl_vae.errors import ArgumentError
from ppl_vae.mcmc.hmc import AnnealedPath, Point

if TYPE_CHECKING:
    import pandas as pd

    from ppl_vae.core.pair import VAE


def gaps(
    vae: "VAE",
    data: Any,
    *,
    family: Literal["diagonal", "full"] = "diagonal",
    steps: int = 300,
    samples: int = 16,
    lr: float = 0.05,
    num_particles: int = 2_000,
    memory: int | str = "1GB",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> "pd.DataFrame":
    r"""Split the gap between evidence and ELBO into approximation and amortization, per datum.

    With q*ᵢ the Gaussian that maximizes datum i's own ELBO,

    $$\log p(x) − \mathrm{ELBO}[q_φ] = \underbrace{\log p(x) − \mathrm{ELBO}[q^*]}_{\text{approximation}}
      + \underbrace{\mathrm{ELBO}[q^*] − \mathrm{ELBO}[q_φ]}_{\text{amortization}}.$$

    The Gaussian lives in unconstrained space, starts at mean and spread of the guide's draws, and is fitted by Adam
    with a falling step. If the guide's own family is richer than the one fitted here, amortization can come out
    negative. Large approximation gaps ask for a richer guide, large amortization gaps for a larger encoder or more
    training of it.

    Args:
        vae: the pair; its local latents must be continuous, and no latent global.
        data: a `Split`, a tensor or a tuple of them.
        family: of the local q: independent units (as most guides have), or a full covariance.
        steps: optimization steps.
        samples: draws per datum and step.
        lr: first step size of Adam; it falls to a hundredth.
        num_particles: draws per datum for the ELBOs and the evidence.
        memory: upper limit of the working memory.
        seed: of everything drawn; the caller's random state is untouched.
        progress: called with the number of data done and of all data.

    Returns:
        A row per datum, nats: `log_evidence` with `log_evidence_se` (importance sampling from the amortized or the
        local q: the larger estimate where they differ, else that of more effective particles), `elbo`, `elbo_local`,
        `approximation`, `amortization`.

    Raises:
        CheckError: for discrete, global or auxiliary latents.

    References:
        Cremer, Li and Duvenaud (2018), Inference Suboptimality in Variational Autoencoders,
            https://arxiv.org/abs/1801.03558
    """
    import pandas as pd

    split = take_data(vae, data)
    first = first_data(vae, split)
    tables = []
    with inference(vae, first) as draw:
        tiling = plan_rows(vae, first, len(split), samples, memory, seed)
        for block in blocks(vae, split, tiling, progress):
            amortized = StreamingEvidence(num_particles)
            for chunk in tiling.chunks(num_particles):
                amortized.update(draw(block.batch, chunk).log_weights)
            local = _local(vae, block, family, steps, lr, num_particles)
            tables.append(_table(amortized.result(), local))
    table = pd.concat(tables, ignore_index=True)
    table.index = pd.Index(split.indices.cpu().numpy(), name="datum")
    return table


def _table(amortized: Evidence, local: Evidence) -> "pd.DataFrame":
    import pandas as pd

    # Both estimates err downwards, and the effective number of particles knows nothing of a mode that none has seen.
    ahead = local.log_evidence - amortized.log_evidence
    apart = ahead.abs() > 2 * torch.hypot(local.log_evidence_se, amortized.log_evidence_se)
    better = torch.where(apart, ahead > 0, local.ess > amortized.ess)
    log_evidence = torch.where(better, local.log_evidence, amortized.log_evidence)
    columns = {
        "log_evidence": log_evidence,
        "log_evidence_se": torch.where(better, local.log_evidence_se, amortized.log_evidence_se),
        "elbo": amortized.elbo,
        "elbo_local": local.elbo,
        "approximation": log_evidence - local.elbo,
        "amortization": local.elbo - amortized.elbo,
    }
    return pd.DataFrame({name: array_of(column) for name, column in columns.items()})


def _local(vae: "VAE", block: Block, family: str, steps: int, lr: float, num_particles: int) -> Evidence:
    """Fit a Gaussian per datum, and estimate ELBO and evidence with it."""
    if family not in ("diagonal", "full"):
        raise ArgumentError(f"Got family={family!r}, expected 'diagonal' or 'full'.")
    samples = block.tiling.particles
    path = AnnealedPath(vae, block.batch, samples, "guide")
    draws = torch.cat([_flat(path, path.begin()).reshape(samples, -1, path.size) for _ in range(8)])
    loc = draws.mean(0).detach().requires_grad_()  # (data, units)
    log_scale = draws.std(0).clamp(min=1e-3).log().detach().requires_grad_()
    lower = torch.zeros(*loc.shape, loc.shape[-1]).to(loc).requires_grad_(family == "full")
    free = [loc, log_scale] + ([lower] if family == "full" else [])
    optimizer = torch.optim.Adam(free, lr=lr)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.01 ** (1 / max(steps, 1)))

    def log_weights() -> Tensor:
        """Log p(x, u) − log q(u), `(samples, data)`."""
        noise = torch.randn(samples, *loc.shape).to(loc)
        u = loc + log_scale.exp() * (noise + (lower.tril(-1) @ noise[..., None])[..., 0])
        log_q = (-0.5 * noise.square() - 0.5 * math.log(2 * math.pi) - log_scale).sum(-1)
        goal = path(_point(path, u.reshape(-1, path.size))).goal
        return goal.reshape(samples, -1) - log_q.double()

    with torch.enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            loss = -log_weights().mean(0).sum()  # data do not interact: one sum for all
            for parameter, grad in zip(free, torch.autograd.grad(loss, free), strict=True):
                parameter.grad = grad
            optimizer.step()
            schedule.step()
    stream = StreamingEvidence(num_particles)
    for chunk in block.tiling.chunks(num_particles):
        stream.update(log_weights()[:chunk])
    return stream.result()


def _flat(path: AnnealedPath, point: Point) -> Tensor:
    rows = [u.movedim(path.axis[name], 0).reshape(len(path.index), -1) for name, u in point.items()]
    return torch.cat(rows, dim=1)


def _point(path: AnnealedPath, flat: Tensor) -> Point:
    point, begin = {}, 0
    for name, shape in path.shape.items():
        moved = [shape[path.axis[name]], *(s for i, s in enumerate(shape) if i != len(shape) + path.axis[name])]
        width = math.prod(moved[1:])
        point[name] = flat[:, begin : begin + width].reshape(moved).movedim(0, path.axis[name])
        begin += width
    return point
