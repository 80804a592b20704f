"""Many pairs as one program: tensors stacked with a first axis over runs, and a graph of one run mapped over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx

from ppl_vae.compile.capture import State, simplify, tracer
from ppl_vae.compile.verify import CaptureError
from ppl_vae.sweeps.noise import Draw, Rows, Streams, lift, rows_by_modules, while_stacking


class Stack:
    """The parameters and buffers of several modules of one kind, which can be joined into one memory.

    Args:
        states: of the modules, whose tensors have the same names, shapes and dtypes (see `compile.kind`).

    Raises:
        CaptureError: a tensor that cannot be a row of a stack.
    """

    def __init__(self, states: Sequence[State]) -> None:
        self.states = list(states)
        for name, tensor in (states[0].trained | states[0].constants).items():
            if not tensor.is_contiguous():
                raise CaptureError(f"{name.partition('.')[2]} is not contiguous in memory")
        self._rows = [torch.stack([t.detach() for t in same]) for same in self._same()]

    def _same(self) -> Iterator[tuple[Tensor, ...]]:
        """Each tensor, of all runs."""
        return zip(*(state.tensors for state in self.states), strict=True)

    @contextmanager
    def joined(self, live: Sequence[int]) -> Iterator[list[Tensor]]:
        """Within, the tensors of the modules lie in one memory, `(runs, …)` each; afterwards in their own again.

        Modules stay what they are meanwhile: what changes a row changes the tensor of its run, and the other way round.

        Args:
            live: the runs that take part; the rows of others hold whatever they held.
        """
        own = []
        for rows, same in zip(self._rows, self._same(), strict=True):
            for run in live:
                own.append((same[run], same[run].data, rows[run]))
        try:
            for tensor, memory, row in own:
                row.copy_(memory)
                tensor.data = row
            yield self._rows
        finally:
            for tensor, memory, row in own:
                memory.copy_(row)
                tensor.data = memory


FEW = 64
"""Calls for which a graph is mapped anew each time: to record the mapped one takes longer than they do."""


class Program:
    """A graph of one run, mapped over runs.

    Args:
        graph: takes the tensors of a run, then a batch; gives tensors (or None), without changing its batch.
        tensors: the stacked tensors, `(runs, …)` each.
        batch: a batch of one run.
        calls: how often it is to run.
        shared: whether all runs take the same batch and the same noise.

    Raises:
        CaptureError: it cannot be mapped, or draws what cannot be drawn run by run.
    """

    def __init__(
        self,
        graph: fx.GraphModule,
        tensors: Sequence[Tensor],
        batch: Sequence[Tensor],
        calls: int,
        shared: bool = False,
    ) -> None:
        self.runs, self.shared = len(tensors[0]), shared
        self.lifted, inside = lift(graph)
        *_, output = graph.graph.nodes
        self.holds = [result is not None for result in output.args[0]]

        def one(*inputs: Tensor) -> tuple[Tensor, ...]:
            return tuple(result for result in graph(*inputs) if result is not None)

        own = None if shared else 0
        dims = (*(0 for _ in tensors), *(own for _ in (*batch, *self.lifted)))
        mapped = torch.func.vmap(one, dims, randomness="error")
        self._draws: list[Rows] = []
        self._run: Callable[..., Sequence[Tensor]] = mapped
        if inside or calls > FEW:
            self._run = self._recorded(mapped, tensors, batch, inside)

    def _recorded(
        self, mapped: Callable[..., Any], tensors: Sequence[Tensor], batch: Sequence[Tensor], inside: list[Draw]
    ) -> fx.GraphModule:
        """The mapped graph as one graph; `inside`, its draws that take values, are made row by row."""
        lead = () if self.shared else (self.runs,)
        noise = [torch.zeros(*lead, *draw.shape, dtype=draw.dtype) for draw in self.lifted]
        batches = [x if self.shared else x.expand(self.runs, *x.shape) for x in batch]
        while_stacking(inside)
        with torch.no_grad():
            make = tracer()(lambda *inputs: list(mapped(*inputs)), tracing_mode="fake", _allow_non_fake_inputs=True)
            graph = make(*tensors, *batches, *noise)
        self._draws = rows_by_modules(graph)
        simplify(graph)
        return graph

    def __call__(self, tensors: Sequence[Tensor], batch: Sequence[Tensor], streams: Streams) -> list[Tensor | None]:
        """Run all.

        Args:
            tensors: the stacked tensors.
            batch: `(runs, …)` each; shared ones without that axis.
            streams: the generators' states of the runs, which are moved on.
        """
        if self.shared and not self._draws:
            torch.default_generator.set_state(streams[0])
            noise = [draw(()) for draw in self.lifted]
            streams[:] = [torch.default_generator.get_state()] * self.runs
        else:
            noise = self._noise(streams)
        for rows in self._draws:
            rows.streams = streams
        with torch.no_grad():
            found = iter(self._run(*tensors, *batch, *noise))
        return [next(found) if holds else None for holds in self.holds]

    def _noise(self, streams: Streams) -> list[Tensor]:
        """The lifted draws of each run, stacked."""
        if not self.lifted:
            return []
        drawn = []
        for run, state in enumerate(streams):
            torch.default_generator.set_state(state)
            drawn.append([draw(()) for draw in self.lifted])
            streams[run] = torch.default_generator.get_state()
        return drawn[0] if self.shared else [torch.stack(same) for same in zip(*drawn, strict=True)]
