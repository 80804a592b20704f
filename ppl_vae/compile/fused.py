"""A whole step as one compiled graph: gradient, clipping, Adam and running averages."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ppl_vae.compile.adam import Updater, adam, clip_gradients
from ppl_vae.compile.capture import compiled, record
from ppl_vae.compile.gradient import RecordedGradient, length
from ppl_vae.compile.kernels.steps import in_a_row
from ppl_vae.compile.meter import Meter
from ppl_vae.compile.verify import CaptureError


class FusedStep:
    """A step, on a CPU, of which Inductor sees all, so that the update costs little more than reading the gradient.

    Parameters, the state of the optimizer and the averages are changed in place. What may differ from step to step
    (learning rate, betas, bias correction) enters as a tensor.

    Args:
        recorded: the gradient.
        updater: with the groups of a fused Adam.
        limit: the longest gradient.
        limit_value: the largest element of a gradient.
        batch: one batch.

    Raises:
        CaptureError: the update cannot be a part of it.
    """

    def __init__(
        self,
        recorded: RecordedGradient,
        updater: Updater,
        limit: float | None,
        limit_value: float | None,
        batch: Sequence[Tensor],
    ) -> None:
        graph, state = recorded.graph, recorded.state
        self.updater, self.names = updater, tuple(recorded.names)
        self.weight = weight = length(batch)
        self._state = state.inputs
        self._members = [[id(p) for p in group.parameters] for group in updater.groups or () if group.parameters]
        self._bind()
        self._bound, self._ready = updater.groups, True
        members = recorded.places(self.groups)
        sizes = [len(state.tensors), *(len(group) for group in members for _ in range(2))]
        sizes += [len(self._steps), 1, len(members), len(batch)]

        def step(*tensors: Tensor) -> list[Tensor]:
            rest = iter(tensors)
            inputs, *moments, steps, (sums,), numbers, data = [[next(rest) for _ in range(n)] for n in sizes]
            value, _, *others = graph(*inputs, *data)
            metrics = torch.stack([value, *others[: len(self.names) - 1]])
            gradients = others[len(self.names) - 1 :]
            clip_gradients(gradients, metrics[-1], limit, limit_value)
            for i, (group, scalars) in enumerate(zip(members, numbers, strict=True)):
                averages, squares = moments[2 * i : 2 * i + 2]
                adam([inputs[p] for p in group], [gradients[p] for p in group], averages, squares, scalars)
            for count in steps:
                count.add_(1)
            sums.add_(metrics.to(sums.dtype) * weight)
            return []

        lasting, varying = self._lasting(Meter()), [*self._numbers(), *batch]
        self._run: Callable[..., Any] = compiled(record(step, [*lasting, *varying]), [*lasting, *varying])
        self._in_a_row = in_a_row(self._run, lasting, varying)

    @property
    def takes_several(self) -> bool:
        """True if several steps are one call."""
        return self._in_a_row is not None

    def __call__(self, batch: Sequence[Tensor], meter: Meter) -> None:
        """Take a step."""
        self.several([batch], meter, lambda: None)

    def several(self, batches: Sequence[Sequence[Tensor]], meter: Meter, told: Callable[[], object]) -> None:
        """Take a step on each batch, in one call where that can be had.

        Args:
            batches: of one shape.
            meter: is given the metrics.
            told: is called for each step once the numbers of its update are read, so that the next may have others.
        """
        groups, numbers = self.groups, []
        for _ in batches:
            for group in groups:
                group.advance()
                numbers.append(group.numbers())
            told()
        rows = iter(torch.tensor(numbers, dtype=self._moments[0].dtype).unbind())
        varying = [t for batch in batches for t in (*itertools.islice(rows, len(groups)), *batch)]
        lasting, each = self._lasting(meter), len(varying) // len(batches)
        with torch.no_grad():
            if self._in_a_row is None:
                for start in range(0, len(varying), each):
                    self._run(*lasting, *varying[start : start + each])
            else:
                self._in_a_row(lasting, varying)
        for _ in batches:
            meter.weigh(self.names, self.weight)

    def is_ready(self) -> bool:
        """True if the optimizer is still one that the graph holds for, whatever has happened to its state."""
        if self._bound is not self.updater.groups:
            self._bound = self.updater.groups
            try:
                self._bind()
                self._ready = True
            except CaptureError:
                self._ready = False
        return self._ready

    def _bind(self) -> None:
        """Take up the state of the optimizer."""
        self.groups = [group for group in self.updater.groups or () if group.parameters]
        if not self.groups:
            raise CaptureError("the optimizer is not Adam, or not a plain one")
        if self.groups[0].parameters[0].dtype not in (torch.float32, torch.float64):
            raise CaptureError("numbers of half precision are too coarse for what Adam multiplies by")
        if any(group.count is None for group in self.groups):
            raise CaptureError("its parameters have been trained for different numbers of steps")
        if [[id(p) for p in group.parameters] for group in self.groups] != self._members:
            raise CaptureError("the optimizer trains other parameters than get a gradient")
        self._steps = [t for group in self.groups for t in group.steps]
        self._moments = [t for group in self.groups for t in (*group.averages, *group.squares)]

    def _lasting(self, meter: Meter) -> list[Tensor]:
        """The tensors that all steps change and read."""
        return [*self._state, *self._moments, *self._steps, meter.sums(self.names, self._moments[0].device)]

    def _numbers(self) -> list[Tensor]:
        """The numbers that the update of the step at hand takes of each group."""
        like = self._moments[0]
        return [torch.tensor(g.numbers(), dtype=like.dtype, device=like.device) for g in self.groups]
