"""One job inside Hydra: standard output kept for results, the config held to its schema, failures told."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ppl_vae.cli import messages
from ppl_vae.cli.outcome import JobFailed, Outcome
from ppl_vae.cli.output import emit
from ppl_vae.config import validated
from ppl_vae.plain import to_json


@dataclass
class Context:
    """What a verb may need to know of the command beside its config."""

    verb: str
    directory: Path
    typed: list[str] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)
    searchpath: list[str] = field(default_factory=list)
    number: int | None = None

    @property
    def in_sweep(self) -> bool:
        """Whether the job is one of a sweep."""
        return self.number is not None


@dataclass
class Job:
    """The task of a verb, as Hydra calls it."""

    verb: str
    outcome: Outcome
    full_error: bool = False

    def task(self) -> Callable[[DictConfig], float | None]:
        """A plain function: Hydra asks its task for a module and a file."""

        def task(cfg: DictConfig) -> float | None:
            return self.run(cfg)

        return task

    def run(self, cfg: DictConfig) -> float | None:
        """Do one job; in a single run the error waits in `outcome`, in a sweep the other jobs go on."""
        context = _context(self.verb)
        if context.in_sweep:
            self.outcome.jobs += 1
        with standard_output_for_results() as out:
            try:
                job = validated(self.verb, cfg)
                module = importlib.import_module(f"ppl_vae.cli.verbs.{self.verb}")
                result = module.run(job, context)
                emit(result, str(job.format.value), out, number=context.number)
                return result.value
            except (Exception, SystemExit) as error:  # users' code may call sys.exit
                self.outcome.errors.append(error)
                if not context.in_sweep:
                    return None
                text = messages.report(error, self.verb, number=context.number, full=self.full_error)
                if getattr(cfg.get("format"), "value", cfg.get("format")) == "json":
                    record = {
                        "job": context.number,
                        "overrides": context.typed,
                        "status": "failed",
                        "error": text,
                    }
                    print(to_json(record), file=out, flush=True)
        raise JobFailed(text) from None


def _context(verb: str) -> Context:
    hydra = HydraConfig.get()
    sweep = hydra.mode == RunMode.MULTIRUN
    typed: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)  # as typed, `${…}` too
    return Context(
        verb=verb,
        directory=Path(hydra.runtime.output_dir),
        typed=[str(o) for o in typed],
        choices={str(k): str(v) for k, v in hydra.runtime.choices.items()},
        searchpath=[s.path for s in hydra.runtime.config_sources if s.schema == "file"],
        number=int(hydra.job.num) if sweep else None,
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
