"""Nested state without pickle: tensors by safetensors, everything else as JSON in the same file's header."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.utils import rnn

from ppl_vae.core.snapshot import put_tensors
from ppl_vae.errors import RunError
from ppl_vae.reading import parse_json, require_regular
from ppl_vae.runs.files import write_atomically

HEADER = "ppl_vae"
"""The one key of a file's header."""

# JSON has lists, strings, finite numbers, booleans and null; everything else is an object with a single such key.
_TENSOR, _ARRAY, _TUPLE, _DICT, _FLOAT, _PACKED = "$tensor", "$array", "$tuple", "$dict", "$float", "$packed"


def flatten(state: Any) -> tuple[dict[str, Tensor], Any]:
    """Split nested dicts, lists and tuples into named tensors and a JSON value that refers to them.

    Keys may be any scalars (`torch.optim` numbers its parameters), floats come back bit for bit, a tensor
    that occurs twice is kept twice.

    Raises:
        RunError: for anything that is neither a container, a tensor, an array nor a scalar, naming its path.

    Example:
        >>> tensors, rest = flatten({"state": {0: {"step": torch.tensor(3.0), "max": float("inf")}}})
        >>> list(tensors), unflatten(tensors, rest)
        (['state/0/step'], {'state': {0: {'step': tensor(3.), 'max': inf}}})
    """
    tensors: dict[str, Tensor] = {}

    def encode(value: Any, path: tuple[str, ...]) -> Any:
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, Tensor | np.ndarray):
            name, tag = "/".join(path), _TENSOR if isinstance(value, Tensor) else _ARRAY
            while name in tensors:  # {1: …, "1": …} have one path
                name += "'"
            tensors[name] = torch.as_tensor(value).detach()
            return {tag: name}
        if isinstance(value, int | np.integer):
            return int(value)
        if isinstance(value, float | np.floating):
            return float(value) if math.isfinite(value) else {_FLOAT: repr(float(value))}
        if isinstance(value, rnn.PackedSequence):
            return {_PACKED: [encode(v, (*path, str(i))) for i, v in enumerate(value)]}
        if isinstance(value, tuple) and not hasattr(value, "_fields"):
            return {_TUPLE: [encode(v, (*path, str(i))) for i, v in enumerate(value)]}
        if isinstance(value, list):
            return [encode(v, (*path, str(i))) for i, v in enumerate(value)]
        if isinstance(value, Mapping):
            if all(isinstance(k, str) and not k.startswith("$") for k in value):
                return {k: encode(v, (*path, k)) for k, v in value.items()}
            return {_DICT: [[encode(k, (*path, "key")), encode(v, (*path, str(k)))] for k, v in value.items()]}
        raise RunError(
            f"Got a {type(value).__module__}.{type(value).__qualname__} at {'/'.join(path) or 'the top'} of a state "
            "to save, expected tensors, numbers, strings, None and containers of these. Nothing is pickled, because "
            "loading a pickle runs whatever it says: let `state_dict()` give plain values."
        )

    return tensors, encode(state, ())


def unflatten(tensors: Mapping[str, Tensor], value: Any) -> Any:
    """Undo `flatten`."""
    if isinstance(value, list):
        return [unflatten(tensors, v) for v in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((tag, content),) = value.items()
        if tag == _TENSOR:
            return tensors[content]
        if tag == _ARRAY:
            return tensors[content].numpy()
        if tag == _TUPLE:
            return tuple(unflatten(tensors, v) for v in content)
        if tag == _PACKED:
            return rnn.PackedSequence(*(unflatten(tensors, v) for v in content))
        if tag == _DICT:
            return {unflatten(tensors, k): unflatten(tensors, v) for k, v in content}
        if tag == _FLOAT:
            return float(content)
    return {k: unflatten(tensors, v) for k, v in value.items()}


def save(path: str | os.PathLike[str], state: Any, **header: Any) -> None:
    """Write nested state to one safetensors file, atomically; what is no tensor goes into its header.

    All of the header stands under one key: safetensors writes several in an order of its own each time, and equal
    state is to give equal bytes.
    """
    tensors, rest = flatten(state)
    text = json.dumps({**header, "state": rest}, allow_nan=False)
    content = safetensors.torch.save({k: _alone(t) for k, t in tensors.items()}, {HEADER: text})
    write_atomically(path, content)


def load(path: str | os.PathLike[str]) -> Any:
    """Read what `save` wrote; tensors are on the CPU.

    Raises:
        RunError: where the file is missing, damaged, or not one of ours.
    """
    tensors, header = read(path)
    try:
        # Runs of before 0.2 have several keys, one of them the state.
        state = parse_json(header[HEADER])["state"] if HEADER in header else parse_json(header["state"])
        return unflatten(tensors, state)
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RuntimeError,
        AssertionError,
    ) as error:  # of an entry's own kind
        raise RunError(
            f"Got {path}, a safetensors file without training state; expected one that `fit` wrote."
        ) from error


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and the header of a safetensors file.

    Raises:
        RunError: it is missing, no regular file, or damaged.
    """
    try:
        if Path(path).exists():
            require_regular(Path(path), "a file that `fit` wrote")
        with safetensors.safe_open(os.fspath(path), framework="pt") as file:
            # The file is memory-mapped: copies outlive its replacement.
            return {name: file.get_tensor(name).clone() for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError as error:
        raise RunError(f"Got no file {Path(path)}, expected one that `fit` wrote. Is this the run's folder?") from error
    except RunError:
        raise
    except Exception as error:  # damage, and dtypes that this torch has not, in more ways than can be listed
        raise RunError(
            f"Got {path}, which cannot be read as safetensors ({error}); expected a file that `fit` wrote. "
            "It is damaged or something else: restore it from a copy, or train again."
        ) from error


def _alone(tensor: Tensor) -> Tensor:
    """Give the tensor on the CPU with storage of its own, as safetensors wants it: tied weights share."""
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def load_weights(path: str | os.PathLike[str], module: nn.Module) -> None:
    """Put the weights in a `model.safetensors` into a module, all of them and no others.

    Raises:
        RunError: where the file is damaged, or its weights are not those of this module.
    """
    put_tensors(module, load(path), str(path))
