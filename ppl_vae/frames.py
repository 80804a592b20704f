"""The user's line: where in their own code an error arose, or a call came from."""

from __future__ import annotations

import functools
import linecache
import os
import sys
import sysconfig
import traceback
from pathlib import Path
from types import FrameType

LIBRARIES = frozenset({"torch", "pyro", "numpy"})
"""Packages that call a user's programs, wherever they are installed."""

DEPENDENCIES = frozenset(
    {
        *("arviz", "arviz_base", "arviz_plots", "arviz_stats", "filelock", "h5netcdf", "h5py", "hydra", "jinja2"),
        *("matplotlib", "omegaconf", "pandas", "rich", "safetensors", "scipy", "sklearn", "xarray"),
    }
)
"""Further packages that this one is made with; a test holds the list to `pyproject.toml`."""

FAMILIES = tuple(f"ppl_vae.{room}" for room in ("models", "guides", "likelihoods", "nn", "distributions"))
"""Modules of ours that hold programs: a fault in one is told like one in a user's."""

_PACKAGE = str(Path(__file__).resolve().parent)
_INSTALLED = tuple(
    str(Path(p).resolve()) + os.sep
    for name, p in sysconfig.get_paths().items()
    if name in ("stdlib", "purelib", "platlib")
)

_GENERATED = ("<frozen", "<string>", "<eval_with_key>", "<__array_function__")
"""Names of sources that Python, torch and numpy give to code they write themselves."""


def module_of(thing: object) -> str:
    """The module that a function, a class or a frame's globals say they are of; empty for code that `exec` runs."""
    name = thing.get("__name__") if isinstance(thing, dict) else getattr(thing, "__module__", None)
    return name if isinstance(name, str) else ""


def is_library(module: str) -> bool:
    """True for a module of the standard library, of a package that calls a user's programs, or of ours."""
    root = module.split(".")[0]
    return root in LIBRARIES or root == "ppl_vae" or root in sys.stdlib_module_names


def in_known_lines(error: BaseException) -> bool:
    """True if an exception passed through lines of ours, of Python's and of packages that we are made with alone.

    A user's program is not among them, wherever it is installed.
    """
    return all(_is_known(frame) for frame, _ in traceback.walk_tb(error.__traceback__))


def _is_known(frame: FrameType) -> bool:
    module = module_of(frame.f_globals)
    if is_library(module) or module.split(".")[0] in DEPENDENCIES:
        return True
    return not module and frame.f_code.co_filename.startswith(_GENERATED)  # `python -c` is a user's, and has a module


def is_users(frame: FrameType, ours: tuple[str, ...] = ()) -> bool:
    """True for code that a user wrote, and for the modules of `ours`."""
    module = module_of(frame.f_globals)
    root = module.split(".")[0]
    if root == "ppl_vae":
        return module.startswith(ours)
    return root not in LIBRARIES and is_users_file(frame.f_code.co_filename, module)


@functools.lru_cache(maxsize=4096)
def is_users_file(filename: str, module: str = "") -> bool:
    """False for a file that is installed or generated; code without a file, as of a notebook, is told by its module."""
    if filename.startswith(_GENERATED):
        return False
    if not Path(filename).is_file():  # compiled code of a package may name a source that is not here
        home = None if module == "__main__" else getattr(sys.modules.get(module), "__file__", None)
        return home is None or is_users_file(home)
    path = str(Path(filename).resolve())
    return not path.startswith((*_INSTALLED, _PACKAGE + os.sep)) and "site-packages" not in path


def user_frame(error: BaseException, ours: tuple[str, ...] = ()) -> traceback.FrameSummary | None:
    """The innermost line of a user's that an exception passed through, if there is one.

    Args:
        error: the exception.
        ours: modules of this package that count as a user's.
    """
    if isinstance(error, SyntaxError) and error.filename and is_users_file(error.filename):
        return traceback.FrameSummary(error.filename, error.lineno, "this file")
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if is_users(frame, ours):
            found = traceback.FrameSummary(frame.f_code.co_filename, line, frame.f_code.co_name)
    return found


def place_of(error: BaseException, ours: tuple[str, ...] = FAMILIES) -> str:
    """`user_frame` in words, its file, line and text; empty without one."""
    frame = user_frame(error, ours)
    if frame is None:
        return ""
    text = linecache.getline(frame.filename, frame.lineno or 0).strip()
    return f"{Path(frame.filename).name}:{frame.lineno}" + (f", `{text}`" if text else "")


def calling_line(frame: FrameType | None, ours: tuple[str, ...] = FAMILIES) -> str | None:
    """The innermost file and line of a call stack that a user wrote."""
    while frame is not None:
        if is_users(frame, ours):
            return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        frame = frame.f_back
    return None
