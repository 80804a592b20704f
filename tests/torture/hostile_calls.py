"""Public functions and classes, called with arguments that cannot be meant.

`python -m tests.torture.hostile_calls 20000 [SEED]` searches for long.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import torch

import ppl_vae as pv
from ppl_vae.datasets.spec import Spec
from tests.torture.result import CHUNK, Result, apart, main

LONG = {
    "epochs",
    "steps",
    "samples",
    "simulations",
    "draws",
    "chains",
    "num_particles",
    "num_data",
    "leapfrog",
    "data",
    "n",
    "cycles",
    "after",
    "patience",
    "most",
    "refine",
    "warmup",
    "accumulate",
    "batch_size",
    "predictive_draws",
    "places",
    "angles",
    "scales",
    "size",
    "num_samples",
}
"""Arguments of which a large number is meant: it takes long, and memory in parts."""


class Hostile:
    """An object of nobody's."""

    def __repr__(self) -> str:
        return "<hostile>"


def strange() -> dict[str, Any]:
    """Values that nearly no argument can be, by name; made anew, as some can be used once."""
    return {
        "None": None,
        "True": True,
        "0": 0,
        "-1": -1,
        "-10**30": -(10**30),
        "1.5": 1.5,
        "nan": float("nan"),
        "''": "",
        "inf": float("inf"),
        "-inf": float("-inf"),
        "'abc'": "abc",
        "'3'": "3",
        "b'x'": b"x",
        "[]": [],
        "()": (),
        "{}": {},
        "[0]": [0],
        "[-1]": [-1],
        "[2.5]": [2.5],
        "['a']": ["a"],
        "[None]": [None],
        "{'a': 1}": {"a": 1},
        "1j": 1j,
        "{1, 2}": {1, 2},
        "object": Hostile(),
        "class": Hostile,
        "int": int,
        "generator": (i for i in range(3)),
        "lambda": lambda *a, **k: None,
        "tensor": torch.zeros(3),
        "0-d tensor": torch.tensor(2.0),
        "nan tensor": torch.full((4, 3), torch.nan),
        "empty tensor": torch.zeros(0, 3),
        "meta tensor": torch.zeros(4, 3, device="meta"),
        "int tensor": torch.arange(12).reshape(4, 3),
        "bool tensor": torch.ones(4, 3) > 0,
        "complex tensor": torch.zeros(4, 3, dtype=torch.complex64),
        "half tensor": torch.zeros(4, 3, dtype=torch.float16),
        "5-d tensor": torch.zeros(1, 2, 1, 2, 3),
        "sparse tensor": torch.eye(3).to_sparse(),
        "array": np.zeros((4, 3)),
        "object array": np.array([{}, None], dtype=object),
        "text array": np.array(["a", "b"]),
        "0-d array": np.array(1.0),
        "date array": np.array(["2020-01-01"], dtype="datetime64[D]"),
        "structured array": np.zeros(3, [("a", "f4")]),
        "frame": pd.DataFrame({"a": [1.0], "b": ["x"]}),
        "series": pd.Series([1, 2]),
        "module": np,
        "Path": Path("/nowhere/at/all"),
        "'\\x00'": "\x00",
        "long text": "x" * 5000,
        "range": range(3),
        "np.int64": np.int64(2),
        "np.float32": np.float32(1.5),
        "Linear": torch.nn.Linear(3, 2),
        "dtype": torch.float64,
        "'../..'": "../..",
        "exception": ValueError("x"),
        "nested": [[[[]]]],
        "spec": Spec((3,), "real"),
        "ragged": [[1, 2], [3]],
        "file": io.BytesIO(b"x"),
        "deep": functools.reduce(lambda x, _: [x], range(2000), 1),
    }


HUGE = {"10**12": 10**12, "10**30": 10**30, "2**63": 2**63, "[10**12]": [10**12], "1e300": 1e300, "1e-300": 1e-300}


@functools.cache
def small_pair() -> Any:
    """A pair of the house, on numbers."""
    torch.manual_seed(0)
    spec = Spec((3,), "real")
    model = pv.models.VAE(spec, latent_dim=2, hidden=(4,))
    return pv.VAE(model, pv.guides.Amortized(spec, model, hidden=(4,)))


X = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))


