"""Tab completion: the verb is ours, the rest Hydra's own, whichever the shell.

`eval "$(ppl-vae -sc install=bash)"` installs it; the shell then calls `ppl-vae -sc query=bash` with the line so far.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Sequence

from ppl_vae.cli.arguments import FLAGS, Arguments
from ppl_vae.cli.hydra import DONE
from ppl_vae.config.keys import Format, Part
from ppl_vae.config.schema import near, verbs
from ppl_vae.errors import UsageError


def complete(words: Sequence[str]) -> int:
    """Answer `-sc install=SHELL`, `uninstall=SHELL` or `query=SHELL`.

    Raises:
        UsageError: for anything else.
    """
    subcommand, _, shell = (words[0] if words else "").partition("=")
    if subcommand not in ("install", "uninstall", "query") or not shell:
        raise UsageError("--shell-completion needs one of install=SHELL, uninstall=SHELL (bash, fish or zsh)")
    verb = verbs()[0]
    if subcommand == "query":
        variable = "COMMANDLINE" if shell == "fish" and "COMMANDLINE" in os.environ else "COMP_LINE"
        line = os.environ.get(variable, "")
        program, typed, rest = _split(line)
        if not rest and not line.endswith(" "):
            print(" ".join(v for v in verbs() if v.startswith(typed)))
            return DONE
        if typed not in verbs():
            print(" ".join(verbs()) if not typed else near(typed, verbs()).split("?")[0].split()[-1])
            return DONE
        last = rest.rpartition(" ")[2]
        if last.startswith("-"):
            print(" ".join(flag for flag in FLAGS if flag.startswith(last)))
            return DONE
        verb = typed
        os.environ[variable] = f"{program} {rest}"
    arguments = Arguments(flags=["--shell-completion"], overrides=[f"{subcommand}={shell}"])
    from ppl_vae.cli.hydra import call_hydra

    answer = io.StringIO()
    with contextlib.redirect_stdout(answer):
        code = call_hydra(verb, arguments)
    print(_OF_ENUM.sub(_members, answer.getvalue()), end="")
    return code


_OF_ENUM = re.compile(r"(\S+=)(Format|Part)\.\w+")


def _members(found: re.Match[str]) -> str:
    """Hydra offers the present value of an enumeration, by its Python name; we offer all, as they are typed."""
    return " ".join(found[1] + member.name for member in {"Format": Format, "Part": Part}[found[2]])


def _split(line: str) -> tuple[str, str, str]:
    """The line as program, verb and the rest."""
    match = re.match(r"^\s*((?:\S*python[\d.]*\s+-m\s+)?\S+)\s*(\S*)\s*(.*)$", line, re.DOTALL)
    if match is None:
        return "ppl-vae", "", ""
    return "ppl-vae", match.group(2), match.group(3)
