"""`main`: look the verb up, hand the rest to Hydra, turn whatever happens into an exit code and one message."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ppl_vae.cli.arguments import FLAGS, SHORT, parse
from ppl_vae.cli.hydra import DONE, FAILED, INTERRUPTED, TERMINATED, USAGE, Terminated
from ppl_vae.display import on_screen
from ppl_vae.errors import UsageError
from ppl_vae.version import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code: 0 done, 1 failed, 2 usage, 130 Ctrl-C, 143 SIGTERM."""
    words = list(sys.argv[1:] if argv is None else argv)
    verb = ""
    came: list[int] = []
    try:
        with _sigterm_raises(came):
            if words[:1] in (["-sc"], ["--shell-completion"]):
                from ppl_vae.cli.completion import complete

                return complete(words[1:])
            if not words:
                print(on_screen(overview(), sys.stderr), file=sys.stderr)
                return USAGE
            if "--version" in words:
                print(f"ppl-vae {__version__}")
                return DONE
            if words in (["--help"], ["-h"], ["help"]):
                print(on_screen(overview(), sys.stdout))
                return DONE
            verb = _verb(words)
            return _run(verb, words)
    except Terminated:
        print("terminated", file=sys.stderr)
        return TERMINATED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else DONE if stop.code is None else FAILED
    except Exception as error:
        if came:  # raised amid what turned it into an error of its own
            print("terminated", file=sys.stderr)
            return TERMINATED
        from ppl_vae.cli.messages import exit_code, report

        report(error, verb)
        return exit_code(error)


def overview() -> str:
    """The verbs, one line each: the first line of their config."""
    from ppl_vae.config.schema import about, conf_dir, verbs

    lines = ["ppl-vae VERB [group=option …] [key=value …] [-m]", ""]
    width = max(map(len, verbs()))
    for verb in verbs():
        lines.append(f"  {verb:<{width}}  {about(conf_dir() / f'{verb}.yaml').partition(': ppl-vae ')[0]}")
    lines += ["", "ppl-vae VERB --help lists the groups and keys of a verb; ppl-vae --version."]
    lines += ['Tab completion: eval "$(ppl-vae -sc install=bash)"; or zsh, fish.']
    return "\n".join(lines)


def _verb(words: Sequence[str]) -> str:
    """The verb of a command line: its first word, or the first that is one (flags may stand before)."""
    from ppl_vae.config.schema import near, verbs

    known = verbs()
    for word in words:
        if word in known:
            return word
    first = next((w for w in words if not w.startswith("-") and "=" not in w), None)
    flag = next((w for w in words if w.startswith("-") and w.partition("=")[0] not in (*FLAGS, *SHORT)), None)
    if first is None and flag is not None:
        raise UsageError(f"unknown option {flag}: {near(flag, FLAGS)}")
    if first is None:
        raise UsageError(f"no verb given; expected one of: {', '.join(known)} (ppl-vae --help)")
    raise UsageError(f"unknown verb {first!r}; {near(first, known)}")


def _run(verb: str, words: list[str]) -> int:
    words.remove(verb)
    from ppl_vae.cli import ranks
    from ppl_vae.cli.hydra import call_hydra
    from ppl_vae.config.keys import RUN_OR_GROUPS

    if verb == "new" and words and "=" not in words[0] and not words[0].startswith("-"):
        words[0] = f"name={words[0]}"
    arguments = parse(words)
    name = verb
    if verb == "train" and not arguments.asks_only:
        ranks.refuse_several(arguments.multirun)
    if verb in RUN_OR_GROUPS and arguments.value("run") not in (None, "null", ""):
        arguments.overrides.append("hydra/output=inside")
    if verb == "train" and arguments.value("resume") not in (None, "null", ""):
        from ppl_vae.cli import resume

        if arguments.multirun:
            here = Path.cwd()
            try:
                return call_hydra(verb, arguments, plan=resume.prepare_sweep(arguments))
            finally:
                os.chdir(here)
        if not resume.prepare(arguments):
            return DONE
        name = resume.NAME
    if verb == "train" and ranks.Place.told().rank and not arguments.asks_only:
        arguments.overrides.append("hydra.run.dir=${scratch:}")  # the first process writes; Hydra makes a folder anyway
    return call_hydra(verb, arguments, name)


@contextlib.contextmanager
def _sigterm_raises(came: list[int]) -> Iterator[None]:
    """Let SIGTERM raise `Terminated` within; `came` is told that it did."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, *_: Any) -> None:
        came.append(number)
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
