"""The allow list: objects that a config may name for which nobody vouches, never names or their beginnings.

A dotted name is split into a module and one name in it. The module must be one of those that hold what is listed, so
that nothing else is imported on the way; what it holds there must be a listed object itself, so that no alias, no
method and no module that another one imports is reached. See docs/security.md.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

LONGEST = 200
"""Letters that a dotted name has at most."""

ONLY_AT = {"ppl_vae.datasets": "dataset", "ppl_vae.runs.loggers": "logger"}
"""Places whose objects reach files by their nature: each is built at the top of its group, and nowhere else."""


@dataclass(frozen=True)
class Place:
    """A public module, and what of it is listed.

    Attributes:
        module: its name.
        kinds: dotted names of classes: all subclasses that the module has under a public name are listed, they
            themselves are not.
        names: further ones by name: functions that make a part, or are one.
        but: those that are left out.
    """

    module: str
    kinds: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    but: tuple[str, ...] = ()


_MODULE = ("torch.nn.Module",)
_DATASETS = (
    *("arrow", "bars", "csv", "digits", "fashion_mnist", "h5ad", "idx"),
    *("mnist", "npy", "npz", "parquet", "ppca", "sprites"),
)
_ACTIVATIONS = (
    *("elu", "gelu", "glu", "hardtanh", "leaky_relu", "mish", "relu"),
    *("relu6", "selu", "silu", "softplus", "softsign", "tanh"),
)

PLACES = (
    Place("ppl_vae.models", _MODULE),
    Place("ppl_vae.guides", _MODULE),
    Place("ppl_vae.likelihoods", _MODULE, names=("likelihood_for",)),
    Place("ppl_vae.nn", _MODULE),
    Place("ppl_vae.distributions", ("torch.distributions.Distribution",)),
    Place("ppl_vae.objectives", ("ppl_vae.objectives.Objective",)),
    Place("ppl_vae.estimators", ("ppl_vae.estimators.Estimator", "ppl_vae.estimators.Baseline")),
    Place("ppl_vae.schedules", names=("constant", "cosine", "cyclic", "exponential", "linear")),
    Place("ppl_vae.training.schedulers", names=("burda", "constant", "cosine", "plateau", "step", "warmup")),
    Place("ppl_vae.training.callbacks", names=("TimeLimit", "Until")),
    Place(
        "ppl_vae.datasets",
        names=_DATASETS,
    ),
    Place("ppl_vae.runs.loggers", names=("CSV", "TensorBoard")),  # the others send what they are told elsewhere
    Place("torch.nn", _MODULE, but=("DataParallel",)),
    Place(
        "torch.nn.functional",
        names=_ACTIVATIONS,
    ),
    Place("torch.optim", ("torch.optim.Optimizer",)),
    Place("torch.optim.lr_scheduler", ("torch.optim.lr_scheduler.LRScheduler",)),
    Place("pyro.distributions", ("torch.distributions.Distribution",), but=("SpanningTree",)),  # it may run a compiler
    Place("zuko.flows", _MODULE),
)
"""The allow list. Ask of every argument of what is added to it: does a text become code, or the name of a file?"""

ON_DEMAND = ("zuko",)
"""Packages that are imported where a config names them, and not before."""


@dataclass(frozen=True)
class Listed:
    """The allow list, looked up.

    Attributes:
        places: per listed object, by its identity, the object and the module of the place that lists it.
        homes: names of the modules in which listed objects may be named.
    """

    places: Mapping[int, tuple[Any, str]]
    homes: frozenset[str]


def find(path: Any, where: str) -> Any | None:
    """The listed object that a dotted name stands for; None where it stands for anything else, or for nothing.

    Args:
        path: such as `torch.nn.ReLU`.
        where: the key that it is for, such as `model.activation`.

    Example:
        >>> import torch
        >>> find("torch.nn.ReLU", "model.hidden") is torch.nn.ReLU
        True
        >>> print(find("torch.serialization.load", "model"), find("torch.nn.Module.apply", "model"))
        None None
        >>> print(find("ppl_vae.datasets.csv", "model.hidden"))  # data are read as a dataset only
        None
    """
    if not isinstance(path, str) or len(path) > LONGEST or not all(p.isidentifier() for p in path.split(".")):
        return None
    module, _, name = path.rpartition(".")
    listed = _listed(module.partition(".")[0] if module.startswith(ON_DEMAND) else "")
    if module not in listed.homes:
        return None
    found = vars(sys.modules[module]).get(name)
    held, place = listed.places.get(id(found), (None, ""))
    if held is None or held is not found or ONLY_AT.get(place, where) != where:
        return None
    return found


@cache
def _listed(package: str) -> Listed:
    """All that is listed, or all of one package that is imported on demand."""
    from torch.distributions import Distribution

    places: dict[int, tuple[Any, str]] = {}
    homes: set[str] = set()
    for place in PLACES:
        root = place.module.partition(".")[0]
        if (root in ON_DEMAND) != bool(package) or (package and (root != package or not _is_there(package))):
            continue
        checks = Distribution._validate_args
        module = importlib.import_module(place.module)
        Distribution.set_default_validate_args(checks)  # zuko switches the checks of all distributions off
        for found in _of(place, module):
            places[id(found)] = found, place.module
            homes |= {place.module, found.__module__} & sys.modules.keys()
    return Listed(places, frozenset(homes))


def _is_there(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _of(place: Place, module: Any) -> Iterator[Any]:
    kinds = tuple(_kind(name) for name in place.kinds)
    for name, found in vars(module).items():
        public = not name.startswith("_") and name not in place.but
        own_kind = bool(kinds) and isinstance(found, type) and issubclass(found, kinds) and found not in kinds
        if name in place.names or (public and own_kind):
            yield found


def _kind(name: str) -> type:
    module, _, last = name.rpartition(".")
    kind: type = getattr(importlib.import_module(module), last)
    return kind
