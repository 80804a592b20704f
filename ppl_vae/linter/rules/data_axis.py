"""The batch: a missing plate over data, events that swallow it, sequential plates, programs of one batch size."""

from collections.abc import Iterator

from ppl_vae.linter.report import Finding
from ppl_vae.linter.trace import Look, event_shape, place_of


def find(look: Look) -> Iterator[Finding]:
    """Everything about the axis along which the data lie."""
    yield from _sequential(look)
    yield from _swallowed(look)
    resized = look.resized
    if resized is not None and resized.failure is not None and not _subsamples(look):
        place = place_of(resized.failure)
        yield Finding(
            "one batch size",
            f"The {resized.failed} fails when the batch has one datum more: "
            f"{type(resized.failure).__name__}: {next(iter(str(resized.failure).splitlines()), '')}",
            f"the {resized.failed}" + (f" ({place})" if place else ""),
            "The last batch of an epoch is smaller, and evaluation has others; parameters per row are not amortized.",
            "Take sizes from the batch (x.shape[0]), and give latents of a datum by a network that reads it.",
            "error" if look.total is not None and look.total % (look.length or 1) else "warning",
        )


def _subsamples(look: Look) -> bool:
    """Whether the programs draw their own minibatches: then the batch is the whole data set."""
    frames = [f for s in look.run.guide.values() for f in s["cond_indep_stack"]]
    frames += [f for s in look.run.model.values() for f in s["cond_indep_stack"]]
    return any(f.full_size not in (None, f.size) for f in frames)


def _swallowed(look: Look) -> Iterator[Finding]:
    """Events that grow with the batch."""
    sites = [(p, n) for p in ("model", "guide") for n in getattr(look.run, p) if look.follows(p, n)]
    latent = any(n in look.run.latents for _, n in sites)
    for program, name in sites:
        site = getattr(look.run, program)[name]
        if program == "guide" and ("model", name) in sites:
            continue
        joint = not look.data_plates and not latent
        yield Finding(
            "to_event swallows the batch",
            f"The event has shape {event_shape(site)} and grows with the batch of {look.length}: all data in one draw.",
            look.at(program, name),
            "There is no minibatch scale N/B for global latents, and no bound, evidence or k̂ per datum"
            + ("; on the full data in one batch the joint bound is right." if joint else "."),
            f"Put the site in `with pyro.plate('data', {look.length}):` (write x.shape[0]) and make its event one axis "
            "smaller: .to_event(n − 1).",
            "warning" if joint else "error",
        )


def _sequential(look: Look) -> Iterator[Finding]:
    """Plates over data that are Python loops."""
    resized = look.resized
    if resized is None or resized.failure is not None or look.data_plates:
        return
    for name, size in look.run.plates.items():
        if size == look.length and resized.plates.get(name) not in (None, size):
            yield Finding(
                "sequential data plate",
                f"The plate {name!r} over {size} data is a Python loop.",
                f"plate {name!r}",
                "Its sites have no axis for data, and their number varies: global latents get no minibatch scale.",
                f"Write `with pyro.plate({name!r}, x.shape[0]):` and let each site hold all data of the batch.",
                "warning",
            )
