"""Hostile directories: each kind is made of a real run or sweep, and given to every verb that opens a directory.

The law: what was sent runs no code (here, or in whoever looks at a page or a table of it), touches no file outside its
own folder, tells no secret, asks nothing of the network, and takes neither long nor much memory. It is refused in
words or opened as data; runs that try nothing open.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.forge import forge
from tests.torture import kinds, warm
from tests.torture.child import GIGABYTE, Seen, Watch, in_children
from tests.torture.kinds import Case, Kind
from tests.torture.outcome import Outcome

SECONDS = 20
"""Of the processor; of the clock fifteen times as many, since others may be using the machine."""

OF_RUN = ("load", "evaluate", "posterior", "generate", "gradients", "calibrate", "check", "report", "export", "resume",
          "compare", "sweeps", "encode", "reconstruct", "interpolate", "explore")  # fmt: skip
OF_SWEEP = ("compare", "sweeps", "resume", "evaluate", "report", "load")
MAIN = ("load", "resume")
REST = tuple(door for door in OF_RUN if door not in MAIN)
BY_NAME = {"posterior": "posterior", "samples": "generate", "export": "export", "calibration": "calibrate",
           "gradients": "gradients", "sweep": "compare", "run.json": "compare", "record": "compare", "metrics": "compare",
           "page": "report compare explore", "secret": "report", "resolver": "report", "figures": "report", "HDF5": "report", "tensors": "evaluate", "place": "evaluate", "JSON": "compare", "linked folder: figures": "posterior"}  # fmt: skip
"""A verb that a kind is given to beside those that every kind is given to, by words in its name."""
LAWS = ("code run", "outside touched", "secrets told", "network asked", "hangs", "undocumented", "benign refused")


def words(door: str, case: Case, kind: Kind) -> list[str]:
    """The command line of a verb."""
    run = str(case.run if kind.of != "sweep" else case.sweep / "0")
    if (case.folder / "renamed").exists():
        run = str(case.sent / (case.folder / "renamed").read_text())
    resumed = ["train", f"resume={run}", "trainer.epochs=3"]
    return {
        "evaluate": ["evaluate", f"run={run}", "num_particles=4"],
        "posterior": ["posterior", f"run={run}", "draws=10"],
        "generate": ["generate", f"run={run}", "n=2"],
        "gradients": ["gradients", f"run={run}", "samples=10", "figures=false"],
        "calibrate": ["calibrate", f"run={run}", "simulations=10", "draws=10", "figures=false"],
        "check": ["check", f"run={run}"],
        "encode": ["encode", f"run={run}"],
        "reconstruct": ["reconstruct", f"run={run}", "num_particles=2"],
        "interpolate": ["interpolate", f"run={run}", "start=[0]", "end=[1]"],
        "report": ["report", f"run={run}"],
        "export": ["export", f"run={run}"],
        "explore": ["explore", f"run={run}", "data=20", "chains=1", "num_particles=4"],
        "resume": resumed if kind.of != "sweep" else ["train", "-m", f"resume={case.sweep}"],
        "compare": ["compare", f"sweep={case.sweep if kind.of == 'sweep' else case.sent}"],
        "sweeps": ["sweeps", f"dir={case.sent}"],
    }[door]


PARTS = ("status", "record", "result", "config", "metrics", "recipe", "spec", "reference", "vae", "data")


def loaded(path: str) -> Callable[[], Any]:
    """All that Python has of a run, as a task: what each part shows, or what it is refused with."""

    def task() -> list[str]:
        from ppl_vae.errors import PplVaeError
        from ppl_vae.runs.run import Run

        wrong: list[str] = []

        def tried(name: str, look: Callable[[], Any]) -> None:
            try:
                print(name, repr(look())[:2000])
            except PplVaeError as error:
                print(name, "refused:", str(error)[:300], file=sys.stderr)
            except Exception as error:
                wrong.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")

        try:
            run = Run.load(path)
        except PplVaeError as error:
            print(error, file=sys.stderr)
            return wrong
        for part in PARTS:
            tried(part, lambda part=part: getattr(run, part))
        if os.path.lexists(run.directory / "posterior.nc"):
            tried("posterior", lambda: _numbers(run.posterior()))
        return wrong

    return task


def _numbers(posterior: Any) -> str:
    """Whether the secret number is among the draws."""
    import numpy as np

    groups = posterior.groups() if callable(posterior.groups) else [g.strip("/") for g in posterior.groups if g != "/"]
    told = []
    for group in groups:
        for name, values in posterior[group].data_vars.items():
            array = np.asarray(values)
            there = array.dtype.kind in "fi" and bool((array == kinds.NUMBER).any())
            told.append(f"{group}/{name}{f' {kinds.SECRET}' if there else ''}")
    return ", ".join(told)


def cold(line: Sequence[str]) -> Callable[[], int]:
    """A command line in a new interpreter, begun as the script `ppl-vae` is: with no folder of here in `sys.path`."""

    def task() -> int:
        code = f"import sys; from ppl_vae.__main__ import main; sys.exit(main({list(line)!r}))"
        path = os.pathsep.join(p for p in sys.path if p and not p.endswith((".zip", "lib-dynload")))
        environment = {**os.environ, "PYTHONPATH": path}
        os.environ.clear()
        os.execve(sys.executable, [sys.executable, "-P", "-c", code], environment)

    return task


def prepare(kind: Kind, folder: Path, bases: Path) -> Case:
    """The folder of one case, with what lies outside."""
    case = Case(folder)
    for inner in ("sent", "outside", "cwd"):
        (folder / inner).mkdir(parents=True)
    (case.outside / "secret.txt").write_text(f"{kinds.SECRET}\n" * 40)
    (case.outside / "target.txt").write_text("mine\n")
    warm.copied(bases / kind.of, case.run if kind.of != "sweep" else case.sweep)
    kind.make(case)
    forge(case.sent)  # whoever sends it can compute checksums
    return case


def _outside(folder: Path) -> dict[str, bytes]:
    """Files outside as they are, and folders."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink() or not path.is_file():
            found[name] = b"" if not path.is_symlink() else os.readlink(path).encode()
        else:
            found[name] = path.read_bytes()
    return found


