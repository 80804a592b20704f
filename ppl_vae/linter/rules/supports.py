"""Supports: a guide that leaves the model's, data outside the likelihood's, densities that are not finite."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from ppl_vae.core.observed import outside
from ppl_vae.core.supports import advice, describe, told
from ppl_vae.distributions.unwrap import family, support_of
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
    """True if all unmasked values lie in a support; None where that cannot be told."""
    bad = outside(site, value, support)
    return None if bad is None else not bool(bad.any())


def _between(trace: PairTrace, name: str, q: dict[str, Any], p: dict[str, Any]) -> Iterator[Finding]:
    where = f"{trace.at('guide', name)} and {trace.at('model', name)}"
    wide, narrow = support_of(p["fn"]), support_of(q["fn"])
    if wide is None or q["fn"].event_shape != p["fn"].event_shape:
        return
    names = f"{family(q['fn'])} in the guide, {family(p['fn'])} in the model"
    draws = _draws(q["fn"]) if not isinstance(q["fn"], dist.Delta) else q["value"]
    if not bool(torch.isfinite(draws).all()):
        return  # told as a density that is not finite
    if _inside(wide, draws, q) is False:
        yield Finding(
            "support",
            f"The guide draws values that are impossible under the model: {names}, whose support is {told(wide)}.",
            where,
            "log p is −∞ or NaN there, and so is the bound.",
            f"Give the guide a distribution on {told(wide)}"
            + (
                ": LogNormal, Gamma or a Normal pushed through ExpTransform." if told(wide) == "greater than 0" else "."
            ),
        )
        return
    if narrow is None or isinstance(q["fn"], dist.Delta) or isinstance(p["fn"], dist.Delta):
        return
    try:
        possible = _draws(p["fn"])
    except NotImplementedError:  # an improper prior
        return
    if _inside(narrow, possible, p) is False:
        yield Finding(
            "support",
            f"The model gives values that the guide never draws: {names}, whose support is {told(narrow)}.",
            where,
            "The posterior may lie where q is zero: the bound can never be tight, and importance weights miss mass.",
            f"Give the guide a distribution on {told(wide)}.",
            "warning",
        )


def _draws(fn: Any) -> Tensor:
    """Some draws, `(draws, …)`; one by one where a distribution gives no more, as some mixtures of Pyro."""
    with torch.no_grad():
        try:
            return fn(torch.Size((_DRAWS,)))
        except RuntimeError:
            return torch.stack([fn() for _ in range(_DRAWS)])


def _observed(trace: PairTrace, name: str, site: dict[str, Any]) -> Iterator[Finding]:
    fn, value, bad = site["fn"], site["value"], outside(site)
    if bad is None or not bool(bad.any()):
        return
    silenced = name in trace.silenced
    index = [int(i) for i in np.unravel_index(int(bad.flatten().to(torch.uint8).argmax()), bad.shape)]
    yield Finding(
        "observed outside the support",
        describe(name, fn, value, bad, f"at {index}") + (" (validate_args=False hides it.)" if silenced else ""),
        trace.at("model", name),
        "Its density there is no probability: the bound is a number without the meaning of one.",
        advice(fn, value),
        "warning" if silenced else "error",
    )


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
                    f"The log-density of {family(site['fn'])} is {bad} for "
                    f"{int((~torch.isfinite(log_prob)).sum())} of {log_prob.numel()} values.",
                    trace.at(program, name),
                    "The bound and every gradient are NaN from the first step on.",
                    "Look at the distribution's parameters at this line: a scale of 0, a logarithm of 0, an overflow?",
                )
