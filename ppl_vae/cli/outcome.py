"""How a command may end: its exit codes, what its jobs did, and the exceptions that end it early."""

from __future__ import annotations

from dataclasses import dataclass, field

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
