"""Graphs that were recorded in this process before: jobs of a sweep that are of one kind are recorded once.

To record a program takes as long as some ten runs of it, or as all else that a short job does. A graph that is recalled
is held to the program that it is to stand in for as a new one is, on other noise, other data and other values of every
schedule; where it does not hold, the program is recorded anew. So a wrong guess about what makes two programs alike
costs time, and nothing else.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn

from ppl_vae.compile.capture import held_by
from ppl_vae.compile.verify import PLAIN, CaptureError
from ppl_vae.schedules import Schedule

aten = torch.ops.aten
T = TypeVar("T")

MOST = 16
"""Graphs that are kept, those used last: a job has one or two of its step, and one or two of its evaluation."""

Recorded = tuple[fx.GraphModule, tuple[str, ...]]
"""A graph, which reads the state of its program and a batch, with the names of its results."""

_recorded: OrderedDict[str, Recorded] = OrderedDict()


def recalled(key: Any, record: Callable[[], Recorded], holds: Callable[[Recorded], T]) -> T:
    """What is made of the graph of a program: of one that was recorded before, if that holds for it too.

    Args:
        key: all that programs share which have the same graph, as far as that is known.
        record: records the program.
        holds: verifies a graph, and makes of it what is wanted.

    Raises:
        CaptureError: by `record`, or by `holds` of what it gave.
    """
    name = repr(key)
    if name in _recorded:
        with contextlib.suppress(CaptureError):
            found = holds(_recorded[name])
            _recorded.move_to_end(name)
            return found
    made = record()
    found = holds(made)
    if _stands_alone(made[0]):
        _recorded[name] = made
        _recorded.move_to_end(name)
        while len(_recorded) > MOST:
            _recorded.popitem(last=False)
    return found


def forget() -> None:
    """Record all programs anew from now on."""
    _recorded.clear()


def kind(*parts: Any) -> Any:
    """All of some modules that runs must share to be of one kind: classes, plain numbers, the shapes of their tensors.

    The values of parameters, buffers and schedules are each run's own.
    """
    found: list[Any] = []
    for part in parts:
        if not isinstance(part, nn.Module):
            found.append(part)
            continue
        for name, module in part.named_modules():
            numbers = {} if isinstance(module, Schedule) else vars(module)
            plain = tuple((k, v) for k, v in numbers.items() if isinstance(v, PLAIN))
            found.append((name, type(module), plain))
        for name, t in (*part.named_parameters(), *part.named_buffers()):
            found.append((name, tuple(t.shape), t.dtype, t.device, t.requires_grad))
    return tuple(found)


def layout(batch: Sequence[Any]) -> tuple[Any, ...]:
    """What a graph takes for granted of a batch."""
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
