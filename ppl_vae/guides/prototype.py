"""The facts that a guide learns from one run of a model: its latents, their families and their plates."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from ppl_vae.core.adapters import Adapters
from ppl_vae.core.programs import SizedPlates
from ppl_vae.distributions.bijections import stated_support, upper_bound
from ppl_vae.distributions.unwrap import is_masked
from ppl_vae.errors import PplVaeError
from ppl_vae.guides.families import family_for, formerly
from ppl_vae.guides.inputs import data_tensors
from ppl_vae.guides.site import Prototype, Site

NUM_RUNS = 16
"""More runs of a model that has binomial latents, to see whether numbers of trials depend on draws."""

NUM_DRAWS = 32
"""Prior draws from which location and spread are told."""


def prototype(
    model: Any,
    batch: tuple[Any, ...],
    data_plate: str | None = None,
    hide: Collection[str] = (),
    family: str | Mapping[str, str] = "diagonal",
) -> Prototype:
    """Run a model once and describe its latents; parameters and random state stay as they are.

    Args:
        model: any Pyro program.
        batch: its arguments.
        data_plate: name of the data plate, where it cannot be told from its size.
        hide: names of latents to leave out, besides those that the model marks for enumeration.
        family: of all sites for which it is one, or by site.

    Raises:
        PplVaeError: no data plate is found, or a support for which no family is known.
    """
    devices = {t.device for t in batch if isinstance(t, Tensor) and t.is_cuda}
    with torch.random.fork_rng(devices=list(devices)), torch.no_grad(), pyro.validation_enabled(False):
        nodes = _run(model, batch)
        hidden = frozenset(hide) | {n for n, node in nodes.items() if "enumerate" in node["infer"]}
        nodes = {n: node for n, node in nodes.items() if n not in hidden}
        longer = _run_longer(model, batch)
        if data_plate is None:
            data_plate = _find_data_plate(batch, nodes, longer)
        for name, node in nodes.items():
            _require_plates(name, node, longer.get(name, node), data_plate)
        depth = max((len(node["fn"].batch_shape) for node in nodes.values()), default=0)
        for name in sorted(set(family) - set(nodes)) if not isinstance(family, str) else ():
            raise PplVaeError(f"Got family=… for site {name!r}, expected one of {', '.join(map(repr, nodes))}.")
        keys, moving = _keys(nodes), _moving(model, batch, nodes, longer)
        sites = tuple(
            _describe(name, keys[name], node, depth, data_plate, family, name in moving) for name, node in nodes.items()
        )
    return Prototype(sites, data_plate, hidden)


def _run(model: Any, batch: tuple[Any, ...]) -> dict[str, Any]:
    """The unobserved sites of one run, unseen by any handler outside."""
    hidden = poutine.block(hide_fn=lambda site: site["type"] == "sample")
    with hidden, poutine.trace() as tracer, SizedPlates(), _Drawn(), Adapters():
        model(*batch)
    nodes = tracer.trace.nodes
    return {n: nodes[n] for n in tracer.trace.stochastic_nodes if not is_subsample(nodes[n])}


class _Drawn(Messenger):
    """Draws each latent, as Pyro would; says of which nothing can be drawn."""

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] or msg["done"] or is_subsample(msg):
            return
        try:
            msg["value"], msg["done"] = msg["fn"](*msg["args"], **msg["kwargs"]), True
        except NotImplementedError as error:
            raise PplVaeError(
                f"site {msg['name']!r}: no value can be drawn from {type(msg['fn']).__name__}, from which its guide "
                "would be derived. Give it a proper prior, wide if need be, or write the guide by hand."
            ) from error


def is_subsample(site: Any) -> bool:
    """True if a site draws the indices of a plate."""
    return type(site["fn"]).__name__ == "_Subsample"


def _run_longer(model: Any, batch: tuple[Any, ...]) -> dict[str, Any]:
    """The unobserved sites of a run on the data twice over; none if the model cannot take that."""
    indices = [i for i, _ in data_tensors(batch)]
    if not indices:
        return {}
    with suppress(Exception):  # the model may be for one length of data only: then sizes decide
        return _run(model, tuple(torch.cat([t, t]) if i in indices else t for i, t in enumerate(batch)))
    return {}


def _moving(model: Any, batch: tuple[Any, ...], *runs: dict[str, Any]) -> frozenset[str]:
    """Names of counts whose largest value, equal for all data in one run, is another in others."""

    def trials(run: dict[str, Any], name: str) -> float | None:
        bound = upper_bound(run[name]["fn"]) if name in run else None
        return float(bound.max()) if isinstance(bound, Tensor) else None

    counts = [name for name in runs[0] if trials(runs[0], name) is not None]
    if not counts:
        return frozenset()
    with torch.random.fork_rng(devices=()):  # draws of priors below are as they were
        more = [_run(model, batch) for _ in range(NUM_RUNS)]
    found = {name: {trials(run, name) for run in (*runs, *more) if name in run} for name in counts}
    return frozenset(name for name, values in found.items() if len(values) > 1)


def _sizes(nodes: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Size and full size of every vectorized plate."""
    frames = [f for node in nodes.values() for f in node["cond_indep_stack"] if f.vectorized]
    return {f.name: (f.size, f.full_size or f.size) for f in frames}


