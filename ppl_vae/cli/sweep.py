"""Sweeps as Hydra runs them: the plan is on the disk before the first job, whoever chooses or launches the jobs."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

from ppl_vae.cli import folders, launchers
from ppl_vae.cli.arguments import Arguments, next_command
from ppl_vae.cli.fitted import Column, Fitted, number
from ppl_vae.cli.messages import exit_code
from ppl_vae.cli.output import QUIET, console_on
from ppl_vae.cli.progress import say
from ppl_vae.cli.replaced import replaced
from ppl_vae.config.keys import PRINTING, Format
from ppl_vae.display import on_screen
from ppl_vae.errors import RunError
from ppl_vae.runs.files import to_json
from ppl_vae.runs.recorder import ERROR, RECORD, RunWriter, command, now, read_record, traceback_told, versions
from ppl_vae.runs.run import children, is_run
from ppl_vae.sweeps.plan import PLAN, Plan, key, options, planned
from ppl_vae.sweeps.sweep import WELL, Job, Sweep, count

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn

    from ppl_vae.cli.hydra import Context
    from ppl_vae.sweeps.stop import Watch

MADE = {"figures": "figures", "posterior": "posterior.nc"}
"""The files that `train` makes beside the run's own, as its object names them."""

SHOWN = 40
"""How many jobs the table at the end lists."""


@dataclass
class Launched:
    """The sweep of one command, as far as there is one: a plan that is written as it is launched.

    Args:
        verb: whose jobs they are.
        arguments: of the command line.
        resumed: the plan that is gone on with, in place of one made anew.

    Attributes:
        directory: of the sweep.
        elsewhere: whether its jobs run in other processes.
        plan: as it was written last.
    """

    verb: str
    arguments: Arguments
    resumed: Plan | None = None
    directory: Path | None = None
    elsewhere: bool = False
    plan: Plan | None = field(default=None, repr=False)

    def launch(self, launcher: Any, config: Any, loader: Any, jobs: Sequence[Sequence[str]], first: int) -> list[Any]:
        """Write the plan, as far as it is known, then let the launcher do these jobs."""
        self.write(config, loader, jobs, first)
        return launchers.launched(launcher, jobs, first, config)

    def write(
        self, config: Any, loader: Any, jobs: Sequence[Sequence[str]] = (), first: int = 0, **changes: Any
    ) -> None:
        """Write the plan, as far as it is known, with these jobs of it and changes of its fields."""
        self.directory = Path(str(config.hydra.sweep.dir))
        if self.resumed is not None:
            plan = self.plan or replace(self.resumed, resumed=(*self.resumed.resumed, now()))
        else:
            plan = self.plan or replace(
                Plan.of_hydra(config, loader),
                verb=self.verb,
                flags=tuple(f for f in self.arguments.flags if f != "--multirun"),
                command=tuple(command()),
                started=now(),
                versions=versions(),
            )
        if not plan.complete and (self.resumed is None or plan.search):
            here = [o for o in plan.overrides if key(o) in PRINTING]  # how a later command prints is no part of it
            told = [[o for o in job if key(o) not in PRINTING or o in here] for job in jobs]
            plan = plan.grown(planned(told, options(config.hydra.runtime.choices), first))
        plan = replace(plan, **changes)
        if plan != self.plan:
            self.directory.mkdir(parents=True, exist_ok=True)
            plan.write(self.directory)
        self.plan = plan
        self.elsewhere = not launchers.is_here(config)


