"""The side of a contender: set up, say so, then run a block whenever asked. Needs the standard library alone."""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

_answers = sys.stdout


def begin() -> dict[str, Any]:
    """One thread on one core; what the program prints goes to standard error. Gives the arguments."""
    sys.stdout = sys.stderr
    arguments: dict[str, Any] = json.loads(sys.argv[1])
    core = arguments.pop("core", None)
    arguments.setdefault("device", "cpu")
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    return arguments


def say(**answer: Any) -> None:
    """Tell the race something."""
    print(json.dumps(answer), file=_answers, flush=True)


def wait() -> None:
    """Wait until the next block is asked for; end when there is none."""
    if not sys.stdin.readline():
        sys.exit(0)


def serve(block: Callable[[], Any], per: int, **told: Any) -> None:
    """Run blocks when asked, and tell how long each took.

    Args:
        block: What is timed; run once beforehand, so that whatever is lazy or compiled is ready.
        per: By how many steps (or data, or samples) the time is divided.
        told: What else the race should know.
    """
    block()
    say(ready=True, **told)
    while True:
        wait()
        wall, cpu = time.perf_counter(), time.process_time()
        block()
        say(seconds=(time.perf_counter() - wall) / per, cpu=(time.process_time() - cpu) / per)
