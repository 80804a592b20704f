"""Kills: a process is gone at one of its operations on the disk, or at any time; what goes on afterwards is compared.

The law: what had been kept is not lost (finished jobs are not trained again, epochs before the last checkpoint neither);
going on succeeds; and it ends with the files of the run that was never killed, to the bit but for times.
"""

import contextlib
import csv
import importlib.util
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.torture import warm
from tests.torture.child import Seen, Watch, in_child, in_children
from tests.torture.damage import digest, untimed
from tests.torture.outcome import Outcome

LAWS = ("lost", "other bits", "unresumable", "undocumented", "hangs")

Words = Sequence[str]


@dataclass(frozen=True)
class Scenario:
    """A command that is killed.

    Args:
        name: of it.
        words: the command line.
        ready: what lies in the folder before: names of folders of the base.
        again: the command lines that go on, the first one that is not refused for having nothing to go on with.
        needs: a module without which it is left out.
    """

    name: str
    words: Words
    ready: Words = ()
    again: tuple[Words, ...] = ()
    needs: str = ""
    good: tuple[int, ...] = (0,)


TRAIN = ("train", *warm.TINY, "results.figures=false", "logger=csv")
SWEEP = ("train", *warm.TINY, *warm.PLAIN, "-m", "hydra.sweep.dir=sweep")
ON_RUN = {
    "evaluate": ("evaluate", "run=run", "num_particles=4", "scores=[checks]"),
    "posterior": ("posterior", "run=run", "draws=20", "figures=false"),
    "generate": ("generate", "run=run", "n=3", "figures=false"),
    "calibrate": ("calibrate", "run=run", "simulations=10", "draws=10", "figures=false"),
    "export": ("export", "run=run"),
    "report": ("report", "run=run"),
}
_SWEEP_AGAIN = ("train", "-m", "resume=sweep")
SCENARIOS = (
    Scenario("train", (*TRAIN, "hydra.run.dir=run"), again=(("train", "resume=run"), (*TRAIN, "hydra.run.dir=run"))),
    Scenario(
        "resume", ("train", "resume=run", "trainer.epochs=3"), ("run",), (("train", "resume=run", "trainer.epochs=3"),)
    ),
    Scenario(
        "sweep",
        (*SWEEP, "seed=0,1", "optimizer.lr=1e-2,-1"),
        again=(_SWEEP_AGAIN, (*SWEEP, "seed=0,1", "optimizer.lr=1e-2,-1")),
        good=(1,),
    ),
    Scenario(
        "batched sweep",
        (*SWEEP, "hydra/launcher=batched", "seed=0,1,2"),
        again=(_SWEEP_AGAIN, (*SWEEP, "hydra/launcher=batched", "seed=0,1,2")),
    ),
    Scenario(
        "halving",
        (*SWEEP, "hydra/sweeper=halving", "hydra.sweeper.n=3", "trainer.epochs=3", "optimizer.lr=interval(1e-4,1e-2)"),
        again=(
            _SWEEP_AGAIN,
            (
                *SWEEP,
                "hydra/sweeper=halving",
                "hydra.sweeper.n=3",
                "trainer.epochs=3",
                "optimizer.lr=interval(1e-4,1e-2)",
            ),
        ),
    ),
    Scenario(
        "search",
        (*SWEEP, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "optimizer.lr=interval(1e-4,1e-2)"),
        again=(
            _SWEEP_AGAIN,
            (*SWEEP, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "optimizer.lr=interval(1e-4,1e-2)"),
        ),
        needs="optuna",
    ),
    *(Scenario(name, words, ("run",), (words,)) for name, words in ON_RUN.items()),
    Scenario("compare", ("compare", "sweep=."), ("run", "other"), (("compare", "sweep=."),)),
)

SOON = 0.1
"""Seconds in which a process may not have come to its handlers of signals."""

NOTHING = re.compile(
    "is no folder|no such folder|othing was started|no plan of a sweep|no runs in this folder|is not there"
)
"""What is said where nothing had begun."""


# --- striking


