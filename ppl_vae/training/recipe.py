"""The identity of a run: its data, pair, objective, optimizer and settings, as plain values."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import math
import types
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ppl_vae.datasets.blocks import Column
from ppl_vae.datasets.several import Several
from ppl_vae.errors import RunError
from ppl_vae.nn.formerly import former_children
from ppl_vae.runs.state import flatten

HOW = frozenset({"params", "fused", "foreach", "capturable", "differentiable", "initial_lr"})
"""Options of an optimizer that say how, not what, or that its schedule has put there."""

MOST = 100
"""Of so many parts each is told."""


def describe(value: Any, _inside: tuple[int, ...] = ()) -> Any:
    """A value in JSON's types, the same in every process; equal settings give equal descriptions.

    Objects are told by the name of their class and by the settings that it was made with; parameters and buffers are
    left out, since they change while training. Functions are told by name, defaults, what they close over, and, if
    they have no name, the numbers in their code.

    Example:
        >>> describe(functools.partial(torch.optim.Adam, lr=1e-3))
        {'partial': 'Adam', 'lr': 0.001}
        >>> describe(nn.Linear(2, 3))
        {'is': 'Linear', 'in_features': 2, 'out_features': 3}
    """
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if id(value) in _inside:
        return "…"
    inside = (*_inside, id(value))
    if isinstance(value, Mapping):
        return _short_or_sum({str(key): describe(part, inside) for key, part in value.items()})
    if isinstance(value, (list, tuple)):
        return _short_or_sum([describe(part, inside) for part in value])
    if isinstance(value, (set, frozenset)):
        return _short_or_sum(sorted((describe(part, inside) for part in value), key=str))
    if isinstance(value, np.generic):
        return describe(value.item())
    if isinstance(value, (Tensor, np.ndarray)):
        return checksum(value)
    if isinstance(value, (torch.device, torch.dtype, Path)):
        return str(value)
    if isinstance(value, functools.partial):
        made = {"partial": describe(value.func, inside)}
        return made | {str(key): describe(part, inside) for key, part in _arguments(value)}
    if isinstance(value, types.MethodType):
        return {"is": value.__name__, "of": describe(value.__self__, inside)}
    if isinstance(value, type):
        return value.__name__
    settings = _of_function(value) if isinstance(value, types.FunctionType) else _settings(value)
    name = value.__name__ if isinstance(value, types.FunctionType) else type(value).__name__
    return {"is": name} | {key: describe(part, inside) for key, part in settings}


def _short_or_sum(described: Any) -> Any:
    """A value, or its checksum if it is long: a list of a million numbers is data."""
    if len(described) <= MOST:
        return described
    digest = hashlib.sha256(json.dumps(described, allow_nan=False).encode()).hexdigest()
    return {"is": type(described).__name__, "length": len(described), "sha256": digest}


def _arguments(value: functools.partial[Any]) -> Iterator[tuple[Any, Any]]:
    yield from enumerate(value.args)
    yield from sorted(value.keywords.items())


def _of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # a name that was not assigned yet
            continue
    if function.__defaults__:
        yield "defaults", function.__defaults__
    if function.__kwdefaults__:
        yield "keywords", function.__kwdefaults__
    if function.__name__ == "<lambda>":
        yield "numbers", [c for c in function.__code__.co_consts if isinstance(c, (int, float))]


def _settings(value: Any) -> Iterator[tuple[str, Any]]:
    """The attributes that bear the names of what its constructor takes, and the modules inside it."""
    if dataclasses.is_dataclass(value):
        yield from ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value) if field.init)
        return
    taken: set[int] = set()
    try:
        parameters = inspect.signature(type(value).__init__).parameters
    except (TypeError, ValueError):
        parameters = types.MappingProxyType({})
    for name in parameters:
        held = vars(value) if hasattr(value, "__dict__") else {}
        children = value._modules if isinstance(value, nn.Module) else {}
        found = next((d[n] for d in (held, children) for n in (name, f"_{name}") if n in d), _NOTHING)
        if found is not _NOTHING and not isinstance(found, (torch.device, torch.dtype)) and name != "self":
            taken.add(id(found))
            yield name, found
    if isinstance(value, nn.Module):
        yield from ((name, child) for name, child in former_children(value) if id(child) not in taken)


_NOTHING = object()


def checksum(value: Any) -> dict[str, Any]:
    """The identity of data: their shape, dtype and SHA-256.

    Example:
        >>> checksum(torch.zeros(2, 3)) == checksum(np.zeros((2, 3), np.float32))
        True
    """
    digest = hashlib.sha256()
    whole = value if isinstance(value, Column) else torch.as_tensor(value)
    for array in whole.split(4096) if isinstance(whole, Column) else [whole]:
        array = array.detach().cpu().contiguous()
        if array.numel():
            digest.update(array.flatten().view(torch.uint8).numpy())  # type: ignore[arg-type]
    return {"shape": list(whole.shape), "dtype": str(whole.dtype)[6:], "sha256": digest.hexdigest()}


def describe_data(split: Any) -> dict[str, Any] | None:
    """The identity of one part of a data set, or None where it has no data.

    Args:
        split: a `ppl_vae.datasets.Split`; of anything else that gives batches the number of data alone is known. Data
            outside memory are read once; how they are shuffled is told, too, where that is not as a whole.
    """
    if split is None or not len(split):
        return None
    told: dict[str, Any] = {"data": len(split)}
    if isinstance(split, Several):
        parts = [described for part in split.parts if (described := describe_data(part))]
        return {**parts[0], **told, "content": [c for part in parts for c in part["content"]]}
    if hasattr(split, "tensors"):
        if any(isinstance(part, Column) for part in split.tensors):
            told |= {"content": [checksum(part) for part in split.tensors]}
        else:
            tensors, rest = flatten(tuple(split.tensors))
            told |= {"content": [checksum(tensor) for tensor in tensors.values()]}
            told |= {"rest": rest} if len(tensors) != len(split.tensors) else {}
        if (order := getattr(split, "block_order", None)) is not None:
            told |= {"order": order.describe()}
        told |= {"transform": describe(getattr(split, "transform", None))}
    return told


def changed_data(then: Any, now: Any) -> str:
    """The differences of one part of a data set (see `describe_data`) to what it was; empty without any.

    Example:
        >>> was, now = ({"data": n, "content": [checksum(torch.zeros(n))]} for n in (3, 4))
        >>> changed_data(was, now), changed_data(was, was)
        ('4 data, which were 3', '')
    """
    if then == now:
        return ""
    sizes = [0 if side is None else side.get("data", 0) for side in (then, now)]
    if sizes[0] != sizes[1]:
        return f"{sizes[1]} data, which were {sizes[0]}"
    contents = [side.get("content", []) for side in (then, now)]
    kinds = [[f"{c['dtype']} {tuple(c['shape'])}" for c in content] for content in contents]
    if kinds[0] != kinds[1]:
        return f"{', '.join(kinds[1])}, which were {', '.join(kinds[0])}"
    if contents[0] != contents[1] or then.get("rest") != now.get("rest"):
        return "other values (their SHA-256 has changed)"
    place, old, new = next(_differences(then, now))
    return f"{place} {new}, which was {old}"


def describe_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The kind of an optimizer and the options of each of its groups, before any step."""
    groups = [{k: describe(v) for k, v in group.items() if k not in HOW} for group in optimizer.param_groups]
    return {"is": type(optimizer).__name__, "groups": groups}