def usual(folder: str) -> dict[str, Callable[[], Any]]:
    """Valid arguments by the names of parameters, made when they are needed."""
    pair, labels = small_pair(), torch.arange(8) % 2
    return {
        "vae": lambda: pair,
        "data": lambda: X,
        "batch": lambda: X,
        "train": lambda: X,
        "model": lambda: pair.model,
        "guide": lambda: pair.guide,
        "spec": lambda: Spec((3,), "real"),
        "dim": lambda: 2,
        "features": lambda: 4,
        "likelihood": lambda: pv.likelihoods.Normal(Spec((3,), "real")),
        "epochs": lambda: 1,
        "num_particles": lambda: 2,
        "progress": lambda: False,
        "draws": lambda: 2,
        "predictive_draws": lambda: 0,
        "samples": lambda: 4,
        "n": lambda: 2,
        "simulations": lambda: 4,
        "chains": lambda: 2,
        "steps": lambda: 2,
        "leapfrog": lambda: 2,
        "codes": lambda: X.numpy(),
        "num_groups": lambda: 2,
        "path": lambda: str(Path(folder) / "x.npy"),
        "name": lambda: "digits",
        "num_data": lambda: 30,
        "size": lambda: 4,
        "probability": lambda: 0.2,
        "noise": lambda: 0.1,
        "shape": lambda: (3,),
        "support": lambda: "real",
        "start": lambda: 0.1,
        "end": lambda: 1.0,
        "over": lambda: 5.0,
        "period": lambda: 4.0,
        "value": lambda: 1.0,
        "f": lambda: float,
        "until": lambda: 1.0,
        "final": lambda: 1.0,
        "step": lambda: 1,
        "epoch": lambda: 1.0,
        "objective": lambda: pv.objectives.ELBO(),
        "title": lambda: "x",
        "directory": lambda: str(Path(folder) / "run"),
        "module": lambda: torch.nn.Linear(2, 2),
        "labels": lambda: labels.numpy(),
        "factors": lambda: np.stack([labels, labels], 1),
        "real": lambda: X.numpy(),
        "generated": lambda: X.numpy(),
        "log_weights": lambda: np.zeros((30, 2)),
        "key": lambda: "key",
        "names": lambda: ["a"],
        "word": lambda: "a",
        "words": lambda: ["ab"],
        "tensors": lambda: (X,),
        "distribution": lambda: torch.distributions.Bernoulli,
        "logits": lambda: X,
        "total_count": lambda: torch.ones(8),
        "weight": lambda: torch.eye(3),
        "bias": lambda: torch.zeros(3),
        "inputs": lambda: X,
        "parameters": lambda: X,
        "components": lambda: 2,
        "most": lambda: 8,
        "fake": lambda: X.numpy(),
        "train_labels": lambda: labels.numpy(),
    }


OPTIONAL = (
    "progress",
    "num_particles",
    "epochs",
    "draws",
    "samples",
    "simulations",
    "chains",
    "steps",
    "leapfrog",
    "predictive_draws",
    "num_data",
    "components",
)
"""Arguments that are given although they have defaults: small ones make a call quick."""


@dataclass(frozen=True)
class Door:
    """Something public that can be called."""

    name: str
    call: Callable[..., Any]
    parameters: tuple[inspect.Parameter, ...]


def doors() -> list[Door]:
    """All that the reference lists and that can be called: functions, classes, and the classmethods of these."""
    found: dict[str, Any] = {}
    rooms = [pv, *(v for v in (getattr(pv, n) for n in pv.__all__) if isinstance(v, ModuleType))]
    for room in rooms:
        listed = getattr(room, "__all__", None) or [n for n in vars(room) if not n.startswith("_")]
        for name in listed:
            thing = getattr(room, name)
            if callable(thing) and getattr(thing, "__module__", "").startswith("ppl_vae"):
                found[f"{room.__name__}.{name}"] = thing
                if inspect.isclass(thing):
                    for key, member in vars(thing).items():
                        if isinstance(member, classmethod | staticmethod) and not key.startswith("_"):
                            found[f"{room.__name__}.{name}.{key}"] = getattr(thing, key)
    made = []
    for name, thing in found.items():
        if inspect.isclass(thing) and issubclass(thing, BaseException):
            continue
        with contextlib.suppress(ValueError):
            made.append(Door(name, thing, tuple(inspect.signature(thing).parameters.values())))
    return made


def arguments(
    door: Door, rng: random.Random, usual_: dict[str, Callable[[], Any]]
) -> tuple[str, list[Any], dict[str, Any]]:
    """A call in words, its positional arguments and its keywords: usual ones, one or two of them hostile."""
    given: dict[str, Any] = {}
    several: list[Any] = []
    for p in door.parameters:
        if p.kind is p.VAR_POSITIONAL:
            several = [usual_.get(p.name, lambda: 1)()]
        elif p.kind is not p.VAR_KEYWORD and (p.default is p.empty or p.name in OPTIONAL) and p.name in usual_:
            given[p.name] = usual_[p.name]()
        elif p.default is p.empty and p.kind is not p.VAR_KEYWORD:
            given[p.name] = 1
    names = [p.name for p in door.parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    values, said = strange(), []
    if door.parameters and door.parameters[-1].kind is inspect.Parameter.VAR_KEYWORD and rng.random() < 0.1:
        names.append("nonsense")
    for name in rng.sample(names, min(len(names), rng.choice([1, 1, 1, 2]))):
        choices = values if name in LONG else values | HUGE
        key = rng.choice(list(choices))
        given[name] = choices[key]
        said.append(f"{name}={key}")
    if several and rng.random() < 0.7:
        key = rng.choice(list(values))
        several = rng.choice([[], [values[key]], [values[key], *several]])
        said.append(f"*{key}")
    return f"{door.name}({', '.join(said)})", several, given


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Neither stream."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def search(count: int, seed: int, only: str = "") -> Result:
    """Make so many calls."""
    rng, found = random.Random(seed), Result()
    all_doors = [d for d in doors() if only in d.name]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        usual_ = usual(folder)
        for number in range(count):
            door = rng.choice(all_doors)
            np.save(Path(folder) / "x.npy", X.numpy())
            said, several, given = arguments(door, rng, usual_)
            # Python's own refusal of a call that no signature fits has no frame of ours
            with quiet():
                before = torch.get_default_dtype()
                found.judge(f"{said} [{seed}.{number}]", lambda: door.call(*several, **given))  # noqa: B023
                assert torch.get_default_dtype() == before
    return found


def run(count: int, seed: int = 0, workers: int = 1) -> Result:
    """Make so many calls; many of them in processes of their own."""
    return search(count, seed) if count <= CHUNK else apart(search, count, seed, workers)


if __name__ == "__main__":
    main(run)
