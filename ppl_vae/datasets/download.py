"""Public files, fetched once, checked, and kept."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO
from urllib.request import urlopen

from ppl_vae.datasets.files import sha256
from ppl_vae.errors import DataError

log = logging.getLogger(__name__)
Opener = Callable[[str], IO[bytes]]


def open_url(url: str) -> IO[bytes]:
    """Open an address for reading; a server that says nothing for half a minute is given up."""
    stream: IO[bytes] = urlopen(url, timeout=30)
    return stream


def fetch_all(files: Mapping[str, str], mirrors: Sequence[str], folder: Path, opener: Opener = open_url) -> Path:
    """Download what a folder lacks, and give the folder.

    A file is written under a temporary name, checked, synced and renamed: an interrupted or wrong download
    leaves nothing behind, and two processes may fetch the same file at once.

    Args:
        files: SHA-256 checksums by file name.
        mirrors: addresses of folders that have them, tried in order.
        folder: where they are kept.
        opener: opens an address.

    Raises:
        DataError: if the folder cannot be written, or no mirror gives the right file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from None
    for name, checksum in files.items():
        if not (folder / name).is_file() or sha256(folder / name) != checksum:
            fetch(name, checksum, mirrors, folder, opener)
    return folder


def fetch(name: str, checksum: str, mirrors: Sequence[str], folder: Path, opener: Opener = open_url) -> Path:
    """Download one file; see `fetch_all`."""
    reasons = []
    for mirror in mirrors:
        url = mirror.rstrip("/") + "/" + name
        log.info("downloading %s to %s", url, folder)
        try:
            handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
        except OSError as error:
            raise _unwritable(folder, error) from None
        try:
            with os.fdopen(handle, "wb") as out, opener(url) as stream:
                digest = hashlib.sha256()
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            if digest.hexdigest() == checksum:
                Path(temporary).chmod(0o644)
                return Path(temporary).replace(folder / name)
            reasons.append(f"{url}: got a file with SHA-256 {digest.hexdigest()}, expected {checksum}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            reasons.append(f"{url}: {error}")
        finally:
            Path(temporary).unlink(missing_ok=True)
    raise DataError(
        f"Got no right {name} from any of {len(mirrors)} addresses, expected one:\n  "
        + "\n  ".join(reasons)
        + "\nBring the files to a folder by other means, and name it with dataset.path=DIR (path=DIR in Python)."
    )


def _unwritable(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"Got {folder}, which cannot be written ({error.strerror}), expected a folder to keep downloads in: "
        "name another with dataset.path=DIR, or set XDG_CACHE_HOME."
    )
