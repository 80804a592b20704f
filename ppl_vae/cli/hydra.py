"""Verbs as Hydra runs them: jobs whose results alone reach standard output, and the exit code at the end."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ppl_vae.cli import folders, launchers, messages, worker
from ppl_vae.cli.arguments import TRUE, Arguments
from ppl_vae.cli.composition import LOOSE, own_loader
from ppl_vae.cli.messages import exit_code, report
from ppl_vae.cli.output import QUIET, emit
from ppl_vae.cli.progress import is_quiet, quietly
from ppl_vae.cli.replaced import replaced
from ppl_vae.config.keys import Format
from ppl_vae.config.schema import conf_dir, refuse_numbers, register, validated
from ppl_vae.config.verbs import SCHEMAS
from ppl_vae.errors import PplVaeError, UsageError
from ppl_vae.imports import load
from ppl_vae.runs.files import to_json

if TYPE_CHECKING:
    from ppl_vae.sweeps.plan import Plan
    from ppl_vae.sweeps.sweep import Job as JobOfSweep

DONE, FAILED, USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


class Terminated(KeyboardInterrupt):
    """SIGTERM; no `Exception`, or Hydra takes it for a failed job and goes on with the sweep."""


class JobFailed(Exception):  # noqa: N818 - what happened, and no fault of the sweep
    """One failed job of a sweep; its message has been printed. Plain arguments only, so that it pickles."""


@dataclass
class Outcome:
    """Counts and errors of the jobs of one command, as far as this process saw them."""

    jobs: int = 0
    errors: list[BaseException] = field(default_factory=list)


@dataclass
class Context:
    """Facts of the command that a verb may need beside its config."""

    verb: str
    directory: Path
    typed: list[str] = field(default_factory=list)
    loose: frozenset[str] = frozenset()
    started_in: str = ""
    number: int | None = None
    choices: dict[str, str] = field(default_factory=dict)
    resumed: bool = False
    begun: Any = None
    worker: int | None = None

    @property
    def in_sweep(self) -> bool:
        """True for a job of a sweep."""
        return self.number is not None

    @property
    def facts(self) -> dict[str, Any]:
        """Facts for `run.json` of the command that makes a run."""
        from ppl_vae.runs.recorder import command

        facts = {"verb": self.verb, "command": command(), "overrides": self.typed, "choices": self.choices}
        return facts if self.number is None else {**facts, "job": self.number}


@dataclass
class Job:
    """The task of a verb, as Hydra calls it.

    Attributes:
        verb: its name.
        outcome: what came of the jobs, as far as this process did them.
        full_error: with tracebacks.
        ahead: by directory, what was begun before its job's turn, which takes it from here; see `cli.batched`.
        is_heard: whether the process of the command prints all that a job prints, in whichever process that is done.
        command: the process in which the command was typed.
        visible: the devices that it saw, as `CUDA_VISIBLE_DEVICES` says it.
    """

    verb: str
    outcome: Outcome
    full_error: bool = False
    ahead: dict[Path, Any] = field(default_factory=dict)
    is_heard: bool = False
    command: worker.Home = field(default_factory=worker.home)
    visible: str | None = field(default_factory=lambda: os.environ.get("CUDA_VISIBLE_DEVICES"))

    def task(self) -> Callable[[DictConfig], float | None]:
        """A plain function: Hydra asks its task for a module and a file."""

        def task(cfg: DictConfig) -> float | None:
            return self.run(cfg)

        task.job = self  # type: ignore[attr-defined]  # for launchers that begin jobs before their turn
        return task

    def told_at_the_end(self, context: Context) -> bool:
        """True where standard output may be another one: the process of the command prints objects of such jobs."""
        return context.worker is not None and not self.is_heard and self.verb == "train"

    def run(self, cfg: DictConfig) -> float | None:
        """Do one job in a process that may be a launcher's; see `_run`."""
        context = context_of(self.verb, self.command)
        if context.worker is None:
            return self._run(cfg, context)
        for variable, value in worker.visible(os.environ, self.visible).items():
            if value is None:
                os.environ.pop(variable, None)
            else:
                os.environ[variable] = value
        worker.forget_here(sys.path)
        with worker.requeued():
            return self._run(cfg, context)

    def _run(self, cfg: DictConfig, context: Context) -> float | None:
        """Do one job; in a single run the error waits in `outcome`, in a sweep the other jobs go on."""
        from ppl_vae.cli import sweep

        context.begun = self.ahead.pop(context.directory, None)
        if context.in_sweep:
            self.outcome.jobs += 1
        with standard_output_for_results() as out, quietly(_told(cfg, "quiet") is True):
            try:
                if context.number is not None and not context.resumed:
                    sweep.say_beginning(context.directory, context.number)
                job = validated(self.verb, cfg) if context.begun is None else context.begun.cfg
                _find(job, context)
                load(f"ppl_vae.cli.verbs.{self.verb}")
                module = importlib.import_module(f"ppl_vae.cli.verbs.{self.verb}")
                result = module.run(job, context)
                style = str(job.format.value)
                style = QUIET if is_quiet() and style != Format.json.name else style
                if not (self.told_at_the_end(context) and style != Format.table.name):
                    emit(result, style, out, number=context.number)
                return result.value
            except (Exception, SystemExit) as error:  # users' code may call sys.exit
                self.outcome.errors.append(error)
                if not context.in_sweep:
                    return None
                title = sweep.title(context.directory, context.number or 0)
                text = messages.report(error, f"{self.verb} {title}", full=self.full_error)
                sweep.keep(error, text, context)
                if _told(cfg, "format") == Format.json.name and not self.told_at_the_end(context):
                    record = {
                        "job": context.number,
                        "overrides": context.typed,
                        "status": "failed",
                        "error": text,
                    }
                    print(to_json(record), file=out, flush=True)
        raise JobFailed(text) from None


