"""Modules whose parts had other names when weights were saved: state dicts of then are taken under both names."""

from collections.abc import Iterator
from typing import Any

from torch import nn


def present_names(module: nn.Module, state: dict[str, Any], prefix: str = "") -> None:
    """Rename, in place, what a state dict holds under former names of a module and of all modules inside it.

    A class says them in `FORMERLY`, a former name with the present one.

    Args:
        module: what the state is to be loaded into.
        state: names and values, as of `state_dict()`.
        prefix: of the module's names in it.

    Example:
        >>> class Head(nn.Module):
        ...     FORMERLY = {"loc": "net.linear"}
        >>> state = {"guide.loc.weight": 1, "guide.location": 2}
        >>> present_names(nn.ModuleDict({"guide": Head()}), state)
        >>> state
        {'guide.location': 2, 'guide.net.linear.weight': 1}
    """
    for old, new in _prefixes(module):
        for key in [k for k in state if k.startswith(prefix + old)]:
            state[prefix + new + key.removeprefix(prefix + old)] = state.pop(key)


def former_name(module: nn.Module, name: str) -> str:
    """Give the first name that something inside a module, a parameter or another module, has had.

    A run is known by it: one begun before a renaming and one begun after it are equal.
    """
    for old, new in _prefixes(module):
        if name.startswith(new):
            return old + name.removeprefix(new)
    return name


def former_children(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Give a module's children, with their first names and in their first places."""
    names: dict[str, str] = getattr(module, "FORMERLY", {})
    yield from ((old, module.get_submodule(new)) for old, new in names.items())
    moved = {new.split(".")[0] for new in names.values()}
    yield from ((name, child) for name, child in module.named_children() if name not in moved)


def _prefixes(module: nn.Module) -> Iterator[tuple[str, str]]:
    for path, part in module.named_modules():
        at = f"{path}." if path else ""
        for old, new in getattr(part, "FORMERLY", {}).items():
            yield f"{at}{old}.", f"{at}{new}."
