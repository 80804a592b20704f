"""Draws from the model with its observations released: new data, given latents or not."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.core.axes import PARTICLES
from ppl_vae.core.data import take_batch
from ppl_vae.core.particles import Runner, particle_of
from ppl_vae.core.plates import run_pair, sample_sites
from ppl_vae.core.prepared import Prepared
from ppl_vae.core.run import prepare, prepare_released
from ppl_vae.core.series import series_among
from ppl_vae.core.site import Site
from ppl_vae.distributions.unwrap import innermost
from ppl_vae.errors import CheckError

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE

Sites = dict[str, Site]


def predict(
    vae: "VAE",
    batch: Any,
    particles: int = 1,
    *,
    values: Mapping[str, Tensor] | None = None,
    mean: bool = False,
    to_average: bool = False,
) -> tuple[Sites, Sites]:
    """Run the model with its observations released.

    Args:
        vae: the pair.
        batch: what the programs take; a model that only reads its shape gives new data of that shape.
        particles: number of joint draws.
        values: sites to hold, as `Site.raw` of as many particles of the guide; latents that are not among them are
            drawn from the prior. What is NaN is drawn: so the rest of a datum is held where some of it is missing.
        mean: give the mean of p(x | z) in place of a draw, where it has one.
        to_average: give what may be averaged over draws of z in place of the mean, where a distribution has an
            `expectation` (probabilities of categories); `as_point` makes values of the averages.

    Returns:
        The sites that were observed, now drawn, and the latent ones; values are `(particles, data, …)` if
        local, `(particles, …)` if global. `seen` is NaN after the end of a sequence: where a model masks a series of
        sites, or a site with `infer={"padding": True}`, and nothing is missing.

    Raises:
        CheckError: if a latent has a prior that cannot be drawn from, as in a deterministic autoencoder.
    """
    batch = take_batch(vae, batch)
    try:
        with torch.no_grad():
            return _predicted(vae, batch, particles, dict(values or {}), mean, to_average)
    except NotImplementedError as error:
        raise CheckError(
            f"This model cannot generate: {_improper(vae, batch) or error}. Drawing new data takes a prior that can be "
            "drawn from, such as that of model=vae; a deterministic autoencoder has none."
        ) from error


def _predicted(
    vae: "VAE", batch: tuple[Any, ...], particles: int, values: dict[str, Tensor], mean: bool, to_average: bool
) -> tuple[Sites, Sites]:
    prepared, strategy = prepare(vae, batch, particles, mode="draw"), "single"
    if particles > 1:
        prepared = prepare_released(vae, batch, prepared)
        strategy = prepared.released
        if strategy != prepared.strategy and values:
            values = _one_by_one(vae, batch, prepared, particles, values)
    runner = Runner(vae, batch, prepared, particles, strategy)
    runs: list[tuple[Sites, Sites]] = []
    for k in range(runner.runs):
        program = poutine.uncondition(vae.run_model)
        held = values if strategy != "loop" else {name: value[k] for name, value in values.items()}
        in_part = {n: v for n, v in held.items() if v.is_floating_point() and bool(v.isnan().any())}
        if held:
            program = poutine.condition(program, data={n: v for n, v in held.items() if n not in in_part})
        with _InPart(in_part):
            trace = poutine.trace(runner.run).get_trace(program)
        runs.append(_read(runner, trace, mean, held, to_average))
    drawn, latent = (runner.stack([run[i] for run in runs]) for i in (0, 1))
    return drawn, latent


def _one_by_one(
    vae: "VAE", batch: tuple[Any, ...], prepared: Prepared, particles: int, values: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Values of all particles as a loop over them takes them."""
    sites = Runner(vae, batch, prepared).released()
    return {
        name: torch.stack([particle_of(replace(site, raw=value), k, prepared, particles) for k in range(particles)])
        for name, value in values.items()
        if (site := sites.get(name)) is not None
    }


class _InPart(Messenger):
    """Holds those values of sites that are not NaN; the others are drawn."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self.values:
            msg["value"] = _merged(self.values[msg["name"]], msg["value"])


def _merged(held: Tensor, other: Tensor) -> Tensor:
    """The held value, and the other where that is NaN."""
    return torch.where(held.isnan(), other, held.to(other.dtype))


def _read(
    runner: Runner, trace: Trace, of_means: bool, held: Mapping[str, Tensor], to_average: bool
) -> tuple[Sites, Sites]:
    sites = sample_sites(trace)
    observed = {n for n, s in sites.items() if s["infer"].get("was_observed")}
    for name in list(trace.nodes):
        if name not in sites or name.startswith(PARTICLES) or sites[name]["infer"].get("_deterministic"):
            trace.remove_node(name)
        elif of_means and name in observed:
            node = trace.nodes[name]
            value: Any = node["value"]
            expectation = expected(node["fn"])
            node["value"] = _merged(held[name], expectation) if name in held else expectation.expand(value.shape)
    read = runner.read(trace)
    for name in observed & read.keys() if to_average else ():
        found = getattr(innermost(read[name].fn), "expectation", None)
        if found is not None:
            own = runner.axes_of(trace.nodes[name]).canonical(found, read[name].fn.event_dim)
            read[name] = replace(read[name], value=own, shown=None)
    # Elsewhere what is masked may be missing, and a draw of it is wanted.
    found = series_among({n: s for n, s in read.items() if n in observed})
    ends = {n for names in found.values() for n in names} | {n for n in observed if sites[n]["infer"].get("padding")}
    read = {n: s if n in ends or n not in observed else replace(s, shown=None) for n, s in read.items()}
    return {n: s for n, s in read.items() if n in observed}, {n: s for n, s in read.items() if n not in observed}


def _improper(vae: "VAE", batch: tuple[Any, ...]) -> str:
    sites = sample_sites(run_pair(vae, batch)[1])
    names = [name for name, site in sites.items() if isinstance(site["fn"], dist.ImproperUniform)]
    return f"the prior of {', '.join(map(repr, names))} is improper" if names else ""


def expected(fn: Any) -> Tensor:
    """Give the mean of a distribution, or a draw where it has none."""
    try:
        mean = fn.mean
    except (NotImplementedError, AttributeError):
        return fn.sample()
    return fn.sample() if bool(torch.isnan(mean).any()) else mean


def as_point(fn: Any, average: Tensor) -> Tensor:
    """Give an average of what `predict` gave for it as a value of a distribution: a mean, or the likeliest."""
    point: Callable[[Tensor], Tensor] | None = getattr(innermost(fn), "point", None)
    return average if point is None else point(average)


def expected_values(vae: "VAE", batch: Any, latents: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give E[x | z] of every observed site for one value of the latents, `(data, …)`."""
    drawn, _ = predict(vae, batch, values=latents, mean=True)
    return {name: site.value[0] for name, site in drawn.items()}
