"""`main`: look the verb up, hand the rest to Hydra, turn whatever happens into an exit code and one message."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ppl_vae.cli.arguments import Arguments, parse
from ppl_vae.errors import PplVaeError, UsageError
from ppl_vae.version import __version__

DONE, FAILED, USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


class Terminated(KeyboardInterrupt):
    """SIGTERM; no `Exception`, or Hydra takes it for a failed job and goes on with the sweep."""


class JobFailed(Exception):  # noqa: N818 - what happened, and no fault of the sweep
    """One failed job of a sweep; its message has been printed. Plain arguments only, so that it pickles."""


@dataclass
class Outcome:
    """What the jobs of one command did, as far as this process saw them."""

    jobs: int = 0
    errors: list[BaseException] = field(default_factory=list)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code: 0 done, 1 failed, 2 usage, 130 Ctrl-C, 143 SIGTERM."""
    words = list(sys.argv[1:] if argv is None else argv)
    verb = ""
    try:
        with _sigterm_raises():
            if words[:1] in (["-sc"], ["--shell-completion"]):
                from ppl_vae.cli.completion import complete

                return complete(words[1:])
            if not words or words[0] in ("--help", "-h", "help"):
                print(overview(), file=sys.stdout if words else sys.stderr)
                return DONE if words else USAGE
            if words[0] == "--version":
                print(f"ppl-vae {__version__}")
                return DONE
            verb = _verb(words)
            return _run(verb, words)
    except Terminated:
        print("terminated", file=sys.stderr)
        return TERMINATED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else DONE if stop.code is None else FAILED
    except Exception as error:
        from ppl_vae.cli.messages import exit_code, report

        report(error, verb)
        return exit_code(error)


def overview() -> str:
    """The verbs, one line each: the first line of their config."""
    from ppl_vae.config import conf_dir, verbs

    lines = ["ppl-vae VERB [group=option …] [key=value …] [-m]", ""]
    for verb in verbs():
        with (conf_dir() / f"{verb}.yaml").open(encoding="utf-8") as file:
            about = file.readline().lstrip("# ").split(":")[0].strip()
        lines.append(f"  {verb:<10} {about}")
    lines += ["", "ppl-vae VERB --help lists the groups and keys of a verb; ppl-vae --version."]
    return "\n".join(lines)


def _verb(words: Sequence[str]) -> str:
    """The verb of a command line: its first word, or the first that is one (flags may stand before)."""
    from ppl_vae.config import near, verbs

    known = verbs()
    for word in words:
        if word in known:
            return word
    first = next((w for w in words if not w.startswith("-") and "=" not in w), None)
    if first is None:
        raise UsageError(f"no verb given; expected one of: {', '.join(known)} (ppl-vae --help)")
    raise UsageError(f"unknown verb {first!r}; {near(first, known)}")


def _run(verb: str, words: list[str]) -> int:
    words.remove(verb)
    if "--version" in words:
        print(f"ppl-vae {__version__}")
        return DONE
    from ppl_vae.config import RUN_OR_GROUPS

    arguments = parse(words)
    name = verb
    if verb in RUN_OR_GROUPS and arguments.value("run") not in (None, "null", ""):
        arguments.overrides.append("hydra/output=inside")
    if verb == "train" and arguments.value("resume") not in (None, "null", ""):
        from ppl_vae.cli import resume

        if not resume.prepare(arguments):
            return DONE
        name = resume.NAME
    return call_hydra(verb, arguments, name)


def call_hydra(verb: str, arguments: Arguments, name: str | None = None) -> int:
    """Let Hydra compose and run one verb, from its own config or another of this name; give the exit code."""
    from ppl_vae import config
    from ppl_vae.cli import folders

    config.register(verb)
    folders.register_resolvers()
    outcome = Outcome()
    try:
        _hydra(verb, name or verb, arguments, outcome)
    except JobFailed as failure:
        if not outcome.errors:  # the jobs ran in other processes, where each told its error
            outcome.errors.append(PplVaeError(f"a job failed: {failure}"))
    finally:
        folders.remove_empty()
    return _exit(outcome, verb)


def _exit(outcome: Outcome, verb: str) -> int:
    from ppl_vae.cli.messages import exit_code, report

    if not outcome.errors:
        return DONE
    if outcome.jobs == 0:
        report(outcome.errors[0], verb)
        return exit_code(outcome.errors[0])
    print(f"ppl-vae {verb}: {len(outcome.errors)} of {outcome.jobs} failed", file=sys.stderr)
    return USAGE if all(exit_code(e) == USAGE for e in outcome.errors) else FAILED


def _hydra(verb: str, config_name: str, arguments: Arguments, outcome: Outcome) -> None:
    """Call `hydra.main` as a program would, with the command line in `sys.argv` and its errors uncaught."""
    import hydra

    from ppl_vae.cli.job import Job
    from ppl_vae.config import conf_dir

    job = Job(verb, outcome, os.environ.get("HYDRA_FULL_ERROR") == "1")
    program = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)(job.task())
    with _patched(arguments), _hydra_raises(), _one_config_store():
        program()


@contextlib.contextmanager
def _patched(arguments: Arguments) -> Iterator[None]:
    argv, path = sys.argv, list(sys.path)
    here = os.getcwd()  # noqa: PTH109 - sys.path holds strings
    sys.argv = ["ppl-vae", *arguments.argv()]
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)  # users' own modules, as for `python script.py`
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


@contextlib.contextmanager
def _one_config_store() -> Iterator[None]:
    """Let Hydra share its store of configs, which it deep-copies once per group: `--help` in half the time."""
    from hydra.core.config_store import ConfigStore

    def share(self: Any, memo: Any) -> Any:
        return self

    ConfigStore.__deepcopy__ = share  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del ConfigStore.__deepcopy__  # type: ignore[attr-defined]


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
