"""`Sweep`: a read-only view of a sweep's folder: its plan, and how far each job has come."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from ppl_vae.display import Displayed, View, figures, printable
from ppl_vae.errors import ArgumentError, RunError
from ppl_vae.kinds import shown
from ppl_vae.runs.files import whole_path
from ppl_vae.runs.recorder import locked, read_record, status_of
from ppl_vae.runs.run import Run, children, is_run, is_sweep, no_such_folder
from ppl_vae.sweeps.plan import MULTIRUN, Plan, PlannedJob, key

State = Literal["finished", "pruned", "running", "interrupted", "failed", "refused", "missing"]
STATES: tuple[State, ...] = get_args(State)
"""Of a job; missing: it has no run; refused: it failed for what it was asked, before anything was trained; pruned: a
search ended it before its end."""

WELL: tuple[State, ...] = ("finished", "pruned")
ENDED: tuple[State, ...] = (*WELL, "failed", "refused")
"""Those in which a sweep leaves a job as it is, and those in which it has ended, well or not."""

DEEP = 4
"""The most folders below `outputs` that a sweep may lie in."""


@dataclass(frozen=True, repr=False)
class Job(Displayed):
    """One job of a sweep, as it stood when it was looked at.

    Attributes:
        number: counted from 0.
        state: see `STATES`.
        directory: its folder, which need not exist yet; None where that cannot be known before the job begins.
        run: its run; None where there is none.
        overrides: all that it was told: `ppl-vae train OVERRIDES` is the same run alone.
        own: those of them that set it apart from the others.
        choices: the option of each group.
        record: its `run.json`; empty where there is none.
        planned: False for a run that no job of the plan is.
    """

    number: int
    state: State
    directory: Path | None
    run: Run | None
    overrides: tuple[str, ...]
    own: tuple[str, ...]
    choices: dict[str, str]
    record: dict[str, Any]
    planned: bool = True

    @property
    def values(self) -> dict[str, str]:
        """The keys that set this job apart, as typed: `{"model.latent_dim": "8", "seed": "2"}`."""
        return {key(o): o.partition("=")[2] for o in self.own}

    @property
    def title(self) -> str:
        """The words that set this job apart, in one line; its number where nothing does."""
        return " ".join(self.own) or f"job {self.number}"

    @property
    def result(self) -> dict[str, Any]:
        """The figures that it ended with, in nats per datum; empty before it has."""
        return dict(self.record.get("result") or {})

    @property
    def error(self) -> str | None:
        """The error that it failed or was refused with."""
        return self.record.get("error") if self.state in ("failed", "refused") else None

    def _view(self) -> View:
        notes = [self.error] if self.error else []
        return View(f"Job({self.number}, {self.state}: {self.title})", rows=figures(self.result), notes=notes)


@dataclass(frozen=True, repr=False)
class Sweep(Displayed):
    """The folder of a sweep, read when asked; nothing here writes.

    Args:
        directory: where it is.

    Example:
        >>> sweep = Sweep.load("outputs/vae_digits/2026-11-22_15-00-00_1f2e3d")  # doctest: +SKIP
        >>> sweep.state, sweep.counts  # doctest: +SKIP
        ('interrupted', {'finished': 1, 'interrupted': 1, 'missing': 22})
        >>> [job.result["validation/elbo"] for job in sweep.jobs if job.state == "finished"]  # doctest: +SKIP
    """

    directory: Path

    @classmethod
    def load(cls, name: str | Path) -> Sweep:
        """The sweep in a folder, or the newest one for `"latest"`.

        Raises:
            RunError: for a folder that is not a sweep, naming what to type instead.
        """
        if not isinstance(name, (str, os.PathLike)):
            raise ArgumentError(f"Got {shown(name)} as a sweep, expected the path of its folder, or 'latest'.")
        return cls(find(name))

    @property
    def plan(self) -> Plan:
        """The plan; of a folder without one, the runs that are there."""
        return Plan.read(self.directory) or self._of_runs()

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs with their states, in the order of their numbers: those of the plan, then any others."""
        plan = self.plan
        runs = self._runs(len(plan.jobs))
        known = {job.number: job for job in plan.jobs}
        numbers = sorted(known.keys() | runs.keys())
        return tuple(self._job(plan, n, known.get(n), runs.get(n)) for n in numbers)

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs that are there, in the order of their jobs."""
        return tuple(job.run for job in self.jobs if job.run is not None)

    @property
    def counts(self) -> dict[State, int]:
        """The number of jobs in each state, of those states that occur."""
        return count(self.jobs)

    @property
    def state(self) -> State:
        """Of the sweep as a whole, see `whole`."""
        return whole(self.jobs)

    def _runs(self, planned: int = 0) -> dict[int, tuple[Path, dict[str, Any]]]:
        """The runs by the number of their job, with their records; those without one come after all others."""
        found: dict[int, tuple[Path, dict[str, Any]]] = {}
        without: list[tuple[Path, dict[str, Any]]] = []
        for path in children(self.directory):
            try:
                record = read_record(path)
            except RunError as error:  # damaged
                record = {"status": "failed", "error": str(error)}
            number = record.get("job", int(path.name) if path.name.isdigit() else None)
            if isinstance(number, int) and number not in found:
                found[number] = path, record
            else:
                without.append((path, record))
        after = max(planned, *(n + 1 for n in found), 0)
        return found | dict(enumerate(without, after))

    def _job(self, plan: Plan, number: int, job: PlannedJob | None, entry: Any) -> Job:
        planned = job or PlannedJob(number, ())
        if entry is None:
            name = plan.folder(number)
            path = None if name is None else self.directory / name
            state: State = "running" if path is not None and locked(path) else "missing"
            return Job(number, state, path, None, planned.overrides, plan.own(planned), dict(planned.choices), {})
        path, record = entry
        if job is None:
            planned = PlannedJob(number, tuple(record.get("overrides", ())), record.get("choices") or {})
        choices = record.get("choices") or dict(planned.choices)
        own = plan.own(planned) if job is not None else planned.overrides
        return Job(
            number, _state(path, record), path, Run(path), planned.overrides, own, choices, record, job is not None
        )

    def _of_runs(self) -> Plan:
        jobs = [
            PlannedJob(n, tuple(r.get("overrides", ())), r.get("choices") or {})
            for n, (_, r) in sorted(self._runs().items())
        ]
        started = min((str(r.get("started", "")) for _, r in self._runs().values()), default="")
        return Plan(jobs=tuple(jobs), complete=False, sweeper="", started=started)

    def __str__(self) -> str:
        return str(self.directory)

    def __repr__(self) -> str:
        return f"Sweep({printable(str(self.directory))})"

    def _view(self) -> View:
        try:
            jobs = self.jobs
        except (RunError, OSError) as error:  # to be shown is no reason to fail
            return View(f"Sweep({self.directory}: cannot be read)", notes=[str(error)])
        told = ", ".join(f"{n} {state}" for state, n in count(jobs).items())
        rows = [(job.number, job.title, job.state, job.result.get("validation/elbo")) for job in jobs]
        return View(f"Sweep({self.directory}: {told})", ("job", "told", "state", "validation/elbo"), rows)


def count(jobs: tuple[Job, ...]) -> dict[State, int]:
    """The number of jobs in each state, of those states that occur."""
    found = Counter(job.state for job in jobs)
    return {state: found[state] for state in STATES if found[state]}


def whole(jobs: tuple[Job, ...]) -> State:
    """The state of jobs as a whole.

    Finished: all are, or were pruned; running: one is; failed: all have ended, and not all well; missing: none has
    begun; else interrupted, and there is something left to resume.
    """
    there = count(jobs)
    if "running" in there:
        return "running"
    if there.keys() <= set(WELL):
        return "finished"
    if there.keys() <= set(ENDED):
        return "failed"
    return "missing" if there.keys() == {"missing"} else "interrupted"


def _state(directory: Path, record: dict[str, Any]) -> State:
    status = str(record["status"])
    if status == "running":
        status = status_of(directory)
    if status == "failed" and record.get("refused"):
        return "refused"
    return next((s for s in STATES if s == status), "failed")


def find(name: str | Path, *, key: str = "sweep", root: Path | None = None) -> Path:
    """The folder that `sweep=NAME` means.

    Raises:
        RunError: naming what to type instead.
    """
    if str(name) == "latest":
        return latest(root or Path("outputs"), key=key)
    path = whole_path(name, key)
    if is_run(path):
        above = [p for p in list(path.parents)[:DEEP] if is_sweep(p)][:1]
        if not above and len(children(path.parent)) > 1:
            above = [path.parent]
        hint = f"; its sweep is {key}={above[0]}" if above else ""
        raise RunError(f"{key}={name}: this is a single run, expected the folder of a sweep{hint}")
    if not path.is_dir():
        raise no_such_folder(key, name, path)
    if is_sweep(path) or children(path):
        return path
    raise RunError(f"{key}={name}: no runs in this folder, expected that of `ppl-vae train -m …`, with 0, 1, … inside")


def sweeps(root: Path) -> list[Sweep]:
    """All sweeps in a folder and below, oldest first; those that a folder of runs only looks like are left out."""
    found = [Sweep(path) for path in _below(root, DEEP)]
    return sorted(found, key=lambda s: (started(s.directory), str(s.directory)))


def started(directory: Path) -> str:
    """When a sweep began, in ISO's form; where its plan does not tell, when Hydra's note of it was written."""
    plan = None
    with contextlib.suppress(RunError):  # damaged
        plan = Plan.read(directory)
    if plan is not None and plan.started:
        return plan.started
    note = directory / MULTIRUN
    stamp = note.stat().st_mtime if note.exists() else 0.0
    return datetime.fromtimestamp(stamp, UTC).isoformat(timespec="milliseconds")


def latest(root: Path, *, key: str = "sweep") -> Path:
    """The newest sweep in a folder of outputs.

    Raises:
        RunError: if there is none.
    """
    found = sweeps(root)
    if not found:
        raise RunError(f"{key}=latest: there is no sweep under {root.absolute()}; make one with: ppl-vae train -m …")
    return found[-1].directory.absolute()


def _below(path: Path, depth: int) -> Iterator[Path]:
    if is_sweep(path):
        yield path
        return
    if depth == 0 or not path.is_dir() or is_run(path):
        return
    for inner in sorted(path.iterdir()):
        if inner.is_dir() and not inner.is_symlink() and not inner.name.startswith("."):
            yield from _below(inner, depth - 1)