class Replay(Sweeper):
    """A sweeper that launches the jobs of a plan that is gone on with; each decides for itself what is left to do."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        """Make the launcher that the config names."""
        plugins = Plugins.instance()
        self.launches: Any = plugins.instantiate_launcher(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> Sequence[JobReturn]:
        """Launch the jobs; what was typed is in the plan already."""
        done: Sequence[JobReturn] = self.launches.launch([job.overrides for job in self.plan.jobs], initial_job_idx=0)
        return done


@contextlib.contextmanager
def planning(launched: Launched) -> Iterator[None]:
    """Let what launches jobs write the plan first, and a resumed plan stand in for the sweeper.

    Hydra asks `Plugins` for both, whichever they are; a verb that writes inside a run has no folder of a sweep.
    """
    launcher_of, sweeper_of = Plugins.instantiate_launcher, Plugins.instantiate_sweeper

    def instantiate_launcher(self: Plugins, hydra_context: Any, task_function: Any, config: Any) -> Any:
        launcher: Any = launcher_of(self, hydra_context, task_function, config)
        planned = not folders.is_scratch(Path(str(config.hydra.sweep.dir)))

        def launch(job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
            del launcher.launch  # some send themselves to where the jobs are done: as they were made
            try:
                if not planned:
                    return launchers.launched(launcher.launch, job_overrides, initial_job_idx, config)
                return launched.launch(
                    launcher.launch, config, hydra_context.config_loader, job_overrides, initial_job_idx
                )
            finally:
                launcher.launch = launch

        launcher.launch = launch
        return launcher

    def instantiate_sweeper(self: Plugins, *, config: Any, hydra_context: Any, task_function: Any) -> Sweeper:
        context = {"config": config, "hydra_context": hydra_context, "task_function": task_function}
        if launched.resumed is None and not folders.is_scratch(directory := Path(str(config.hydra.sweep.dir))):
            _refuse_used(directory)
        if str((config.hydra.sweeper or {}).get("_target_")).startswith("ppl_vae."):  # imports what others do without
            from ppl_vae.cli import search

            if (found := search.sweeper(config.hydra.sweeper, launched)) is not None:
                found.setup(**context)
                return found
        if launched.resumed is None:
            return sweeper_of(self, **context)
        said = [o for o in launched.arguments.overrides if key(o) in PRINTING]
        sweeper = Replay(launched.resumed.changed(said))
        sweeper.setup(**context)
        return sweeper

    with replaced(Plugins, instantiate_launcher=instantiate_launcher, instantiate_sweeper=instantiate_sweeper):
        yield


def _refuse_used(directory: Path) -> None:
    """Refuse the folder of another sweep, whose jobs are not these, or of a run.

    Raises:
        RunError: with what to type instead.
    """
    if is_run(directory):
        raise RunError(f"{directory} holds a run already, expected a new folder: choose another hydra.sweep.dir")
    if not (directory / PLAN).exists() and not children(directory):
        return
    try:
        jobs = Sweep(directory).jobs
    except RunError:
        told = "a sweep"
    else:
        told = f"a sweep of {len(jobs)} jobs ({', '.join(f'{n} {state}' for state, n in count(jobs).items())})"
    raise RunError(
        f"{directory} holds {told} already, expected a new folder: go on with that sweep "
        f"({next_command('train -m', resume=directory)}), or choose another hydra.sweep.dir"
    )


# --- what is said of it
# ----------------------------------------------------------------------------------------------------


def sweep_above(directory: Path) -> Path | None:
    """The folder of the sweep that a job's folder lies in; None where it has no plan."""
    return next((p for p in list(directory.parents)[:4] if (p / PLAN).is_file()), None)


def say_beginning(directory: Path, number: int, more: str = "") -> None:
    """Say on standard error which job begins, and what is done with it where that is not all of it."""
    if line := beginning(directory, number):
        say(f"{line}: {more}" if more else line)


def beginning(directory: Path, number: int) -> str:
    """`Job 7 of 24, model.latent_dim=8 seed=2, 3 min left`, as a job says when it begins; empty without a plan."""
    sweep = sweep_above(directory)
    if sweep is None:
        return ""
    plan = _plan_of(sweep)
    own = " ".join(_own(plan, number))
    of = f" of {len(plan.jobs)}" if plan.complete else ""
    return ", ".join(part for part in (f"Job {number + 1}{of}", own, _left(sweep, plan, number)) if part)


