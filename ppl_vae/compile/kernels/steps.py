"""Compiled steps one after the other in one call: what Python does between two of them takes a tenth of a small one."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.torch_version import TorchVersion

_CODE = Path(__file__).with_name("steps.cpp")

_ENTRY = "_Z19inductor_entry_implPP16AtenTensorOpaqueS1_"
"""`void inductor_entry_impl(AtenTensorHandle* inputs, AtenTensorHandle* outputs)`, as compilers on Linux call it."""

InARow = Callable[[Sequence[Tensor], Sequence[Tensor]], None]
"""Takes tensors that all steps have, and those of each step, one step after the other."""


class _Halt(Exception):  # noqa: N818
    """Generated code was called, and has said with what."""


def in_a_row(run: Callable[..., Any], lasting: Sequence[Tensor], varying: Sequence[Tensor]) -> InARow | None:
    """Give a function that takes steps which Inductor has compiled for a CPU, one after the other, without Python.

    Args:
        run: what `compile.capture.compiled` gave: of `(*lasting, *varying)`, which it changes in place, to nothing.
        lasting: tensors that all steps have.
        varying: those that each has of its own.

    Returns:
        None where generated code cannot be called like that: of another torch, on another system, without a compiler.
    """
    generated = _generated(run) if _is_there() else None
    if generated is None or generated.output_strides is None or len(generated.output_strides):  # it gives nothing back
        return None
    library = _library(generated.current_callable)
    known = [_place(t) for t in (*lasting, *varying)]
    if library is None or len(set(known)) < len(known):
        return None
    try:
        entry = ctypes.cast(getattr(ctypes.CDLL(library), _ENTRY), ctypes.c_void_p).value
    except (AttributeError, OSError):
        return None
    taken = _taken(generated, run, (*lasting, *varying))
    if taken is None:
        return None
    constants = [t for t in taken if _place(t) not in known]  # of the program, which torch hands in before the rest
    places = [*known[: len(lasting)], *map(_place, constants), *known[len(lasting) :]]
    order, each, steps = [places.index(_place(t)) for t in taken], len(varying), torch.ops.ppl_vae.steps.default

    def take(lasting: Sequence[Tensor], varying: Sequence[Tensor]) -> None:
        steps(entry, [*lasting, *constants], list(varying), each, order)

    return take


def _place(tensor: Tensor) -> Any:
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


def _taken(generated: Any, run: Callable[..., Any], inputs: Sequence[Tensor]) -> list[Tensor] | None:
    """The tensors that generated code is called with, of itself, when `run` is; nothing is computed."""
    told: list[Any] = []

    def tell(given: Sequence[Any]) -> None:
        told.extend(given)
        raise _Halt

    own = generated.current_callable
    generated.current_callable = tell
    try:
        with torch.no_grad():
            run(*inputs)
    except _Halt:
        return told if all(isinstance(t, Tensor) for t in told) else None
    finally:
        generated.current_callable = own
    return None


def _generated(run: Any) -> Any:
    """Give what torch knows of the generated code below what it has put around it, or None."""
    try:
        from torch._inductor.output_code import CompiledFxGraph
    except ImportError:  # it is torch's own affair what it is called
        return None
    seen: set[int] = set()
    left = [run]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, CompiledFxGraph):
            return one
        left += [inner for inner in _closed_over(one) if callable(inner) and not isinstance(inner, type)]
    return None


def _closed_over(function: Any) -> list[Any]:
    """Give what a function has taken from around it, and what it wraps."""
    found = [function.__wrapped__] if hasattr(function, "__wrapped__") else []
    for cell in getattr(function, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # it is empty
            found.append(cell.cell_contents)
    return found


def _library(function: Any) -> str | None:
    """The file of the C++ that a function of generated code calls."""
    for inner in _closed_over(function):
        if getattr(inner, "__name__", "") == "inductor_entry_cpp":
            return getattr(inner.__self__, "__file__", None)
    return None


@functools.cache
def _is_there() -> bool:
    """True if `steps.cpp` can be compiled with this torch, whose interface it is written for."""
    if TorchVersion(torch.__version__) < "2.10":
        return False
    try:
        from torch._inductor.codecache import CppCodeCache

        CppCodeCache.load(_CODE.read_text(encoding="utf-8"))
        torch.ops.ppl_vae.steps.default  # noqa: B018 - it is looked up
    except Exception:
        return False
    return True
