"""HMC from the guide's draws: chains of the true posterior, against which the guide can be held."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ppl_vae.core.data import take_data
from ppl_vae.core.half import array_of
from ppl_vae.core.run import terms
from ppl_vae.core.series import seen, series_of, stacked
from ppl_vae.core.tiles import blocks, first_data, inference, plan_rows
from ppl_vae.doors import checked
from ppl_vae.errors import ArgumentError
from ppl_vae.inference_data.draw import constants, dimensions_of, observations
from ppl_vae.inference_data.groups import Dimensions, datatree
from ppl_vae.mcmc.hmc import AnnealedPath, hmc

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


@checked
def refine(
    vae: "VAE",
    data: Any,
    draws: int = 500,
    *,
    chains: int = 4,
    warmup: int = 300,
    leapfrog: int = 8,
    spec: Any = None,
    memory: int | str = "1GB",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Any:
    """Draw from p(z | x) itself by HMC, each chain begun at a draw of the guide.

    Each datum has chains of its own, with a step size of its own, adapted during the warm-up and then held. Unlike
    the guide's draws these are dependent, so r̂, effective sample sizes and trace plots say what they always say.
    Where refined draws differ from the guide's, the guide is wrong; where r̂ is large, neither is to be trusted.

    Args:
        vae: the pair; its local latents must be continuous, and no latent global.
        data: a few data: a `Split`, a tensor or a tuple of them.
        draws: draws per chain, after the warm-up.
        chains: chains per datum.
        warmup: transitions that adapt the step size and are thrown away.
        leapfrog: leapfrog steps per transition.
        spec: the data's `Spec`, for names.
        memory: upper limit of the working memory.
        seed: of everything drawn; the caller's random state is untouched.
        progress: called with the number of transitions done and of all transitions.

    Returns:
        ``posterior``, `sample_stats` (`acceptance_rate`, `step_size`), `observed_data` and `constant_data` as
        [`posterior`][ppl_vae.inference_data.draw.posterior] names them: `InferenceData` with ArviZ 0.23, `DataTree`
        with ArviZ ≥ 1.

    Raises:
        CheckError: for discrete, global, auxiliary or deterministic latents.

    References:
        Hoffman (2017), Learning Deep Latent Gaussian Models with Markov Chain Monte Carlo,
            https://proceedings.mlr.press/v70/hoffman17a.html
    """
    from ppl_vae.inference_data._arviz import from_tree

    if draws < 1 or chains < 1 or warmup < 0:
        raise ArgumentError(f"Got draws={draws}, chains={chains}, warmup={warmup}, expected at least 1, 1 and 0.")
    split = take_data(vae, data)
    first = first_data(vae, split)
    drawn: list[dict[str, dict[str, NDArray[Any]]]] = []
    with inference(vae, first) as draw:
        probe = draw(first)
        tiling = plan_rows(vae, first, len(split), chains, memory, seed)
        total = math.ceil(len(split) / tiling.data) * (warmup + draws)
        for block in blocks(vae, split, tiling):
            done = len(drawn) * (warmup + draws)

            def tick(count: int, done: int = done) -> None:
                if progress is not None:
                    progress(done + count, total)

            drawn.append(_chains(vae, block.batch, draws, chains, warmup, leapfrog, tick))
    groups: dict[str, dict[str, NDArray[Any]]] = {}
    inputs = constants(split, probe, spec)
    others = {*inputs, *drawn[0]["sample_stats"]}
    dimensions, names = dimensions_of(probe, spec, None, None, split.indices.cpu().numpy(), chains, others)
    for group, values in drawn[0].items():
        axis = 0 if group == "observed_data" else 2  # (chain, draw, datum, …)
        joined = {name: np.concatenate([b[group][name] for b in drawn], axis) for name in values}
        groups[group] = {names.get(name, name): value for name, value in joined.items()}
    groups["constant_data"] = inputs
    local = frozenset(name for variables in groups.values() for name in variables)
    attrs = {"seed": seed, "draws": draws, "chains": chains, "warmup": warmup, "sampler": "HMC from the guide's draws"}
    present = {group: variables for group, variables in groups.items() if variables}
    return from_tree(datatree(present, Dimensions(local, dimensions.dims, dimensions.coords), attrs))


def _chains(
    vae: "VAE",
    batch: tuple[Any, ...],
    draws: int,
    chains: int,
    warmup: int,
    leapfrog: int,
    tick: Callable[[int], None],
) -> dict[str, dict[str, NDArray[Any]]]:
    path = AnnealedPath(vae, batch, chains, "guide")
    t = terms(vae, batch, mode="draw")
    one = torch.ones((), dtype=torch.float64, device=vae.device)
    point = path.begin()
    now = path(point)
    size = torch.full_like(now.goal, 0.2)
    kept: dict[str, list[NDArray[Any]]] = {name: [] for name in point}
    rates: list[NDArray[Any]] = []
    for i in range(warmup + draws):
        jitter = 0.8 + 0.4 * torch.rand_like(size)  # steps of one length can follow closed orbits
        point, now, rate = hmc(path, point, now, one, size * jitter, leapfrog)
        if i < warmup:
            size = size * torch.exp((rate - 0.8) / (1 + i) ** 0.5)
        if i == warmup - 1:
            size = size.log().reshape(chains, -1).mean(0).exp().repeat(chains)
        if i >= warmup:
            for name, u in point.items():
                shape = (chains, t.batch_size, *t.latents[name].value.shape[2:])
                z = path.transform[name](u).movedim(path.axis[name], 0)
                kept[name].append(array_of(z.reshape(shape).where(~seen(t, name)[:1].isnan(), torch.nan)))
            rates.append(array_of(rate.reshape(chains, -1)))
        tick(i + 1)
    steps = np.broadcast_to(array_of(size.reshape(chains, 1, -1)), (chains, draws, t.batch_size))
    return {
        "posterior": stacked({name: np.stack(values, axis=1) for name, values in kept.items()}, series_of(t), 3),
        "sample_stats": {"acceptance_rate": np.stack(rates, axis=1), "step_size": steps},
        "observed_data": observations(t),
    }
