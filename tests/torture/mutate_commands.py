"""Command lines, mutated: composed, checked and assembled as ever, but nothing is trained or drawn.

`python -m tests.torture.mutate_commands 10000 [SEED]` searches for long. The law of their words, their exit codes and
what they leave is in `tests/cli/command_lines.py`, where they run to their end; here it is tried how many are composed.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import random
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from ppl_vae.__main__ import main as command
from ppl_vae.cli import assemble as assembling
from ppl_vae.cli.output import Result as Said
from ppl_vae.config.verbs import SCHEMAS
from ppl_vae.errors import PplVaeError
from tests.cli.command_lines import MESSAGE, STRUCTURES, TEXTS, Generator
from tests.cli.small import SMALL
from tests.torture.result import CHUNK, Result, apart, main

CODES = (0, 1, 2)
WILD = (
    *TEXTS,
    *STRUCTURES,
    "\ud800",
    "\udcff",
    "a" * 100_000,
    "[" * 300 + "]" * 300,
    "{a:" * 200 + "1" + "}" * 200,
    "${" * 100,
    "=" * 50,
    "1" * 5000,
    "${seed}" * 50,
    "é=é",
    "\u202e",
    "\u200b",
    "${oc.env:A,${oc.env:B,${oc.env:C}}}",
    "${oc.decode:'[1,'}",
    "${oc.select:x}",
    "${oc.dict.keys:model}",
    "${oc.deprecated:seed}",
    "${hydra:runtime.cwd}",
    "???",
    "!!python/object:x",
    "&a",
    "*a",
    "0b1",
    "1e",
    ".5.",
    "shuffle(1,2)",
    "range(1,10**9)",
    "range(0,99999999)",
    "choice(" + ",".join("a" * 500) + ")",
    "tag(a,1)",
    "float(x)",
    "json_str({})",
    "bool(maybe)",
    "sort(a,reverse=x)",
    "interval(1)",
    "glob([)",
    "\\" * 40,
    "'" * 41,
    '"' * 41,
    "$" * 40,
    "%s%s%n",
    "{0}",
    "`id`",
    "$(id)",
)


class Stopped(PplVaeError):
    """All was assembled; here the work would begin."""


class UnknownError(Exception):
    """What the command line had no message for."""


@contextlib.contextmanager
def nothing_done() -> Iterator[None]:
    """Every verb ends where its work would begin."""
    real = assembling.assemble

    def stop(*args: Any, **kwargs: Any) -> Any:
        real(*args, **kwargs)
        raise Stopped("assembled; nothing more is asked for")

    def done(cfg: Any, context: Any) -> Said:
        return Said(record={"verb": context.verb}, lines=["composed"])

    with contextlib.ExitStack() as stack:
        for verb in SCHEMAS:
            module = importlib.import_module(f"ppl_vae.cli.verbs.{verb}")
            if verb == "train":
                stack.enter_context(mock.patch.object(module, "assemble", stop))
            elif verb not in ("check", "gradients"):
                stack.enter_context(mock.patch.object(module, "run", done))
        stack.enter_context(mock.patch.object(assembling, "assemble", stop))
        yield


def line(generator: Generator, rng: random.Random) -> list[str]:
    """One command line: a legal one with words of chance, put wherever, doubled, cut, or wild."""
    words = generator.line()
    if words[0] == "train" and rng.random() < 0.5:
        words = ["train", *[w for w in words if w not in SMALL]]
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        how = rng.choice(["wild", "wild", "double", "drop", "move", "verb", "join", "cut", "flag", "empty"])
        at = rng.randrange(len(words)) if words else 0
        if how == "wild":
            key = rng.choice(
                [w.partition("=")[0] for w in words] + ["seed", "", "x", "model", "hydra", "a.b.c", "model@x"]
            )
            words.insert(
                at, f"{rng.choice(['', '+', '++', '~'])}{key}{rng.choice(['=', '=', '', '=='])}{rng.choice(WILD)}"
            )
        elif how == "double" and words:
            words.insert(at, words[at])
        elif how == "drop" and words:
            del words[at]
        elif how == "move" and words:
            words.append(words.pop(at))
        elif how == "verb":
            words.insert(at, rng.choice([*SCHEMAS, "trian", "", "help", "--help", "Train", "train ", "évaluer"]))
        elif how == "join" and len(words) > 1:
            words[at : at + 2] = [" ".join(words[at : at + 2])]
        elif how == "cut" and words:
            words[at] = words[at][: rng.randrange(len(words[at]) + 1)]
        elif how == "flag":
            words.insert(
                at,
                rng.choice(
                    [
                        "-m",
                        "-m",
                        "--cfg",
                        "--cfg=job",
                        "--info",
                        "--resolve",
                        "-p",
                        "-cn",
                        "-sc",
                        "--version",
                        "-h",
                        "-mm",
                    ]
                ),
            )
        elif how == "empty":
            words.insert(at, rng.choice(["", " ", "=", "==", ".", "~", "+", "@", "=a", "a="]))
    return [w.replace("\0", "") if os.name != "nt" and rng.random() < 0.9 else w for w in words]


def answered(words: list[str]) -> object:
    """Run one command line; an error that nobody thought of is raised again.

    Raises:
        PplVaeError: it was refused as it should be.
        UnknownError: with an exit code of none of the contract's, a traceback, or no message.
    """
    out, err = io.StringIO(), io.StringIO()
    environment, path = dict(os.environ), list(sys.path)
    handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = command(words)
    finally:
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)
        sys.path[:] = path
        for number, handler in handlers.items():
            signal.signal(number, handler)
    said = err.getvalue()
    asks = any(w in ("-sc", "--shell-completion") for w in words)
    if code not in CODES:
        raise UnknownError(f"exit code {code}")
    if "HYDRA_FULL_ERROR" in said or "Traceback" in said:
        at = said.find("; HYDRA_FULL_ERROR")
        raise UnknownError(said[max(0, at - 200) : at])
    if code and not MESSAGE.search(said) and not asks:
        raise UnknownError(f"exit code {code} without a message: {said[:200]!r}")
    if code:
        raise PplVaeError(f"exit code {code}: {said}")
    return code


def search(count: int, seed: int) -> Result:
    """Try so many command lines."""
    rng, generator, found = random.Random(seed), Generator(seed), Result()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            assert command(["train", *SMALL, "trainer.compile=off", "hydra.run.dir=run"]) == 0, out.getvalue()
        Path("myconf/experiment").mkdir(parents=True)
        Path("myconf/experiment/x.yaml").write_text("# @package _global_\nmodel:\n  latent_dim: 3\n")
        with nothing_done():
            for number in range(count):
                words = line(generator, rng)
                told = " ".join(w if len(w) < 120 else f"{w[:60]}…({len(w)})" for w in words if w not in SMALL)
                found.judge(f"{told!r} [{seed}.{number}]", lambda: answered(words))  # noqa: B023
                os.chdir(folder)
    return found


def run(count: int, seed: int = 0, workers: int = 1) -> Result:
    """Try so many command lines; many of them in processes of their own."""
    return search(count, seed) if count <= CHUNK else apart(search, count, seed, workers)


if __name__ == "__main__":
    main(run)
