"""Folders of runs and of sweeps whose JSON, YAML, CSV and tensors are mutated in their structure, opened in each way.

`python -m tests.torture.mutate_runs 5000 [SEED]` searches for long.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

import ppl_vae as pv
from ppl_vae.__main__ import main as command
from tests.cli.small import SMALL
from tests.torture.result import CHUNK, Result, apart, main

VALUES = (
    None,
    True,
    False,
    0,
    -1,
    1,
    10**30,
    0.5,
    -2.5,
    float("nan"),
    float("inf"),
    "",
    "x",
    "0",
    "../..",
    "日本",
    "\x00",
    "\ud800",
    "${oc.env:HOME}",
    "${nothing}",
    "${",
    "???",
    "x" * 3000,
    [],
    {},
    [None],
    ["x"],
    [[]],
    [1, "x", {}],
    {"": 1},
    {"_target_": "os.system"},
    {"_target_": 1},
    {"_target_": "ppl_vae.models.VAE"},
    {"a": {"b": [1]}},
    {"x": None},
    [{"a": 1}] * 3,
    "2026-01-01",
    "running",
    "finished",
    "failed",
    "pruned",
    "fit",
    "train",
    "evaluate",
)
"""What may stand in the place of anything."""


def deep(depth: int) -> Any:
    """A list in a list in a list …"""
    made: Any = 1
    for _ in range(depth):
        made = [made]
    return made


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value in nested containers."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def mutated(value: Any, rng: random.Random) -> tuple[str, Any]:
    """The same nested value with something dropped, retyped, renamed, deepened or doubled, and what was done."""
    value = copy.deepcopy(value)
    shallow = [p for p in places(value) if len(p) <= 2]
    path = rng.choice(shallow if rng.random() < 0.6 else list(places(value)))
    how = rng.choice(["drop", "drop", "value", "value", "value", "rename", "deep", "wrap", "other", "add"])
    told = f"{how} {'.'.join(map(str, path))}"
    if not path:
        return told, rng.choice([*VALUES, deep(50)])
    parent = value
    for key in path[:-1]:
        parent = parent[key]
    key = path[-1]
    if how == "drop":
        del parent[key]
    elif how == "value":
        parent[key] = rng.choice(VALUES)
        told += f" = {str(parent[key])[:30]!r}"
    elif how == "rename" and isinstance(parent, dict):
        parent[rng.choice(["x", "", f"{key}x", "状态"])] = parent.pop(key)
    elif how == "deep":
        parent[key] = deep(rng.choice([5, 120, 900]))
    elif how == "wrap":
        parent[key] = rng.choice([[parent[key]], {"x": parent[key]}, str(parent[key])])
    elif how == "other":
        *way, last = rng.choice([p for p in places(value) if p])
        node = value
        for step in way:
            node = node[step]
        parent[key] = copy.deepcopy(node[last])
    elif isinstance(parent, dict):
        parent[rng.choice(["x", "", "_target_", "spec", "é"])] = rng.choice(VALUES)
    return told, value


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(8)
)
TEXTS = (
    b"",
    b"\0",
    b"{",
    b"[]",
    b"null",
    b"1",
    b'"x"',
    b"\xff\xfe{}",
    b"\xef\xbb\xbf{}",
    b"{}",
    b'{"status": "finished"',
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"[" * 990 + b"]" * 990,
    b"9" * 10_000,
    b"a: b: c",
    b"*a",
    b"&a [*a]",
    b"- - - - -",
    b"{a: {b: {c: {d: [" * 400,
    BOMB.encode(),
    b"!!python/object/apply:os.getcwd []",
    b"!!binary x",
    b"? [a]\n: b",
    b"{[a]: b}",
    b"<<: 1",
    b"\t",
    b"%YAML 9",
    b'{"status":"finished","status":"failed"}',
    b"NaN",
    b"Infinity",
    b"a" * 10**6,
    b"-" * 5000,
    b"1: 2\n1: 3",
    b"\x85\xa0",
    b"=: =",
)
"""The whole of a file, in place of what it was."""

LINES = (
    "null",
    "1",
    "[]",
    "{}",
    '{"epoch": "x"}',
    '{"epoch": null}',
    '{"epoch": {}}',
    "{",
    '{"epoch": 1e400}',
    '{"train/bound": [1]}',
    "NaN",
    '{"epoch": [' + "[" * 3000,
    '{"epoch": 9' + "9" * 5000 + "}",
    '{"\\ud800": 1}',
    '{"epoch": "\\u0000"}',
    '{"seconds": "long"}',
    '{"seconds": true, "lr": {}}',
    '{"validation/elbo": "inf"}',
)


def damage(path: Path, rng: random.Random) -> str:
    """Mutate one file, by its kind."""
    chance = rng.random()
    if chance < 0.06:
        path.unlink()
        return "gone"
    if chance < 0.09:
        path.unlink()
        path.mkdir()
        return "a folder"
    if chance < 0.12:
        path.unlink()
        os.mkfifo(path)
        return "a pipe"
    if chance < 0.14:
        path.unlink()
        path.symlink_to(rng.choice(["/dev/zero", "/dev/full", path.name, "nowhere", "/dev/tty", "/proc/self/mem"]))
        return f"a link to {path.readlink()}"
    if chance < 0.24 or path.suffix in (".safetensors", ".nc"):
        if path.suffix in (".safetensors", ".nc") and chance < 0.8:
            from tests.torture import mutate_data

            kind = _kind(path)
            how, content = mutate_data.mutated(kind, [kind], rng)
            path.write_bytes(content)
            return how
        path.write_bytes(content := rng.choice(TEXTS))
        return f"holds {content[:20]!r}"
    if path.suffix == ".json":
        told, value = mutated(json.loads(path.read_text()), rng)
        path.write_text(json.dumps(value))
        return told
    if path.suffix == ".yaml":
        told, value = mutated(yaml.safe_load(path.read_text()), rng)
        try:
            text = yaml.dump(value, allow_unicode=True, sort_keys=False)
        except RecursionError:  # of what writes it: one that is as deep, by hand
            text = f"model: {'[' * 2000}{']' * 2000}\n"
        path.write_text(text, errors="surrogatepass")
        return told
    text = path.read_text()
    lines = text.splitlines()
    if path.suffix == ".jsonl":
        at = rng.randrange(len(lines) + 1)
        line = rng.choice(LINES)
        lines[at : at + rng.randrange(2)] = [line]
        path.write_text("\n".join(lines) + rng.choice(["\n", "", "{"]))
        return f"line {at}: {line[:30]}"
    cells = text.split(",")
    cells[rng.randrange(len(cells))] = rng.choice(["", "x", "\n", '"', "1e999", "=1", "\x00", "日本", "\r"])
    path.write_text(",".join(cells))
    return "a cell"


@functools.cache
def _kind(path: Path) -> Any:
    from tests.torture import mutate_data

    names = {k.name: k for k in mutate_data.kinds()}
    name = path.name if path.name in names else "checkpoint.safetensors"
    forge = names[name].forge
    return mutate_data.Kind(path.name, path.read_bytes(), print, forge=forge)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Neither stream."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def workshop(root: Path) -> None:
    """Make a run with all that verbs add to one, and a sweep of two."""
    root.mkdir()
    with contextlib.chdir(root), quiet():
        few = ("trainer.compile=off", "trainer.epochs=2")
        said = [
            command(["train", *SMALL, *few, "hydra.run.dir=run", "logger=csv"]),
            command(["posterior", "run=run", "draws=3", "data=3", "figures=false"]),
            command(["evaluate", "run=run", "num_particles=4"]),
            command(["train", "-m", *SMALL, *few, "model.latent_dim=1,2", "hydra.sweep.dir=sweep"]),
            command(["compare", "sweep=sweep"]),
        ]
    assert said == [0] * len(said), said


def frame_of_run(run: pv.Run) -> object:
    """All that a run says without being built."""
    return (
        str(run),
        run.status,
        run.result,
        run.record,
        run.metrics,
        run.spec,
        run.recipe,
        run.reference,
        run.plain_config,
    )


def rebuilt(run: pv.Run) -> object:
    """The pair with its weights, and one draw of it."""
    return run.vae, pv.generate(run.vae, 2)


def frame_of_sweep(sweep: pv.Sweep) -> object:
    """All that a sweep says."""
    jobs = sweep.jobs
    return [(j.title, j.values, j.result, j.error) for j in jobs], sweep.counts, sweep.state, sweep.plan, sweep.runs


def says(*words: str) -> Callable[[], object]:
    """A command line, which answers for itself: an error that nobody thought of is raised again."""

    def call() -> object:
        from ppl_vae.errors import PplVaeError

        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = command([*words])
        said = err.getvalue()
        if "HYDRA_FULL_ERROR" in said or "Traceback" in said:
            at = said.find("HYDRA_FULL_ERROR")
            raise UnknownError(said[max(0, at - 250) : at] or said[-300:])
        if code:
            raise PplVaeError(f"exit code {code}: {said}")
        return code

    return call


class UnknownError(Exception):
    """What the command line had no message for."""


def ways(target: str, full: bool) -> dict[str, Callable[[], object]]:
    """The ways to open a folder; the quick ones, or all."""
    if target == "run":
        quick: dict[str, Callable[[], object]] = {
            "Run": lambda: frame_of_run(pv.Run.load("run")),
            "record": lambda: (pv.Run.load("run").status, pv.Run.load("run").result),
            "metrics": lambda: pv.Run.load("run").metrics,
            "config": lambda: (pv.Run.load("run").plain_config, pv.Run.load("run").spec),
            "vae": lambda: rebuilt(pv.Run.load("run")),
            "nc": lambda: pv.Run.load("run").posterior(),
        }
        slow = {
            "data": lambda: pv.Run.load("run").data,
            "resume": says("train", "resume=run", "trainer.epochs=3"),
            "evaluate": says("evaluate", "run=run", "num_particles=2"),
            "check": says("check", "run=run"),
            "generate": says("generate", "run=run", "n=2", "figures=false"),
            "report": says("report", "run=run"),
            "sweeps": says("sweeps", "dir=."),
            "latest": says("check", "run=latest"),
        }
    else:
        quick = {"Sweep": lambda: frame_of_sweep(pv.Sweep.load("sweep"))}
        slow = {
            "compare": says("compare", "sweep=sweep"),
            "sweeps": says("sweeps", "dir=."),
            "resume": says("train", "-m", "resume=sweep"),
            "run=": says("check", "run=sweep"),
        }
    return quick | slow if full else quick


RUN_FILES = (
    "run.json",
    "config.yaml",
    "recipe.json",
    "metrics.jsonl",
    "model.safetensors",
    "reference.safetensors",
    "posterior.nc",
    "checkpoints/last.safetensors",
    "evaluation/test/summary.json",
    "evaluation/test/table.csv",
    "posterior.csv",
    "trackers.json",
)
SWEEP_FILES = (
    "sweep.json",
    "sweep.json",
    "sweep.json",
    "0/run.json",
    "0/config.yaml",
    "0/metrics.jsonl",
    "multirun.yaml",
    "1/recipe.json",
    "comparison.json",
)
READERS = {
    "run.json": ("Run", "record"),
    "config.yaml": ("config", "vae"),
    "recipe.json": ("Run",),
    "metrics.jsonl": ("metrics", "Run"),
    "model.safetensors": ("vae",),
    "reference.safetensors": ("Run", "vae"),
    "posterior.nc": ("nc",),
}


def search(count: int, seed: int) -> Result:
    """Open so many mutated folders, each in one way."""
    rng, found = random.Random(seed), Result()
    with tempfile.TemporaryDirectory() as folder:
        model, here = Path(folder) / "model", Path(folder) / "here"
        workshop(model)
        with contextlib.chdir(folder):
            for number in range(count):
                target = rng.choice(["run", "run", "sweep"])
                files = RUN_FILES if target == "run" else SWEEP_FILES
                name = rng.choice([f for f in files if (model / target / f).is_file()])
                full = rng.random() < 0.25
                possible = ways(target, full)
                likely = [w for w in READERS.get(name, ()) if w in possible]
                way = rng.choice(likely if likely and rng.random() < 0.7 else list(possible))
                here.mkdir()
                shutil.copytree(model / target, here / target)
                told = damage(here / target / name, rng)
                with contextlib.chdir(here), quiet():
                    found.judge(f"{way} of {target}/{name} ({told}) [{seed}.{number}]", possible[way])
                shutil.rmtree(here)
    return found


def run(count: int, seed: int = 0, workers: int = 1) -> Result:
    """Open so many mutated folders; many of them in processes of their own."""
    return search(count, seed) if count <= CHUNK else apart(search, count, seed, workers)


if __name__ == "__main__":
    main(run)
