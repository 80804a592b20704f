"""Runs contenders side by side: each a process, all set up first, then block by block in turn.

Whatever else the machine does then meets all of them alike, and ratios within one race hold where times do not.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PEERS = ROOT / ".venv-bench" / "bin" / "python"
PYTHON = {"ours": sys.executable, "peers": str(PEERS) if PEERS.exists() else sys.executable}
"""The peers' own environment is what `make bench` makes; without it they are looked for beside the project."""


@dataclass(frozen=True)
class Contender:
    """One process of a race.

    Args:
        name: As it is printed.
        worker: A module of `benchmarks.workers`.
        arguments: What the worker gets.
        environment: `"ours"` or `"peers"`.
    """

    name: str
    worker: str
    arguments: dict[str, Any] = field(default_factory=dict)
    environment: str = "ours"


@dataclass
class Race:
    """The seconds per unit of each contender, a number per round; the first contender is the one compared with."""

    title: str
    unit: str
    seconds: dict[str, list[float]]
    told: dict[str, dict[str, Any]]

    def ratios(self, name: str) -> tuple[float, float, float]:
        """How many times as long as the first: of the minima, and the lowest and highest of any round."""
        first, *_ = self.seconds.values()
        rounds = [a / b for a, b in zip(self.seconds[name], first, strict=True)]
        return min(self.seconds[name]) / min(first), min(rounds), max(rounds)

    def __str__(self) -> str:
        scale, unit = (1e3, "ms") if min(map(min, self.seconds.values())) > 1e-4 else (1e6, "µs")
        lines = [f"{self.title} ({unit} a {self.unit}: minimum, median; times as long: of minima, in any round)"]
        for name, times in self.seconds.items():
            ratio, low, high = self.ratios(name)
            lines.append(
                f"  {name:<44} {min(times) * scale:9.3f} {statistics.median(times) * scale:9.3f}"
                f"   {ratio:6.2f}   {low:5.2f} to {high:5.2f}"
            )
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "title": self.title,
            "unit": f"seconds a {self.unit}",
            "seconds": self.seconds,
            "ratios": {name: self.ratios(name)[0] for name in self.seconds},
            "told": self.told,
        }


@dataclass
class Peak:
    """The peak memory of each contender, in bytes beyond what it held before."""

    title: str
    told: dict[str, int]

    def __str__(self) -> str:
        lines = [f"  {name:<44} {size / 2**20:9.1f}" for name, size in self.told.items()]
        return "\n".join([f"{self.title} (MiB)", *lines])

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {"title": self.title, "unit": "bytes", "bytes": self.told}


def peak(title: str, contenders: Sequence[Contender]) -> Peak:
    """Let each contender tell its peak memory, one after the other."""
    told = {}
    for contender in contenders:
        process = start(contender)
        try:
            told[contender.name] = int(answer(contender.name, process)["bytes"])
        finally:
            process.kill()
            process.wait()
    return Peak(title, told)


def race(
    title: str, contenders: Sequence[Contender], rounds: int, *, unit: str = "step", clock: str = "seconds"
) -> Race:
    """Time contenders in turn.

    Args:
        title: What is done.
        contenders: The first is the one that others are compared with.
        rounds: Blocks of each.
        unit: What a time is of.
        clock: `"seconds"` on the wall, or `"cpu"` of the process, where the machine is busy with other work.
    """
    running: dict[str, subprocess.Popen[str]] = {}
    seconds: dict[str, list[float]] = {}
    told: dict[str, dict[str, Any]] = {}
    try:
        together = os.environ.get("BENCH_TOGETHER") is not None  # each has a core of its own
        for place, contender in enumerate(contenders):
            running[contender.name] = start(contender, place if together else 0)
            seconds[contender.name] = []
            if not together:  # set up one after the other: compilers want a core of their own
                told[contender.name] = answer(contender.name, running[contender.name])
        for name in [name for name in running if name not in told]:
            told[name] = answer(name, running[name])
        for _ in range(rounds):
            for name, process in running.items():
                print("", file=process.stdin, flush=True)
                seconds[name].append(answer(name, process)[clock])
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    return Race(title, unit, seconds, told)


def start(contender: Contender, place: int = 0) -> "subprocess.Popen[str]":
    """The process of a contender, with one thread, on the last core, or one of those before it."""
    single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [None]
    device = os.environ.get("BENCH_DEVICE", "cpu")
    arguments = json.dumps({"device": device, **contender.arguments, "core": cores[-1 - place % len(cores)]})
    return subprocess.Popen(
        [PYTHON[contender.environment], "-m", f"benchmarks.workers.{contender.worker}", arguments],
        cwd=ROOT,
        env=os.environ
        | single
        | {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if os.environ.get("BENCH_VERBOSE") is None else None,
        text=True,
    )


def answer(name: str, process: "subprocess.Popen[str]") -> dict[str, Any]:
    """The next line of a contender."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        _, errors = process.communicate()
        raise RuntimeError(f"{name} ended without an answer:\n{(errors or '')[-2000:]}")
    result: dict[str, Any] = json.loads(line)
    return result
