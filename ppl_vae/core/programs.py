"""Any Pyro callable → an `nn.Module` that owns its own parameters.

Pyro keeps parameters in one store per process. Here they belong to the pair that uses them: a program runs inside
[`Parameters.owned`][ppl_vae.core.programs.Parameters.owned], which answers every `pyro.param` message from an
`nn.Module` and hides the global store, so that two pairs in one process never meet.
"""

import copy
import dis
import functools
import inspect
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import pyro
import pyro.primitives
import torch
from pyro.nn import PyroModule
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import constraints, transform_to

from ppl_vae.errors import ArgumentError, CheckError
from ppl_vae.frames import is_library, module_of

P = ParamSpec("P")


R = TypeVar("R")

_RUNNING = threading.RLock()


def exclusive(run: Callable[P, R]) -> Callable[P, R]:
    """Let one thread at a time run programs: Pyro keeps its handlers, settings and store once per process."""

    @functools.wraps(run)
    def locked(*args: P.args, **kwargs: P.kwargs) -> R:
        with _RUNNING:
            return run(*args, **kwargs)

    return locked


class Parameters(nn.Module):
    """The parameters that a pair's programs declare by `pyro.param`, kept unconstrained.

    An initial value that is an `nn.Parameter` is adopted as that same object, so a shared one stays shared. Any other
    becomes an unconstrained parameter owned here; the message brings the constraint each time, so a state dict
    needs to hold nothing else:

        value = transform_to(constraint)(unconstrained)

    Both programs of a pair read one `Parameters`: one name means one parameter, as in Pyro. Parameters that
    `pyro.module` announces stay where they are, in their module; `found` collects these modules by name.
    """

    __found_out__ = ("is_closed",)

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, nn.Module] = {}
        self.is_closed = False

    def value(self, name: str, init: Any, constraint: constraints.Constraint) -> Tensor:
        """The constrained value of parameter `name`, created from `init` at its first message."""
        key = name.replace(".", "/")  # nn.Module forbids dots in names
        if key not in self._parameters:
            if self.is_closed:
                raise CheckError(
                    f"Got pyro.param({name!r}) for the first time in a step of training, expected it when the programs "
                    "first run, before the optimizer is made: it would never be trained. Declare it ahead of the "
                    "branch that this batch is the first to take, such as one on its size."
                )
            if init is None:
                raise KeyError(
                    f"pyro.param({name!r}) has no initial value and the pair does not own a parameter of that name. "
                    f"Owned: {sorted(self._parameters) or 'none'}. Pass an initial value at the first pyro.param call."
                )
            init = init() if callable(init) else init
            init = init if isinstance(init, Tensor) else torch.as_tensor(init)
            if not (isinstance(init, nn.Parameter) and constraint is constraints.real):
                with torch.no_grad():
                    init = nn.Parameter(transform_to(constraint).inv(init.detach()).clone().contiguous())
            self.register_parameter(key, init)
        parameter = self._parameters[key]
        assert parameter is not None
        value = transform_to(constraint)(parameter)
        if value is parameter:
            value = parameter.view_as(parameter)  # `unconstrained` below must not be set on the parameter itself
        value.unconstrained = weakref.ref(parameter)
        return value

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Within, a parameter that the pair does not have yet is refused: an optimizer knows those that there are."""
        before, self.is_closed = self.is_closed, True
        try:
            yield
        finally:
            self.is_closed = before

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Within, `pyro.param` reads and creates parameters here, and the global store is neither read nor changed."""
        with (
            pyro.settings.context(module_local_params=True),
            pyro.get_param_store().scope(),
            _Answer(self),
        ):
            yield

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # A program declares its parameters while it runs: a state may come before the first run.
        for key, tensor in state_dict.items():
            name = key.removeprefix(prefix)
            if key.startswith(prefix) and name not in self._parameters:
                self.register_parameter(name, nn.Parameter(torch.empty_like(tensor)))
        super()._load_from_state_dict(state_dict, prefix, *args)


