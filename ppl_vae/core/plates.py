"""A pair from outside: its data plate, its plate depth, and a run of both programs.

It is learnt by running the two programs a few times on a batch (`probe`), and leaves the random number generators and
the buffers of the pair as they were.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyro
import torch
from pyro import poutine
from pyro.infer.inspect import TrackProvenance
from pyro.ops.provenance import get_provenance
from pyro.poutine import Trace
from pyro.poutine.enum_messenger import EnumMessenger
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample

from ppl_vae import rng
from ppl_vae.core.batch import batch_length, take
from ppl_vae.distributions.unwrap import unmasked
from ppl_vae.errors import CheckError

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


@dataclass(frozen=True)
class PlateStructure:
    """The plates that the sites of a pair's programs stand in, and what they depend on.

    Attributes:
        data_plates: Names of the plate over data (a model and a guide may name it differently); empty if there is none.
        depth: The number of plate dimensions of the deeper program; particles lie one to the left.
        parents: The latent sites that each site of the model depends on.
        above: The latent sites that each site of the guide depends on.
        local: The sites of both programs that stand in the data plate.
        takes_any: Whether the programs run on a batch of another size.
        followed: Whether `parents` were found by following values, and are not every earlier site.
        escaping: Latent sites on which a site outside one of their plates depends, each with one such site.
    """

    data_plates: frozenset[str]
    depth: int
    parents: Mapping[str, frozenset[str]] = field(default_factory=dict)
    above: Mapping[str, frozenset[str]] = field(default_factory=dict)
    local: frozenset[str] = frozenset()
    escaping: Mapping[str, str] = field(default_factory=dict)
    followed: bool = True
    takes_any: bool = True

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


DEEPEST = 12
"""Plate dimensions that a program may have where it only runs with its sites enumerated."""


@dataclass(frozen=True)
class Attempt:
    """One run of both programs, as far as they went.

    Attributes:
        traces: By program: the guide's, and the model's replayed on it.
        failure: What a program raised.
    """

    traces: Mapping[str, Trace]
    failure: Exception | None = None


def attempt(
    vae: "VAE", batch: tuple[Any, ...], watch: Callable[[str], Iterable[Messenger]] = lambda program: ()
) -> Attempt:
    """Run the guide, then the model replayed on it, for one particle.

    A program may need its enumerated axes, to index by them, say. It is run so where it fails without.

    Args:
        vae: The pair.
        batch: What its programs take.
        watch: From the name of a program to further handlers for its run.
    """
    asked = Asked(vae.estimators)
    plain = _attempt(vae, batch, watch, asked, enumerated=False)
    if plain.failure is None or not asked.seen:
        return plain
    again = _attempt(vae, batch, watch, asked, enumerated=True)
    return plain if again.failure is not None else again


def _attempt(
    vae: "VAE",
    batch: tuple[Any, ...],
    watch: Callable[[str], Iterable[Messenger]],
    asked: "Asked",
    *,
    enumerated: bool,
) -> Attempt:
    traces: dict[str, Trace] = {}
    for program, run in (("guide", vae.run_guide), ("model", vae.run_model)):
        with ExitStack() as handlers:
            if traces:
                handlers.enter_context(poutine.replay(trace=traces["guide"]))
            if enumerated:
                handlers.enter_context(EnumMessenger(None if traces else -1 - DEEPEST))
            for handler in (asked, *watch(program)):
                handlers.enter_context(handler)
            traces[program] = handlers.enter_context(poutine.trace()).trace
            try:
                run(*batch)
            except Exception as failure:  # whatever a user's program may raise
                return Attempt(traces, failure)
    return Attempt(traces)


def run_pair(vae: "VAE", batch: tuple[Any, ...]) -> tuple[Trace, Trace]:
    """The traces of the guide and of the model replayed on it, for one particle; see `attempt`."""
    tried = attempt(vae, batch)
    if tried.failure is not None:
        raise tried.failure
    return tried.traces["guide"], tried.traces["model"]


class Asked(Messenger):
    """Marks the sites that the user's estimators enumerate, and notes whether any site is marked."""

    def __init__(self, estimators: Mapping[str, Any]) -> None:
        super().__init__()
        self.names = {name for name, estimator in estimators.items() if estimator.enumerates}
        self.seen = False

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.names:
            msg["infer"]["enumerate"] = "parallel"
        self.seen |= bool(msg["infer"].get("enumerate"))


def _frames(*traces: Trace) -> dict[str, set[CondIndepStackFrame]]:
    frames: dict[str, set[CondIndepStackFrame]] = {}
    for trace in traces:
        for site in sample_sites(trace).values():
            for frame in site["cond_indep_stack"]:
                if frame.vectorized:
                    frames.setdefault(frame.name, set()).add(frame)
    return frames


def resized(batch: tuple[Any, ...], length: int) -> tuple[Any, ...]:
    """The batch with its first datum once more (with one less, batch norm may have a single datum left)."""
    return take(batch, torch.arange(length + 1) % length)


