"""Prepare a pair once, and run it: the way from a batch to its terms."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyro
import torch
from torch import Tensor

from ppl_vae import rng
from ppl_vae.core.assign import assign
from ppl_vae.core.batch import batch_length, structure, take
from ppl_vae.core.data import take_batch
from ppl_vae.core.particles import Runner, choose, own_noise, released_strategy
from ppl_vae.core.plain import numbers
from ppl_vae.core.plates import probe, unchanged
from ppl_vae.core.prepared import Mode, Prepared
from ppl_vae.core.programs import exclusive
from ppl_vae.core.shapes import require_shapes
from ppl_vae.core.site import Site
from ppl_vae.core.terms import Terms, latent_names
from ppl_vae.doors import checked
from ppl_vae.errors import ArgumentError, CheckError, near_names
from ppl_vae.estimators.baselines import Neural

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE

KNOWN = 64
"""Ways to run a pair that are kept: a number that moves from epoch to epoch would add one with each."""

FEW = 64
"""Values in a container up to which they are looked at in each run: longer ones are names or a record, not settings."""


@exclusive
@checked
def prepare(vae: "VAE", batch: Any, particles: int = 1, *, mode: Mode = "estimate") -> Prepared:
    """Learn once how a pair is run: its parameters, its data plate, and how its particles are drawn.

    What is learnt is one frozen value. It is kept per structure of a batch (labelled and unlabelled ones, sequences of
    another length), estimators, mode, and plain values that modules hold (such as training or evaluation mode), since
    it may differ between them. `terms` and `fit` call this when needed. It leaves random number generators and buffers
    as they were.

    Args:
        vae: The pair.
        batch: A tensor, or a tuple of what the programs take.
        particles: Whether several particles will be drawn together.
        mode: How the latent sites get their values.
    """
    batch = take_batch(vae, batch)
    key = _key(vae, batch)
    known = vae.prepared.get((key, mode))
    if known is None:
        known = vae.prepared.get((key, "estimate"))
        if known is None:
            before = numbers(vae, most=FEW)
            with unchanged(vae):
                plates, guide, model = probe(vae, batch)
                require_shapes(guide, model)
                known = assign(vae, batch, plates, guide, model)
                with torch.no_grad():
                    for module in vae.modules():
                        if isinstance(module, Neural):
                            module.predict(batch)  # lazy networks take their size before an optimizer sees them
            after = numbers(vae, most=FEW)
            vae.moving |= {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
            # What the first run has made (parameters, networks' sizes) is a part of the key no more.
            key = _key(vae, batch)
            vae.prepared[key, "estimate"] = known
            while len(vae.prepared) > KNOWN:
                del vae.prepared[next(iter(vae.prepared))]
            if vae.reference_batch is None:
                vae.reference_batch = _reference(batch) if known.plates.takes_any else batch
        if mode != "estimate":
            known = known.drawing(_summable(vae, batch, known) if mode == "sum" else frozenset())
        vae.prepared[key, mode] = known
    if particles > 1 and not known.strategy:
        with unchanged(vae):
            strategy, reasons = choose(vae, batch, known)
        known = replace(known, strategy=strategy, reasons=reasons)
        vae.prepared[key, mode] = known
    return known


def prepare_released(vae: "VAE", batch: tuple[Any, ...], prepared: Prepared) -> Prepared:
    """Learn once, too, how particles of the model are drawn where its observations are drawn with them."""
    if prepared.released:
        return prepared
    with unchanged(vae):
        strategy = released_strategy(vae, batch, prepared)
    known = replace(prepared, released=strategy)
    vae.prepared[_key(vae, batch), prepared.mode] = known
    return known


def _key(vae: "VAE", batch: tuple[Any, ...]) -> Any:
    """All that what is learnt depends on, beside the programs' code: modes and other plain values, too."""
    estimators = tuple((name, id(e)) for name, e in vae.estimators.items())
    held = tuple((name, value) for name, value in numbers(vae, most=FEW).items() if name not in vae.moving)
    return structure(batch), estimators, vae.data_plate, held


def _reference(batch: tuple[Any, ...]) -> tuple[Any, ...]:
    """The first two data of a batch: real ones, from which shapes and kinds of further data are known."""
    length = batch_length(batch)
    return batch if length is None else take(batch, torch.arange(min(length, 2)))


def _summable(vae: "VAE", batch: tuple[Any, ...], prepared: Prepared) -> frozenset[str]:
    """The sites that can be summed out of a datum's weight: in the data plate and in no other."""
    if not prepared.summed:
        return frozenset()
    with torch.no_grad(), pyro.validation_enabled(False), unchanged(vae):
        guide = Runner(vae, batch, prepared).guide()[1]
    fit = {name for name in prepared.summed if guide[name].is_local and not guide[name].plates}
    return frozenset(fit) if fit == set(prepared.summed) else frozenset()