def _plan_of(sweep: Path) -> Plan:
    return _read(sweep, (sweep / PLAN).stat().st_mtime_ns)


@functools.lru_cache(maxsize=1)
def _read(sweep: Path, stamp: int) -> Plan:
    """The plan of a sweep, read once for all jobs that a process does of it."""
    return Plan.read(sweep) or Plan()


def _own(plan: Plan, number: int) -> tuple[str, ...]:
    return next((plan.own(job) for job in plan.jobs if job.number == number), ())


def _left(sweep: Path, plan: Plan, number: int) -> str:
    """The time left, at the pace since this sweep was started or gone on with; empty before a job ended.

    Told from the times of the jobs' files alone, which are there whatever process does them; it knows of no jobs in
    other processes that are not done yet, and takes them as done.
    """
    since = datetime.fromisoformat((plan.resumed or (plan.started,))[-1]).timestamp()
    stamps = _stamps(sweep, plan, number)
    done = sum(stamp >= since for stamp in stamps)
    missing = len(plan.jobs) - len(stamps)
    if not plan.complete or plan.search or not done or not missing:  # all have begun: that tells not how far they are
        return ""
    return f"{duration((time.time() - since) / done * missing)} left"


def _stamps(sweep: Path, plan: Plan, number: int) -> list[float]:
    """The times of the folders of other jobs; every job asks, so of ten thousand one look at each has to be enough."""
    if plan.folder(0) is None:
        return [(path / RECORD).stat().st_mtime for path in children(sweep)]
    with os.scandir(sweep) as entries:
        return [entry.stat().st_mtime for entry in entries if entry.name.isdecimal() and entry.name != str(number)]


def title(directory: Path, number: int) -> str:
    """`job 7 (model.latent_dim=8 seed=2)`: a job by its number, as its folder has it, and by what sets it apart."""
    sweep = sweep_above(directory)
    own = () if sweep is None else _own(_plan_of(sweep), number)
    return f"job {number} ({' '.join(own)})" if own else f"job {number}"


def goes_on(directory: Path, number: int, *, again: bool = False) -> Path | None:
    """The folder of a job that goes on with its run, which may have been named otherwise before; else None.

    The sweep is gone on with; or the job has begun before, and its process ended: a cluster queues it again.
    """
    sweep = sweep_above(directory)
    if sweep is None:
        return None
    plan = _plan_of(sweep)
    if not (plan.resumed or plan.search):
        return directory if again and is_run(directory) and read_record(directory).get("job") == number else None
    if plan.folder(number) is not None or is_run(directory):
        return directory
    before = next((job.directory for job in Sweep(sweep).jobs if job.number == number), None)
    if before is None:
        return directory
    for path in (directory, *directory.parents):  # made by Hydra for this job, and not needed
        if path == sweep or any(path.iterdir()):
            break
        path.rmdir()
    return before


def watch(directory: Path, number: int | None, epochs: int) -> Watch | None:
    """The callback of a job that ends it where its search does; None for the job of no search."""
    sweep = None if number is None else sweep_above(directory)
    if sweep is None or number is None or not (plan := _plan_of(sweep)).search:
        return None
    from ppl_vae.sweeps.stop import Watch

    return Watch(sweep, plan, number, epochs)


def keep(error: BaseException, text: str, context: Context) -> None:
    """Keep what a job was refused with before its verb began: every job of a sweep has a `run.json`."""
    if sweep_above(context.directory) is None or is_run(context.directory):
        return
    with RunWriter(context.directory) as writer:
        writer.failed(error, text, refused=True, exit_code=exit_code(error), **context.facts)


def duration(seconds: float) -> str:
    """A time in one unit, rounded up.

    Example:
        >>> duration(3.2), duration(130), duration(9000), duration(400000)
        ('4 s', '3 min', '3 h', '5 d')
    """
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds > 1.5 * size:
            return f"{-int(-seconds // size)} {unit}"
    return f"{-int(-seconds // 1)} s"


