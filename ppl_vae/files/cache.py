"""The user's folder for what can be made or fetched again."""

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Give the user's folder of that name: ``$XDG_CACHE_HOME/ppl_vae/name``, or below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ppl_vae" / name
