"""What a search for undocumented errors has found: how many calls, how they ended, and those that broke the law.

The law: what is called gives something, or refuses in a sentence that is an error of ppl_vae's, within `SECONDS`.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import ppl_vae
from ppl_vae.errors import PplVaeError

SECONDS = 20
"""A call that takes more of a processor hangs, and one that takes `WAIT` by the clock."""

WAIT = 120

CHUNK = 2000
"""Calls of one process: what ends a process ends that of its own chunk, and is told."""

MEMORY = 6 * 2**30
"""Addresses that such a process may have: what would fill the machine is a MemoryError there."""

PACKAGE = str(Path(ppl_vae.__file__).parent)


@dataclass
class Result:
    """Counts of one search.

    Attributes:
        tried: calls.
        refused: ended in an error of ppl_vae's.
        right: gave what was asked for.
        undocumented: ended in any other way, one line each: what was called, and what came of it.
        hangs: took longer than `SECONDS`.
        kinds: how often each pair of an exception and its place occurred among the undocumented.
    """

    tried: int = 0
    refused: int = 0
    right: int = 0
    undocumented: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def clean(self) -> bool:
        """True if nothing broke the law."""
        return not self.undocumented and not self.hangs

    def __iadd__(self, other: Result) -> Result:
        self.tried += other.tried
        self.refused += other.refused
        self.right += other.right
        self.undocumented += other.undocumented
        self.hangs += other.hangs
        self.kinds += other.kinds
        return self

    def judge(self, told: str, call: Callable[[], object], own: tuple[type[BaseException], ...] = ()) -> None:
        """Call, and count how it ended.

        Args:
            told: the call in words, for the list.
            call: takes nothing.
            own: errors that are the answer to this very call, such as Python's to a wrong name of an argument.
        """
        self.tried += 1
        try:
            with warnings.catch_warnings(), _alarm():
                warnings.simplefilter("ignore")
                call()
        except PplVaeError as error:
            if len(str(error)) < 10:
                self.note(told, error)
            self.refused += 1
        except own:
            self.refused += 1
        except TooLong:
            self.hangs.append(told)
        except BaseException as error:
            if _pythons(error):
                self.refused += 1
                return
            if isinstance(error, KeyboardInterrupt):
                raise
            self.note(told, error)
        else:
            self.right += 1

    def note(self, told: str, error: BaseException) -> None:
        """Count what is undocumented."""
        kind = f"{type(error).__name__} at {place(error)}"
        self.kinds[kind] += 1
        said = " ".join(str(error).split())[:160]
        self.undocumented.append(f"{told}: {kind}: {said}")

    def __str__(self) -> str:
        head = (
            f"{self.tried} tried, {self.refused} refused, {self.right} right, {len(self.undocumented)} undocumented of "
            f"{len(self.kinds)} kinds, {len(self.hangs)} hang"
        )
        lines = [head]
        for kind, n in self.kinds.most_common():
            example = next((u for u in self.undocumented if kind in u), "")
            lines.append(f"{n:6} {kind}\n           {example[:400]}")
        return "\n".join([*lines, *(f"  hang: {told[:300]}" for told in self.hangs[:20])])


def _pythons(error: BaseException) -> bool:
    """True for Python's own refusal of a call: of names and numbers of arguments, and of abstract classes."""
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, TypeError) and not any(f.filename.startswith(PACKAGE) for f in frames) and len(frames) <= 3


def place(error: BaseException) -> str:
    """The last line of ours that an error passed, and the last of all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f.filename.startswith(PACKAGE)]

    def short(frame: traceback.FrameSummary) -> str:
        parts = Path(frame.filename).parts
        return f"{'/'.join(parts[-2:])}:{frame.lineno}"

    if not frames:
        return "nowhere"
    if not ours:
        return short(frames[-1])
    return short(ours[-1]) if ours[-1] is frames[-1] else f"{short(ours[-1])} > {short(frames[-1])}"


class TooLong(BaseException):
    """The alarm."""


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: object) -> None:
        raise TooLong

    before = [signal.signal(number, ring) for number in (signal.SIGALRM, signal.SIGPROF)]
    signal.setitimer(signal.ITIMER_REAL, WAIT)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGALRM, before[0])
        signal.signal(signal.SIGPROF, before[1])


def apart(search: Callable[[int, int], Result], count: int, seed: int, workers: int = 1) -> Result:
    """Search in processes of their own, some at a time; one that ends by itself is undocumented.

    Args:
        search: a function at the top of its module, of a number of calls and a seed.
        count: of calls.
        seed: of the first chunk; the others have the next ones.
        workers: processes at a time.
    """
    sizes = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
    found = Result()
    with ThreadPoolExecutor(workers) as pool:
        for result in pool.map(functools.partial(_apart, search), sizes, itertools.count(seed)):
            found += result
    return found


def _apart(search: Callable[[int, int], Result], size: int, seed: int) -> Result:
    """One chunk."""
    words, found = [search.__module__, search.__name__, str(size), str(seed)], Result()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result"
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-m", __name__, *words, str(out)],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=os.environ | {"TMPDIR": folder},
        )
        if out.exists():
            found += pickle.loads(out.read_bytes())
        if done.returncode:
            found.tried += size
            told = " ".join(words)
            found.kinds[f"process ended with {done.returncode}"] += 1
            found.undocumented.append(f"{told}: process ended with {done.returncode}: {done.stderr[-1500:]}")
    return found


def main(search: Callable[[int, int], Result]) -> None:
    """Print the result of a search: `python -m MODULE COUNT [SEED]`."""
    import importlib

    name = f"tests.torture.{Path(sys.argv[0]).stem}"
    search = getattr(importlib.import_module(name), search.__name__)
    count, seed = int(sys.argv[1]), int((sys.argv[2:] or ["0"])[0])
    print(search(count, seed))


if __name__ == "__main__":
    import importlib

    module, name, size, seed_, out_ = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    made = getattr(importlib.import_module(module), name)(int(size), int(seed_))
    gc.collect()
    Path(out_).write_bytes(pickle.dumps(made))
