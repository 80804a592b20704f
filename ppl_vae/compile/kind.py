"""Of what kind a program is: its classes and all that it holds, but for the values of its parameters and buffers.

Programs of one kind do the same with other tensors. What a graph of one takes for granted must therefore be told in
full: numbers, texts, tuples, functions with what they close over, the code of classes that somebody wrote, with the
globals that it names. What nobody can look into is like nothing but itself.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import hashlib
import itertools
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pyro.poutine.trace_struct import Trace
from torch import Tensor, nn

from ppl_vae.core.plain import PLAIN
from ppl_vae.core.programs import codes, global_names
from ppl_vae.frames import LIBRARIES, is_users_file
from ppl_vae.schedules import Schedule

PACKAGES = frozenset({"ppl_vae", "zuko", *LIBRARIES, *sys.stdlib_module_names} - {"__main__"})
"""Whose code is what it was when it was imported."""

LARGEST = 2**26
"""Bytes of a tensor whose values are looked at."""

_WORDS = (
    *(torch.dtype, torch.device, torch.layout, torch.memory_format, Path, range, slice, np.dtype, np.generic),
    itertools.count,
)
_PARTS: dict[type, Callable[[Any], Iterable[Any]]] = {
    collections.defaultdict: lambda v: (v.default_factory, *(part for item in v.items() for part in item)),
    collections.OrderedDict: lambda v: (part for item in v.items() for part in item),
    dict: lambda v: (part for item in v.items() for part in item),
    types.MappingProxyType: lambda v: (part for item in v.items() for part in item),
    types.SimpleNamespace: lambda v: (),  # but for its attributes
    tuple: iter,
    list: iter,
    collections.deque: iter,
    torch.Size: iter,
    functools.partial: lambda v: (v.func, v.args, v.keywords),
    types.MethodType: lambda v: (v.__func__, v.__self__),
    types.BuiltinFunctionType: lambda v: (
        v.__qualname__,
        *(() if v.__self__ is None or isinstance(v.__self__, types.ModuleType) else (v.__self__,)),
    ),
    property: lambda v: (v.fget, v.fset, v.fdel),
    staticmethod: lambda v: (v.__func__,),
    classmethod: lambda v: (v.__func__,),
}
"""The parts that make a value, by its class; a subclass that Python code made has attributes beside them."""
_WEAK = (weakref.ProxyType, weakref.CallableProxyType, weakref.ReferenceType)
_TENSORS = ("_parameters", "_buffers")
_STORING = ("_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks")
_BOOKKEEPING = frozenset({*_TENSORS, *_STORING, "_modules", "_non_persistent_buffers_set", "_is_full_backward_hook"})
_OF_CLASSES = frozenset(vars(type("_", (), {}))) | {
    "__annotations__",
    "__abstractmethods__",
    "_abc_impl",
    "__slotnames__",
}
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
    return _looked_at(parts)[0]


def plain_values(*parts: Any) -> dict[str, list[Any]]:
    """The plain values that some parts hold or name, by their places: what no tensor says, wherever it is kept.

    Example:
        >>> net = nn.Linear(2, 3)
        >>> net.settings = types.SimpleNamespace(limits=[0, 1.0])
        >>> plain_values(net)["settings.limits"]
        [('int', '0'), ('float', '1.0')]
    """
    return _looked_at(parts)[1]


def fingerprint(*parts: Any) -> Any:
    """All that a graph which was recorded of modules takes for granted: their kind, and where their tensors lie."""
    modules = [part for part in parts if isinstance(part, nn.Module)]
    tensors = [t for module in modules for t in (*module.parameters(), *module.buffers())]
    return kind(*parts), [(id(t), t.data_ptr()) for t in tensors if not nn.parameter.is_lazy(t)]


def _looked_at(parts: Iterable[Any]) -> tuple[Kind, dict[str, list[Any]]]:
    parts, look = tuple(parts), _Look()
    for part in parts:
        look.register(part)
    try:
        told: Any = tuple(map(look, parts))
    except Exception:  # of somebody's attributes: they are not to be looked at
        told = look.unlike(parts)
    return Kind(told, look.is_ours), look.plain


@dataclasses.dataclass(frozen=True, eq=False)
class _Itself:
    """A value that nobody can look into: it equals itself."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


