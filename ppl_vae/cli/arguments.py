"""Reading a command line: flags and overrides in any order, paths quoted for the user."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppl_vae.config.schema import conf_dir, near
from ppl_vae.errors import UsageError

# Hydra's flags (long and short) and whether each takes a value; --info may take one of a few words.
SWITCHES = {
    "--help": "-h",
    "--hydra-help": None,
    "--resolve": None,
    "--run": "-r",
    "--multirun": "-m",
    "--shell-completion": "-sc",
}
VALUED = {
    "--cfg": "-c",
    "--package": "-p",
    "--config-path": "-cp",
    "--config-name": "-cn",
    "--config-dir": "-cd",
}
FLAGS = (*SWITCHES, *VALUED, "--info", "--version")
SHORT = {s: long for long, s in (SWITCHES | VALUED | {"--info": "-i"}).items() if s}
MODES = ("--run", "--multirun", "--cfg", "--info", "--shell-completion")
"""Each asks Hydra for something else: it takes one of them."""
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
CFG = ("job", "hydra", "all")

RUN_KEYS = ("run", "resume", "sweep", "dir")

# What Hydra's grammar reads as structure inside an unquoted value.
_SPECIAL = re.compile(r"[^\w./\\+\-$%*@?|]", re.ASCII)
_PATH_KEYS = re.compile(r"(^|\.)(run|resume|sweep|path|file|dir|root|folder)$")


TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
"""The words for a switch, as OmegaConf reads them."""

DIGITS = re.compile(r"[0-9][0-9_]{4299,}")
"""Numbers that Python does not read."""

LOGGERS = re.compile(r"true|false|(?!nan$|inf$|null$)[a-z_][\w.]*|\[[a-z_][\w.]*(,\s*[a-z_][\w.]*)*\]", re.IGNORECASE)
"""Values of hydra.verbose."""


@dataclass
class Arguments:
    """A command line taken apart: Hydra's flags, the overrides, and the one flag that changes the mode."""

    flags: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)

    @property
    def multirun(self) -> bool:
        """True if `-m` was given."""
        return "--multirun" in self.flags

    @property
    def asks_only(self) -> bool:
        """True if the flags ask for help or a config, and nothing is to be run."""
        return any(f.startswith(("--help", "--hydra-help", "--cfg", "--info")) for f in self.flags)

    def value(self, key: str) -> str | None:
        """The last value typed for `key`, without quotes; None when it was not typed."""
        found = [o.split("=", 1)[1] for o in self.overrides if _key(o) == key and "=" in o]
        return unquote(found[-1]) if found else None

    def argv(self) -> list[str]:
        """Flags first: argparse refuses overrides on both sides of a flag."""
        return [*self.flags, *self.overrides]


def parse(words: Sequence[str]) -> Arguments:
    """Take a command line apart, wherever its flags stand.

    Raises:
        UsageError: for an unknown flag, a flag without its value, or an override that is no `key=value`.
    """
    result = Arguments()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            result.overrides.append(word)
            continue
        name, equals, value = word.partition("=")
        name = SHORT.get(name, name)
        if name in SWITCHES:
            if equals:
                raise UsageError(f"{word}: {name} takes no value")
            result.flags.append(name)
        elif name == "--info":
            value = value or (rest.pop(0) if rest and not rest[0].startswith("-") and "=" not in rest[0] else "all")
            if value not in INFO:
                raise UsageError(f"--info {value}: {near(value, INFO)}")
            result.flags.append(f"--info={value}")
        elif name in VALUED:
            if not equals:
                if not rest:
                    raise UsageError(f"{name} needs a value")
                value = rest.pop(0)
            if name == "--cfg" and value not in CFG:
                raise UsageError(f"--cfg {value}: {near(value, CFG)}")
            result.flags.append(f"{name}={value}")
        else:
            raise UsageError(f"unknown option {word}: {near(name, FLAGS)}")
    if "--resolve" in result.flags and not any(f.startswith(("--cfg", "--help")) for f in result.flags):
        raise UsageError("--resolve goes with --cfg or --help: --cfg job --resolve")
    asked = dict.fromkeys(f.partition("=")[0] for f in result.flags if f.startswith(MODES))
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} ask for different things; leave out all but one of them")
    if "--shell-completion" in result.flags and [*map(_key, result.overrides)] not in (
        ["install"],
        ["uninstall"],
        ["query"],
    ):
        raise UsageError("--shell-completion stands alone: ppl-vae --shell-completion install=bash (or fish, zsh)")
    for override in result.overrides:
        if not _key(override):
            raise UsageError(f"cannot read {override!r}; expected key=value")
    result.overrides = [o for override in result.overrides for o in _several(override)]
    result.overrides = [quoted(o, multirun=result.multirun) for o in result.overrides]
    _refuse_empty(result)
    return result


