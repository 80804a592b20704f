"""`manifest.json`: the size and the SHA-256 of each file of a run, by which damage, loss and exchange are seen.

A file is entered before it takes its place, beside what it replaces: whenever a process is killed, what lies there is
one of the two; once it is in its place, it alone is known. What training writes over and over is sealed in itself
(`files.seal`), and stands here once training has ended: it is taken out again before it is changed. So no kill between
a file and the manifest is taken for damage. Equal runs have equal manifests: of what holds times (`metrics.jsonl`)
`run.json` has the sums, which holds some too.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ppl_vae.errors import DamagedError
from ppl_vae.files import seal
from ppl_vae.files.inside import RUN, content, opened, root_of
from ppl_vae.files.locks import exclusively

Found = TypeVar("Found")

MANIFEST = "manifest.json"

FORMAT = 1

MOST = 2**26
"""Bytes of the records of a run at most; a manifest of 200,000 files has as many."""

Entries = dict[str, list[dict[str, Any]]]
"""By path in the run: what the file may be, each by `size` and `sha256`."""


def entries(root: Path) -> Entries:
    """The entries of the manifest of a run; none where it has none.

    Raises:
        DamagedError: it is damaged.
    """
    return _load(root)[1]


def _load(root: Path) -> tuple[bytes, Entries]:
    path = root / MANIFEST
    try:
        text = content(path, MOST)
        found = seal.unsealed_json(text, path)
    except FileNotFoundError:
        return b"", {}
    except DamagedError as error:
        raise DamagedError(f"{error} Without it (delete it) the files of the run are read unchecked.") from None
    files = found.get("files") if isinstance(found, dict) else None
    if not isinstance(files, dict) or not all(_is_entry(e) for e in files.values()):
        raise DamagedError(f"Got {path} that is no manifest; delete it, and the files of the run are read unchecked.")
    return text, files


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, list) and all(
        isinstance(e, dict) and isinstance(e.get("size"), int) and isinstance(e.get("sha256"), str) for e in entry
    )


def summed(path: Path) -> dict[str, Any]:
    """The size and the SHA-256 of a file."""
    with opened(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"size": os.fstat(file.fileno()).st_size, "sha256": digest}


def run_of(path: Path) -> Path | None:
    """The run that a path lies in, if it does: a folder whose `run.json` is the record of a run."""
    root = root_of(path, RUN)
    if root is None:
        return None
    try:
        return root if b'"status"' in content(root / RUN, MOST) else None
    except (OSError, DamagedError):
        return None


@contextlib.contextmanager
def entered(path: Path, temporary: Path) -> Iterator[None]:
    """Enter a file that is about to take its place in a run; it takes it within.

    Args:
        path: of the place.
        temporary: the file, complete.
    """
    root = run_of(path)
    if root is None or not temporary.is_file():
        yield
        return
    name = path.absolute().relative_to(root).as_posix()
    now = summed(temporary)
    with exclusively(root):
        files = entries(root)
        before = files.get(name, [])[:1] if path.is_file() else []
        if before != [now]:
            _write(root, files | {name: [now, *before]})
        yield
        if before and before != [now]:  # it is in its place: what it has replaced is not the file any more
            _write(root, files | {name: [now]})


def enter(root: Path, names: Iterable[str]) -> None:
    """Enter files that lie in a run already, and that no other process changes; others are left out."""
    with exclusively(root):
        files = entries(root)
        own = {name: [summed(root / name)] for name in names if (root / name).is_file()}
        if any(files.get(name) != entry for name, entry in own.items()):
            _write(root, files | own)


def withdraw(root: Path, names: Iterable[str]) -> None:
    """Take files out that are about to be changed; what else stands there stays. A damaged manifest begins anew."""
    with exclusively(root):
        try:
            files = entries(root)
        except DamagedError:
            _write(root, {})
            return
        kept = {name: entry for name, entry in files.items() if name not in set(names)}
        if kept != files:
            _write(root, kept)


def _write(root: Path, files: Mapping[str, Any]) -> None:
    from ppl_vae.files.replace import clear, replacing, write

    text = seal.sealed_json({"format": FORMAT, "files": dict(sorted(files.items()))}, indent=1)
    clear(root / MANIFEST, of_all=True)  # one process at a time writes it
    with replacing(root / MANIFEST, listed=False) as temporary:
        write(temporary, text.encode())


def read(path: str | os.PathLike[str], most: int | None = None) -> bytes:
    """The content of a file: in a run, of what was written there.

    Args:
        path: of the file.
        most: the bytes from which it is refused.

    Raises:
        FileNotFoundError: there is none, and the manifest of the run knows of none.
        DamagedError: it is not what the manifest of its run says, or no plain file.
    """

    def look(path: Path) -> tuple[bytes, dict[str, Any]]:
        found = content(path, most)
        return found, {"size": len(found), "sha256": seal.digest(found)}

    return _checked(Path(path), look)


def verify(path: str | os.PathLike[str]) -> None:
    """Raise what `read` raises, for a file that another library is to open."""
    _checked(Path(path), lambda path: (None, summed(path)))


def _checked(path: Path, look: Callable[[Path], tuple[Found, dict[str, Any]]]) -> Found:
    """The finding of a look at a file, which has to be what the manifest of its run says."""
    root = root_of(path, RUN)
    name = "" if root is None else path.absolute().relative_to(root).as_posix()
    while True:
        text, files = (b"", {}) if root is None else _load(root)
        try:
            found, sums = look(path)
        except FileNotFoundError:
            if name not in files:
                raise
            sums = {}
        if name not in files or sums in files[name]:
            return found
        if root is None or _load(root)[0] == text:  # else it was replaced since
            if sums:
                raise seal.changed(path, kept_in=MANIFEST)
            raise DamagedError(
                f"{path} is not there any more, expected what was written: restore it from a copy. Where it was "
                f"deleted on purpose, delete {MANIFEST} too: then the files of the run are read unchecked."
            )


def is_listed(path: Path) -> bool:
    """True where the manifest of its run knows the file."""
    root = root_of(path, RUN)
    return root is not None and path.absolute().relative_to(root).as_posix() in entries(root)


def gone(root: Path) -> list[str]:
    """The files of a run that its manifest knows and that are not there any more."""
    return [name for name in entries(root) if not (root / name).exists()]