def _all(kind: Kind) -> Sequence[str]:
    return kind.doors or (OF_RUN if kind.of != "sweep" else OF_SWEEP)


def _doors(kind: Kind, number: int) -> list[str]:
    """The verbs that one kind is given to in the long form: all that have to do with it, and another in turn."""
    if kind.doors or kind.of == "sweep" or kind.benign:
        return list(_all(kind))
    fitting = [door for word, doors in BY_NAME.items() if word in kind.name for door in doors.split()]
    return list(dict.fromkeys([*MAIN, *(fitting or [REST[number % len(REST)]])]))


def tasks(
    chosen: Sequence[Kind], bases: Path, work: Path, doors: Sequence[str] | None
) -> Iterator[tuple[Any, Callable[[], Any], Watch]]:
    """One task for each kind and door, its folder made when its turn comes."""
    for number, kind in enumerate(chosen):
        for door in _doors(kind, number) if doors is None else [door for door in doors if door in _all(kind)]:
            folder = work / f"{number}-{door}"
            case = prepare(kind, folder, bases)
            before = _outside(case.outside)
            cwd = {"elsewhere": folder / "cwd", "sent": case.sent, "inside": case.run}[kind.cwd]
            home = bases / "author" if kind.here else folder / "home"
            environment = warm.homes(home) | {
                "TORTURE_SECRET": kinds.SECRET,
                "TORTURE_SECRET_LIST": f"[{kinds.SECRET}]",
                **kind.also,
            }
            if kind.cold:
                environment["MPLCONFIGDIR"] = None
            watch = Watch(
                cwd if cwd.is_dir() else folder / "cwd",
                hostile=(case.sent, case.outside, *(() if kind.here else (bases,))),
                writable=(
                    *(p for p in (case.run, case.sweep) if p.exists() and not p.is_symlink()),
                    case.sent,
                    home,
                ),
                environment=environment,
                seconds=15 * SECONDS,
                processor=SECONDS,
                memory=2 * GIGABYTE,
                fence=folder,
            )
            if kind.benign and "link" in kind.name:
                watch = Watch(**{**vars(watch), "writable": (*watch.writable, case.outside / "whole")})
            if door == "load":
                target = words("evaluate", case, kind)[1].removeprefix("run=")
                task: Callable[[], Any] = loaded(target)
            else:
                task = cold(words(door, case, kind)) if kind.cold else warm.command(*words(door, case, kind))
            yield (kind, door, case, before), task, watch


def judged(kind: Kind, door: str, case: Case, before: dict[str, bytes], seen: Seen) -> Iterator[tuple[str, str]]:
    """The laws that were broken, each with what was seen."""
    events = {law: [what for which, what in seen.events if which == law] for law in ("code", "network", "outside")}
    if kind.cold:  # the new interpreter is begun by the attack itself; what runs in it would leave its mark
        events["code"] = [what for what in events["code"] if not what.startswith("os.exec")]
    if case.mark.exists() and "ran" not in before:
        yield "code run", "left its mark"
    elif events["code"]:
        yield "code run", events["code"][0]
    pages = list(_shown(case, seen))
    yield from pages
    after = _outside(case.outside)
    changed = [name for name in {*before, *after} if before.get(name) != after.get(name) and name != "ran"]
    if case.mark.exists() and not events["code"] and "ran" not in before:
        changed.append("ran")
    allowed = kind.benign and "link" in kind.name
    if (changed or events["outside"]) and not allowed:
        yield "outside touched", ", ".join(sorted(changed)[:4]) or events["outside"][0]
    if events["network"]:
        yield "network asked", events["network"][0]
    if told := _told(case, seen):
        yield "secrets told", told
    if seen.ended:
        yield "hangs" if seen.ended in ("time", "signal 9", "signal 24") else "undocumented", f"ended by {seen.ended}"
    elif "MemoryError" in seen.err:
        yield "hangs", "2 GB of memory were not enough"
    elif door == "load":
        for line in seen.value or []:
            yield "undocumented", line
    elif "HYDRA_FULL_ERROR" in seen.err or "Traceback" in seen.err:
        yield (
            "undocumented",
            next(line for line in seen.err.splitlines() if "HYDRA_FULL_ERROR" in line or "Error" in line)[:300],
        )
    if kind.benign and not seen.ended:
        good = seen.value == [] and "refused" not in seen.err if door == "load" else seen.value == 0
        if not good:
            yield "benign refused", (seen.err.strip().splitlines() or ["?"])[-1][:300]