def _several(override: str) -> list[str]:
    """`logger=[csv,mlflow]`, which is one option that takes names, as Hydra's grammar has it."""
    names = re.fullmatch(r"logger=(\[[\w, ]+\])", override)
    return [override] if names is None else ["logger=several", f"logger.names={names[1].replace(' ', '')}"]


def _key(override: str) -> str:
    return override.split("=", 1)[0].lstrip("+~")


def unquote(value: str) -> str:
    """Undo Hydra's quoting of one value."""
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1].replace(f"\\{value[0]}", value[0])
    return value


def quote(value: str) -> str:
    """Quote one value for Hydra's grammar, in which only the quote itself needs a backslash."""
    return "'" + value.replace("'", "\\'") + "'"


def quoted(override: str, *, multirun: bool = False) -> str:
    """Quote a path that holds characters of Hydra's grammar, such as `run=outputs/beta=4,(a)`.

    Only what names something that exists (or whose folder does, for keys that are paths) is touched, so that
    lists, interpolations and sweeps keep their meaning.
    """
    key, equals, value = override.partition("=")
    if not equals or not value or value[0] in "'\"[{" or "${" in value:
        return override
    is_path_key = bool(_PATH_KEYS.search(key))
    if value.startswith("~"):
        try:
            expanded = str(Path(value).expanduser())
        except RuntimeError:  # no user of that name
            if is_path_key:
                raise UsageError(
                    f"{override}: there is no home of {value.split('/')[0]}; give the whole path"
                ) from None
            return override
        return f"{key}={quote(expanded)}" if is_path_key or _exists(expanded) else override
    if not _SPECIAL.search(value):
        return override
    if _exists(value) or key in ("hydra.run.dir", "hydra.sweep.dir"):  # one folder, never several to sweep over
        return f"{key}={quote(value)}"
    if multirun and "," in value:
        pieces = value.split(",")
        return f"{key}=" + ",".join(quote(p) if _SPECIAL.search(p) and _exists(p) else p for p in pieces)
    if is_path_key and not multirun and ("/" in value or key in RUN_KEYS):
        return f"{key}={quote(value)}"
    return override


def next_command(words: str, **keys: Any) -> str:
    """A command line to copy: paths quoted for Hydra and for the shell."""
    return " ".join(["ppl-vae", words, *(shlex.quote(quoted(f"{k}={v}")) for k, v in keys.items())])


def _exists(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except (OSError, ValueError):
        return False


def _refuse_empty(arguments: Arguments) -> None:
    """`scheduler=null` is no option, and Hydra answers it with a traceback; `run=` is a variable that was not set."""
    for override in arguments.overrides:
        key, _, value = override.partition("=")
        if digits := DIGITS.search(value):
            raise UsageError(f"{key[:80]}: got a number of {len(digits[0])} digits, expected fewer than 4300")
        if key.lstrip("+") == "hydra.verbose" and not LOGGERS.fullmatch(unquote(value)):
            raise UsageError(f"hydra.verbose: got {value[:80]}, expected true, false, or names of loggers: [a,b]")
        if key in RUN_KEYS and not unquote(value):
            raise UsageError(f"{key}= is empty, expected {key}=DIR")
        folder = conf_dir() / key
        if value == "null" and key.isidentifier() and folder.is_dir():
            raise UsageError(f"{key}=null: no such option; {near('none', [p.stem for p in folder.glob('*.yaml')])}")
