"""The batch: a missing plate over data, events that swallow it, sequential plates, programs of one batch size."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ppl_vae.core.faults import OWN_SUBSAMPLING
from ppl_vae.core.screen import fault
from ppl_vae.frames import place_of
from ppl_vae.linter.report import Finding
from ppl_vae.linter.trace import PairTrace, event_shape

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


def at_fault(vae: "VAE", batch: tuple[Any, ...]) -> Iterator[Finding]:
    """Faults that make any further look pointless: data that the programs cannot be run on, or that spread NaN."""
    error = fault(vae, batch)
    if error is not None:
        why = "The programs fail, or the bound and every gradient are NaN from the first step on."
        yield Finding("data", str(error), "the batch", why, "As the message says.")


def find(trace: PairTrace) -> Iterator[Finding]:
    """Everything about the axis along which the data lie."""
    yield from _sequential(trace)
    yield from _swallowed(trace)
    yield from _own_subsampling(trace)
    resized = trace.resized
    if resized is not None and resized.failure is not None and not _subsamples(trace):
        place = place_of(resized.failure)
        yield Finding(
            "one batch size",
            f"The {resized.failed} fails when the batch has one datum more: "
            f"{type(resized.failure).__name__}: {next(iter(str(resized.failure).splitlines()), '')}",
            f"the {resized.failed}" + (f" ({place})" if place else ""),
            "The last batch of an epoch is smaller, and evaluation has others; parameters per row are not amortized.",
            "Take sizes from the batch (x.shape[0]), and give latents of a datum by a network that reads it.",
            "error" if trace.total is not None and trace.total % (trace.length or 1) else "warning",
        )


def _subsamples(trace: PairTrace) -> bool:
    """True if the programs draw their own minibatches: then the batch is the whole data set."""
    frames = [f for s in trace.run.guide.values() for f in s["cond_indep_stack"]]
    frames += [f for s in trace.run.model.values() for f in s["cond_indep_stack"]]
    return any(f.full_size not in (None, f.size) for f in frames)


def _own_subsampling(trace: PairTrace) -> Iterator[Finding]:
    """A plate that draws its own minibatch of the data: training is right, results per datum cannot be had."""
    for name, (size, full) in trace.run.subsampled.items():
        if full == trace.length:
            yield Finding(
                "subsamples by itself",
                OWN_SUBSAMPLING.format(name=name, size=size, full=full),
                f"plate {name!r}",
                "A program that draws its data anew at each run has no results of its own for each datum.",
                "Leave out subsample_size.",
                "warning",
            )


def _swallowed(trace: PairTrace) -> Iterator[Finding]:
    """Events that grow with the batch."""
    sites = [(p, n) for p in ("model", "guide") for n in getattr(trace.run, p) if trace.follows(p, n)]
    latent = any(n in trace.run.latents for _, n in sites)
    for program, name in sites:
        site = getattr(trace.run, program)[name]
        if program == "guide" and ("model", name) in sites:
            continue
        if site["infer"].get("_deterministic"):
            continue  # by default its whole value is one event, and it has no density
        joint = not trace.data_plates and not latent
        yield Finding(
            "to_event swallows the batch",
            f"The event has shape {event_shape(site)} and grows with the batch of {trace.length}: "
            "all data in one draw.",
            trace.at(program, name),
            "There is no minibatch scale N/B for global latents, and no bound, evidence or k̂ per datum"
            + ("; on the full data in one batch the joint bound is right." if joint else "."),
            f"Put the site in `with pyro.plate('data', {trace.length}):` (write x.shape[0]) and make its event one "
            "axis smaller: .to_event(n − 1).",
            "warning" if joint else "error",
        )


def _sequential(trace: PairTrace) -> Iterator[Finding]:
    """Plates over data that are Python loops."""
    resized = trace.resized
    if resized is None or resized.failure is not None or trace.data_plates:
        return
    for name, size in trace.run.plates.items():
        if size == trace.length and resized.plates.get(name) not in (None, size):
            yield Finding(
                "sequential data plate",
                f"The plate {name!r} over {size} data is a Python loop.",
                f"plate {name!r}",
                "Its sites have no axis for data, and their number varies: global latents get no minibatch scale.",
                f"Write `with pyro.plate({name!r}, x.shape[0]):` and let each site hold all data of the batch.",
                "warning",
            )