def _told(case: Case, seen: Seen) -> str:
    """Where a secret stands, of what this command wrote or said."""
    wanted = kinds.forms(kinds.SECRET)
    for name, text in (("standard output", seen.out), ("standard error", seen.err)):
        if any(form in text.encode() for form in wanted):
            return name
    for path in case.sent.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        if path.stat().st_size > 32 << 20:
            continue
        content = path.read_bytes()
        if any(form in content for form in wanted):
            return path.name
    return ""


def _shown(case: Case, seen: Seen) -> Iterator[tuple[str, str]]:
    """What would act on whoever looks: scripts in pages, formulas in tables, escapes in a terminal."""
    for path in case.sent.rglob("*.html"):
        if path.is_file() and not path.is_symlink():
            text = path.read_text(errors="replace")
            if kinds.MARKUP in text or kinds.SCRIPT in text or "<svg onload" in text or "javascript:alert" in text:
                yield "code run", f"markup in {path.name}"
    made = [p for p in case.sent.rglob("*.csv") if p.is_file() and not p.is_symlink() and p.stat().st_size < 1 << 20]
    for path in made:
        if path.name in ("comparison.csv", "metrics.csv", "result.csv", "units.csv", "posterior.csv"):
            with path.open(newline="", errors="replace") as file:
                cells = [cell for row in csv.reader(file) for cell in row]
            formulas = [c for c in cells if c.startswith(kinds.FORMULA[:6])]
            if formulas and path.stat().st_mtime > (case.folder / "outside").stat().st_ctime and not _given(case, path):
                yield "code run", f"a formula in {path.name}"
    for name, text in (("standard output", seen.out), ("standard error", seen.err)):
        if "4711\x07" in text or "\x1b]0" in text or "\x1b[2J" in text:
            yield "code run", f"a terminal's escapes on {name}"


def _given(case: Case, path: Path) -> bool:
    """True for a table that was sent, and that this command has not written."""
    return path.name == "posterior.csv"


def bases_in(folder: Path) -> Path:
    """A real run and a real sweep, of somebody else."""
    author = folder / "author"
    warm.run(folder, author, "logger=csv", "results.figures=false", name="run")
    warm.sweep(folder, author)
    (folder / "my_models.py").write_text("import ppl_vae as pv\n\n\nclass Mine(pv.models.VAE):\n    pass\n")
    warm.run(folder, author, *warm.PLAIN, "model._target_=my_models.Mine", name="own")
    return folder


def attack(
    chosen: Sequence[Kind] | None = None,
    doors: Sequence[str] | None = None,
    *,
    workers: int = 1,
    say: Callable[[str], Any] = lambda _: None,
    bases: Path | None = None,
) -> Outcome:
    """Give kinds to verbs.

    Args:
        chosen: kinds; None for all.
        doors: verbs; None for those that have to do with each kind.
        workers: openings at a time.
        say: is told of each breach as it is found.
        bases: where the run and the sweep lie that are changed; None for new ones.
    """
    chosen = kinds.kinds() if chosen is None else chosen
    result = Outcome("hostile directories", "openings", broken=dict.fromkeys(LAWS, 0), asked=150)
    with tempfile.TemporaryDirectory(prefix="torture_") as name:
        work = Path(name).resolve()
        bases = bases or bases_in(work / "bases")
        for (kind, door, case, before), seen in in_children(tasks(chosen, bases, work, doors), workers):
            result.tried += 1
            refused = (seen.value not in (0, []) or "refused:" in seen.err) and not seen.ended
            broken = dict(judged(kind, door, case, before, seen))
            for law, what in broken.items():
                result.breach(law, f"{kind.name}, by {door}: {what}".replace(str(work), ""))
                say(f"{law}: {kind.name}, by {door}: {what}".replace(str(work), ""))
            if not broken:
                result.told += refused
                result.right += not refused
            subprocess.run(["chmod", "-R", "u+rwX", str(case.folder)], check=False, capture_output=True)
            shutil.rmtree(case.folder, ignore_errors=True)
    result.unit = f"openings of {len(chosen)} kinds"
    return result


def listed() -> str:
    """The kinds, each with what it tries."""
    return "\n".join(f"{kind.name}: {kind.tries}" for kind in kinds.kinds())


if __name__ == "__main__":
    warm.warm()
    wanted = [kind for kind in kinds.kinds() if any(word in kind.name for word in sys.argv[2:]) or not sys.argv[2:]]
    found = attack(
        wanted, None if sys.argv[1] == "all" else sys.argv[1].split(","), workers=1, say=lambda s: print(s, flush=True)
    )
    print(json.dumps({"tried": found.tried, "told": found.told, "right": found.right, **found.broken}))
