"""What Pyro says of a group, what this project says, and what is true."""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import infer
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

import ppl_vae as pv
from catalogue import brute_force, pyro_densities, pyro_enumeration, pyro_structure
from catalogue.pyro_group import GROUPS, Group
from ppl_vae.errors import CheckError, PplVaeError

__all__ = ["GROUPS", "OPEN", "pyro_densities", "pyro_enumeration", "pyro_structure"]

OPEN: dict[str, str] = dict.fromkeys(
    (
        "enum_discrete_parallel_ok",
        "enum_discrete_parallel_nested_ok",
        "enumerate_parallel_plate_ok [parallel]",
        "enumerate_parallel_plate_ok [parallel, expanded]",
        "enum_discrete_vectorized_num_particles [parallel]",
        "enum_discrete_vectorized_num_particles [parallel, expanded]",
    ),
    "right, but these tests draw by plain runs too, and the program asserts that it is enumerated",
)
"""Groups whose declared verdict is not yet had, and what is said instead."""


@dataclass(frozen=True)
class Verdict:
    """What was said, in a word, and why."""

    word: str
    why: str = ""


class Remember(Messenger):
    """Keeps the latent values of a run, the indices of its plates, and which sites were enumerated."""

    def __init__(self, seen: dict[str, Any]) -> None:
        super().__init__()
        self.seen = seen

    def _pyro_post_sample(self, msg: Any) -> None:
        if not msg["is_observed"]:
            enumerated = msg["infer"].get("_enumerate_dim") is not None and not site_is_subsample(msg)
            self.seen[msg["name"]] = None if enumerated else msg["value"].detach()


def remembering(guide: Callable[..., Any], runs: list[dict[str, Any]]) -> Callable[..., Any]:
    """The guide, each of whose runs is kept in `runs`."""

    def program(*batch: Any) -> Any:
        runs.append({})
        with Remember(runs[-1]):
            return guide(*batch)

    return program


def parts(group: Group) -> tuple[Any, Any, tuple[Any, ...]]:
    """Model, guide and batch."""
    model, guide, *rest = group.build()
    return model, guide, rest[0] if rest else ()


def by_pyro(group: Group, name: str) -> tuple[Verdict, float | None]:
    """What one of Pyro's ELBOs says, and its value."""
    model, guide, batch = parts(group)
    if name == "EnergyDistance":
        elbo = infer.EnergyDistance()
    else:
        lenient = {"strict_enumeration_warning": False} if len(group.elbos) > 1 else {}
        elbo = getattr(infer, f"{name}_ELBO")(**lenient, **group.options)
    if name == "TraceEnum" and len(group.elbos) > 1:
        guide = infer.config_enumerate(guide)
    pyro.set_rng_seed(1)
    with (
        pyro.get_param_store().scope(),
        pyro.validation_enabled(True),
        warnings.catch_warnings(record=True) as told,
    ):
        warnings.simplefilter("always")
        try:
            loss = getattr(elbo, "loss_and_grads", elbo)(model, guide, *batch)
        except Exception as error:  # whatever Pyro refuses with
            return Verdict("illegal", _first_line(error)), None
    return (Verdict("warning", str(told[0].message).strip()) if told else Verdict("legal")), -float(loss or 0.0)


def ours(group: Group, estimators: dict[str, Any] | None = None) -> tuple[Verdict, bool]:
    """What the objective does with the pair, held against the truth; and whether it enumerated a site of the guide."""
    model, guide, batch = parts(group)
    runs: list[dict[str, Any]] = []
    try:
        vae = pv.VAE(model, remembering(guide, runs), estimators=estimators)
        objective = group.objective() if group.objective else pv.objectives.ELBO(group.particles, kl="sampled")
        pyro.set_rng_seed(1)
        objective(vae, batch)  # the first call learns how the pair is run
        runs.clear()
        bound = objective(vae, batch)
        kept = list(runs)
        total = pv.terms(vae, batch).total
    except PplVaeError as error:
        return Verdict("refused", _first_line(error)), False
    except Exception as error:  # a program or this project
        words = _first_line(error)
        told = group.pyro == "illegal" and re.search(group.why, words)
        return Verdict("refused in Pyro's words" if told else "crash", f"{type(error).__name__}: {words}"), False
    value = float(bound.value * total)
    enumerated = {n for run in kept for n, v in run.items() if v is None}
    if group.pyro == "illegal" and group.ours == "refused":
        return Verdict("accepted though illegal", f"value {value:.4f}"), bool(enumerated)
    if group.oracle == "pyro":
        expected = _value_by_pyro(group, vae, kept, enumerated, batch)
    else:
        expected, exact = _exact(group, vae, kept, enumerated, batch)
    if not _close(value, float(expected)):
        return Verdict("wrong number", f"value {value:.4f}, expected {float(expected):.4f}"), bool(enumerated)
    if group.oracle == "exact" and exact and enumerated:
        wrong = _gradients(vae, bound.surrogate * total, expected)
        if wrong:
            return Verdict("wrong number", wrong), True
    return Verdict("right", f"value {value:.4f}"), bool(enumerated)


def checked(group: Group, estimators: dict[str, Any] | None = None) -> tuple[Verdict, dict[str, str]]:
    """What `check` says, and the estimator of each site."""
    model, guide, batch = parts(group)
    vae = pv.VAE(model, guide, estimators=estimators)
    pyro.set_rng_seed(1)
    try:
        objective = group.objective() if group.objective else None
        report = pv.check(vae, batch, objective)
    except CheckError as error:
        kinds = ", ".join(dict.fromkeys(f.kind for f in error.findings if f.severity == "error"))
        return Verdict("refused", f"{kinds}: {error}" if kinds else _first_line(error)), {}
    except Exception as error:  # a linter must not fail
        return Verdict("crash", f"{type(error).__name__}: {_first_line(error)}"), {}
    told = Verdict("warns", ", ".join(dict.fromkeys(f.kind for f in report.warnings))) if report.warnings else None
    return told or Verdict("passes"), {name: kind for name, (kind, _) in report.estimators.items()}


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= 2e-4 * (1 + abs(b))


