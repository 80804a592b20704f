"""Draws from the model with its observations released: new data, given latents or not."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from ppl_vae.errors import CheckError
from ppl_vae.layout import sample_sites
from ppl_vae.particles import tile
from ppl_vae.sites import PARTICLES, Site, read_site, stack_sites
from ppl_vae.terms import prepare
from ppl_vae.vae import as_batch

if TYPE_CHECKING:
    from ppl_vae.vae import VAE


def predict(
    vae: "VAE", batch: Any, particles: int = 1, values: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Site], dict[str, Site]]:
    """Run the model with its observations released.

    Args:
        vae: the pair.
        batch: what the programs take; a model that only reads its shape gives new data of that shape.
        particles: number of joint draws.
        values: latents to hold, as `Site.raw` of a guide run with as many particles; none for the prior.

    Returns:
        The sites that were observed, now drawn, and the latent ones; their values are
        `(particles, data, …)` if local, `(particles, …)` if global.

    Raises:
        CheckError: if a latent has a prior that cannot be drawn from, as in a deterministic autoencoder.
    """
    batch = as_batch(batch)
    layout = prepare(vae, batch, particles)
    strategy = layout.strategy if particles > 1 else "single"
    if strategy == "loop":
        runs = [predict(vae, batch, 1, None if values is None else {n: v[k] for n, v in values.items()})
                for k in range(particles)]  # fmt: skip
        first, second = ([run[i] for run in runs] for i in (0, 1))
        return tuple({n: stack_sites([r[n] for r in part]) for n in part[0]} for part in (first, second))  # type: ignore[return-value]

    inputs = tile(batch, particles) if strategy == "tile" else batch
    program = poutine.uncondition(vae.run_model)
    if values is not None:
        program = poutine.condition(program, data=dict(values))

    def run() -> None:
        if strategy == "plate":
            with pyro.plate(PARTICLES, particles, dim=layout.particle_dim):
                program(*inputs)
        else:
            program(*inputs)

    try:
        with torch.no_grad():
            trace = poutine.trace(run).get_trace()
    except NotImplementedError as error:
        raise CheckError(
            f"This model cannot generate: {_improper(vae, batch) or error}. Drawing new data takes a prior that can be "
            "drawn from, such as that of model=vae; a deterministic autoencoder has none."
        ) from error
    drawn: dict[str, Site] = {}
    latent: dict[str, Site] = {}
    for name, msg in sample_sites(trace).items():
        if name.startswith(PARTICLES) or msg["infer"].get("_deterministic"):
            continue
        place = drawn if msg["infer"].get("was_observed") else latent
        place[name] = read_site(msg, layout, particles, tiled=strategy == "tile")
    return drawn, latent


def _improper(vae: "VAE", batch: tuple[Any, ...]) -> str:
    guide = poutine.trace(vae.run_guide).get_trace(*batch)
    trace = poutine.trace(poutine.replay(vae.run_model, trace=guide)).get_trace(*batch)
    names = [n for n, s in sample_sites(trace).items() if isinstance(s["fn"], pyro.distributions.ImproperUniform)]
    return f"the prior of {', '.join(map(repr, names))} is improper" if names else ""


def expected(fn: Any) -> Tensor:
    """The mean of a distribution, or a draw where it has none."""
    try:
        mean = fn.mean
    except (NotImplementedError, AttributeError):
        return fn.sample()
    return fn.sample() if bool(torch.isnan(mean).any()) else mean