def _find_data_plate(batch: tuple[Any, ...], nodes: dict[str, Any], longer: dict[str, Any]) -> str | None:
    """The plate that grows with the batch, or is as long as it where the model takes one length only."""
    data, plates, grown = data_tensors(batch), _sizes(nodes), _sizes(longer)
    if not data:
        return None
    length = data[0][1].shape[0]
    found = [name for name, sizes in plates.items() if grown.get(name, sizes) != sizes]
    if not longer:
        found = [name for name, sizes in plates.items() if length in sizes]
    if not found:  # a model that draws its minibatch may write its number of data as a constant
        found = [name for name, (size, full_size) in plates.items() if size < full_size == length]
    if len(found) > 1:
        raise PplVaeError(f"several plates are as long as the batch: {', '.join(found)}. Pass data_plate=….")
    return found[0] if found else None


def _require_plates(name: str, node: dict[str, Any], longer: dict[str, Any], data_plate: str | None) -> None:
    """Refuse a latent for which no fixed set of parameters and no network over data will do."""
    shapes = [(*n["fn"].batch_shape, *n["fn"].event_shape) for n in (node, longer)]
    plates = _sizes({name: node})
    if data_plate not in plates and shapes[0] != shapes[1]:
        raise PplVaeError(
            f"site {name!r} has shape {shapes[0]}, and {shapes[1]} on twice the data, but lies in no plate over data. "
            f'Put it, and what it gives rise to, inside `with pyro.plate("data", x.shape[0]):`.'
        )
    for plate, (size, full_size) in plates.items():
        if plate != data_plate and size != full_size:
            raise PplVaeError(
                f"site {name!r} lies in plate {plate!r}, which draws {size} of {full_size} indices, and the batch "
                f"has no tensor with {full_size} data for a guide to look them up in. "
                "Pass the data as an argument of the model."
            )


def _scaled(scale: Any) -> bool:
    return isinstance(scale, Tensor) or scale != 1


def _keys(names: Collection[str]) -> dict[str, str]:
    """By name, a key that `nn.ModuleDict` takes; a name that is one keeps it, whatever else there is."""
    taken, keys = set(dir(nn.ModuleDict())), {}
    for name in sorted(names, key=lambda name: name.replace(".", "/") != name):
        key = name.replace(".", "/")
        while key in taken or not key:
            key += "_"
        taken.add(key)
        keys[name] = key
    return keys


def _describe(
    name: str,
    key: str,
    node: dict[str, Any],
    depth: int,
    data_plate: str | None,
    chosen: str | Mapping[str, str],
    moving: bool,
) -> Site:
    fn, frames = node["fn"], node["cond_indep_stack"]
    if any(not f.vectorized and f.name == data_plate for f in frames):
        raise PplVaeError(
            f"site {name!r} lies in the sequential plate {data_plate!r}, where every datum has a site of its own. "
            f"Write the plate vectorized: `with pyro.plate({data_plate!r}, x.shape[0]):`."
        )
    family = family_for(name, fn, chosen, moving)
    batch_shape = (1,) * (depth - len(fn.batch_shape)) + tuple(fn.batch_shape)
    dims = {f.name: f.dim for f in frames if f.vectorized}
    axis = depth + dims[data_plate] if data_plate in dims else None
    loc, scale = family.start(fn.sample((NUM_DRAWS,)).reshape(NUM_DRAWS, *batch_shape, *fn.event_shape), fn)
    if axis is not None:
        loc, scale = loc.mean(axis), scale.mean(axis)
    plates = {f.name: f.size for f in frames if f.vectorized and f.name != data_plate}
    handled = node["mask"] is not None or is_masked(fn) or _scaled(node["scale"])
    drawn = {f.name: f.size for f in frames if f.vectorized and f.size < (f.full_size or f.size)}
    return Site(
        name=name,
        key=key,
        family=family,
        formerly=formerly(fn),
        batch_shape=batch_shape,
        excess=depth - len(fn.batch_shape),
        data_axis=axis,
        plates=plates,
        dims={plate: dims[plate] for plate in plates},
        subsample=drawn.get(data_plate) if data_plate is not None else None,
        loc=loc,
        scale=scale,
        handled=handled,
        support=stated_support(fn),
    )
