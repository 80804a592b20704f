"""The answers of a comparison, in words: whether a group is the best, and how far its figures can be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ppl_vae.diagnostics.judgements import Answer, Judgement, judgements

if TYPE_CHECKING:
    from ppl_vae.sweeps.compare import Comparison

PART = "test/"
"""The data of the figures that are judged."""


def verdict(made: Comparison, sentence: str, states: Mapping[str, int]) -> list[Judgement]:
    """Answers about a sweep, the outcome first.

    Args:
        made: what `compare` made.
        sentence: the outcome in words.
        states: how many jobs are in each state.
    """
    groups = made.groups
    rest = [str(v) for place, v in zip(groups["group"], groups["verdict"], strict=True) if place != 1]
    apart = sum(v.startswith(("worse", "better")) for v in rest)
    untold = sum(v != "not told apart" and not v.startswith(("worse", "better")) for v in rest)
    answer: Answer
    if not rest:
        answer = "none"
    elif untold == len(rest):
        answer = "not examined"
    else:
        seeded = apart == len(rest) and not any("one seed" in v for v in rest)  # another seed might tell otherwise
        answer = "yes" if seeded else "with care" if apart else "no"
    verb = "evaluate" if answer == "not examined" else ""
    found = [Judgement("Is the best group told apart from the others?", answer, sentence, "groups", verb)]
    finished, jobs = states.get("finished", 0), sum(states.values())
    others = ", ".join(f"{n} {state}" for state, n in states.items() if state != "finished")
    told = f"{finished} of {jobs} job{'s' * (jobs != 1)} finished" + (f"; {others}." if others else ".")
    found.append(
        Judgement("Are all jobs in it?", "yes" if finished == jobs else "with care" if finished else "no", told, "runs")
    )
    return [*found, *_of_runs(made)]


def _of_runs(made: Comparison) -> list[Judgement]:
    """The questions that each run answers for itself, summed up: the worst answer, and how many gave which."""
    runs = made.runs[made.runs["status"] == "finished"]
    names = [c for c in runs if str(c).startswith(PART)]
    each = {
        int(job): judgements({str(name).removeprefix(PART): row[name] for name in names} or None)
        for job, row in runs.iterrows()
    }
    if not each:
        return []
    asked = {"evidence": "Can the evidence of the runs be trusted?", "units": "Do their codes tell of the data?"}
    return [
        _summed(question, [(job, j) for job, judged in each.items() for j in judged if j.about == about])
        for about, question in asked.items()
    ]


def _summed(question: str, found: Sequence[tuple[int, Judgement]]) -> Judgement:
    order: tuple[Answer, ...] = ("no", "with care", "not examined", "none", "yes")
    counts: Counter[Any] = Counter(j.answer for _, j in found)
    worst = next(answer for answer in order if counts[answer])
    job, example = next(pair for pair in found if pair[1].answer == worst)
    told = ", ".join(f"{counts[answer]} {answer}" for answer in order if counts[answer])
    reason = f"Of {len(found)} run{'s' * (len(found) != 1)}: {told}. Of job {job}: {example.reason}"
    return Judgement(question, worst, reason, "runs", example.verb, example.words)
