"""The directed graphs of a pair: its sites, and which others and which arguments of the programs each depends on."""

from __future__ import annotations

import inspect
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from pyro import poutine
from pyro.ops.provenance import detach_provenance, get_provenance, track_provenance
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ppl_vae.core.plates import followed_sites, run_pair, sample_sites, unchanged
from ppl_vae.core.run import prepare
from ppl_vae.distributions.unwrap import family, unmasked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyro.poutine import Trace

    from ppl_vae.core.pair import VAE


_CONTENTS = ("zeros", "ones", "empty", "full", "rand", "randn")
MADE = frozenset(name for what in _CONTENTS for name in (f"new_{what}", f"{what}_like"))
"""Functions of torch that take their first argument for its shape and kind alone."""

SHAPED = frozenset(("to", "type_as", "expand_as", "view_as", "reshape_as"))
"""Those that take their further arguments so."""


@dataclass(frozen=True)
class Node:
    """A site of one program.

    Attributes:
        name: of the site.
        law: the name of its distribution.
        shape: of one event.
        plates: the sizes of its plates, from the outermost to the innermost.
        is_observed: whether its value is given, or a function of others.
        sites: those that its distribution depends on directly; a Delta stands for those that it is computed from.
        arguments: the places of the arguments of the program that its distribution depends on directly.
    """

    name: str
    law: str
    shape: tuple[int, ...]
    plates: dict[str, int]
    is_observed: bool
    sites: frozenset[str]
    arguments: frozenset[int]


@dataclass(frozen=True)
class Graph:
    """One program: its sites in the order of the run, and whether their values could be followed.

    Where they could not, each site has all earlier sites and all arguments.
    """

    nodes: tuple[Node, ...]
    is_followed: bool


def dependencies(vae: VAE, batch: tuple[Any, ...]) -> tuple[Graph, Graph]:
    """The graphs of model and guide, by following values through a run of each.

    Random number generators and buffers are left as they were.

    Args:
        vae: the pair.
        batch: what its programs take.
    """
    prepare(vae, batch)
    with unchanged(vae), torch.no_grad():
        guide, model = run_pair(vae, batch)
        replayed = poutine.replay(vae.run_model, trace=guide)  # for priors from which nothing can be drawn
        return _graph([vae.run_model, replayed], batch, model), _graph([vae.run_guide], batch, guide)


def argument_names(vae: VAE, count: int) -> list[str]:
    """The names that the model gives to its arguments, else the guide; those behind a star have their place."""
    found: dict[int, str] = {}
    for program in (vae.guide, vae.model):
        inner = getattr(program, "fn", program)
        call = inner.forward if isinstance(inner, torch.nn.Module) else inner
        try:
            parameters = list(inspect.signature(call).parameters.values())
        except (TypeError, ValueError):  # a callable that does not tell
            continue
        for i in range(count):
            starred = [(j, p) for j, p in enumerate(parameters[: i + 1]) if p.kind is p.VAR_POSITIONAL]
            if starred:
                j, p = starred[0]
                found.setdefault(i, f"{p.name}[{i - j}]")
            elif i < len(parameters):
                found[i] = parameters[i].name
    return [found.get(i, f"argument {i}") for i in range(count)]


def _graph(programs: Sequence[Callable[..., Any]], batch: tuple[Any, ...], trace: Trace) -> Graph:
    """By the first of the programs through which values can be followed."""
    above: dict[str, tuple[frozenset[str], frozenset[int]]] | None = None
    for program in programs:
        if above is None:
            with suppress(Exception):  # any operation may refuse the tensors that carry names
                above = _followed(program, batch)
    every = frozenset(i for i, value in enumerate(batch) if isinstance(value, Tensor))
    nodes, earlier = list[Node](), frozenset[str]()
    for name, site in sample_sites(trace).items():
        above_it, arguments = (above or {}).get(name, (earlier, every))
        frames = sorted((f for f in site["cond_indep_stack"] if f.vectorized), key=lambda f: f.dim)
        nodes.append(
            Node(
                name=name,
                law=family(site["fn"]),
                shape=tuple(site["fn"].event_shape),
                plates={frame.name: frame.size for frame in frames},
                is_observed=bool(site["is_observed"]),
                sites=above_it,
                arguments=arguments,
            )
        )
        earlier |= {name}
    return Graph(tuple(nodes), above is not None)


def _followed(program: Callable[..., Any], batch: tuple[Any, ...]) -> dict[str, tuple[frozenset[str], frozenset[int]]]:
    marked = tuple(track_provenance(value, frozenset({(i,)})) for i, value in enumerate(batch))  # no name of a site
    with _Values():
        sites = followed_sites(program, marked)
    found = {}
    for name, site in sites.items():
        fn, value = unmasked(site["fn"]), site["value"]
        above = sites.keys() & get_provenance(fn.log_prob(value)) - {name}
        given = get_provenance(fn.log_prob(detach_provenance(value)))  # not by what is observed: that is an argument
        found[name] = frozenset(above), frozenset(i for i in range(len(batch)) if (i,) in given)
    return found


class _Values(TorchFunctionMode):
    """Follows values alone: a tensor as long as another one does not depend on it, `x.new_zeros(len(x))` say."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in MADE:
            args = (*detach_provenance(args[:1]), *args[1:])
        elif name in SHAPED:
            further: Any = [args[1:], kwargs or {}]
            (rest, kwargs) = detach_provenance(further)
            args = (*args[:1], *rest)
        return func(*args, **(kwargs or {}))
