"""A function of tensors as one CUDA graph: what Python launched once, kernel by kernel, the GPU repeats on its own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx

from ppl_vae.compile.adam import Updater, clip_gradients
from ppl_vae.compile.gradient import RecordedGradient, laid_out_as, length
from ppl_vae.compile.meter import Meter
from ppl_vae.compile.verify import CaptureError

WARM_UPS = 2
"""Runs before the capture: in the first, libraries make what may not be made within one; the second must not wait."""

BAKED = ("betas", "eps", "weight_decay", "maximize", "decoupled_weight_decay")
"""Options of Adam that a captured update holds for; the learning rate is a tensor."""


class Replay:
    """A function whose kernels are launched as one graph, without Python between them.

    Noise is torch's own: a replay draws what the function would have drawn from the generator as it is, and moves it
    on as far. Results lie in memory of the graph's own, and hold until the next replay.

    Args:
        function: takes `(*fixed, *inputs)`.
        fixed: tensors that are read, and may be changed, where they lie; those on the CPU are read anew at each call.
        inputs: an example of those that are other ones at each call.
        device: a CUDA device.

    Raises:
        CaptureError: it waits for the GPU, or does what cannot be captured.
    """

    def __init__(
        self, function: Callable[..., Any], fixed: Sequence[Tensor], inputs: Sequence[Tensor], device: torch.device
    ) -> None:
        self._inputs = [x.detach().to(device, copy=True) for x in inputs]
        here = [t if t.is_cuda else t.detach().to(device, copy=True) for t in fixed]
        self._mirrors = [(mine, t) for mine, t in zip(here, fixed, strict=True) if mine is not t]
        self._kept = here  # the graph reads their memory
        self._graph = torch.cuda.CUDAGraph()
        aside = torch.cuda.Stream(device)
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.no_grad(), torch.cuda.stream(aside):
            for run in range(WARM_UPS):
                with _refusing_to_wait(run == WARM_UPS - 1):
                    function(*here, *self._inputs)
        torch.cuda.current_stream(device).wait_stream(aside)
        with torch.no_grad(), torch.cuda.graph(self._graph, stream=aside, capture_error_mode="thread_local"):
            self._results = function(*here, *self._inputs)

    def __call__(self, *inputs: Tensor) -> Any:
        """Run it on other inputs of the same shapes."""
        for mine, x in zip(self._inputs, inputs, strict=True):
            mine.copy_(x, non_blocking=True)
        for mine, t in self._mirrors:
            mine.copy_(t)
        self._graph.replay()
        return self._results


class ReplayedStep:
    """A whole step as one CUDA graph: gradient, clipping, Adam.

    The kernel of the update is the optimizer's own. Its learning rate is a tensor; a step after which another option
    of the optimizer, or its state, is no longer the one that was captured, is to be taken in another way (`is_ready`).

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
        self.updater, self.names, self.weight = updater, tuple(recorded.names), length(batch)
        self._bind()
        if not self.groups:
            raise CaptureError("the optimizer is not Adam, or not a plain one")
        members, trained = recorded.places(self.groups), list(recorded.state.trained.values())
        device = trained[0].device
        self._told = [float(group.options["lr"]) for group in self.groups]
        self._rates = [torch.tensor(rate, dtype=torch.float32, device=device) for rate in self._told]
        self._captured = self._memory, self._options()
        run, count = recorded.run, len(self.names)

        def gradient(*tensors: Tensor) -> tuple[Tensor, list[Tensor | None]]:
            value, _, *rest = run(*tensors)
            metrics = torch.stack([value, *rest[: count - 1]])
            gradients = [laid_out_as(p, g) for p, g in zip(trained, rest[count - 1 :], strict=True)]
            clip_gradients(gradients, metrics[-1], limit, limit_value)
            return metrics, gradients

        def step(*tensors: Tensor) -> Tensor:
            metrics, gradients = gradient(*tensors)
            if torch.cuda.is_current_stream_capturing():  # not while it warms up: nothing must change
                for group, own, rate in zip(self.groups, members, self._rates, strict=True):
                    group.update([g for place in own if (g := gradients[place]) is not None], rate)
            return metrics

        self._run = Replay(step, recorded.state.inputs, batch, device)

    def __call__(self, batch: Sequence[Tensor], meter: Meter) -> None:
        """Take a step."""
        for place, group in enumerate(self.groups):
            rate = float(group.options["lr"])
            if rate != self._told[place]:
                self._rates[place].fill_(rate)
                self._told[place] = rate
            group.advance()
        with torch.no_grad():
            meter.add_row(self.names, self._run(*batch), self.weight)

    def is_ready(self) -> bool:
        """True if the optimizer is still the one that was captured."""
        if self._bound is not self.updater.groups:
            self._bind()
        return (self._memory, self._options()) == self._captured

    def _bind(self) -> None:
        """Take up the state of the optimizer."""
        self._bound = self.updater.groups
        self.groups = [group for group in self.updater.groups or () if group.parameters]
        self._memory = [t.data_ptr() for g in self.groups for t in (*g.parameters, *g.averages, *g.squares, *g.steps)]

    def _options(self) -> list[Any]:
        """Those of the optimizer that the graph holds for."""
        return [group.options[name] for group in self.groups for name in BAKED]


def waits_at(graph: fx.GraphModule, inputs: Sequence[Tensor]) -> str:
    """The operation of a graph for which the CPU waits for the GPU; empty if there is none."""
    reached = ""

    class Watched(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            nonlocal reached
            reached = str(n.target)
            return super().run_node(n)

    try:
        with torch.no_grad(), _refusing_to_wait(True):
            Watched(graph).run(*inputs)
    except RuntimeError:
        return reached
    return ""


@contextmanager
def _refusing_to_wait(refuses: bool) -> Iterator[None]:
    """Within, an operation for which the CPU would wait for the GPU is an error: a capture that meets one is lost."""
    before = torch.cuda.get_sync_debug_mode()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the mode is a prototype
            torch.cuda.set_sync_debug_mode("error" if refuses else before)
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
