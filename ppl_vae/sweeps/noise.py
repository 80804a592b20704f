"""Random numbers in the graph of many runs: each run draws its own, from its own stream.

One stacked draw would mix the streams, and no run would equal itself alone. So every random operation of a graph
becomes a `Draw`. Where it takes no values, it is lifted out and drawn before the graph runs; where it does (the rate of
a gamma, the probabilities of a category), the graph stops there and each run draws in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from ppl_vae.compile.capture import is_random
from ppl_vae.compile.verify import CaptureError

aten = torch.ops.aten

Streams = list[Tensor]
"""The state of torch's generator for each run; drawing moves it on."""


@dataclass
class Draw:
    """One random operation.

    Attributes:
        target: the operation.
        args: what it takes; tensors are placeholders by their number, as `Slot`.
        kwargs: the same, by name.
        shape: of what it gives, for one run.
        dtype: of what it gives.
        blank: shapes and dtypes of the tensors that it takes only to fill or to be shaped like.
    """

    target: Callable[..., Tensor]
    args: Any
    kwargs: Any
    shape: tuple[int, ...]
    dtype: torch.dtype
    blank: dict[int, tuple[tuple[int, ...], torch.dtype]] = field(default_factory=dict)

    def __call__(self, tensors: Sequence[Tensor]) -> Tensor:
        """Draw with the generator as it is."""

        def filled(value: Any) -> Any:
            if not isinstance(value, Slot):
                return value
            if value.number in self.blank:
                shape, dtype = self.blank[value.number]
                return torch.empty(shape, dtype=dtype)
            return tensors[value.number]

        return self.target(*fx.node.map_aggregate(self.args, filled), **fx.node.map_aggregate(self.kwargs, filled))


@dataclass(frozen=True)
class Slot:
    """The place of a tensor among arguments."""

    number: int


class Rows(nn.Module):
    """A draw inside a graph: for each run in turn, from its row of each tensor."""

    _is_impure = True  # fx: a draw that nothing uses moves the stream all the same

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.draw, self.streams = draw, Streams()

    def forward(self, tensors: list[Tensor]) -> Tensor:
        """Give `(runs, …)`."""
        drawn = []
        for run, state in enumerate(self.streams):
            torch.default_generator.set_state(state)
            drawn.append(self.draw([t[run] for t in tensors]))
            self.streams[run] = torch.default_generator.get_state()
        return torch.stack(drawn)


def lift(graph: fx.GraphModule) -> tuple[list[Draw], list[Draw]]:
    """Make inputs of the draws that take no values, and `ppl_vae::draw` of the others; give both, in order.

    A draw behind one that takes values stays inside, too: the order of a stream is the order of the graph.

    Raises:
        CaptureError: a draw cannot be taken out.
    """
    lifted: list[Draw] = []
    inside: list[Draw] = []
    placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
    last = placeholders[-1]
    for node in list(graph.graph.nodes):
        if node.op != "call_function" or not is_random(node):
            continue
        draw, taken = _read(node)
        if inside or len(taken) > len(draw.blank):
            with graph.graph.inserting_before(node):
                # with a tensor that every run has its own of, or `vmap` would draw once for all runs
                tensors = [*taken, placeholders[0]]
                new = graph.graph.call_function(torch.ops.ppl_vae.draw.default, (tensors, len(inside)))
            inside.append(draw)
        else:
            with graph.graph.inserting_after(last):
                new = last = graph.graph.placeholder(f"noise_{len(lifted)}")
            lifted.append(draw)
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return lifted, inside


def _read(node: fx.Node) -> tuple[Draw, list[fx.Node]]:
    """A random operation as a draw, and the tensors that it takes."""
    schema, value = node.target._schema, node.meta.get("val")  # type: ignore[union-attr]
    if not isinstance(value, Tensor):
        raise CaptureError(f"{schema.name.removeprefix('aten::')} draws several tensors at once")
    if node.kwargs.get("generator") is not None:
        raise CaptureError("noise is drawn from a generator of the program's own")
    taken: list[fx.Node] = []

    def slot(found: fx.Node) -> Slot:
        if found not in taken:
            taken.append(found)
        return Slot(taken.index(found))

    args, kwargs = fx.node.map_arg(node.args, slot), fx.node.map_arg(node.kwargs, slot)  # type: ignore[arg-type]
    draw = Draw(node.target, args, kwargs, tuple(value.shape), value.dtype)  # type: ignore[arg-type]
    name = schema.name.removeprefix("aten::")
    if schema.is_mutable:
        first = node.args[0]
        filled = isinstance(first, fx.Node) and first.target in (aten.empty.memory_format, aten.empty_like.default)
        if not filled or set(first.users) != {node}:  # type: ignore[union-attr]
            raise CaptureError(f"{name} draws into a tensor that is used elsewhere")
    if taken and (schema.is_mutable or name.endswith("_like")):
        like = taken[0].meta["val"]
        draw.blank[0] = tuple(like.shape), like.dtype
    return draw, taken


# --- draws inside a graph, while it is stacked

_inside: list[Draw] = []
"""Those of the graph that is being stacked."""


def while_stacking(draws: list[Draw]) -> None:
    """Say which draws the numbers of `ppl_vae::draw` mean."""
    _inside[:] = draws


def rows_by_modules(graph: fx.GraphModule) -> list[Rows]:
    """Put a `Rows` in the place of every `ppl_vae::draw_rows`; give them in order."""
    made = []
    for node in list(graph.graph.nodes):
        if node.op != "call_function" or node.target is not torch.ops.ppl_vae.draw_rows.default:
            continue
        tensors, number = node.args
        made.append(Rows(_inside[number]))
        graph.add_submodule(name := f"draw_{number}", made[-1])
        with graph.graph.inserting_before(node):
            new = graph.graph.call_module(name, (tensors,))
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        graph.graph.erase_node(node)
    return made


@torch.library.custom_op("ppl_vae::draw", mutates_args=())
def _draw(tensors: list[Tensor], number: int) -> Tensor:
    return _inside[number](tensors).clone()


@_draw.register_fake
def _(tensors: list[Tensor], number: int) -> Tensor:
    return tensors[0].new_empty(_inside[number].shape, dtype=_inside[number].dtype)


@torch.library.custom_op("ppl_vae::draw_rows", mutates_args=())
def _draw_rows(tensors: list[Tensor], number: int) -> Tensor:
    return torch.stack([_inside[number](row) for row in zip(*tensors, strict=True)])


@_draw_rows.register_fake
def _(tensors: list[Tensor], number: int) -> Tensor:
    return tensors[0].new_empty((len(tensors[0]), *_inside[number].shape), dtype=_inside[number].dtype)


@_draw.register_vmap
def _(info: Any, in_dims: Any, tensors: list[Tensor], number: int) -> tuple[Tensor, int]:
    rows = [
        t.expand(info.batch_size, *t.shape) if dim is None else t.movedim(dim, 0)
        for t, dim in zip(tensors, in_dims[0], strict=True)
    ]
    return _draw_rows(rows, number), 0