def _particles(group: Group, vae: Any, kept: list[dict[str, Any]], batch: tuple[Any, ...]) -> list[dict[str, Tensor]]:
    """The values that each particle drew."""
    k = group.particles
    drawn = [{n: v for n, v in run.items() if v is not None} for run in kept]
    alone: dict[str, Any] = {}
    with pyro.poutine.trace() as tracer, torch.no_grad():
        vae.run_guide(*batch)
    for name, site in tracer.trace.nodes.items():
        if site["type"] == "sample":
            alone[name] = site["value"].shape
    if all(v.numel() == alone[n].numel() for n, v in drawn[0].items() if n in alone):
        return drawn[:k]  # one run after the other
    return [
        {n: v.reshape(k, *alone[n])[i] if v.numel() == k * alone[n].numel() else v for n, v in drawn[0].items()}
        for i in range(k)
    ]


def _exact(
    group: Group, vae: Any, kept: list[dict[str, Any]], enumerated: set[str], batch: tuple[Any, ...]
) -> tuple[Tensor, bool]:
    """The mean over particles of the exact ELBO at what they drew, and whether all latent values were enumerated."""
    values = []
    particles = _particles(group, vae, kept, batch)
    with pyro.validation_enabled(False):
        for drawn in particles:
            values.append(brute_force.elbo(vae.run_model, vae.run_guide, batch, drawn, enumerated))
        with pyro.poutine.trace() as tracer, torch.no_grad():
            vae.run_guide(*batch)
    sites = {n: s for n, s in tracer.trace.nodes.items() if s["type"] == "sample" and not s["is_observed"]}
    return torch.stack(values).mean(), all(n in enumerated or site_is_subsample(s) for n, s in sites.items())


def _value_by_pyro(
    group: Group, vae: Any, kept: list[dict[str, Any]], enumerated: set[str], batch: tuple[Any, ...]
) -> float:
    values = []
    for drawn in _particles(group, vae, kept, batch):

        def marked(site: Any) -> dict[str, Any]:
            return {"enumerate": "parallel" if site["name"] in enumerated else None, "num_samples": None}

        def guide(*args: Any, drawn: Any = drawn) -> Any:
            with brute_force.At(drawn):
                return vae.run_guide(*args)

        depth = group.options.get("max_plate_nesting", float("inf"))
        elbo = infer.TraceEnum_ELBO(max_plate_nesting=depth, strict_enumeration_warning=False)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            values.append(-elbo.loss(vae.run_model, pyro.poutine.infer_config(guide, config_fn=marked), *batch))
    return sum(values) / len(values)


def _gradients(vae: Any, surrogate: Tensor, exact: Tensor) -> str:
    """The parameters whose gradient is not that of the exact value."""
    parameters = {n: p for n, p in vae.named_parameters() if p.requires_grad}
    if not parameters or not exact.requires_grad:
        return ""
    mine, truth = (
        torch.autograd.grad(f, list(parameters.values()), allow_unused=True, retain_graph=True)
        if f.requires_grad
        else [None] * len(parameters)
        for f in (surrogate, exact)
    )
    for name, a, b in zip(parameters, mine, truth, strict=True):
        a, b = (torch.zeros(()) if g is None else g for g in (a, b))
        if not torch.allclose(*torch.broadcast_tensors(a, b), rtol=1e-3, atol=1e-3):
            return f"gradient of {name} {a.flatten()[:4].tolist()}, expected {b.flatten()[:4].tolist()}"
    return ""


def drawn() -> dict[str, Any]:
    """Estimators that enumerate nothing."""
    return {"*": pv.estimators.ScoreFunction()}


def judged(group: Group, enumerates: bool) -> bool:
    """Whether the pair is to be tried with draws, too: where Pyro draws, and the default does not."""
    return enumerates and "Trace" in group.elbos


def agrees(verdict: Verdict, group: Group) -> bool:
    """Whether what was said is what the group declares."""
    if group.ours == "right":
        return verdict.word in ("right", "passes", "warns")
    return verdict.word.startswith("refused") and re.search(group.why, verdict.why) is not None


def table() -> str:
    """All groups, as Markdown: variants of a group that are judged alike share a row."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for group in GROUPS.values():
        found, enumerates = ours(group)
        words = [found]
        if judged(group, enumerates):
            words.append(ours(group, drawn())[0])
        check, estimators = checked(group)
        if found.word == "right" and not estimators.items() >= group.estimators.items():
            words[0] = Verdict("right number, wrong estimator", f"{estimators}, expected {group.estimators}")
        name, _, variant = group.name.partition(" [")
        said = {"legal": "legal", "warning": "legal, with a warning", "illegal": "illegal"}[group.pyro]
        verdict = " / ".join(dict.fromkeys(w.word for w in words))
        wrong = [w.why for w in words if not agrees(w, group)]
        reason = group.note if found.word == "right" and not wrong else (wrong or [found.why])[0]
        key = (name, said, ", ".join(group.elbos), verdict, check.word, reason.split(". ")[0])
        rows.setdefault(key, []).append(variant.rstrip("]"))
    lines = ["| group | Pyro | under | objective | check | why |", "|---|---|---|---|---|---|"]
    for (name, *rest), variants in rows.items():
        label = f"{name}: {'; '.join(variants)}" if any(variants) else name
        lines.append("| " + " | ".join(part.replace("|", "\\|") for part in (label, *rest)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(table())
