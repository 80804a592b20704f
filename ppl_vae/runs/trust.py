"""Runs that were made here are told from those that were sent: by a seal that only the user's own key can make.

A run is sealed when it begins. The seal is an HMAC (SHA-256) over what decides which code a run brings: the text of its
`config.yaml`, and the folders that its modules are imported from (`runs/saved.py`). It says nothing of where the run
lies, so that it goes with it wherever it is moved or copied; and nobody else can make it, since the key never leaves
the user's state directory. See docs/security.md.

References:
    Krawczyk, Bellare and Canetti (1997), HMAC: Keyed-Hashing for Message Authentication,
        https://doi.org/10.17487/RFC2104
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppl_vae.errors import PplVaeError

PLACE = "ppl_vae/key"
"""Of the key, in the user's state directory."""

SIZE = 32
"""Bytes of the key."""

KIND = "1"
"""What a seal is made of, and how: begins it."""


class NoKeyError(PplVaeError):
    """There is no key here, and none can be made; the message says why."""


def state_directory(environment: Mapping[str, str]) -> Path:
    """The place of what programs keep for this user: `$XDG_STATE_HOME`, else `~/.local/state`.

    Raises:
        NoKeyError: where there is none.
    """
    named = environment.get("XDG_STATE_HOME", "")
    if named and Path(named).is_absolute():  # the specification has others ignored
        return Path(named)
    try:
        return Path.home() / ".local" / "state"
    except RuntimeError:
        raise NoKeyError("there is no home directory") from None


def key(*, make: bool = False) -> bytes:
    """The key of this user, on this machine or wherever their state directory is shared.

    Args:
        make: where there is none yet.

    Raises:
        NoKeyError: there is none, or it is not this user's alone.
    """
    path = state_directory(os.environ) / PLACE
    if make and not path.exists():
        _make(path)
    return _read(path)


def _make(path: Path) -> None:
    """Write a key that none has read before it is whole: linked into its place, which fails where one stands."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(SIZE))
                file.flush()
                os.fsync(descriptor)
            with contextlib.suppress(FileExistsError):  # another process was first
                os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise NoKeyError(f"{path} cannot be made ({error.strerror or error})") from None


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise NoKeyError(f"{path} cannot be read ({error.strerror or error})") from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise NoKeyError(f"{path} is no regular file")
    with os.fdopen(descriptor, "rb") as file:
        if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o077):
            raise NoKeyError(f"{path} is not this user's alone (chmod 600, or delete it for a new one)")
        content = file.read(SIZE + 1)
    if len(content) != SIZE:
        raise NoKeyError(f"{path} has not {SIZE} bytes (delete it for a new one)")
    return content


def seal(config: bytes, modules: Any) -> str:
    """The seal of a run that is made here.

    Args:
        config: `config.yaml`, byte by byte.
        modules: the folders that modules of the user's own are imported from.

    Raises:
        NoKeyError: there is no key, and none can be made.
    """
    return _sealed(key(make=True), config, modules)


def is_sealed(told: Any, config: bytes, modules: Any) -> bool:
    """True if a seal is one of this user's, of this config and these folders.

    Raises:
        NoKeyError: there is no key to tell by.
    """
    return isinstance(told, str) and told.isascii() and hmac.compare_digest(told, _sealed(key(), config, modules))


def _sealed(own: bytes, config: bytes, modules: Any) -> str:
    parts = (b"ppl_vae run", KIND.encode(), config, json.dumps(modules, sort_keys=True).encode())
    code = hmac.new(own, digestmod="sha256")
    for part in parts:  # each with its length, so that no part can end elsewhere
        code.update(len(part).to_bytes(8, "big") + part)
    return f"{KIND}:{code.hexdigest()}"
