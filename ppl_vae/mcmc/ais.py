"""Annealed importance sampling with HMC: the evidence bracketed, where plain importance sampling may be lost."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppl_vae.core.data import as_pair_takes, take_data
from ppl_vae.core.evidence import StreamingEvidence
from ppl_vae.core.simulate import reference_batch, simulate
from ppl_vae.core.tiles import blocks, first_data, inference, plan_rows
from ppl_vae.errors import ArgumentError
from ppl_vae.mcmc.hmc import AnnealedPath, Point, Start, hmc

if TYPE_CHECKING:
    import pandas as pd

    from ppl_vae.core.pair import VAE


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

    References:
        Neal (2001), Annealed Importance Sampling, https://arxiv.org/abs/physics/9803008
        Wu, Burda, Salakhutdinov and Grosse (2017), On the Quantitative Analysis of Decoder-Based Generative Models,
            https://arxiv.org/abs/1611.04273
    """
    import pandas as pd

    split = take_data(vae, data)
    first = first_data(vae, split)
    tables = []
    with inference(vae, first):
        tiling = plan_rows(vae, first, len(split), chains, memory, seed)
        for block in blocks(vae, split, tiling, progress):
            tables.append(_forward(vae, block.batch, chains, _schedule(steps), leapfrog, start)[0])
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

    References:
        Grosse, Ghahramani and Adams (2015), Sandwiching the marginal likelihood using bidirectional Monte Carlo,
            https://arxiv.org/abs/1511.02543
    """
    import pandas as pd

    first = as_pair_takes(reference_batch(vae, like), vae)
    tables = []
    with inference(vae, first):
        tiling = plan_rows(vae, first, n, chains, memory, seed)
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


def _schedule(steps: int, sharpness: float = 4.0) -> Tensor:
    """Inverse temperatures from 0 to 1, densest at both ends, `(steps + 1,)`."""
    if steps < 1:
        raise ArgumentError(f"Got steps={steps}, expected at least 1.")
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
