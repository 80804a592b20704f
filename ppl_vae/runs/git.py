"""The commit of a folder that is under git, read from its files: git itself is not run.

`git status` runs what a repository's own configuration says (`core.fsmonitor`, clean filters), and the working
directory may be a stranger's. Whether files were changed since is not told: only git could.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ppl_vae.errors import RunError
from ppl_vae.files.inside import content

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_REF = re.compile(r"refs/[\w./@+-]{1,200}")
_LARGEST = 16 << 20
"""Bytes of the file of all packed references."""


def commit(folder: Path) -> str | None:
    """The commit that is checked out in a folder; None where it is under no git, or has none yet."""
    home = next((place for place in (folder, *folder.parents) if os.path.exists(place / ".git")), None)  # noqa: PTH110 - of any text, without an error
    if home is None:
        return None
    git = home / ".git"
    if os.path.isfile(git):  # noqa: PTH113 - a worktree or a submodule: it says where its own is
        git = home / _text(git).removeprefix("gitdir:").strip()
    head = _text(git / "HEAD").strip()
    if _COMMIT.fullmatch(head):
        return head
    ref = head.removeprefix("ref:").strip()
    if not _REF.fullmatch(ref) or ".." in ref:
        return None
    common = git / (_text(git / "commondir").strip() or ".")
    for place in (git, common):
        if _COMMIT.fullmatch(found := _text(place / ref).strip()):
            return found
    packed = re.search(rf"^({_COMMIT.pattern}) {re.escape(ref)}$", _text(common / "packed-refs"), re.MULTILINE)
    return packed[1] if packed else None


def _text(path: Path) -> str:
    try:
        return content(path, _LARGEST).decode(errors="replace")
    except (OSError, RunError, ValueError):
        return ""
