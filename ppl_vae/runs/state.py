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

from ppl_vae import files
from ppl_vae.core.snapshot import put_tensors
from ppl_vae.errors import DamagedError, RunError
from ppl_vae.files import seal
from ppl_vae.reading import parse_json
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

    All of the header stands under one key, with the checksum of the whole file first: safetensors writes several keys
    in an order of its own each time, and equal state is to give equal bytes.
    """
    tensors, rest = flatten(state)
    write_atomically(path, sealed(tensors, json.dumps({**header, "state": rest}, allow_nan=False)), listed=False)


def sealed(tensors: Mapping[str, Tensor], text: str) -> bytes:
    """A safetensors file of these tensors, and of this JSON object as its header, with a checksum of all its bytes."""
    text = f'{{"{SEAL}": "{seal.BLANK}", {text[1:]}'
    table: dict[str, Any] = {"__metadata__": {HEADER: text}}
    parts: list[bytes | memoryview] = []
    end = 0
    for name in sorted(tensors, key=lambda n: (-tensors[n].element_size(), n)):  # each lies at a multiple of its size
        plain = tensors[name].detach().to("cpu").resolve_conj().resolve_neg().contiguous().reshape(-1)
        start, end = end, end + plain.numel() * plain.element_size()
        dtype, shape = _dtype(name, plain.dtype), list(tensors[name].shape)
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
        parts.append(plain.view(torch.uint8).numpy().data if end > start else b"")
    head = json.dumps(table, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    head = len(head).to_bytes(8, "little") + head
    assert head[:_DIGITS].endswith(_BEFORE) and head[_DIGITS:].startswith(seal.BLANK.encode())  # noqa: PT018
    digits = seal.digest(head, *parts).encode()
    return b"".join([head[:_DIGITS], digits, head[_DIGITS + seal.LENGTH :], *parts])


SEAL = "sha256"

_BEFORE = f'{{"__metadata__":{{"{HEADER}":"{{\\"{SEAL}\\": \\"'.encode()
"""What stands before the digits of the checksum, after the eight bytes that tell the length of the header."""

_DIGITS = 8 + len(_BEFORE)

_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
    torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64", torch.complex64: "C64",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip


def _dtype(name: str, dtype: torch.dtype) -> str:
    if dtype not in _DTYPES:
        raise RunError(
            f"Got a tensor of {dtype} at {name} of a state to save, expected one of {', '.join(map(str, _DTYPES))}: "
            "the format of the file (safetensors) has no other. Keep it in two of these."
        )
    return _DTYPES[dtype]


def load(path: str | os.PathLike[str]) -> Any:
    """Read what `save` wrote; tensors are on the CPU.

    Raises:
        RunError: where the file is missing.
        DamagedError: where it is not what was written, or not one of ours.
    """
    tensors, header = read(path)
    try:
        # Runs of before 0.2 have several keys, one of them the state.
        state = parse_json(header[HEADER])["state"] if HEADER in header else parse_json(header["state"])
        return unflatten(tensors, state)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError) as error:  # of an entry
        raise DamagedError(
            f"Got {path}, a safetensors file without training state; expected one that `fit` wrote."
        ) from error


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and the header of a safetensors file, as they were when it was written.

    Raises:
        RunError: it is missing, no regular file, or damaged.
    """
    try:
        content = files.read(path)
        digits = content[_DIGITS : _DIGITS + seal.LENGTH]
        if sum(c in b"0123456789abcdef" for c in digits) > seal.LENGTH - 9 and not seal.agrees(content, _DIGITS):
            raise seal.changed(path)
        tensors = safetensors.torch.load(content)
        length = int.from_bytes(content[:8], "little")
        return tensors, parse_json(content[8 : 8 + length].decode()).get("__metadata__") or {}
    except FileNotFoundError as error:
        raise RunError(f"Got no file {Path(path)}, expected one that `fit` wrote. Is this the run's folder?") from error
    except DamagedError as error:
        raise DamagedError(f"{error} {_FIX}") from None
    except Exception as error:  # damage, and dtypes that this torch has not, in more ways than can be listed
        raise DamagedError(
            f"Got {path}, which cannot be read as safetensors ({error}); expected a file that `fit` wrote. "
            f"It is damaged or something else: restore it from a copy. {_FIX}"
        ) from error


_FIX = "Without one: `ppl-vae train resume=DIR` goes on from what is whole, where that is enough; else train again."


def load_weights(path: str | os.PathLike[str], module: nn.Module) -> None:
    """Put the weights in a `model.safetensors` into a module, all of them and no others.

    Raises:
        RunError: where the file is damaged, or its weights are not those of this module.
    """
    put_tensors(module, load(path), str(path))
