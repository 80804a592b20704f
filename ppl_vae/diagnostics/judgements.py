"""The findings about a run as answers in words: what can be trusted, why, and what has not been examined."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from ppl_vae.core.evidence import THRESHOLD
from ppl_vae.diagnostics.calibration import LEVEL
from ppl_vae.diagnostics.latents import ACTIVE

Answer = Literal["yes", "with care", "no", "none", "not examined"]

MANY: Final = 0.05
"""The share of data with k̂ above 0.7 from which on an average over data is not trusted any more."""

COVERED: Final = 0.9
"""The share of data with a sample nearby that is asked of samples; sets of one distribution have 1 − 2⁻⁵ ≈ 0.97."""

HALVES: Final = math.log(2)
"""Nats that it takes to tell one half of the data from the other: codes whose KL is lower cannot even do that."""


_LARGEST: Final = 2**1023  # a whole number of a file may have any number of digits


@dataclass(frozen=True)
class Judgement:
    """An answer to a question about a run.

    Attributes:
        question: in words.
        answer: `none` where the pair has no such thing, `not examined` where a diagnostic was not computed.
        reason: the finding behind the answer, with its number and its threshold.
        about: the diagnostic that found it: `evidence`, `calibration`, `checks`, `units`.
        verb: of the command line, which examines what was not; empty where it was.
        words: what else that command needs.
    """

    question: str
    answer: Answer
    reason: str
    about: str
    verb: str = ""
    words: str = ""


def judgements(
    summary: Mapping[str, Any] | None, findings: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Judgement]:
    """Answer whether the evidence, the intervals, the samples and the codes of a run can be trusted.

    Each answer rests on a threshold of the diagnostic that it is of: Pareto k̂ of 0.7, a p-value of 0.05 that is
    corrected for all units or statistics, a coverage of 0.9, a variance of 0.01 of a unit's mean and a KL of log 2.

    Args:
        summary: `Evaluation.summary`; None where there is no evaluation.
        findings: by name the summaries of `calibration` and of the further scores (`ais`, `checks`, `samples`).

    >>> for j in judgements({"pareto_k_bad": 0.0, "nll": 23.5, "active_units": 2, "num_units": 2}):
    ...     print(j.question, j.answer)
    Can the evidence be trusted? yes
    Can the guide's intervals be trusted? not examined
    Can samples be trusted to look like the data? not examined
    Do the codes tell of the data? yes
    """
    found = {name: dict(part) for name, part in (findings or {}).items()}
    ais, ranks, checks, quality = (found.get(name, {}) for name in ("ais", "calibration", "checks", "samples"))
    return [
        Judgement("Can the evidence be trusted?", *_evidence(summary, ais)),
        Judgement("Can the guide's intervals be trusted?", *_intervals(summary or {}, ranks)),
        Judgement("Can samples be trusted to look like the data?", *_samples(summary or {}, checks, quality)),
        Judgement("Do the codes tell of the data?", *_codes(summary)),
    ]


_Told = tuple[Answer, str, str] | tuple[Answer, str, str, str] | tuple[Answer, str, str, str, str]


def known(value: Any) -> bool:
    """Tell whether a value is a number, not NaN, and none that a float cannot hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return not math.isnan(value) if isinstance(value, float) else abs(value) <= _LARGEST


def without_density(summary: Mapping[str, Any]) -> bool:
    """Tell whether a pair defines no density of x, as deterministic autoencoders do not."""
    return bool(summary.get("reason")) and not known(summary.get("elbo"))


def percent(share: float) -> str:
    """Write a share, one decimal; what is more than none is not told as none.

    >>> percent(0.15), percent(0.0), percent(0.0002)
    ('15.0%', '0.0%', '0.02%')
    """
    return f"{share:.1%}" if not 0 < share < 0.0005 else f"{100 * share:.1g}%"


def _evidence(summary: Mapping[str, Any] | None, ais: Mapping[str, Any]) -> _Told:
    about = "evidence"
    if summary is None:
        return "not examined", "The run has not been evaluated.", about, "evaluate"
    if summary.get("reason"):
        return "none", f"There is none: {summary['reason']}.", about
    annealed = ""
    if all(known(ais.get(key)) for key in ("nll", "nll_importance", "n")):
        annealed = (
            f" On {ais['n']} data annealing finds −log p(x) = {ais['nll']:.2f}, importance sampling "
            f"{ais['nll_importance']:.2f}."
        )
    bad: Any = summary.get("pareto_k_bad")
    if not known(bad):
        if summary.get("nll_se") == 0:
            return "yes", "It is exact: a sum over all codes." + annealed, about
        return "not examined", f"No k̂ is known: that takes 25 particles at least.{annealed}", about, "evaluate"
    if bad == 0:
        told = f"No datum has k̂ above {THRESHOLD}: the evidence estimate and the guide can be trusted"
        told += ", as far as its draws reach."
        return "yes", told + annealed, about
    told = f"k̂ exceeds {THRESHOLD} for {percent(bad)} of the data: "
    if bad < MANY:
        return "with care", f"{told}the average can be trusted, these data cannot.{annealed}", about
    told += (
        "the guide misses mass of their posteriors. The true −log p(x) is likely lower than the estimate; use more "
        "particles, a richer guide or an importance-weighted objective."
    )
    return "no", told + annealed, about