@exclusive
@checked
def terms(
    vae: "VAE",
    batch: Any,
    particles: int = 1,
    *,
    total: float | None = None,
    values: Mapping[str, Tensor] | None = None,
    shared_global: bool = False,
    strategy: str | None = None,
    cut: bool = False,
    mode: Mode = "estimate",
) -> Terms:
    """Run the guide, then the model replayed on it, and give the log-density of every site.

    Args:
        vae: The pair.
        batch: A tensor, or a tuple of what the programs take.
        particles: K, the number of joint draws.
        total: N, the size of the data set that the batch is a part of; by default the batch is the data set.
        values: Latent values to use in place of draws, in the shape the program gives them.
        shared_global: Draw global latents once for all particles.
        strategy: How particles are drawn: `"plate"`, `"tile"` or `"loop"`; by default the first that gives right
            values for this pair, found by a check made once.
        cut: Run the model on copies of the latent values that are leaves of the graph (`Terms.leaves`), so that the
            direct gradient of the model and the gradient that enters each latent can be weighted apart.
        mode: How latent sites get their values: as their estimators say (`"estimate"`), by plain draws from the guide
            (`"draw"`), or so with enumerated sites summed out (`"sum"`).

    Raises:
        CheckError: A latent site of one program has no counterpart in the other.

    Example:
        >>> import ppl_vae as pv, pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", x.shape[0]):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", x.shape[0]):
        ...         pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))
        >>> t = pv.terms(pv.VAE(model, guide), torch.tensor([0.0, 1.0]), particles=3)
        >>> t.log_weights.mean(0)  # the exact posterior: log p(x) in every draw
        tensor([-1.2655, -1.5155])
    """
    if isinstance(particles, bool) or not isinstance(particles, int) or particles < 1:
        raise ArgumentError(f"Got particles={particles!r}, expected a whole number of at least 1.")
    batch = take_batch(vae, batch)
    prepared = prepare(vae, batch, particles, mode=mode)
    if strategy is None:
        strategy = prepared.strategy if particles > 1 else "single"
    runner = Runner(vae, batch, prepared, particles, strategy, total)
    noise = rng.capture(vae.device) if own_noise(vae.guide) else None
    traces, guide = runner.guide(values=values, shared_global=shared_global)
    leaves = _leaves(guide) if cut else {}
    model, contracted = runner.model(traces, values=leaves or None)
    _match(guide, model, prepared)

    local = next((s for s in (*model.values(), *guide.values()) if s.is_local), None)
    size = 1 if local is None else local.log_prob.shape[-1]
    scale = 1.0 if local is None else local.plate_scale / local.inner_scale
    count: Any = (batch_length(batch) or 1) if local is None else size * scale
    if total is not None:
        count = total

    def replay(values: Mapping[str, Tensor]) -> dict[str, Site]:
        return guide_path(runner, values, noise)

    return Terms(batch, prepared, guide, model, particles, size, count, scale, strategy, replay, contracted, leaves)


def _leaves(guide: Mapping[str, Site]) -> dict[str, Tensor]:
    """The latent values as leaves, where a gradient can be taken."""
    return {
        name: site.raw.detach().requires_grad_() if site.raw.is_floating_point() else site.raw
        for name, site in guide.items()
        if not site.is_observed
    }


def guide_path(runner: Runner, values: Mapping[str, Tensor], noise: dict[str, Any] | None = None) -> dict[str, Site]:
    """The guide at given draws, with every parameter constant.

    Args:
        runner: As the draws were made.
        values: The draws, as the program sees them.
        noise: The state of the generators before they were drawn, where the guide has noise of its own.
    """
    program = runner.vae.detached_guide()
    if noise is None:
        return runner.guide(program, values=values)[1]
    with rng.forked(runner.vae.device):
        rng.restore(noise, runner.vae.device)
        return runner.guide(program, values=values, redraw=True)[1]


def _match(guide: Mapping[str, Site], model: Mapping[str, Site], prepared: Prepared) -> None:
    """Every latent site of the model has one in the guide; every one of the guide, unless auxiliary, in the model."""
    drawn = {n for n, s in guide.items() if not s.is_observed}
    latent = latent_names(model.values())
    missing = latent - drawn
    extra = {n for n in drawn - latent if not guide[n].is_auxiliary}
    if not missing and not extra and not prepared.unpaired:
        return
    lines = []
    for name in sorted(missing):
        near = near_names(name, extra)
        hint = f"; did the guide's {near[0]!r} mean it?" if near else ""
        lines.append(f"the model samples {name!r}, which the guide does not{hint}")
    lines += [f"the guide samples {name!r}, which is no latent site of the model" for name in sorted(extra)]
    lines += [f"the guide's auxiliary site {name!r} has no reverse in the model" for name in sorted(prepared.unpaired)]
    raise CheckError(
        "Model and guide do not match: "
        + "; ".join(lines)
        + ". Give each latent site of the model one of the same name in the guide, or observe it (obs=…). A site that "
        "only serves others in the guide needs its reverse r(a | z) as a site of the model: without it this is "
        "no bound (infer={'is_auxiliary': True} is for autoguides, whose Delta sites carry it)."
    )