LATER: dict[str, Any] = {
    "accumulate": 1,
    "ema": None,
    "precision": "full",
    "shares": 1,
    "nonfinite": "raise",
    "nonfinite_budget": 10,
}
"""Settings that came later, as runs of before them were."""


def first_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """The first setting in which two runs differ: its place, and how each has it; None where they are the same."""
    return next(_differences(one, other), None)


def refuse_other(then: Mapping[str, Any], now: Mapping[str, Any], directory: Any) -> None:
    """Refuse to go on with a run as another.

    Raises:
        RunError: naming the first setting that differs, as it was and as it is.
    """
    for part in ("train", "validation", "test"):
        old, new = (side.get("data", {}).get(part) for side in (then, now))
        if (part != "test" or (old and new)) and (how := changed_data(old, new)):
            raise RunError(
                f"Got {part} data that are not those of the run in {directory}: {how}. Expected the data that it was "
                "begun with: going on would be another run. Put them back, or begin a new run in another directory."
            )
    for place, was, is_now in _differences(then, now):
        if not place.startswith("data."):
            raise RunError(
                f"Got {place} {is_now} to go on with the run in {directory}, expected {was} as it was begun with: "
                "going on would be another run. Give it as it was, or begin a new run in another directory; only "
                "epochs (or steps) may change."
            )


def _differences(then: Any, now: Any, place: str = "") -> Iterator[tuple[str, str, str]]:
    if isinstance(then, Mapping) and isinstance(now, Mapping) and then.get("is") == now.get("is"):
        for key in dict.fromkeys((*then, *now)):
            where = f"{place}.{key}" if place else key
            if key in then and key in now:
                yield from _differences(then[key], now[key], where)
            else:
                yield where, _short(then.get(key, "nothing")), _short(now.get(key, "nothing"))
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for number, (old, new) in enumerate(zip(then, now, strict=True)):
            yield from _differences(old, new, f"{place}[{number}]" if len(then) > 1 else place)
    elif then != now:
        yield place, _short(then), _short(now)


def _short(value: Any) -> str:
    if isinstance(value, Mapping) and "is" in value:
        value = value["is"]
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
