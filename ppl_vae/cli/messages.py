"""One message an error: Hydra's, OmegaConf's, ours and users'; where a name is wrong, the near and legal ones."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from pathlib import Path
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml.error import YAMLError  # type: ignore[import-untyped]

from ppl_vae.config.parts import ELSEWHERE
from ppl_vae.config.refusals import type_error
from ppl_vae.config.schema import near
from ppl_vae.config.signature import PARTS
from ppl_vae.display import on_screen, printable
from ppl_vae.errors import PplVaeError, UsageError, out_of_memory
from ppl_vae.frames import user_frame

_PACKAGE = str(Path(__file__).resolve().parent.parent)


def exit_code(error: BaseException) -> int:
    """2 for what is wrong with the command line, 1 for what went wrong doing it."""
    if isinstance(error, PplVaeError):
        return 2 if isinstance(error, UsageError) else 1
    if isinstance(error, (HydraException, OmegaConfBaseException, YAMLError)):
        return 2
    return 1


def report(error: BaseException, verb: str, *, full: bool | None = None) -> str:
    """Print the one message of an error to standard error, after its traceback under HYDRA_FULL_ERROR=1."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1" if full is None else full:
        traceback.print_exception(error, file=sys.stderr)
    text = printable(message(error))
    print(on_screen(f"ppl-vae {verb}: {text}" if verb else f"ppl-vae: {text}", sys.stderr), file=sys.stderr)
    return text


def message(error: BaseException) -> str:
    """An error in words: what was got, what was expected, and where, in users' own code."""
    return "\n  ".join([_message(error), *getattr(error, "__notes__", [])])


def _message(error: BaseException) -> str:
    if isinstance(error, PplVaeError):
        return str(error)
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        return _hydra(error)
    if isinstance(error, YAMLError):
        return f"a config file is no YAML: {' '.join(str(error).split())}"
    if isinstance(error, OSError) and error.filename and user_frame(error) is None:
        return f"{error.filename2 or error.filename}: {error.strerror or error}; {_remedy(error)}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # netCDF's library names no file
        return f"{os.strerror(error.errno)}; make room, or choose another folder"
    said = str(error).partition("\nTrace Shapes:")[0].strip() or "no message"  # Pyro adds its trace
    if out_of_memory(error):
        return f"this takes more memory than there is ({said.splitlines()[0]}); take fewer data, particles or units"
    frame = user_frame(error)
    if frame is not None:
        return f"{type(error).__name__}: {said}\n  in {frame.filename}, line {frame.lineno}, in {frame.name}"
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f.filename.startswith(_PACKAGE + os.sep)]
    if (
        isinstance(error, ValueError)
        and ours
        and ours[-1] is frames[-1]
        and (frames[-1].line or "").startswith("raise ")
    ):
        return said  # a value refused where it is used: the message says all
    last = (ours or frames)[-1:]
    where = f" (in {last[0].filename}, line {last[0].lineno})" if last else ""
    return f"{type(error).__name__}: {said}{where}; HYDRA_FULL_ERROR=1 shows the traceback"


def _remedy(error: OSError) -> str:
    making = any(f.name in ("mkdir", "makedirs") for f in traceback.extract_tb(error.__traceback__))
    if making or isinstance(error, (PermissionError, NotADirectoryError, FileExistsError)):
        return "choose a folder that can be written (for new runs hydra.run.dir=DIR, for sweeps hydra.sweep.dir=DIR)"
    if isinstance(error, FileNotFoundError):
        return "give the path of a file that exists"
    return "check the path and the space left there"


def _hydra(error: BaseException) -> str:
    if isinstance(error, MissingConfigException) and error.options:
        group, _, option = (error.missing_cfg_file or "").rpartition("/")
        elsewhere = ELSEWHERE.get((group, option))
        also = f"; {elsewhere}" if elsewhere else ""
        return f"{group}={option}: no such option; {near(option, error.options)}{also}"
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r}; expected key=value (quote a value with spaces, commas or brackets)"
    cause = error.__cause__
    if isinstance(cause, (ConfigKeyError, ConfigAttributeError)):
        return _unknown_key(error, cause)
    if isinstance(cause, OmegaConfBaseException):
        return type_error(cause)
    if isinstance(error, (ConfigKeyError, ConfigAttributeError)):
        return _unknown_key(error, error)
    if isinstance(error, OmegaConfBaseException):
        return type_error(error)
    return _said(str(error))


def _unknown_key(error: BaseException, cause: ConfigKeyError | ConfigAttributeError) -> str:
    parent: Any = getattr(cause, "parent_node", None)
    legal = [str(k) for k in parent if k not in ("hydra", "_target_")] if hasattr(parent, "keys") else []
    typed = re.search(r"Could not override '([^']+)'", str(error))
    path = typed.group(1) if typed else str(getattr(cause, "full_key", None) or cause.key)
    group = path.rpartition(".")[0]
    until = f" until one is chosen, {group}=OPTION" if group in PARTS else ""
    hint = near(str(cause.key), legal) or f"{group or 'it'} holds no keys{until}"
    said = f"{path}: no such key; {hint}"
    if hasattr(parent, "keys") and "_target_" in parent:
        said += f" (+{path}=VALUE passes another parameter of {parent['_target_']})"
    return said


def _said(text: str) -> str:
    """Hydra's own words, without the advice that does not hold here."""
    lines = [line.rstrip() for line in text.strip().splitlines()]
    kept = [line for line in lines if line and not line.startswith(("To append to your config", "See https"))]
    return "\n  ".join(kept)