class _Look:
    """Looks at values, each of which is told once, at the first place where it is met.

    Attributes:
        is_ours: see `Kind`.
        plain: the plain values, by place; those of a container in a list.
    """

    def __init__(self) -> None:
        self.is_ours = True
        self.plain: dict[str, list[Any]] = {}
        self._place = ""
        self._seen: dict[int, tuple[int, Any]] = {}
        self._given: set[int] = set()

    def register(self, part: Any) -> None:
        """Number the tensors that a graph is given, whose values are not told wherever they are met."""
        if isinstance(part, nn.Module):
            for tensor in (*part.parameters(), *part.buffers()):
                self._number(tensor)
                self._given.add(id(tensor))

    def __call__(self, value: Any) -> Any:
        if type(value) in PLAIN:
            return self._noted((type(value).__name__, repr(value)))  # 1, 1.0 and True are equal, and differ
        if type(value) in _WEAK:
            return "weak", self(_meant(value))
        if isinstance(value, Tensor):
            return self._tensor(value)
        if id(value) in self._seen:
            return "again", self._seen[id(value)][0]
        self._number(value)
        if isinstance(value, type):
            return self._class(value)
        return self(type(value)), self._inside(value)

    def _at(self, place: str, value: Any) -> Any:
        """Look at a value that is kept there."""
        before, self._place = self._place, place.lstrip(".")
        told = self(value)
        self._place = before
        return told

    def _under(self, name: Any, value: Any) -> Any:
        return self._at(f"{self._place}.{name}", value)

    def _noted(self, told: Any) -> Any:
        self.plain.setdefault(self._place, []).append(told)
        return told

    def _number(self, value: Any) -> int:
        return self._seen.setdefault(id(value), (len(self._seen), value))[0]

    def _inside(self, value: Any) -> Any:
        """All that makes a value what it is; of the kinds listed here, or of classes that Python code made."""
        if isinstance(value, nn.Module):
            return self._module(value)
        if isinstance(value, Trace):  # of an autoguide's first look at its model, of which it takes shapes
            return tuple((name, *self._node(node)) for name, node in value.nodes.items())
        if isinstance(value, enum.Enum):
            return value.name, self(value.value)
        if isinstance(value, np.ndarray) and type(value) is np.ndarray and not value.dtype.hasobject:
            values = hashlib.sha1(np.ascontiguousarray(value).tobytes()).digest()
            return self._noted((value.shape, value.dtype.str, values))
        for kind, parts in _PARTS.items():
            if isinstance(value, kind) and (type(value) in _PARTS or type(value).__flags__ & _PYTHON):
                return tuple(map(self, parts(value))), self._attributes(value)
        if isinstance(value, (set, frozenset)) and all(type(part) in PLAIN for part in value):
            return tuple(repr(self(part)) for part in sorted(value, key=repr)), self._attributes(value)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, _WORDS):
            return self._noted(repr(value))
        if _is_python(type(value)) and type(value) is not object:
            return self._attributes(value)
        return self.unlike(value)

    def _attributes(self, value: Any) -> Any:
        slots = [n for c in type(value).__mro__ for n in _names(vars(c).get("__slots__", ())) if hasattr(value, n)]
        held = {**{n: getattr(value, n) for n in slots}, **getattr(value, "__dict__", {})}
        return tuple((name, self._under(name, part)) for name, part in held.items())

    def _module(self, module: nn.Module) -> Any:
        held = vars(module)
        tensors = [
            tuple((name, tensor if tensor is None else self._tensor(tensor)) for name, tensor in held[where].items())
            for where in _TENSORS
        ]
        skipped = _BOOKKEEPING | held.keys() if isinstance(module, Schedule) else _BOOKKEEPING
        skipped |= set(getattr(type(module), "__found_out__", ()))
        own = {k: list(v.values()) if k.endswith("hooks") else v for k, v in held.items() if k not in skipped}
        parts = tuple((name, self._under(name, part)) for name, part in held["_modules"].items())
        return *tensors, parts, tuple((name, self._under(name, part)) for name, part in own.items())

    def _tensor(self, tensor: Tensor) -> Any:
        """Its place among all, as one may have several names, and its values where no graph is given it."""
        place, given = self._number(tensor), id(tensor) in self._given
        told = place, tuple(tensor.shape), tensor.dtype, str(tensor.device), tensor.requires_grad
        return told if given else (*told, self._values(tensor))

    def _values(self, tensor: Tensor) -> Any:
        size = tensor.numel() * tensor.element_size()
        if type(tensor) not in (Tensor, nn.Parameter) or tensor.layout != torch.strided or size > LARGEST:
            return self.unlike(tensor)
        if tensor.device.type == "meta":
            return self.unlike(tensor)
        values = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
        return hashlib.sha1(values.numpy().tobytes()).digest()

    def _node(self, node: Any) -> tuple[Any, ...]:
        value = node.get("value")
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        return node["type"], self(type(node.get("fn"))), shape

    def unlike(self, value: Any) -> Any:
        """The value itself."""
        self.is_ours = False
        return _Itself(value)

    def _function(self, function: types.FunctionType) -> Any:
        """Its code and all that it keeps: defaults, attributes, what it closes over, and the globals that it names."""
        if not _of_packages(function):
            self.is_ours = False
        name, code = function.__qualname__, function.__code__
        kept = tuple(self._at(name, v) for v in (function.__defaults__, function.__kwdefaults__, vars(function)))
        cells = zip(code.co_freevars, map(_content, function.__closure__ or ()), strict=True)
        return name, code, kept, tuple((n, self._at(n, value)) for n, value in (*cells, *_globals(function)))

    def _class(self, cls: type) -> Any:
        """Its name; where it is of no package, all that it holds, too: there may be another one of that name."""
        name = cls.__module__, cls.__qualname__
        if _of_packages(cls):
            return name
        self.is_ours = False
        own = {n: v for n, v in vars(cls).items() if n not in _OF_CLASSES}
        told = tuple((n, self._at(f"{cls.__qualname__}.{n}", value)) for n, value in own.items())
        return name, tuple(map(self, cls.__bases__)), told