def _told(cfg: DictConfig, key: str) -> Any:
    """The value of a key in a config that was not looked at yet."""
    return getattr(cfg.get(key), "value", cfg.get(key))


def _find(job: DictConfig, context: Context) -> None:
    """Look for the run before the verb is imported: a wrong name is answered as fast as any typo.

    Raises:
        UsageError: for a relative name where `hydra.job.chdir=true` left the directory it is relative to.
        RunError: for a folder that is not a run.
    """
    from ppl_vae.runs.run import find

    moved = Path.cwd() != Path(context.started_in)
    for key in ("run", "sweep"):
        name = job.get(key)
        if name is None:
            continue
        if moved and not Path(name).is_absolute() and not name.startswith("~"):
            raise UsageError(
                f"{key}={name}: relative, and hydra.job.chdir=true leaves the directory it is relative to; "
                "give the whole path, or leave chdir out"
            )
        if key == "run":
            find(name)


def context_of(verb: str, command: worker.Home | None = None) -> Context:
    """The context of the job at hand, as Hydra's config has it.

    Args:
        verb: its name.
        command: the process in which the command was typed; None: this one.
    """
    from ppl_vae.cli import sweep
    from ppl_vae.sweeps.plan import options

    hydra = HydraConfig.get()
    typed: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)  # as typed, `${…}` too
    directory = Path(hydra.runtime.output_dir)
    number = int(hydra.job.num) if hydra.mode == RunMode.MULTIRUN else None
    process = None if command is None else worker.number(command, number)
    before = None if number is None else sweep.goes_on(directory, number, again=process is not None)
    return Context(
        verb=verb,
        directory=before or directory,
        resumed=before is not None,
        typed=[str(o) for o in typed],
        choices=options(hydra.runtime.choices),
        loose=frozenset(hydra.runtime.choices.get(LOOSE, ())),
        started_in=hydra.runtime.cwd,
        number=number,
        worker=process,
    )


@contextlib.contextmanager
def standard_output_for_results() -> Iterator[TextIO]:
    """Send every `print`, those of users' code too, to standard error; yield the real standard output."""
    out = sys.stdout
    with contextlib.redirect_stdout(_StandardError()):
        yield out


