"""Sentences that a reader of a comparison must know: jobs that are not in it, and what limits it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from ppl_vae.sweeps.compare import Comparison, Metric
    from ppl_vae.sweeps.gather import Gathered

NAMED = 6
"""Groups without a run that are named at most."""

REASONS = 8
"""Reasons of failures that are told at most."""

CUT = 300
"""Letters of a reason that are told."""


def notes(
    found: Gathered,
    metric: Metric,
    by: Sequence[str],
    groups: pd.DataFrame,
    ranked: pd.Series,
    figure: str,
    main_basis: str,
) -> list[str]:
    """Sentences: which jobs are not in the ranking and why, and what limits the comparison."""
    told = [f"Left out: {text}" for text in found.damaged]
    states = found.states["state"]
    for state in dict.fromkeys(states[states != "finished"]):
        jobs = list(states.index[states == state])
        told.append(f"{len(jobs)} {state}, not ranked: job{'s' * (len(jobs) > 1)} {listed(jobs)}.")
    if metric.short == "bound":
        told.append(f"{metric.name} is each run's own objective: it compares runs of one objective and one β alone.")
    without = list(states.index[(states == "finished") & ~ranked])
    if without:
        told.append(f"Without {metric.name}, not ranked: job{'s' * (len(without) > 1)} {listed(without)}.")
    ranked_labels = {tuple(row[k] for k in by) for _, row in groups.iterrows()}
    empty = list(
        dict.fromkeys(
            label
            for label in (tuple(found.keys.at[j, k] for k in by) for j in found.keys.index if states[j] != "pruned")
            if label not in ranked_labels
        )
    )
    if empty and len(groups):
        named = ["(" + ", ".join(f"{k}={v}" for k, v in zip(by, label, strict=True)) + ")" for label in empty[:NAMED]]
        more = f" and {len(empty) - NAMED} more" if len(empty) > NAMED else ""
        told.append(f"{_plural(len(empty), 'group')} without a finished run: {', '.join(named)}{more}.")
    bases = [b for b in dict.fromkeys(groups["basis"]) if b != main_basis]
    if bases:
        ours = f"those of {main_basis}" if main_basis else "the others"
        advice = "" if "no density" in bases else "; ppl-vae evaluate makes them equal: num_particles=…"
        told.append(f"{metric.name} of {', '.join(bases)} is listed last, and not compared with {ours}{advice}.")
    bare = [j for j in states.index[ranked] if j not in found.tables]
    if bare and found.tables and figure.startswith("test/"):
        told.append(
            f"Without figures per test datum, which others have: job{'s' * (len(bare) > 1)} {listed(bare)}; no "
            "difference of their groups is known until ppl-vae evaluate has made them."
        )
    compared = groups[groups["over"] != ""]
    over = set(compared["over"])
    if "data" in over:
        told.append("One run a group: intervals are over test data alone, and say nothing of another seed.")
    if "seeds" in over:
        told.append(f"Intervals of {figure} are over seeds alone: the runs share no figures per test datum.")
    if len(compared) > 1:
        told.append(f"Each of the {len(compared)} intervals covers with 95 % by itself, not all of them together.")
    return told


def failures(made: Comparison) -> list[str]:
    """A line a reason: the jobs that failed or were refused for it, a single one with the keys that set it apart."""
    runs = made.runs[made.runs["reason"].notna()].sort_index()
    jobs: dict[tuple[str, str], list[int]] = {}
    for job, row in runs.iterrows():
        jobs.setdefault((row["status"], " ".join(str(row["reason"]).split())), []).append(int(job))
    lines = []
    for (status, reason), those in jobs.items():
        row = runs.loc[those[0]]
        told = " ".join(f"{k}={row[k]}" for k in made.key_names if row[k] is not None)
        named = f"jobs {listed(those)}" if len(those) > 1 else f"job {those[0]}" + (f" ({told})" if told else "")
        lines.append(f"{named} {status}: {reason[:CUT]}{'…' * (len(reason) > CUT)}")
    more = [f"… and {len(lines) - REASONS} more reasons in comparison.csv"] if len(lines) > REASONS else []
    return lines[:REASONS] + more


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def listed(numbers: Sequence[int]) -> str:
    """Numbers with runs of them drawn together.

    Example:
        >>> listed([0, 1, 2, 5])
        '0–2, 5'
    """
    parts: list[list[int]] = []
    for n in sorted(numbers):
        if parts and n == parts[-1][-1] + 1:
            parts[-1].append(n)
        else:
            parts.append([n])
    return ", ".join(f"{p[0]}–{p[-1]}" if len(p) > 2 else ", ".join(map(str, p)) for p in parts)
