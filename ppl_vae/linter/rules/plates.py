"""Shapes and plates: where the two programs disagree, and batch axes that no plate declares."""

from collections.abc import Iterator
from typing import Any, Literal

from ppl_vae.core.shapes import is_enumerated
from ppl_vae.linter.report import Finding
from ppl_vae.linter.trace import PairTrace, event_shape


def find(trace: PairTrace) -> Iterator[Finding]:
    """Mismatches of shape and of plates."""
    yield from _undeclared(trace)
    yield from between(trace)


def _frames(site: dict[str, Any]) -> dict[int, Any]:
    return {f.dim: f for f in site["cond_indep_stack"] if f.vectorized}


def _undeclared(trace: PairTrace) -> Iterator[Finding]:
    """Batch axes of a distribution that no plate declares, or declares with another size."""
    for program in ("model", "guide"):
        for name, site in getattr(trace.run, program).items():
            shape, frames = tuple(site["fn"].batch_shape), _frames(site)
            for dim, frame in frames.items():
                size = shape[dim] if len(shape) >= -dim else 1
                if frame.size > 0 and size not in (1, frame.size):
                    yield Finding(
                        "shape",
                        f"The plate {frame.name!r} has size {frame.size} at dim {dim}; "
                        f"the distribution has batch shape {shape}, of size {size} there.",
                        trace.at(program, name),
                        "Data and parameters are paired up wrongly, or broadcast.",
                        f"Make axis {dim} of the batch shape {frame.size} long, move the plate (dim=…), or declare "
                        "other axes as part of the event with .to_event(…).",
                    )
            axes = [d for d in range(-len(shape), 0) if d not in frames and not is_enumerated(site, d)]
            loose = [d for d in axes if shape[d] > 1]
            if loose:
                # Pyro lets an axis right of a plate be, and sums it: the number is right.
                gap = all(d > min(frames, default=0) for d in loose)
                yield _loose(trace, program, name, shape, loose, "warning" if gap else "error")


def _loose(
    trace: PairTrace,
    program: str,
    name: str,
    shape: tuple[int, ...],
    dims: list[int],
    severity: Literal["error", "warning"],
) -> Finding:
    where = trace.at(program, name)
    length = trace.length
    if length is not None and length > 1 and shape[dims[0]] == length and not trace.data_plates:
        return Finding(
            "missing data plate",
            f"The batch of {length} data lies along axis {dims[0]} of batch shape {shape}, and no plate is over it.",
            where,
            "Without it data are not known to be independent: there is no minibatch scale N/B, and nothing per datum.",
            f'Put the site in `with pyro.plate("data", {length}):` (write x.shape[0]), in both programs.',
        )
    axes = f"axis {dims[0]}" if len(dims) == 1 else f"axes {dims}"
    return Finding(
        "undeclared batch axis",
        f"The distribution has batch shape {shape}, and no plate declares {axes}.",
        where,
        "Independent draws cannot be told from parts of one event: Pyro refuses such a site, or sums the axis.",
        f"Add .to_event({-dims[0]}) if these axes are one event, or a plate of that size if they are independent.",
        severity,
    )


def between(trace: PairTrace) -> Iterator[Finding]:
    """Sites whose event or plates differ between guide and model."""
    for name, q in trace.run.latents.items():
        p = trace.run.model.get(name)
        if p is None or p["is_observed"]:
            continue
        where = f"{trace.at('guide', name)} and {trace.at('model', name)}"
        if event_shape(q) != event_shape(p):
            yield Finding(
                "shape",
                f"The guide's event has shape {event_shape(q)}, the model's {event_shape(p)} "
                f"(batch shapes {tuple(q['fn'].batch_shape)} and {tuple(p['fn'].batch_shape)}).",
                where,
                "log q and log p are then densities of different things, and their difference is no bound.",
                "Use the same .to_event(…) and the same sizes at this site in both programs.",
            )
            continue
        q_frames, p_frames = _frames(q), _frames(p)
        for dim in sorted(q_frames.keys() | p_frames.keys()):
            qf, pf = q_frames.get(dim), p_frames.get(dim)
            if qf is not None and pf is not None and qf.size == pf.size:
                continue
            told = [f"{f.name!r} of size {f.size}" if f is not None else "none" for f in (qf, pf)]
            yield Finding(
                "plates",
                f"At dim {dim} the guide has the plate {told[0]}, the model {told[1]}.",
                where,
                "The site is drawn a different number of times in each program, or scaled differently.",
                "Put the site in the same plates, at the same dims and of the same sizes, in both programs.",
            )
