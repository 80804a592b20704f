"""A whole step as one compiled graph: gradient, clipping, Adam and running averages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx

from ppl_vae.compile.adam import Updater, adam, clip_gradients
from ppl_vae.compile.capture import State, compiled, record
from ppl_vae.compile.meter import Meter
from ppl_vae.compile.verify import CaptureError


class FusedStep:
    """A step of which Inductor sees all, so that the update costs little more than reading the gradient.

    Parameters, the state of the optimizer and the averages are changed in place. What may differ from step to step
    (learning rate, betas, bias correction) enters as a tensor.

    Args:
        graph: of the gradient, from `trace`.
        state: what the graph reads beside its batch.
        names: of its results.
        updater: with the groups of a fused Adam.
        limit: the longest gradient.
        limit_value: the largest element of a gradient.
        batch: one batch.

    Raises:
        CaptureError: the update cannot be a part of it.
    """

    def __init__(
        self,
        graph: fx.GraphModule,
        state: State,
        names: Sequence[str],
        updater: Updater,
        limit: float | None,
        limit_value: float | None,
        batch: Sequence[Tensor],
    ) -> None:
        self.updater, self.names = updater, tuple(names)
        self.weight = weight = next(len(x) for x in batch if x.dim())
        self._state = state.inputs
        self._members = [[id(p) for p in group.parameters] for group in updater.groups or () if group.parameters]
        self._bind()
        self._bound, self._ready = updater.groups, True
        trained = [id(p) for p in state.trained.values()]
        results: Any = next(iter(reversed(graph.graph.nodes))).args[0]
        derived = {p for p, gradient in zip(trained, results[-len(trained) :], strict=True) if gradient is not None}
        if {p for group in self._members for p in group} != derived:
            raise CaptureError("the optimizer trains other parameters than get a gradient")
        members = [[trained.index(p) for p in group] for group in self._members]
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
        for group in self._groups:
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
        self._groups = [group for group in self.updater.groups or () if group.parameters]
        if not self._groups:
            raise CaptureError("the optimizer is not Adam, or not a plain one")
        if self._groups[0].parameters[0].dtype not in (torch.float32, torch.float64):
            raise CaptureError("numbers of half precision are too coarse for what Adam multiplies by")
        if any(group.count is None for group in self._groups):
            raise CaptureError("its parameters have been trained for different numbers of steps")
        if [[id(p) for p in group.parameters] for group in self._groups] != self._members:
            raise CaptureError("the optimizer trains other parameters than get a gradient")
        self._steps = [t for group in self._groups for t in group.steps]
        self._moments = [t for group in self._groups for t in (*group.averages, *group.squares)]

    def _inputs(self, meter: Meter) -> list[Tensor]:
        like = self._moments[0]
        numbers = [torch.tensor(g.numbers(), dtype=like.dtype, device=like.device) for g in self._groups]
        return [*self._state, *self._moments, *self._steps, *numbers, meter.sums(self.names, like.device)]

    @contextmanager
    def perturbed(self) -> Iterator[Callable[[], dict[str, Tensor]]]:
        """Within, an optimizer in the middle of a run, whose update tells gradients apart; then as found.

        Gradients are those in `.grad`. Around zero, Adam's first updates depend on the sign of a gradient alone,
        which rounding changes; with averages as large as the gradient they do not. A gradient that ought to be zero
        is rounding of the others, hence no average is below a hundredth of the largest.
        """
        groups = self._groups
        tensors = [t for group in groups for t in (*group.parameters, *group.averages, *group.squares, *group.steps)]
        kept = [t.detach().clone() for t in tensors]
        options = [{key: group.options[key] for key in ("lr", "betas")} for group in groups]
        counts = [group.count for group in groups]
        largest = max(float(p.grad.square().mean().sqrt()) for g in groups for p in g.parameters if p.grad is not None)

        def put(values: Sequence[Tensor], counts: Sequence[int | None]) -> None:
            with torch.no_grad():
                for tensor, value in zip(tensors, values, strict=True):
                    tensor.copy_(value)
            for group, count in zip(groups, counts, strict=True):
                group.count = count

        try:
            with torch.no_grad():
                for group in groups:
                    group.options |= {"lr": 0.7, "betas": (0.6, 0.4)}
                    group.count = 2
                    for p, m, v, t in zip(group.parameters, group.averages, group.squares, group.steps, strict=True):
                        size = 0.0 if p.grad is None else float(p.grad.square().mean().sqrt())
                        size = max(size, 0.01 * largest)
                        m.copy_(torch.randn_like(m) * size)
                        v.copy_((torch.rand_like(v) + 0.5) * size**2)
                        t.fill_(2)
            begin = [t.detach().clone() for t in tensors]

            def rewind() -> dict[str, Tensor]:
                """Give all tensors as they are, and go back to where the optimizer was on entering."""
                now = {f"optimizer tensor {i}": t.detach().clone() for i, t in enumerate(tensors)}
                put(begin, [2] * len(groups))
                return now

            yield rewind
        finally:
            put(kept, counts)
            for group, chosen in zip(groups, options, strict=True):
                group.options |= chosen
