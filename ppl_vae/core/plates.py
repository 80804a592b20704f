"""What a pair looks like from outside: its data plate, its plate depth, and how its particles are drawn.

It is learnt by running the two programs a few times on a batch (`probe`), and leaves the random number generators and
the buffers of the pair as they were.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyro
import torch
from pyro import poutine
from pyro.infer.inspect import get_dependencies
from pyro.poutine import Trace
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.util import site_is_subsample

from ppl_vae import rng
from ppl_vae.core.batch import batch_length, take
from ppl_vae.errors import CheckError

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


@dataclass(frozen=True)
class PlateStructure:
    """Where the sites of a pair's programs stand, and what they depend on.

    Attributes:
        data_plates: Names of the plate over data (a model and a guide may name it differently); empty if there is none.
        depth: The number of plate dimensions of the deeper program; particles lie one to the left.
        parents: The latent sites of the model that each of its sites depends on, directly or through others.
        local: The sites of both programs that stand in the data plate.
    """

    data_plates: frozenset[str]
    depth: int
    parents: Mapping[str, frozenset[str]] = field(default_factory=dict)
    local: frozenset[str] = frozenset()

    @property
    def particle_dim(self) -> int:
        """The batch dimension of particles, counted from the right."""
        return -(self.depth + 1)

    def data_frame(self, stack: Iterable[CondIndepStackFrame]) -> CondIndepStackFrame | None:
        """The frame of the data plate in a site's stack of plates, if it stands in it."""
        for frame in stack:
            if frame.name in self.data_plates and frame.vectorized:
                return frame
        return None


def sample_sites(trace: Trace) -> dict[str, dict[str, Any]]:
    """The sample sites of a trace, without those by which plates draw their indices."""
    nodes: dict[str, Any] = trace.nodes
    return {n: s for n, s in nodes.items() if s["type"] == "sample" and not site_is_subsample(s)}


@contextmanager
def unchanged(vae: "VAE") -> Iterator[None]:
    """Within, programs may run: random number generators and buffers are put back at the end."""
    before = {name: buffer.clone() for name, buffer in vae.named_buffers()}
    with rng.forked(vae.device):
        yield
    with torch.no_grad():
        for name, buffer in vae.named_buffers():
            if name in before:
                buffer.copy_(before[name])


def run_pair(vae: "VAE", batch: tuple[Any, ...]) -> tuple[Trace, Trace]:
    """The traces of the guide and of the model replayed on it, for one particle."""
    guide = poutine.trace(vae.run_guide).get_trace(*batch)
    model = poutine.trace(poutine.replay(vae.run_model, trace=guide)).get_trace(*batch)
    return guide, model


def _frames(*traces: Trace) -> dict[str, set[CondIndepStackFrame]]:
    frames: dict[str, set[CondIndepStackFrame]] = {}
    for trace in traces:
        for site in sample_sites(trace).values():
            for frame in site["cond_indep_stack"]:
                if frame.vectorized:
                    frames.setdefault(frame.name, set()).add(frame)
    return frames


def _resized(batch: tuple[Any, ...], length: int) -> tuple[Any, ...]:
    """The batch with its first datum once more (with one less, batch norm may have a single datum left)."""
    return take(batch, torch.arange(length + 1) % length)


def probe(vae: "VAE", batch: tuple[Any, ...]) -> PlateStructure:
    """Find the data plate and the plate depth of a pair by running it.

    The data plate is the one that `vae.data_plate` names; else the one whose size changes when the batch's does;
    else one that subsamples the data by itself; else one named "data".

    Raises:
        CheckError: `vae.data_plate` names a plate that no site stands in, or several plates follow the batch.
    """
    with torch.no_grad(), pyro.validation_enabled(False):
        guide, model = run_pair(vae, batch)  # may create parameters: they are then there before any other run
        frames = _frames(guide, model)
        depth = max((-f.dim for group in frames.values() for f in group if f.dim is not None), default=0)
        names = _data_plates(vae, batch, frames)
        parents = model_parents(vae, batch, model)
    local = {
        name
        for trace in (guide, model)
        for name, site in sample_sites(trace).items()
        if any(f.name in names and f.vectorized for f in site["cond_indep_stack"])
    }
    return PlateStructure(names, depth, parents, frozenset(local))


def model_parents(vae: "VAE", batch: tuple[Any, ...], model: Trace) -> dict[str, frozenset[str]]:
    """The latent sites that each site of the model depends on.

    Found by following values through the program; where a program cannot be followed, every earlier site counts.
    """
    sites = sample_sites(model)
    earlier: set[str] = set()
    assumed: dict[str, frozenset[str]] = {}
    for name, site in sites.items():
        assumed[name] = frozenset(earlier)
        if not site["is_observed"]:
            earlier.add(name)
    try:
        found: Any = get_dependencies(vae.run_model, batch)["prior_dependencies"]
    except Exception:  # any operation may refuse the tensors that carry provenance
        return assumed
    return {n: frozenset(found[n]) - {n} if n in found else assumed[n] for n in sites}


def _data_plates(vae: "VAE", batch: tuple[Any, ...], frames: dict[str, set[CondIndepStackFrame]]) -> frozenset[str]:
    if vae.data_plate is not None:
        if vae.data_plate not in frames:
            raise CheckError(
                f"data_plate={vae.data_plate!r} names no plate of the pair. Its plates: {sorted(frames) or 'none'}."
            )
        return frozenset({vae.data_plate})
    follows: set[str] = set()
    length = batch_length(batch)
    if length is not None:
        try:
            other = _frames(*run_pair(vae, _resized(batch, length)))
        except Exception:  # a program may accept one batch size only: then its plates tell
            other = {}
        sizes, others = ({n: {f.size for f in g if f.size > 0} for n, g in found.items()} for found in (frames, other))
        changed = {n for n, group in others.items() if n in sizes and sizes[n].isdisjoint(group)}
        follows = {n for n in changed if sizes[n] == {length}} or changed
    if not follows:
        follows = {n for n, group in frames.items() if any((f.full_size or f.size) > f.size > 0 for f in group)}
    if not follows and length is not None and not other:
        alike = {n for n, group in sizes.items() if group == {length}}
        follows = alike if len(alike) == 1 else set()
    if not follows and "data" in frames:
        follows = {"data"}
    dims = {f.dim for n in follows for f in frames[n]}
    if len(dims) > 1 and len(follows) > 1:
        raise CheckError(
            f"Several plates follow the size of the batch: {sorted(follows)}. "
            f"Name the one over data: VAE(model, guide, data_plate={min(follows)!r})."
        )
    return frozenset(follows)
