"""Graphs that were recorded in this process before: jobs of a sweep that are of one kind are recorded once.

To record a program takes as long as some ten runs of it, or as all else that a short job does. A graph that is recalled
is held to the program that it is to stand in for as a new one is, on other noise, other data and other values of every
schedule; where it does not hold, the program is recorded anew. What a few runs do not show (a limit that nothing has
reached yet) they cannot verify: therefore kinds are told in full, see `compile.kind`.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, fx

from ppl_vae.compile.capture import held_by
from ppl_vae.compile.kind import Kind
from ppl_vae.compile.verify import CaptureError

aten = torch.ops.aten
T = TypeVar("T")

MOST = 16
"""Graphs that are kept, those used last: a job has one or two of its step, and one or two of its evaluation."""

Recorded = tuple[fx.GraphModule, tuple[str, ...]]
"""A graph, which reads the state of its program and a batch, with the names of its results."""

_recorded: OrderedDict[Any, Recorded] = OrderedDict()


def recalled(kind: Kind, also: Any, record: Callable[[], Recorded], holds: Callable[[Recorded], T]) -> T:
    """Make something of the graph of a program: of one that was recorded before, if that holds for it too.

    Args:
        kind: of the program. One with somebody's own code is recorded anew: functions that it calls may have changed.
        also: what else programs share that have the same graph.
        record: records the program.
        holds: verifies a graph, and makes of it what is wanted.

    Raises:
        CaptureError: by `record`, or by `holds` of what it gave.
    """
    name = kind, also
    if kind.is_ours and name in _recorded:
        with contextlib.suppress(CaptureError):
            found = holds(_recorded[name])
            _recorded.move_to_end(name)
            return found
    made = record()
    found = holds(made)
    if kind.is_ours and _stands_alone(made[0]):
        _recorded[name] = made
        _recorded.move_to_end(name)
        while len(_recorded) > MOST:
            _recorded.popitem(last=False)
    return found


def forget() -> None:
    """Record all programs anew from now on."""
    _recorded.clear()


def layout(batch: Sequence[Any]) -> tuple[Any, ...]:
    """Tell all that a graph takes for granted of a batch."""
    return tuple((tuple(x.shape), x.stride(), x.dtype, x.device) for x in batch if isinstance(x, Tensor))


def _stands_alone(graph: fx.GraphModule) -> bool:
    """False where a graph reads a tensor of its program's that is no input of it: another program has its own.

    Literals are copied before they are used, and are the same for all programs of a kind, or the graph is found wrong.
    """
    if any(t.device.type != "cpu" for t in held_by(graph)):
        return False
    literal = (aten.lift_fresh_copy.default, aten.lift_fresh.default)
    reads = [node for node in graph.graph.nodes if node.op in ("get_attr", "call_module")]
    return all(node.op == "get_attr" and all(u.target in literal for u in node.users) for node in reads)
