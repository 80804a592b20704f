"""Data as the pair gives them back."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppl_vae.core.data import take_data
from ppl_vae.core.generate import only
from ppl_vae.core.predict import as_point, predict
from ppl_vae.core.terms import Terms
from ppl_vae.core.tiles import blocks, first_data, inference, plan
from ppl_vae.doors import checked
from ppl_vae.errors import ArgumentError

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


@checked
def reconstruct(
    vae: "VAE",
    data: Any,
    *,
    num_particles: int = 16,
    mean: bool = True,
    memory: int | str = "1GB",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Any:
    r"""Give each datum back through its latents: E_{q(z | x)} E[x' | z], or a draw x' ~ p(x' | z) with z ~ q(z | x).

    Args:
        vae: the pair.
        data: a `Split`, a tensor `(data, …)` or a tuple of them.
        num_particles: draws of z per datum that are averaged over.
        mean: give the average; else one draw of x' for one of z.
        memory: upper limit of the working memory.
        seed: of the draws; the caller's random state is untouched.
        progress: called with the number of data done and of all data.

    Returns:
        x', `(data, *shape)`; by site where the model observes several, without those that depend on no latent (labels
        with a prior), which are given. A likelihood without a mean (a category) gives averages of draws; in a table
        of mixed columns, those of codes have the most probable one.

    Raises:
        CheckError: if the pair has no data plate.
        DataError: for data that `ppl_vae.core.data` refuses.

    >>> import torch, ppl_vae as pv, pyro, pyro.distributions as dist
    >>> def model(x):
    ...     with pyro.plate("data", x.shape[0]):
    ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
    ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
    >>> def guide(x):
    ...     with pyro.plate("data", x.shape[0]):
    ...         pyro.sample("z", dist.Normal(x / 2, 1e-4))
    >>> reconstruct(pv.VAE(model, guide), torch.tensor([0.0, 2.0])).round(decimals=2)
    tensor([0., 1.])
    """
    if num_particles < 1:
        raise ArgumentError(f"Got num_particles={num_particles}, expected at least 1.")
    split, particles = take_data(vae, data), num_particles if mean else 1
    first = first_data(vae, split)
    parts: dict[str, list[Tensor]] = {}
    with inference(vae, first) as draw:
        tiling = plan(vae, first, len(split), particles, memory, seed)
        for block in blocks(vae, split, tiling, progress):
            sums: dict[str, Tensor] = {}
            for _, chunk in block.chunks(particles):
                t = draw(block.batch, chunk)
                held = {name: t.observed[name].raw for name in inputs_among(t)}
                for name, value in given_back(vae, block.batch, t, held, mean=mean).items():
                    if name not in held:
                        total = value.sum(0) if mean else value[0]
                        sums[name] = sums[name] + total if name in sums else total
            for name, total in sums.items():
                value = as_point(t.observed[name].fn, total / particles) if mean else total
                parts.setdefault(name, []).append(value.cpu())
    return only({name: torch.cat(values) for name, values in parts.items()})


def given_back(
    vae: "VAE", batch: tuple[Any, ...], t: Terms, held: Mapping[str, Tensor], *, mean: bool
) -> dict[str, Tensor]:
    """E[x | z], to be averaged, or a draw of what each datum has, for the latents drawn: `(particles, data, *shape)`.

    Args:
        vae: the pair.
        batch: the data.
        t: with the latents.
        held: observed sites that are held, as `Site.raw`; what is NaN of them is not.
        mean: which.
    """
    latents = {name: site.raw for name, site in t.latents.items() if not site.is_auxiliary}
    drawn, _ = predict(vae, batch, t.num_particles, values={**latents, **held}, mean=mean, to_average=mean)
    return {name: site.seen for name, site in drawn.items() if site.is_local}


def inputs_among(t: Terms) -> set[str]:
    """Observed sites that depend on no latent, such as labels, beside others that do: they are given."""
    given = {name for name in t.observed if not t.prepared.plates.parents.get(name)}
    return given if len(given) < len(t.observed) else set()
