"""Guides of local latents that do not read the data."""

from collections.abc import Iterator
from typing import Any

import pyro
import torch
from pyro.infer.autoguide import AutoGuide
from torch import Tensor, nn

from ppl_vae.linter.report import Finding
from ppl_vae.linter.trace import PairTrace


def find(trace: PairTrace) -> Iterator[Finding]:
    """Autoguides over local latents, and guides that give every datum the same distribution."""
    local = {n: s for n, s in trace.run.latents.items() if trace.is_local(s) and not s["infer"].get("is_auxiliary")}
    owned = dict(_by_autoguides(trace, local))
    full = trace.total is not None and trace.length is not None and trace.total <= trace.length
    minibatches = trace.total is not None and not full
    for kind, names in owned.items():
        yield Finding(
            "autoguide over local latents",
            f"{kind} guides {names}, which stand in the data plate: it keeps parameters for each row of this batch.",
            ", ".join(trace.at("guide", n) for n in names),
            "It is not amortized: it fails at another batch size, and gives the next minibatch this one's posterior.",
            "Use an amortized guide: guide=derived (ppl_vae.guides.Derived) makes one from the model. Keep autoguides "
            "for global latents, on poutine.block(model, expose=[…]).",
            "warning" if full else "error",
        )
    along = {f.size for s in local.values() for f in s["cond_indep_stack"] if f.name in trace.data_plates}
    if not trace.moved or any(run.failure for pair in trace.moved for run in pair) or along != {trace.length}:
        return  # the data lie along another axis than the first, or the programs take their own minibatch
    blind = [
        name
        for name in local
        if not any(name in names for names in owned.values())
        and all(name in a.guide and name in b.guide for a, b in trace.moved)
        and not any(_differ(a.guide[name], b.guide[name]) for a, b in trace.moved)
    ]
    rest = [n for n in local if not any(n in names for names in owned.values())]
    if blind != rest:  # draws of discrete sites may agree by chance, and take the sites after them along
        blind = [n for n in blind if getattr(local[n]["fn"], "has_rsample", False)]
    for name in blind:
        fixed = trace.resized is not None and trace.resized.failure is not None
        constant = not fixed and all(_same_for_all(trace, a.guide[name]) for a, _ in trace.moved)
        yield Finding(
            "guide ignores the data",
            f"q({name} | x) is the same when the data change places"
            + (", and the same for every datum." if constant else ": it belongs to the row, not to the datum."),
            trace.at("guide", name),
            "The latent can tell nothing about its datum: the model learns to do without it."
            if constant
            else "It is not amortized: the next minibatch, or the same data in another order, gets this posterior.",
            f"Compute the distribution of {name!r} from the batch by a network.",
            "error" if (constant and blind == rest) or (not constant and minibatches) else "warning",
        )


def _by_autoguides(trace: PairTrace, local: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    for module in trace.vae.modules():
        if not isinstance(module, (AutoGuide, *_messengers())):
            continue
        prototype = getattr(module, "prototype_trace", None)
        if prototype is not None:
            names = [n for n in local if n in prototype.nodes and prototype.nodes[n]["type"] == "sample"]
        else:  # a guide messenger draws where the model does; its parameters are named after the sites
            held = {n.split(".", 1)[-1] for n, _ in module.named_parameters()}
            amortized = set(getattr(module, "amortized_plates", ()))
            names = [n for n in local if f"{n}_unconstrained" in held or n in held]
            names = [n for n in names if not {f.name for f in local[n]["cond_indep_stack"]} & amortized]
        if names and type(module).__name__ != "AutoGuideList":
            yield type(module).__name__, names


def _messengers() -> tuple[type, ...]:
    from pyro.infer.autoguide.effect import AutoMessenger

    return (AutoMessenger,)


def _differ(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """True if two runs gave a site different distributions, or different draws from equal noise."""
    one, two = list(tensors(a["fn"])), list(tensors(b["fn"]))
    if len(one) != len(two) or any(x.shape != y.shape or not torch.equal(x, y) for x, y in zip(one, two, strict=True)):
        return True
    return a["value"].shape != b["value"].shape or not torch.equal(a["value"], b["value"])


def tensors(part: Any, depth: int = 0) -> Iterator[Tensor]:
    """The tensors that a distribution holds, in itself, its bases and its transforms."""
    if isinstance(part, Tensor):
        yield part
    elif isinstance(part, nn.Module):
        yield from part.parameters()
    elif isinstance(part, (list, tuple)):
        for inner in part:
            yield from tensors(inner, depth)
    elif depth < 6 and (hasattr(part, "log_prob") or hasattr(part, "domain")):
        for key, inner in vars(part).items():
            if key not in ("_cached_x_y", "_mean_carrier"):
                yield from tensors(inner, depth + 1)


def _same_for_all(trace: PairTrace, site: dict[str, Any]) -> bool:
    """True if a local site has one distribution for all data: one value has one density at every datum."""
    frame = next(f for f in site["cond_indep_stack"] if f.name in trace.data_plates)
    fn, value = site["fn"], site["value"]
    axis = frame.dim - fn.event_dim
    if value.dim() < -axis or value.shape[axis] < 2:
        return True
    with torch.no_grad(), pyro.validation_enabled(False):
        log_prob = fn.log_prob(value.narrow(axis, 0, 1).expand_as(value))
    if log_prob.dim() < -frame.dim:
        return True
    first = log_prob.narrow(frame.dim, 0, 1).expand_as(log_prob)
    return bool(torch.allclose(log_prob, first, rtol=1e-4, atol=1e-5))
