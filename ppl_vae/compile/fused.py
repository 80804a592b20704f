"""A whole step as one compiled graph: gradient, clipping, Adam and running averages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ppl_vae.compile.adam import Updater, adam, clip_gradients
from ppl_vae.compile.capture import compiled, record
from ppl_vae.compile.gradient import RecordedGradient, length
from ppl_vae.compile.meter import Meter
from ppl_vae.compile.verify import CaptureError


class FusedStep:
    """A step of which Inductor sees all, so that the update costs little more than reading the gradient.

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
        sizes += [len(self._steps), len(members), 1, len(batch)]

        def step(*tensors: Tensor) -> list[Tensor]:
            rest = iter(tensors)
            inputs, *moments, steps, numbers, (sums,), data = [[next(rest) for _ in range(n)] for n in sizes]
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

        example = [*self._inputs(Meter()), *batch]
        self._run: Callable[..., Any] = compiled(record(step, example), example)

    def __call__(self, batch: Sequence[Tensor], meter: Meter) -> None:
        """Take a step."""
        for group in self.groups:
            group.advance()
        with torch.no_grad():
            self._run(*self._inputs(meter), *batch)
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

    def _inputs(self, meter: Meter) -> list[Tensor]:
        like = self._moments[0]
        numbers = [torch.tensor(g.numbers(), dtype=like.dtype, device=like.device) for g in self.groups]
        return [*self._state, *self._moments, *self._steps, *numbers, meter.sums(self.names, like.device)]
