"""Hydra called as a program would call it, with its own printing and exiting kept back."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore

from ppl_vae.cli import folders
from ppl_vae.cli.arguments import Arguments
from ppl_vae.cli.job import Job
from ppl_vae.cli.messages import exit_code, report
from ppl_vae.cli.outcome import DONE, FAILED, USAGE, JobFailed, Outcome
from ppl_vae.config import conf_dir, register
from ppl_vae.errors import PplVaeError


def call_hydra(verb: str, arguments: Arguments, name: str | None = None) -> int:
    """Let Hydra compose and run one verb, from its own config or another of this name; give the exit code."""
    register(verb)
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
    if not outcome.errors:
        return DONE
    if outcome.jobs == 0:
        report(outcome.errors[0], verb)
        return exit_code(outcome.errors[0])
    print(f"ppl-vae {verb}: {len(outcome.errors)} of {outcome.jobs} failed", file=sys.stderr)
    return USAGE if all(exit_code(e) == USAGE for e in outcome.errors) else FAILED


def _hydra(verb: str, config_name: str, arguments: Arguments, outcome: Outcome) -> None:
    """Call `hydra.main` as a program would, with the command line in `sys.argv` and its errors uncaught."""
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

    def share(self: Any, memo: Any) -> Any:
        return self

    ConfigStore.__deepcopy__ = share  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del ConfigStore.__deepcopy__  # type: ignore[attr-defined]
