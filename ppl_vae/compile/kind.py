"""Of what kind a program is: its classes and all that it holds, but for the values of its parameters and buffers.

Programs of one kind do the same with other tensors. What a graph of one takes for granted must therefore be told in
full: numbers, texts, tuples, functions with what they close over, the code of classes that somebody wrote. What nobody
can look into is like nothing but itself.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import sys
import types
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pyro.poutine.trace_struct import Trace
from torch import Tensor, nn

from ppl_vae.core.plain import PLAIN
from ppl_vae.frames import LIBRARIES
from ppl_vae.schedules import Schedule

PACKAGES = frozenset({"ppl_vae", "zuko", *LIBRARIES, *sys.stdlib_module_names} - {"__main__"})
"""Whose code is what it was when it was imported."""

LARGEST = 2**26
"""Bytes of a tensor whose values are looked at."""

_WORDS = (
    torch.dtype,
    torch.device,
    torch.layout,
    torch.memory_format,
    torch.Size,
    Path,
    range,
    slice,
    np.dtype,
    np.generic,
)
_WEAK = (weakref.ProxyType, weakref.CallableProxyType, weakref.ReferenceType)
_TENSORS = ("_parameters", "_buffers")
_STORING = ("_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks")
_BOOKKEEPING = frozenset({*_TENSORS, *_STORING, "_modules", "_non_persistent_buffers_set", "_is_full_backward_hook"})
_PYTHON = 1 << 9  # Py_TPFLAGS_HEAPTYPE: of a class that Python code made


@dataclasses.dataclass(frozen=True)
class Kind:
    """Equal and of equal hash for programs of one kind.

    Attributes:
        told: all that was looked at.
        is_ours: whether all that it holds was looked at, and all code is of packages, which nobody changes while a
            process runs.
    """

    told: Any
    is_ours: bool = dataclasses.field(compare=False)


def kind(*parts: Any) -> Kind:
    """The kind of some parts, such as a pair and its objective.

    Example:
        >>> def net(limit):
        ...     made = nn.Linear(2, 3)
        ...     made.limits = (0.0, limit)
        ...     return made
        >>> kind(net(1.0)) == kind(net(1.0)), kind(net(1.0)) == kind(net(2.0))
        (True, False)
    """
    look = _Look()
    for part in parts:
        look.register(part)
    try:
        told: Any = tuple(map(look, parts))
    except Exception:  # of somebody's attributes: they are not to be looked at
        told = look.unlike(parts)
    return Kind(told, look.is_ours)


def fingerprint(*parts: Any) -> Any:
    """All that a graph which was recorded of modules takes for granted: their kind, and where their tensors lie."""
    modules = [part for part in parts if isinstance(part, nn.Module)]
    tensors = [t for module in modules for t in (*module.parameters(), *module.buffers())]
    return kind(*parts), [(id(t), t.data_ptr()) for t in tensors if not nn.parameter.is_lazy(t)]


@dataclasses.dataclass(frozen=True, eq=False)
class _Itself:
    """A value that nobody can look into: it equals itself."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