def _intervals(summary: Mapping[str, Any], found: Mapping[str, Any]) -> _Told:
    about, p = "calibration", found.get("p_value")
    bad: Any = summary.get("pareto_k_bad")
    many = known(bad) and float(bad or 0) >= MANY
    missed = (
        f"k̂ exceeds {THRESHOLD} for {percent(bad)} of the data, of whose posteriors the guide misses mass"
        if many
        else ""
    )
    if not known(p):
        if without_density(summary):
            return "none", f"There are none: {summary['reason']}.", about
        told = "Ranks of known latents among the guide's draws have not been computed."
        return ("no", f"{missed}. {told}", about) if missed else ("not examined", told, about, "calibrate")
    covered = found.get("coverage_90")
    verdict = str(found.get("verdict") or "no verdict")
    told = verdict[0].upper() + verdict[1:]
    told += f" (p = {p:.2g}, where {LEVEL:g} or less is a finding)."
    if known(covered):
        told += f" 90% intervals hold the truth in {covered:.1%} of {found.get('simulations', 'the')} simulations, mean"
        told += " over units."
    if float(p or 0) <= LEVEL:
        return "no", told, about
    return ("with care", f"{told} But on these data, {missed}.", about) if missed else ("yes", told, about)


def _samples(summary: Mapping[str, Any], checks: Mapping[str, Any], quality: Mapping[str, Any]) -> _Told:
    about, ending = "checks", "_pit_p"
    p = {k.removesuffix(ending): float(v) for k, v in checks.items() if k.endswith(ending) and known(v)}
    told = ""
    if known(quality.get("precision")) and known(quality.get("coverage")):
        told = (
            f" {quality['precision']:.0%} of samples lie where data lie, {quality['coverage']:.0%} of data have a "
            "sample nearby."
        )
    if not p and without_density(summary):
        return (
            "none",
            "There are none: a deterministic pair has no p(z) to draw from; fit one to its codes.",
            about,
            "prior",
        )
    if not p:
        return (
            "not examined",
            f"Data have not been ranked among samples.{told}",
            about,
            "evaluate",
            "'scores=[checks,samples]'",
        )
    off = [name for name, value in p.items() if value * len(p) <= LEVEL]
    if off:
        smallest = min(p.values())
        ranks = f"Data are not distributed as samples are in {', '.join(off)} (smallest p = {smallest:.2g}"
        return "no", f"{ranks}, {len(p)} statistics looked at).{told}", about
    ranks = f"Data rank among samples as samples do, in {', '.join(p)}: no p-value is at or below {LEVEL:g}/{len(p)}."
    if not told:
        unseen = " Whether they look like the data as a whole, neighbour by neighbour, has not been examined."
        return "with care", f"{ranks}{unseen}", about, "evaluate", "'scores=[checks,samples]'"
    if float(quality["coverage"]) < COVERED:
        return "with care", f"{ranks} But as a whole they differ:{told} Of further data it would be about 97%.", about
    return "yes", f"{ranks}{told}", about


def _codes(summary: Mapping[str, Any] | None) -> _Told:
    about = "units"
    if summary is None:
        return "not examined", "The run has not been evaluated.", about, "evaluate"
    active: Any = summary.get("active_units")
    units: Any = summary.get("num_units")
    if not (known(active) and known(units)) or not units:
        return "none", "There is no latent unit of real numbers, of which this is asked.", about
    told = f"{active:g} of {units:g} units are active: the variance over data of E[z | x] exceeds {ACTIVE:g}."
    if not active:
        return "no", f"{told} They are the same whatever the data: the latents have collapsed.", about
    if 2 * active < units:
        return "with care", f"{told} The means of most are the same whatever the data.", about
    kl: Any = summary.get("kl")
    if known(kl) and kl < HALVES:
        told += f" But their KL is {kl:.2f} nats per datum in all: to tell halves of the data apart takes log 2 = 0.69."
        return "with care", told, about
    return "yes", told, about