class _Answer(Messenger):
    """Answers `param` messages from a `Parameters`."""

    def __init__(self, parameters: Parameters) -> None:
        super().__init__()
        self.parameters = parameters

    def _pyro_param(self, msg: Any) -> None:
        if msg["done"] or msg["value"] is not None:
            return
        if getattr(msg["fn"], "__func__", None) is not type(pyro.get_param_store()).get_param:
            return  # a PyroModule's own parameter: the message already carries its value
        name, *rest = msg["args"]
        init = rest[0] if rest else msg["kwargs"].get("init_tensor")
        module = _announced_module() if isinstance(init, Tensor) else None
        if module is not None:
            self.parameters.found[name.split("$$$")[0]] = module
            msg["value"] = init
        else:
            constraint = msg["kwargs"].get("constraint", constraints.real)
            msg["value"] = self.parameters.value(name, init, constraint)
        msg["done"] = True


def _announced_module() -> nn.Module | None:
    """The module whose parameter is being announced, if the caller is `pyro.module`.

    `pyro.module` sends one message per parameter and none for the module, whose buffers must be owned too.
    """
    frame = inspect.currentframe()
    for _ in range(16):
        if frame is None:
            return None
        if frame.f_code is pyro.primitives.module.__code__:
            return frame.f_locals["nn_module"]
        frame = frame.f_back
    return None