def _meant(value: Any) -> Any:
    """The object that a weak reference stands for; None where it is gone."""
    if isinstance(value, weakref.ReferenceType):
        return value()
    try:
        return value.__dir__.__self__
    except ReferenceError:
        return None


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that its function has not assigned yet
        return None


def _globals(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """The globals that somebody's function names, and what it may name of modules among them; of packages, nothing."""
    space, met = function.__globals__, set()
    if not _is_somebodys(space.get("__name__"), function.__code__.co_filename):
        return
    attributes = {name for code in codes(function.__code__) for name in code.co_names}

    def reached(name: str, value: Any) -> Iterator[tuple[str, Any]]:
        if not isinstance(value, types.ModuleType):
            yield name, value
        elif id(value) not in met and _is_somebodys(value.__name__, getattr(value, "__file__", None)):
            met.add(id(value))
            for attribute in sorted(attributes & vars(value).keys()):
                yield from reached(f"{name}.{attribute}", vars(value)[attribute])

    for name in global_names(function.__code__):
        if name in space:
            yield from reached(name, space[name])


def _is_somebodys(module: Any, file: str | None) -> bool:
    """True for what is no package's, whose globals somebody may change; code without a file is a notebook's, too."""
    name = module if isinstance(module, str) else ""
    return name.partition(".")[0] not in PACKAGES and (not file or file.startswith("<") or is_users_file(file, name))


def _names(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _of_packages(owner: Any) -> bool:
    return str(owner.__module__).partition(".")[0] in PACKAGES


def _is_python(cls: type) -> bool:
    """True if nothing of an object lies where Python does not see it."""
    return all(c is object or c.__flags__ & _PYTHON for c in cls.__mro__)
