"""What a hostile directory is made in, and what it leaves where its code runs.

Payloads leave a mark, `ran`, in a folder outside where nothing may be written; whatever the name of what was called,
the mark tells that code ran.
"""

import base64
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

SECRET = "hunter2-4b1d7e0c9f"
"""What stands in an environment variable, and in a file outside, that a page has no business to hold."""

NUMBER = 81726.5
"""The same as a number, which figures may hold."""

MARKUP = "<img src=x onerror=alert(4711)>"
SCRIPT = "</script><script>alert(4711)</script>"
FORMULA = "=cmd|' /C calc'!A0"
ESCAPE = "\x1b]0;4711\x07\x1b[2J"


@dataclass
class Case:
    """One hostile directory in a folder of its own.

    Attributes:
        folder: with `run` or `sweep`, `outside`, and `cwd` to begin in.
    """

    folder: Path

    @property
    def run(self) -> Path:
        """The run."""
        return self.folder / "sent" / "run"

    @property
    def sweep(self) -> Path:
        """The sweep."""
        return self.folder / "sent" / "sweep"

    @property
    def sent(self) -> Path:
        """All that was sent."""
        return self.folder / "sent"

    @property
    def outside(self) -> Path:
        """Where nothing may be written, and whose secrets are nobody's business."""
        return self.folder / "outside"

    @property
    def mark(self) -> Path:
        """What code that ran leaves."""
        return self.outside / "ran"

    @property
    def shell(self) -> str:
        """A shell's command that leaves the mark."""
        return f"touch {self.mark}"

    @property
    def python(self) -> str:
        """A line of Python that leaves the mark."""
        return f"open({str(self.mark)!r}, 'w').close()\n"

    def config(self, change: Callable[[dict[str, Any]], Any], place: Path | None = None) -> None:
        """Change `config.yaml`."""
        path = (place or self.run) / "config.yaml"
        config = yaml.safe_load(path.read_text())
        changed = change(config)
        path.write_text(yaml.safe_dump(config if changed is None else changed, sort_keys=False))

    def json(self, name: str, change: Callable[[dict[str, Any]], Any], place: Path | None = None) -> None:
        """Change a file of JSON."""
        path = (place or self.run) / name
        found = json.loads(path.read_text())
        changed = change(found)
        path.write_text(json.dumps(found if changed is None else changed))

    def record(self, **facts: Any) -> None:
        """Change `run.json`."""
        self.json("run.json", lambda record: record.update(facts))

    def plan(self, **facts: Any) -> None:
        """Change `sweep.json`."""
        self.json("sweep.json", lambda plan: plan.update(facts), self.sweep)

    def pickled(self, name: str) -> Path:
        """A pickle in the run that leaves the mark when it is loaded."""
        path = self.run / name
        path.write_bytes(self.pickle)
        return path

    @property
    def pickle(self) -> bytes:
        """A pickle that leaves the mark."""
        return pickle.dumps(Payload(self.shell), protocol=2)

    def module(self, name: str, folder: Path | None = None) -> Path:
        """A module that leaves the mark when it is imported."""
        path = (folder or self.run) / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.python + "class Model: pass\nclass Guide: pass\ndef f(*a, **k): return 0.0\n")
        return path


class Payload:
    def __init__(self, shell: str) -> None:
        self.shell = shell

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.shell,)


Make = Callable[[Case], Any]


@dataclass(frozen=True)
class Kind:
    """One kind.

    Attributes:
        name: of it.
        tries: what it is after, in words.
        make: makes the directory.
        of: `run`, `sweep`, or `own`, a run whose model is a class of its maker's own.
        here: whether it is opened by whoever made it, or says that it was made by them.
        cwd: where the commands are typed: `elsewhere`, in the folder `sent`, or in the run (`inside`).
        cold: whether a new interpreter is wanted for it, one that has imported nothing.
        doors: those that it is tried at; all where none are named.
        benign: it tries nothing: it has to open.
    """

    name: str
    tries: str
    make: Make
    of: str = "run"
    cwd: str = "elsewhere"
    cold: bool = False
    doors: tuple[str, ...] = ()
    benign: bool = False
    here: bool = False
    also: dict[str, str] = field(default_factory=dict)


def put(config: dict[str, Any], place: str, value: Any) -> None:
    """Set a dotted key, with what is needed on the way."""
    *path, last = place.split(".")
    node: Any = config
    for part in path:
        if isinstance(node, list):
            node = node[int(part)]
            continue
        if not isinstance(node.get(part), (dict, list)):
            node[part] = {}
        node = node[part]
    if isinstance(node, list):
        node[int(last)] = value
    else:
        node[last] = value


Node = Callable[[Case], dict[str, Any]]


def put_at(place: str, node: Node) -> Make:
    def make(case: Case) -> None:
        case.config(lambda config: put(config, place, node(case)))

    return make


def edited(place: str, value: Any) -> Make:
    def make(case: Case) -> None:
        case.config(lambda config: put(config, place, value(case) if callable(value) else value))

    return make


def forms(text: str) -> list[bytes]:
    """The forms in which a text may stand in a file: as it is, and in base64 at each of three places."""
    raw = text.encode()
    found = [raw, raw.hex().encode()]
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + raw)
        found.append(coded[(shift * 8 + 5) // 6 : -4])
    return found