class FunctionProgram(nn.Module):
    """A Pyro program that is no `nn.Module`, as a module that holds the modules the program uses.

    They are found through bound selves, closures, the globals that the code names, arguments of `functools.partial`
    (which is what Pyro's handlers return), and at its first run through `pyro.module`.
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        super().__init__()
        self.fn = fn
        for name, module in (*_modules_behind(fn), *_borrowed(fn)):
            self.adopt(name, module)

    def adopt(self, name: str, module: nn.Module) -> None:
        """Own `module` under `name`, unless it is owned already."""
        if all(module is not owned for owned in self.modules()):
            name = name.replace(".", "/")
            while name in self._modules or hasattr(type(self), name) or name in self.__dict__:
                name += "_"
            self.add_module(name, module)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program."""
        return self.fn(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> "FunctionProgram":
        fn = copy.deepcopy(self.fn, memo)
        made = FunctionProgram(fn)
        held = {id(module) for module in self.modules() if module is not self}
        if any(id(module) in held for module in made.modules()) or len(list(made.modules())) != len(held) + 1:
            raise ArgumentError(
                f"Got {self.extra_repr()} to copy, which cannot be copied: a function goes on using the modules of the "
                "original. Make the second pair by a second call of the code that made the first, or write the program "
                "as an nn.Module."
            )
        return made

    def extra_repr(self) -> str:  # noqa: D102
        return getattr(self.fn, "__qualname__", repr(self.fn))


def as_module(program: Callable[..., Any]) -> nn.Module:
    """`program` itself where it is an `nn.Module`, else a module that owns what it uses.

    Raises:
        ArgumentError: `program` cannot be called.
    """
    if not callable(program):
        raise ArgumentError(
            f"Got a {type(program).__name__} {program!r:.80}, expected a Pyro program: a function, a bound method, an "
            "nn.Module. Pass the callable itself, without calling it."
        )
    module = program if isinstance(program, nn.Module) and not _borrows(program) else FunctionProgram(program)
    allow_local_params(module)
    return module


def _borrowed(program: Any) -> Iterator[tuple[str, nn.Module]]:
    """Modules that the methods of a user's module use from outside: out of a closure or a global."""
    todo, seen = ["forward", "guide", "model"], set()
    while isinstance(program, nn.Module) and todo:
        name = todo.pop()
        method = getattr(type(program), name, None)
        if name in seen or not isinstance(method, types.FunctionType) or is_library(module_of(method)):
            continue
        seen.add(name)
        yield from _modules_behind(method)
        todo += [n for code in codes(method.__code__) for n in code.co_names]  # methods are called as attributes


def _borrows(program: nn.Module) -> bool:
    owned = set(map(id, program.modules()))
    return any(id(module) not in owned for _, module in _borrowed(program))


def allow_local_params(module: nn.Module) -> None:
    """Let PyroModules that were built under the global store run with local parameters.

    Pyro refuses a PyroModule inside which `pyro.param` made a parameter that is not the module's own. Here the pair
    owns it; what Pyro then finds are the leftovers of an autoguide's first look at its model.
    """
    for child in module.modules():
        if isinstance(child, PyroModule):
            if not hasattr(child._pyro_context, "param_state"):
                child._pyro_context.param_state = {"params": {}, "constraints": {}}
            child.__dict__["_check_module_local_param_usage"] = _nothing


def _nothing() -> None:
    """Accept what Pyro's check for foreign parameters would refuse."""


def _modules_behind(fn: Any) -> Iterator[tuple[str, nn.Module]]:
    """The modules that a callable can reach by name, outermost first."""
    seen: set[int] = set()

    def walk(name: str, value: Any, depth: int) -> Iterator[tuple[str, nn.Module]]:
        if type(value) in weakref.ProxyTypes:
            try:
                value = value.__dir__.__self__  # what it stands for
            except ReferenceError:
                return
        if id(value) in seen or depth > 8:
            return
        seen.add(id(value))
        if isinstance(value, nn.Module):
            yield name, value
        elif isinstance(value, functools.partial):
            for part in (value.func, *value.args, *value.keywords.values()):
                yield from walk(name, part, depth + 1)
        elif isinstance(value, types.MethodType):
            yield from walk("self", value.__self__, depth + 1)
            yield from walk(name, value.__func__, depth + 1)
        elif isinstance(value, types.FunctionType):
            module = module_of(value)
            if is_library(module) and not module.startswith("ppl_vae"):
                # A library's wrapper (a handler used as a decorator) holds the user's function in its closure.
                named = []
            else:
                named = [(n, value.__globals__[n]) for n in global_names(value.__code__) if n in value.__globals__]
            cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
            named += [(n, cell.cell_contents) for n, cell in cells if _filled(cell)]
            named += [(name, default) for default in value.__defaults__ or ()]
            named += list((value.__kwdefaults__ or {}).items())
            if hasattr(value, "__wrapped__"):
                named.append((name, value.__wrapped__))
            for n, part in named:
                yield from walk(n, part, depth + 1)
        elif isinstance(value, (list, tuple)):
            for i, part in enumerate(value[:1000]):
                yield from walk(f"{name}_{i}", part, depth + 1)
        elif isinstance(value, dict):
            for key, part in list(value.items())[:1000]:
                yield from walk(f"{name}_{key}", part, depth + 1)
        elif not isinstance(value, (type, types.ModuleType, Tensor)) and not is_library(module_of(type(value))):
            for key, part in getattr(value, "__dict__", {}).items():
                yield from walk(key, part, depth + 1)
            call = vars(type(value)).get("__call__")
            if call is not None:
                yield from walk(name, call, depth + 1)

    return walk("net", fn, 0)


def _filled(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:  # a name that its function has not assigned yet
        return False
    return True


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A function's code, and that of the functions written inside it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from codes(const)


@functools.lru_cache(maxsize=4096)
def global_names(code: types.CodeType) -> tuple[str, ...]:
    """Names of the globals that a function reads: not those of attributes, which globals may bear, too."""
    found = (i for part in codes(code) for i in dis.get_instructions(part))
    return tuple(dict.fromkeys(i.argval for i in found if "GLOBAL" in i.opname or i.opname == "LOAD_NAME"))


class SizedPlates(Messenger):
    """Gives each plate without a size that of its axis in the distribution, so that data can be found along it.

    Pyro lets such a plate stand for any size, and neither expands a distribution nor scales a minibatch by it.
    """

    def _pyro_sample(self, msg: Any) -> None:
        if all(frame.size != -1 for frame in msg["cond_indep_stack"]):
            return
        shape = getattr(msg["fn"], "batch_shape", ())
        msg["cond_indep_stack"] = tuple(
            frame._replace(size=shape[frame.dim], full_size=shape[frame.dim])
            if frame.size == -1 and frame.dim is not None and len(shape) >= -frame.dim
            else frame
            for frame in msg["cond_indep_stack"]
        )
