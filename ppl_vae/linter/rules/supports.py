"""Supports: a guide that leaves the model's, data outside the likelihood's, densities that are not finite."""

import re
from collections.abc import Iterator
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from ppl_vae.linter.report import Finding
from ppl_vae.linter.trace import PairTrace

_DRAWS = 64


def find(trace: PairTrace) -> Iterator[Finding]:
    """Values where they cannot be, and densities that are no numbers."""
    off: set[str] = set()
    with torch.no_grad(), pyro.validation_enabled(False):
        for name, q in trace.run.latents.items():
            p = trace.run.model.get(name)
            if p is None or p["is_observed"] or "unsummed" in q["infer"]:
                continue
            for finding in _between(trace, name, q, p):
                off.add(name)
                yield finding
        for name, site in trace.run.model.items():
            if site["is_observed"] and not site["infer"].get("_deterministic"):
                for finding in _observed(trace, name, site):
                    off.add(name)
                    yield finding
        yield from _not_finite(trace, off)


def _inside(support: Any, value: Tensor, site: dict[str, Any]) -> bool | None:
    """Whether all unmasked values lie in a support; None where that cannot be told."""
    try:
        inside = support.check(value)
    except (NotImplementedError, RuntimeError, ValueError):
        return None
    for mask in _masks(site):
        try:
            inside = inside | ~torch.as_tensor(mask).to(torch.bool)
        except RuntimeError:  # a mask over axes that the check has summed
            return None
    return bool(inside.all())


def _masks(site: dict[str, Any]) -> Iterator[Any]:
    """The masks of a site's own, on its handlers and inside its distribution."""
    if site["mask"] is not None:
        yield site["mask"]
    fn = site["fn"]
    while fn is not None:
        if isinstance(fn, dist.MaskedDistribution):
            mask = torch.as_tensor(fn._mask).to(torch.bool)
            over = site["fn"].event_dim - fn.event_dim
            yield mask if not over or not mask.dim() else mask.flatten(-min(over, mask.dim())).all(-1)
        fn = getattr(fn, "base_dist", None)


def _support(fn: Any) -> Any:
    try:
        return fn.support
    except NotImplementedError:
        return None


def _between(trace: PairTrace, name: str, q: dict[str, Any], p: dict[str, Any]) -> Iterator[Finding]:
    where = f"{trace.at('guide', name)} and {trace.at('model', name)}"
    wide, narrow = _support(p["fn"]), _support(q["fn"])
    if wide is None or q["fn"].event_shape != p["fn"].event_shape:
        return
    names = f"{_name(q['fn'])} in the guide, {_name(p['fn'])} in the model"
    draws = q["fn"].sample((_DRAWS,)) if not isinstance(q["fn"], dist.Delta) else q["value"]
    if not bool(torch.isfinite(draws).all()):
        return  # told as a density that is not finite
    if _inside(wide, draws, q) is False:
        yield Finding(
            "support",
            f"The guide draws values that are impossible under the model: {names}, whose support is {_told(wide)}.",
            where,
            "log p is −∞ or NaN there, and so is the bound.",
            f"Give the guide a distribution on {_told(wide)}"
            + (
                ": LogNormal, Gamma or a Normal pushed through ExpTransform."
                if _told(wide) == "greater than 0"
                else "."
            ),
        )
        return
    if narrow is None or isinstance(q["fn"], dist.Delta) or isinstance(p["fn"], dist.Delta):
        return
    try:
        possible = p["fn"].sample((_DRAWS,))
    except NotImplementedError:  # an improper prior
        return
    if _inside(narrow, possible, p) is False:
        yield Finding(
            "support",
            f"The model gives values that the guide never draws: {names}, whose support is {_told(narrow)}.",
            where,
            "The posterior may lie where q is zero: the bound can never be tight, and importance weights miss mass.",
            f"Give the guide a distribution on {_told(wide)}.",
            "warning",
        )


def _observed(trace: PairTrace, name: str, site: dict[str, Any]) -> Iterator[Finding]:
    fn, support = site["fn"], _support(site["fn"])
    if support is None or _inside(support, site["value"], site) is not False:
        return
    silenced = name in trace.silenced
    value = site["value"]
    bad = int((~torch.isfinite(value)).sum()) if value.is_floating_point() else 0
    told = f"values from {value.min():.4g} to {value.max():.4g}" if not bad else f"{bad} values that are not finite"
    yield Finding(
        "observed outside the support",
        f"{_name(fn)} is observed at {told}, outside its support {_told(support)}"
        + (" (validate_args=False hides it)." if silenced else "."),
        trace.at("model", name),
        "Its density there is no probability: the bound is a number without the meaning of one.",
        _advice(fn, value),
        "warning" if silenced else "error",
    )


def _advice(fn: Any, value: Tensor) -> str:
    base = _base(fn)
    if bool(value.isnan().any()):
        return "Mask missing entries (poutine.mask, or .mask on the distribution) and put any finite value there."
    unit = bool(((value >= 0) & (value <= 1)).all())
    if isinstance(base, dist.Bernoulli) and unit:
        return (
            "Binarize the data (dataset.binarization=dynamic), or take a likelihood for values in [0, 1]: "
            "ContinuousBernoulli or Beta."
        )
    if isinstance(base, (dist.Bernoulli, dist.ContinuousBernoulli, dist.Beta)):
        return "Rescale the data (x / 255 for bytes), or take a likelihood that fits their range."
    return "Rescale the data, or take a likelihood that fits their range."


def _base(fn: Any) -> Any:
    while hasattr(fn, "base_dist") and not isinstance(fn, dist.TransformedDistribution):
        fn = fn.base_dist
    return fn


def _name(fn: Any) -> str:
    return type(_base(fn)).__name__


def _told(support: Any) -> str:
    """A support in words: `greater than 0`."""
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    name = type(support).__name__.strip("_")
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower().replace("_", " ").removesuffix(" eq")
    bounds = [f"{float(b):g}" for key in ("lower_bound", "upper_bound") if (b := _number(support, key)) is not None]
    words = {"real": "the real line", "boolean": "0 or 1", "simplex": "the simplex"}.get(words, words)
    return f"{words} {' to '.join(bounds)}".strip()


def _number(support: Any, key: str) -> float | None:
    bound = getattr(support, key, None)
    return None if bound is None or torch.as_tensor(bound).numel() != 1 else float(bound)


def _not_finite(trace: PairTrace, off: set[str]) -> Iterator[Finding]:
    for program in ("guide", "model"):
        for name, site in getattr(trace.run, program).items():
            if name in off:
                continue
            try:
                log_prob = dist.util.scale_and_mask(site["fn"].log_prob(site["value"]), 1.0, site["mask"])
            except (RuntimeError, ValueError, NotImplementedError):
                continue  # shapes that do not fit are found elsewhere
            if not bool(torch.isfinite(log_prob).all()):
                bad = "NaN" if bool(log_prob.isnan().any()) else "infinite"
                yield Finding(
                    "not finite",
                    f"The log-density of {_name(site['fn'])} is {bad} for "
                    f"{int((~torch.isfinite(log_prob)).sum())} of {log_prob.numel()} values.",
                    trace.at(program, name),
                    "The bound and every gradient are NaN from the first step on.",
                    "Look at the distribution's parameters at this line: a scale of 0, a logarithm of 0, an overflow?",
                )