class _Look:
    """Looks at values, each of which is told once."""

    def __init__(self) -> None:
        self.is_ours = True
        self._seen: dict[int, tuple[int, Any]] = {}

    def register(self, part: Any) -> None:
        """Number the tensors that a graph is given, whose values are not told wherever they are met."""
        if isinstance(part, nn.Module):
            for tensor in (*part.parameters(), *part.buffers()):
                self._seen.setdefault(id(tensor), (len(self._seen), tensor))

    def __call__(self, value: Any) -> Any:
        if isinstance(value, PLAIN):
            return type(value).__name__, repr(value)  # 1, 1.0 and True are equal, and differ
        if isinstance(value, type):
            return self._class(value)
        if type(value) in _WEAK:
            return "weak"  # a part refers to the whole
        if id(value) in self._seen:
            return "again", self._seen[id(value)][0]
        self._seen[id(value)] = len(self._seen), value
        return self._class(type(value)), self._inside(value)

    def _inside(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._layout(value), self._values(value)
        if isinstance(value, nn.Module):
            return self._module(value)
        if isinstance(value, Trace):  # of an autoguide's first look at its model, of which it takes shapes
            return tuple((name, node["type"], self._shape(node.get("value"))) for name, node in value.nodes.items())
        if isinstance(value, Mapping):
            return tuple((self(k), self(v)) for k, v in value.items())
        if isinstance(value, (tuple, list)):
            return tuple(map(self, value))
        if isinstance(value, (set, frozenset)):
            return tuple(sorted(repr(self(v)) for v in value))
        if isinstance(value, functools.partial):
            return self(value.func), tuple(map(self, value.args)), self(value.keywords)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return self(value.__func__), self(value.__self__)
        if isinstance(value, types.BuiltinFunctionType):
            owner = value.__self__
            return value.__qualname__, None if owner is None or isinstance(owner, types.ModuleType) else self(owner)
        if isinstance(value, np.ndarray):
            return value.shape, value.dtype.str, hashlib.sha1(np.ascontiguousarray(value).tobytes()).digest()
        if isinstance(value, enum.Enum):
            return value.name
        if isinstance(value, _WORDS):
            return repr(value)
        if _is_python(type(value)) and type(value) is not object:
            slots = [n for c in type(value).__mro__ for n in vars(c).get("__slots__", ()) if hasattr(value, n)]
            return self({**{n: getattr(value, n) for n in slots}, **getattr(value, "__dict__", {})})
        return self.unlike(value)

    def _module(self, module: nn.Module) -> Any:
        held = vars(module)
        tensors = [
            tuple((name, tensor if tensor is None else self._layout(tensor)) for name, tensor in held[where].items())
            for where in _TENSORS
        ]
        skipped = _BOOKKEEPING | held.keys() if isinstance(module, Schedule) else _BOOKKEEPING
        skipped |= set(getattr(type(module), "__found_out__", ()))
        own = {k: list(v.values()) if k.endswith("hooks") else v for k, v in held.items() if k not in skipped}
        return *tensors, self(own), tuple((name, self(part)) for name, part in held["_modules"].items())

    def _layout(self, tensor: Tensor) -> Any:
        place = self._seen.setdefault(id(tensor), (len(self._seen), tensor))[0]  # one tensor may have several names
        return place, tuple(tensor.shape), tensor.dtype, str(tensor.device), tensor.requires_grad

    def _shape(self, value: Any) -> Any:
        return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__

    def _values(self, tensor: Tensor) -> Any:
        """Of a tensor that no graph is given."""
        if tensor.device.type == "meta" or tensor.numel() * tensor.element_size() > LARGEST:
            return self.unlike(tensor)
        values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return hashlib.sha1(values.tobytes()).digest()

    def unlike(self, value: Any) -> Any:
        """The value itself."""
        self.is_ours = False
        return _Itself(value)

    def _function(self, function: types.FunctionType) -> Any:
        if not _of_packages(function):
            self.is_ours = False
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        return function.__qualname__, function.__code__, self(function.__defaults__), self(cells)

    def _class(self, cls: type) -> Any:
        """Its name, with the code of its methods where it is of no package: there may be another one of that name."""
        name = cls.__module__, cls.__qualname__
        if _of_packages(cls):
            return name
        self.is_ours = False
        own = [vars(c) for c in cls.__mro__ if not _of_packages(c)]
        return name, tuple((n, f.__code__) for a in own for n, f in a.items() if isinstance(f, types.FunctionType))


def _of_packages(owner: Any) -> bool:
    return str(owner.__module__).partition(".")[0] in PACKAGES


def _is_python(cls: type) -> bool:
    """True if nothing of an object lies where Python does not see it."""
    return all(c is object or c.__flags__ & _PYTHON for c in cls.__mro__)