def probe(vae: "VAE", batch: tuple[Any, ...]) -> tuple[PlateStructure, Trace, Trace]:
    """Find the data plate and the plate depth of a pair by running it.

    The data plate is the one that `vae.data_plate` names; else the one whose size changes when the batch's does;
    else the only one that subsamples by itself; else one named "data".

    Returns:
        What was found, and the traces of guide and model that it was found in.

    Raises:
        CheckError: `vae.data_plate` names a plate that no site stands in, or several plates follow the batch.
    """
    with torch.no_grad():
        guide, model = run_pair(vae, batch)  # may create parameters: they are then there before any other run
        frames = _frames(guide, model)
        depth = max((-f.dim for group in frames.values() for f in group if f.dim is not None), default=0)
        with pyro.validation_enabled(False):
            names, takes_any = _data_plates(vae, batch, frames)
            parents, followed = _parents(vae.run_model, batch, model)
            above, _ = _parents(vae.run_guide, batch, guide)
    local = {name for trace in (guide, model) for name, site in sample_sites(trace).items() if _plates(site) & names}
    escaping = _escaping(guide, model, above, parents)
    return PlateStructure(names, depth, parents, above, frozenset(local), escaping, followed, takes_any), guide, model


def _plates(site: dict[str, Any]) -> set[str]:
    return {frame.name for frame in site["cond_indep_stack"] if frame.vectorized}


def _parents(
    program: Callable[..., Any], batch: tuple[Any, ...], trace: Trace
) -> tuple[dict[str, frozenset[str]], bool]:
    """The latent sites that each site of a program depends on directly.

    Found by following values through the program; where it cannot be followed (False), every earlier site counts.
    """
    sites = sample_sites(trace)
    earlier: set[str] = set()
    assumed: dict[str, frozenset[str]] = {}
    for name, site in sites.items():
        assumed[name] = frozenset(earlier)
        if not site["is_observed"]:
            earlier.add(name)
    try:
        found = follow(program, batch)
    except Exception:  # any operation may refuse the tensors that carry provenance
        return assumed, False
    return {n: found.get(n, assumed[n]) for n in sites}, True


def follow(program: Callable[..., Any], batch: tuple[Any, ...]) -> dict[str, frozenset[str]]:
    """The latent sites that each site of a program depends on directly, by following values through one run of it.

    A mask takes away a cost, and no dependence. A Delta is no latent site of its own: what depends on it depends on
    what it is computed from, and so does it itself.
    """
    sites = followed_sites(program, batch)
    latent = frozenset(name for name, site in sites.items() if not site["is_observed"])
    return {
        name: latent & get_provenance(unmasked(site["fn"]).log_prob(site["value"])) - {name}
        for name, site in sites.items()
    }


def followed_sites(program: Callable[..., Any], batch: tuple[Any, ...]) -> dict[str, dict[str, Any]]:
    """The sites of one run of a program in which values carry the names of the latents that they come from."""
    with torch.random.fork_rng(devices=[]), torch.no_grad(), pyro.validation_enabled(False), TrackProvenance():
        return sample_sites(poutine.trace(program).get_trace(*batch))


def _escaping(
    guide: Trace, model: Trace, above: Mapping[str, frozenset[str]], parents: Mapping[str, frozenset[str]]
) -> dict[str, str]:
    """The latent sites on which, directly or through others, a site outside one of their plates depends.

    A site of the model depends on the values of latents, and these on what the guide made them from.
    """
    sites = {**sample_sites(guide), **sample_sites(model)}
    found: dict[str, str] = {}
    for name, site in sites.items():
        if site["infer"].get("_deterministic"):
            continue
        seen: set[str] = set()
        following = [name]
        while following:
            here = following.pop()
            new = (parents.get(here, frozenset()) | above.get(here, frozenset())) - seen
            seen |= new
            following += new
        for latent in seen & sites.keys():
            if not _plates(sites[latent]) <= _plates(site):
                found.setdefault(latent, name)
    return found


def _data_plates(
    vae: "VAE", batch: tuple[Any, ...], frames: dict[str, set[CondIndepStackFrame]]
) -> tuple[frozenset[str], bool]:
    """The names of the plate over data, and whether the programs take a batch of another size."""
    if vae.data_plate is not None:
        if vae.data_plate not in frames:
            raise CheckError(
                f"data_plate={vae.data_plate!r} names no plate of the pair. Its plates: {sorted(frames) or 'none'}."
            )
        return frozenset({vae.data_plate}), True
    follows: set[str] = set()
    length = batch_length(batch)
    takes_any = True
    if length is not None:
        try:
            other = _frames(*run_pair(vae, resized(batch, length)))
        except Exception:  # a program may accept one batch size only: then its plates tell
            other, takes_any = {}, False
        sizes, others = ({n: {f.size for f in g if f.size > 0} for n, g in found.items()} for found in (frames, other))
        changed = {n for n, group in others.items() if n in sizes and sizes[n].isdisjoint(group)}
        follows = {n for n in changed if sizes[n] == {length}} or changed
    if not follows:
        drawn = {n: {f for f in g if (f.full_size or f.size) > f.size > 0} for n, g in frames.items()}
        shapes = {(f.dim, f.size, f.full_size) for group in drawn.values() for f in group}
        follows = {n for n, group in drawn.items() if group} if len(shapes) == 1 else set()  # of several, none is known
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
    return frozenset(follows), takes_any