class _StandardError(io.TextIOBase):
    """Standard error as it is at the time, which a progress bar replaces while it stands."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()

    def isatty(self) -> bool:
        return sys.stderr.isatty()

    def fileno(self) -> int:
        return sys.stderr.fileno()


def call_hydra(verb: str, arguments: Arguments, name: str | None = None, plan: Plan | None = None) -> int:
    """Let Hydra compose and run one verb, from its own config or another of this name; give the exit code.

    Args:
        verb: to run.
        arguments: its command line.
        name: of another primary config.
        plan: of a sweep that is gone on with.
    """
    register(verb)
    refuse_numbers(verb, arguments.overrides)
    folders.register_resolvers()
    launchers.register_resolvers()
    outcome = Outcome()
    if arguments.asks_only or "--shell-completion" in arguments.flags:  # answered before anything else is imported
        try:
            with _said_whole(verb) if arguments.asks_only else contextlib.nullcontext():
                _hydra(verb, name or verb, arguments, outcome)
        finally:
            folders.remove_empty()
        return _exit(outcome, verb)
    from ppl_vae.cli import batched, sweep

    launched = sweep.Launched(verb, arguments, plan)
    quiet = (arguments.value("quiet") or "").lower() in TRUE
    style = arguments.value("format") or (QUIET if quiet else Format.table.name)
    whole = False
    with quietly(quiet):
        try:
            with batched.launching(), sweep.planning(launched):
                _hydra(verb, name or verb, arguments, outcome)
            whole = True
        except JobFailed as failure:
            if not outcome.errors:  # the jobs ran in other processes, where each told its error
                outcome.errors.append(PplVaeError(f"a job failed: {failure}"))
        finally:
            folders.remove_empty()
            launched.elsewhere &= not outcome.jobs  # joblib does them here where there is one core
            jobs = sweep.ended(launched, style if whole else "")
    return _exit(outcome, verb) if jobs is None else _exit_of_sweep(outcome, jobs, verb)


@contextlib.contextmanager
def _said_whole(verb: str) -> Iterator[None]:
    """Let `--info` and its like say all or, where something is wrong, nothing on standard output.

    Raises:
        UsageError: in place of Hydra's end by an exit code, with what it said: a package that is not in the config.
    """
    said, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
        try:
            yield
            ended = None
        except SystemExit as end:  # how Hydra ends --help, too
            ended = end
    if ended is not None and ended.code:
        said_by_hydra = told.getvalue().strip() or f"Hydra ended with {ended.code}"
        raise UsageError(f"{said_by_hydra}; ppl-vae {verb} --cfg job prints all of it")
    print(told.getvalue(), end="", file=sys.stderr)
    print(said.getvalue(), end="")
    if ended is not None:
        raise ended


def _exit(outcome: Outcome, verb: str) -> int:
    if not outcome.errors:
        return DONE
    if outcome.jobs == 0:
        report(outcome.errors[0], verb)
        return exit_code(outcome.errors[0])
    print(f"ppl-vae {verb}: {len(outcome.errors)} of {outcome.jobs} failed", file=sys.stderr)
    return USAGE if all(exit_code(e) == USAGE for e in outcome.errors) else FAILED


def _exit_of_sweep(outcome: Outcome, jobs: Sequence[JobOfSweep], verb: str) -> int:
    """The exit code of a sweep, whose jobs may have been done in other processes: by what their files say.

    One that was refused before it touched what was there is known to this process alone.
    """
    codes = [job.record.get("exit_code", FAILED) for job in jobs if job.state in ("failed", "refused")]
    failed = max(len(codes), len(outcome.errors))
    if failed == 0:
        return DONE
    print(f"ppl-vae {verb}: {failed} of {len(jobs)} failed", file=sys.stderr)
    return USAGE if all(code == USAGE for code in (*codes, *map(exit_code, outcome.errors))) else FAILED


def _hydra(verb: str, config_name: str, arguments: Arguments, outcome: Outcome) -> None:
    """Call `hydra.main` as a program would, with the command line in `sys.argv` and its errors uncaught."""
    job = Job(verb, outcome, os.environ.get("HYDRA_FULL_ERROR") == "1")
    program = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)(job.task())
    with _patched(arguments), _hydra_raises(), _one_config_store(), own_loader(), _helping(verb, arguments):
        program()


def _helping(verb: str, arguments: Arguments) -> contextlib.AbstractContextManager[None]:
    if "--help" not in arguments.flags:
        return contextlib.nullcontext()
    from ppl_vae.cli.help import own_help

    return own_help(SCHEMAS[verb])


@contextlib.contextmanager
def _patched(arguments: Arguments) -> Iterator[None]:
    argv, path = sys.argv, list(sys.path)  # the working directory may join the latter, see `config.locate`
    sys.argv = ["ppl-vae", *arguments.argv()]
    try:
        yield
    finally:
        sys.argv, sys.path[:] = argv, path


@contextlib.contextmanager
def _hydra_raises() -> Iterator[None]:
    """Make Hydra raise instead of printing and exiting; messages and exit codes are ours."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before


def _one_config_store() -> contextlib.AbstractContextManager[None]:
    """Let Hydra share its store of configs, which it deep-copies once per group: `--help` in half the time."""

    def share(self: Any, memo: Any) -> Any:
        return self

    return replaced(ConfigStore, __deepcopy__=share)