class Striker:
    """Counts a process's operations on the disk in a folder, and ends it at one of them.

    Args:
        folder: whose operations count.
        at: the number of the operation before which the process is killed; None counts only.
        torn: a write is half done before.
    """

    def __init__(self, folder: Path, at: int | None = None, *, torn: bool = False) -> None:
        self.folder = os.path.realpath(folder) + os.sep
        self.at, self.torn = at, torn
        self.log: list[str] = []
        self._main = os.getpid()

    def install(self) -> None:
        """Watch from now on, for good."""
        sys.addaudithook(self._event)
        for name in ("write", "fsync", "ftruncate"):
            setattr(os, name, self._counted(name, getattr(os, name)))

    def _event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = isinstance(mode, str) and any(letter in mode for letter in "wax+")
            writes = writes or bool(isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            if writes and not isinstance(path, int):
                self._met("open", path)
        elif event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"):
            self._met(event, arguments[1] if event in ("os.link", "os.symlink") else arguments[0])

    def _counted(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def counted(descriptor: int, *rest: Any) -> Any:
            if descriptor > 2:
                try:
                    place = os.readlink(f"/proc/self/fd/{descriptor}")
                except OSError:
                    place = ""
                half = None
                if name == "write" and self.torn:
                    content = bytes(rest[0])
                    half = lambda: operation(descriptor, content[: len(content) // 2])  # noqa: E731
                self._met(name, place, half)
            return operation(descriptor, *rest)

        return counted

    def _met(self, what: str, path: Any, half: Callable[[], Any] | None = None) -> None:
        try:
            place = os.path.abspath(os.fsdecode(path))
        except TypeError:
            return
        if not f"{place}/".startswith(self.folder):
            return
        number = len(self.log)
        self.log.append(f"{what} {place.removeprefix(self.folder)}")
        if number == self.at:
            if half is not None:
                half()
            os.kill(os.getpid(), signal.SIGKILL)


def struck(words: Words, folder: Path, at: int | None, *, torn: bool = False) -> Callable[[], Any]:
    """A command as a task that is ended at an operation; gives the operations where it is not."""

    def task() -> Any:
        striker = Striker(folder, at, torn=torn)
        striker.install()
        code = warm.command(*words)()
        return {"code": code, "log": striker.log}

    return task


def gone(task: Callable[[], Any], seconds: float, number: int) -> int | None:
    """Do a task in a process of its own, which gets a signal after so long; its exit code, None where it was killed."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = task()["code"]
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if seconds:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.002)
        os.kill(child, number)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else None


# --- going on


def kept(folder: Path) -> dict[str, str]:
    """Hashes of all files as far as they hold no time."""
    found: dict[str, str] = {}
    here = str(folder).encode()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.name.startswith(".") or "/." in name or path.name in ("multirun.yaml", "error.txt", "study.journal"):
            continue
        content = path.read_bytes().replace(here, b"HERE")
        if path.name == "manifest.json":
            found[name] = digest(sorted(json.loads(content)["files"]))
        elif path.suffix == ".json":
            found[name] = digest(_plain(json.loads(content)))
        elif path.name == "metrics.jsonl":
            found[name] = digest([untimed(json.loads(line)) for line in content.splitlines()])
        elif path.suffix == ".csv":
            rows = list(csv.DictReader(content.decode().splitlines()))
            found[name] = digest([{k: v for k, v in row.items() if "seconds" not in str(k)} for row in rows])
        elif path.suffix == ".nc":
            found[name] = digest(_arrays(path))
        elif path.suffix == ".html":
            found[name] = str(content.rstrip().endswith(b"</html>"))
        elif path.suffix == ".png":
            found[name] = str(content.endswith(b"IEND\xaeB`\x82"))
        elif path.suffix in (".pt2", ".npz", ".parquet"):
            found[name] = str(len(content) > 0)
        else:
            found[name] = digest(content.decode("latin-1"))
    return found


_APART = ("error", "started_in", "command", "hydra", "sha256", "sums", "seal")
"""Of JSON: paths, and checksums of files that are compared themselves."""


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in untimed(value).items() if k not in _APART}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value


def _arrays(path: Path) -> Any:
    import h5py

    found: dict[str, Any] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, node: found.update({name: node[()]}) if isinstance(node, h5py.Dataset) else None)
    return {k: v for k, v in found.items() if getattr(v, "dtype", None) is not None and v.dtype.kind in "fiu"}


def progress(folder: Path) -> dict[str, Any]:
    """What has been kept: for each run when it began, whether it is finished, and the epochs that a checkpoint holds."""
    from ppl_vae.runs import state

    found: dict[str, Any] = {}
    for path in folder.rglob("run.json"):
        run, name = path.parent, path.parent.relative_to(folder).as_posix()
        try:
            record = json.loads(path.read_text())
        except ValueError:
            found[name] = {"torn": True}
            continue
        epoch = -1
        last = run / "checkpoints" / "last.safetensors"
        if last.exists():
            try:
                saved = state.load(last)
                epoch = int(saved.get("epoch", 0)) if saved.get("position", 0) == 0 else -1
            except Exception:
                epoch = -2
        found[name] = {"started": record.get("started"), "status": record.get("status"), "epoch": epoch}
    return found


def killed(kill: "Kill", folder: Path) -> Callable[[], Any]:
    """A kill and what goes on after it, as a task: what was there before and is afterwards."""

    def task() -> Any:
        words = kill.scenario.words
        first = (
            struck(words, folder, kill.at, torn=kill.torn)
            if kill.at is not None
            else lambda: {"code": warm.command(*words)()}
        )
        ended = gone(first, kill.seconds, kill.signal)
        before = progress(folder)
        said, codes = "", []
        for again in kill.scenario.again:
            err = io.StringIO()
            with contextlib.redirect_stderr(err):
                codes.append(warm.command(*again)())
            said = err.getvalue()
            if not NOTHING.search(said):
                break
        return {"ended": ended, "before": before, "code": codes[-1], "said": said[-3000:], "after": progress(folder),
                "kept": kept(folder)}  # fmt: skip

    return task


# --- the attack


@dataclass(frozen=True)
class Kill:
    """One kill: at an operation, or at a time by a signal."""

    scenario: Scenario
    at: int | None = None
    torn: bool = False
    seconds: float = 0.0
    signal: int = signal.SIGKILL
    where: str = ""

    def __str__(self) -> str:
        if self.at is None:
            return f"{self.scenario.name}, signal {self.signal} after {self.seconds:.3f} s"
        return f"{self.scenario.name}, {'torn' if self.torn else 'killed'} at operation {self.at} ({self.where})"


@dataclass(frozen=True)
class Whole:
    """What a scenario comes to where nothing is killed."""

    kept: dict[str, str]
    log: list[str]
    seconds: float


def bases_in(folder: Path) -> tuple[Path, Path]:
    """Finished runs, and the home of who made them."""
    home = folder / "home"
    for name, seed in (("run", 0), ("other", 1)):
        warm.made(folder, home, *TRAIN, f"seed={seed}", f"hydra.run.dir={name}")
    return folder, home


def _ready(scenario: Scenario, folder: Path, bases: Path) -> Path:
    folder.mkdir(parents=True)
    for name in scenario.ready:
        warm.copied(bases / name, folder / name)
    return folder


def _watch(folder: Path, home: Path) -> Watch:
    return Watch(folder, writable=(folder, home), environment=warm.homes(home))


def whole(scenario: Scenario, folder: Path, bases: Path, home: Path) -> Whole:
    """Do it undisturbed, counting."""
    _ready(scenario, folder, bases)
    began = time.monotonic()
    seen = in_child(struck(scenario.words, folder, None), _watch(folder, home))
    seconds = time.monotonic() - began
    if seen.ended or seen.value["code"] not in scenario.good:
        raise RuntimeError(
            f"{scenario.name} does not end well undisturbed: {seen.value} {seen.ended}\n{seen.err[-2000:]}"
        )
    hashes = in_child(lambda: kept(folder), _watch(folder, home))
    if hashes.value is None:
        raise RuntimeError(f"{scenario.name}: {hashes.err[-2000:]}")
    return Whole(hashes.value, seen.value["log"], seconds)


def planned(wholes: dict[Scenario, Whole], count: int, seed: int) -> list[Kill]:
    """At every operation of each scenario, as far as the count goes; a sixth at times by chance."""
    draw = random.Random(f"kills {seed}")
    timed = max(1, count // 6)
    at_operation = [
        Kill(scenario, number, torn, where=where)
        for scenario, done in wholes.items()
        for number, where in enumerate(done.log)
        for torn in ((False, True) if where.startswith("write") else (False,))
    ]
    chosen = draw.sample(at_operation, min(count - timed, len(at_operation)))
    for number in range(count - len(chosen)):
        scenario = list(wholes)[number % len(wholes)]
        how = signal.SIGTERM if number % 4 == 3 else signal.SIGKILL
        chosen.append(Kill(scenario, seconds=draw.uniform(0, wholes[scenario].seconds), signal=how))
    return chosen


def judged(kill: Kill, seen: Seen, expected: Whole) -> Iterator[tuple[str, str]]:
    """The laws that were broken."""
    if seen.ended or seen.value is None:
        yield ("hangs" if seen.ended == "time" else "undocumented"), f"ended by {seen.ended}: {seen.err[-300:]}"
        return
    found = seen.value
    # before its handler is there a signal ends a process by itself, which a shell calls 143 too
    by_itself = found["ended"] is None and kill.seconds < SOON
    if kill.signal == signal.SIGTERM and found["ended"] not in (143, *kill.scenario.good) and not by_itself:
        yield "unresumable", f"SIGTERM ended it with {found['ended']}: {seen.err.strip()[-200:]}"
    if "HYDRA_FULL_ERROR" in found["said"] or "Traceback" in found["said"]:
        yield "undocumented", found["said"].strip()[-300:]
    if found["code"] not in kill.scenario.good:
        yield "unresumable", f"exit {found['code']}: {found['said'].strip()[-300:]}"
        return
    for name, before in found["before"].items():
        after = found["after"].get(name, {})
        if before.get("torn") or before.get("epoch") == -2:
            yield "lost", f"{name} was left torn"
        elif before["status"] == "finished" and after.get("started") != before["started"]:
            yield "lost", f"{name} had finished, and was trained again"
        elif name == "run" and before["epoch"] > 0 and f"epoch {before['epoch']}/" in found["said"]:
            yield "lost", f"{name} had kept epoch {before['epoch']}, which was trained again"
    differing = sorted(n for n in {*found["kept"], *expected.kept} if found["kept"].get(n) != expected.kept.get(n))
    if differing:
        yield "other bits", ", ".join(differing[:6])


def attack(
    count: int = 500,
    seed: int = 0,
    *,
    workers: int = 1,
    say: Callable[[str], Any] = lambda _: None,
    only: Sequence[str] = (),
) -> Outcome:
    """Kill, go on, compare."""
    result = Outcome("kills", "kills", broken=dict.fromkeys(LAWS, 0), asked=500)
    with tempfile.TemporaryDirectory(prefix="torture_") as name:
        work = Path(name).resolve()
        bases, home = bases_in(work / "bases")
        there = [
            s for s in SCENARIOS if (not s.needs or importlib.util.find_spec(s.needs)) and (not only or s.name in only)
        ]
        wholes = {s: whole(s, work / "whole" / s.name, bases, home) for s in there}
        for scenario, done in wholes.items():
            say(f"{scenario.name}: {len(done.log)} operations, {done.seconds:.1f} s")

        def tasks() -> Iterator[tuple[Any, Callable[[], Any], Watch]]:
            for number, kill in enumerate(planned(wholes, count, seed)):
                folder = _ready(kill.scenario, work / str(number), bases)
                yield (kill, folder), killed(kill, folder), _watch(folder, home)

        for (kill, folder), seen in in_children(tasks(), workers):
            result.tried += 1
            broken = list(judged(kill, seen, wholes[kill.scenario]))
            for law, what in broken:
                result.breach(law, f"{kill}: {what}".replace(str(work), ""))
                say(result.findings[-1])
            result.right += not broken
            shutil.rmtree(folder, ignore_errors=True)
    return result


if __name__ == "__main__":
    warm.warm()
    found = attack(int(sys.argv[1]), int(sys.argv[2]), workers=1, say=lambda s: print(s, flush=True), only=sys.argv[3:])
    print(json.dumps({"tried": found.tried, "told": found.told, "right": found.right, **found.broken}))