def ended(launched: Launched, style: str) -> tuple[Job, ...] | None:
    """Say how the jobs of a sweep stand, a table of them where results are to be read by people, then what is next.

    Args:
        launched: the sweep.
        style: `table`; `json` or `quiet`, where what jobs in other processes made is printed here; empty: no results.

    Returns:
        The jobs; None where there is no sweep, or nothing of it.
    """
    if launched.directory is None or not (launched.directory / PLAN).is_file():
        return None
    sweep = Sweep(launched.directory)
    jobs = sweep.jobs
    results = style == Format.table.name
    if results:
        _table(jobs)
    elif launched.elsewhere and launched.verb == "train":
        for job in jobs:
            if style == Format.json.name:
                print(to_json(_object(job)), flush=True)
            elif style == QUIET and job.state in WELL:
                print(job.directory, flush=True)
    told = ", ".join(f"{n} {state}" for state, n in count(jobs).items())
    lines = [f"sweep: {sweep} ({len(jobs)} jobs: {told})", *_best(sweep.plan, jobs)]
    if launched.verb == "train" and any(job.run is not None for job in jobs):
        lines.append(f"page: {next_command('compare', sweep=sweep)}")
    if launched.verb == "train" and any(job.state not in WELL for job in jobs):
        lines.append(f"go on with the rest: {next_command('train -m', resume=sweep)}")
    for line in lines:
        if results:
            print(on_screen(line, sys.stdout))
        else:
            say(line)
    return jobs


def _object(job: Job) -> dict[str, Any]:
    """The object of a job, as `format=json` prints it, from its files."""
    if job.state != "finished" or job.directory is None:
        error = {} if job.error is None else {"error": _error(job)}
        told = job.record.get("overrides", job.overrides)
        status = "failed" if job.state == "refused" else job.state
        return {"job": job.number, "overrides": told, "status": status, **error}
    made = {name: job.directory / file for name, file in MADE.items() if (job.directory / file).exists()}
    run = {"run": str(job.directory), "status": "finished"}
    return {"job": job.number, **run, **job.result, "files": made, "result": job.result}


def _error(job: Job) -> str:
    if job.directory is None or not (job.directory / ERROR).exists():
        return str(job.error)
    return f"{job.error}\n  {traceback_told(job.directory)}"


def _best(plan: Plan, jobs: Sequence[Job]) -> list[str]:
    """A line on the best trial of a search, or one on each that no other beats in all of several metrics."""
    if not plan.search:
        return []
    from ppl_vae.sweeps.trials import best, metrics_of, trials_of

    metrics = metrics_of([name for name, _ in plan.search["metrics"]])
    metrics = tuple(replace(m, up=up) for m, (_, up) in zip(metrics, plan.search["metrics"], strict=True))
    trials = trials_of(jobs, plan.search["seeds"])
    lines = []
    for trial in best(trials, metrics):
        own = [o for o in trial.jobs[0].own if all(o in job.own for job in trial.jobs)]
        values = ", ".join(f"{m.name} {trial.value(m.name):.4g}" for m in metrics)
        runs = " ".join(str(job.directory) for job in trial.jobs)
        lines.append(f"best of {len(trials)} trials: {' '.join(own)} ({values}): {runs}")
    return lines


def _table(jobs: Sequence[Job]) -> None:
    shown = jobs if len(jobs) <= SHOWN else [job for job in jobs if job.state not in WELL][:SHOWN]
    if not shown:
        return
    keys = list(dict.fromkeys(k for job in shown for k in job.values))
    columns = [
        Column("job", [str(job.number) for job in shown]),
        *(Column(key, [job.values.get(key, "-") for job in shown]) for key in keys),
        Column("state", [job.state for job in shown]),
        Column("validation ELBO", [number(job.result.get("validation/elbo")) for job in shown]),
    ]
    console_on(sys.stdout).print(Fitted(columns))
