"""Training steps without Pyro: a step captured once as a graph, verified, then run in its place."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn

from ppl_vae import rng
from ppl_vae.compile.adam import Updater, clip_gradients
from ppl_vae.compile.capture import State, compiled, trace
from ppl_vae.compile.cost import CAPTURE_STEPS, compile_seconds, saved_seconds
from ppl_vae.compile.fused import FusedStep
from ppl_vae.compile.meter import Meter
from ppl_vae.compile.verify import GRADIENT, CaptureError, compare, numbers, reason
from ppl_vae.runs.state import put_tensors, take_tensors
from ppl_vae.schedules import Schedule

Batch = tuple[Any, ...]
Metrics = dict[str, Tensor]
StepFunction = Callable[[Batch, Meter], None]
T = TypeVar("T")


SHAPES = 16
"""Shapes of batches that are captured; further ones are left to the program."""


class Stepper:
    """Takes training steps: gradient, clipping, update, averages; by the program, or without it.

    Capture is verified, never assumed. On other noise, other data and other values of every schedule than
    those it was captured with, a graph must give the program's bound, metrics, gradients, buffers and random
    state: to the bit, for it runs the same kernels in the same order. What Inductor makes of the graph and the
    update of the parameters must leave behind the same to rounding. What differs or cannot be had is done in the next
    best way, and `description` says why.

    Args:
        vae: the pair, in training mode.
        objective: what is maximized.
        total: N.
        updater: changes the parameters.
        parameters: those that are trained, by name.
        clip: the longest gradient.
        clip_value: the largest element of a gradient.
        mode: `"off"`, `"auto"`, `"export"` or `"inductor"`.
        steps: of the whole run, by which `auto` chooses.
        batch_size: of a full batch; the shorter last ones are not worth a compiler's time.
        schedules: those that move.
        device: of the pair.
    """

    def __init__(
        self,
        vae: nn.Module,
        objective: Any,
        total: int,
        updater: Updater,
        parameters: Mapping[str, Tensor],
        *,
        clip: float | None,
        clip_value: float | None,
        mode: str,
        steps: int,
        batch_size: int,
        schedules: Sequence[Schedule],
        device: torch.device,
    ) -> None:
        self.vae, self.objective, self.total = vae, objective, total
        self.updater, self.parameters = updater, dict(parameters)
        self.clip, self.clip_value = clip, clip_value
        self.mode, self.steps, self.batch_size = mode, steps, batch_size
        self.schedules, self.device = schedules, device
        self.captures = mode != "off" and (mode != "auto" or steps >= CAPTURE_STEPS)
        self.description = {
            "off": "eager: asked for",
            "auto": f"export: {steps} steps pay for a capture"
            if self.captures
            else f"eager: {steps} steps do not pay for a capture",
        }.get(mode, f"{mode}: asked for")
        self.gave_up = False
        self.aside = ""
        self._ways: dict[Any, StepFunction] = {}
        self._due: dict[Any, tuple[float, Callable[[Batch], StepFunction]]] = {}

    def __call__(self, batch: Batch, meter: Meter, step: int) -> None:
        """Take step number `step` in the fastest way that gives the same, and add its metrics to the averages."""
        shape = tuple((x.shape, x.dtype) if isinstance(x, Tensor) else None for x in batch)
        way = self._ways.get(shape)
        if way is None:
            way = self._ways[shape] = self._kept(lambda: self._way(batch, shape))
        if shape in self._due and step >= self._due[shape][0]:
            _, make = self._due.pop(shape)
            way = self._ways[shape] = self._kept(lambda: make(batch))
        way(batch, meter)

    def _kept(self, make: Callable[[], T]) -> T:
        """Make something, and leave all numbers as they were."""
        before = self._state()
        try:
            return make()
        finally:
            self._put(before)
            self._forget_gradients()

    def by_program(self, batch: Batch, meter: Meter) -> None:
        """Take a step by the program itself."""
        self._finish(self.gradient(batch), batch, meter)

    def gradient(self, batch: Batch) -> Metrics:
        """Put the gradient of a batch into `.grad`, by the program itself, clipped; give the bound and its metrics."""
        for parameter in self.parameters.values():
            parameter.grad = None
        bound = self.objective(self.vae, batch, total=self.total)
        (-bound.surrogate).backward()
        norm = nn.utils.get_total_norm([p.grad for p in self.parameters.values() if p.grad is not None])
        return self._clipped({"bound": bound.value, **bound.metrics, "grad_norm": norm})

    def dry_run(self, batch: Batch) -> None:
        """Compute a gradient as the program does, and leave nothing of it."""
        self._kept(lambda: self.gradient(batch))

    def forget(self) -> None:
        """Capture anew: the pair is another one than was captured."""
        self._ways.clear()
        self._due.clear()

    def _clipped(self, metrics: Metrics) -> Metrics:
        gradients = [p.grad for p in self.parameters.values()]
        clip_gradients(gradients, metrics["grad_norm"], self.clip, self.clip_value)
        return metrics

    def _finish(self, metrics: Metrics, batch: Batch, meter: Meter) -> None:
        self.updater.step()
        meter.add(metrics, length(batch))

    # --- choosing a way
    # ----------------------------------------------------------------------------------------------

    def _way(self, batch: Batch, shape: Any) -> StepFunction:
        """The way for batches of this shape, until full ones are due to be compiled."""
        if not self.captures or len(self._ways) >= SHAPES:
            return self.by_program
        full = length(batch) == self.batch_size
        try:
            graph, state, names = self._captured(batch)
        except CaptureError as error:
            self.gave_up = True
            if full:
                self.captures, self.description = False, f"eager: {error}"
            else:
                self.aside = f"; shorter batches eager: {error}"
            return self.by_program
        recorded = self._by_gradient(graph, state, names)

        def by_graph(batch: Batch, meter: Meter) -> None:
            self._finish(recorded(batch), batch, meter)

        way: StepFunction = by_graph
        if full and self.mode == "auto" and (slower := self._slower(recorded, batch)):
            way, self.description, self.gave_up = self.by_program, f"eager: {slower}", True
        if full and self.mode in ("auto", "inductor"):
            due = self._due_step(graph)

            def make(batch: Batch) -> StepFunction:
                try:
                    made = self._compiled(graph, state, names, batch, way)
                except CaptureError as error:
                    kind = "eager" if way == self.by_program else "export"
                    self.description, self.gave_up = f"{kind}: {error}", True
                    return way
                if self.mode == "auto":
                    self.description = f"inductor: from step {due} on"
                return made

            self._due[shape] = due, make
        return way

    def _due_step(self, graph: fx.GraphModule) -> float:
        """When to compile: at once where asked to, else as soon as that would have paid for itself.

        No run wastes more than it has used, however soon it ends; and at which step depends on the graph alone, so that
        runs which are equal up to some step have equal bits up to it, whatever the number of steps and the clock.
        """
        if self.mode == "inductor":
            return 0
        saved = saved_seconds(graph)
        on_cpu = self.device.type == "cpu"  # estimates are of CPUs
        return math.ceil(compile_seconds(graph) / saved) if on_cpu and saved else math.inf

    def _captured(self, batch: Batch) -> tuple[fx.GraphModule, State, list[str]]:
        """The verified graph of a gradient, and the names of its results."""
        if not all(isinstance(x, Tensor) for x in batch):
            raise CaptureError("the batch holds more than tensors")
        if any(p._backward_hooks or p._post_accumulate_grad_hooks for p in self.parameters.values()):
            raise CaptureError("a hook on a parameter changes its gradient")
        step = _Gradient(self.vae, self.objective, self.total)
        self.dry_run(batch)  # what the program makes at its first batch of a shape must not be made of fake tensors
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                graph, state = trace(step, batch)
        except Exception as error:
            raise CaptureError(f"it cannot be captured ({reason(error)})") from error
        names = ["bound", *step.names, "grad_norm"]
        recorded = self._by_gradient(graph, state, names)
        for _ in range(2):  # a constant that was baked in may fit once by chance
            other = self._perturbed(batch)
            start, plain = self._state(), numbers(self.vae, self.objective)
            expected = self._seen(self.gradient(other))
            if changed := [n for n, v in numbers(self.vae, self.objective).items() if n not in plain or plain[n] != v]:
                raise CaptureError(f"the program changes {changed[0].lstrip('.')} as it runs")
            self._put(start)
            try:
                found = self._seen(recorded(other))
            except Exception as error:
                raise CaptureError(f"its graph fails ({reason(error)})") from error
            compare(expected, found, "captured", exact=True)
        return graph, state, names

    def _compiled(
        self, graph: fx.GraphModule, state: State, names: list[str], batch: Batch, by_graph: StepFunction
    ) -> StepFunction:
        """A step compiled by Inductor, with the update of the parameters where that is Adam's; verified.

        Should the optimizer then turn to what the update was not made for, steps are taken `by_graph`.
        """
        run: Any
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if self.updater.groups is not None:
                    run = FusedStep(graph, state, names, self.updater, self.clip, self.clip_value, batch)
                else:
                    run = self._by_gradient(compiled(graph, [*state.inputs, *batch]), state, names)
                return self._agreed(run, batch, by_graph)
        except CaptureError:
            raise
        except Exception as error:
            raise CaptureError(f"Inductor cannot compile it ({reason(error)})") from error

    def _agreed(self, run: Any, batch: Batch, by_graph: StepFunction) -> StepFunction:
        """The compiled gradient or whole step, where it leaves behind what the program does."""
        other = self._perturbed(batch)
        start = self._state()
        expected = self._seen(self.gradient(other))
        if not isinstance(run, FusedStep):
            self._put(start)
            compare(expected, self._seen(run(other)), "compiled")
            return lambda batch, meter: self._finish(run(batch), batch, meter)
        with run.perturbed() as rewind:
            seen = []
            for step in (self.by_program, run):
                self._put(start)
                meter = Meter()
                step(other, meter)
                self._forget_gradients()
                means = {name: torch.tensor(value) for name, value in meter.read().items()}
                seen.append(self._seen(means) | rewind())
        by_program, by_code = seen
        compare(by_program, by_code, "compiled")
        return lambda batch, meter: (run if run.is_ready() else by_graph)(batch, meter)

    def _slower(self, recorded: Callable[[Batch], Metrics], batch: Batch) -> str:
        """A sentence if a graph is slower than the program. Both give the same bits, so that the clock may choose."""
        program, graph = _seconds(self.gradient, batch), _seconds(recorded, batch)
        told = f"its graph is slower, {1e3 * graph:.3g} against {1e3 * program:.3g} ms a step"
        return told if graph > 1.1 * program else ""

    def _by_gradient(self, graph: Callable[..., Any], state: State, names: list[str]) -> Callable[[Batch], Metrics]:
        """`gradient`, by a graph."""
        inputs, trained = state.inputs, tuple(state.trained.values())

        def gradient(batch: Batch) -> Metrics:
            with torch.no_grad():
                value, _, *rest = graph(*inputs, *batch)
            for parameter, found in zip(trained, rest[len(names) - 1 :], strict=True):
                # Fused optimizers go by memory, not by index: a gradient laid out otherwise would train other elements.
                if found is not None and found.stride() != parameter.stride():
                    found = torch.empty_like(parameter).copy_(found)
                parameter.grad = found
            return self._clipped(dict(zip(names, (value, *rest), strict=False)))

        return gradient

    # --- verifying
    # ---------------------------------------------------------------------------------------------------

    def _perturbed(self, batch: Batch) -> Batch:
        """Change everything that may change, and give another batch."""
        torch.rand(1)  # another place in the stream than that of the capture
        for schedule in self.schedules:
            schedule.value.mul_(0.75).add_(0.125)
        rng.seed_all(int(torch.randint(2**31, ())), self.device)  # of Python and NumPy too
        return tuple(x.flip(0) if x.dim() else x for x in batch)

    def _seen(self, metrics: Metrics) -> dict[str, Tensor]:
        """All that a step leaves behind."""
        gradients = {n: p.grad for n, p in self.parameters.items() if p.grad is not None}
        return {
            **{name: value.clone() for name, value in metrics.items()},
            **{GRADIENT + n: g for n, g in gradients.items()},
            **{f"buffer {n}": b.clone() for n, b in self.vae.named_buffers()},
            **{f"the random state {i}": t for i, t in enumerate(_tensors(rng.capture(self.device)))},
        }

    def _state(self) -> Any:
        return copy.deepcopy((take_tensors(self.vae), take_tensors(self.objective), rng.capture(self.device)))

    def _put(self, state: Any) -> None:
        vae, objective, generators = state
        put_tensors(self.vae, vae, "memory")
        put_tensors(self.objective, objective, "memory")
        rng.restore(generators, self.device)

    def _forget_gradients(self) -> None:
        for parameter in self.parameters.values():
            parameter.grad = None


class _Gradient(nn.Module):
    """The function that is captured: tensors in, tensors out."""

    def __init__(self, vae: nn.Module, objective: Any, total: int) -> None:
        super().__init__()
        self.vae, self.objective, self.total = vae, objective, total
        self.names: list[str] = []

    def forward(self, *batch: Tensor) -> tuple[Tensor, ...]:
        bound = self.objective(self.vae, batch, total=self.total)
        self.names = list(bound.metrics)
        return (bound.value, bound.surrogate, *bound.metrics.values())


def length(batch: Batch) -> int:
    """The data in a batch."""
    return next(len(part) for part in batch if isinstance(part, Tensor) and part.dim())


def _tensors(value: Any) -> list[Tensor]:
    """Those of nested containers; numbers become tensors."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple):
        return [t for part in value for t in _tensors(part)]
    return [value if isinstance(value, Tensor) else torch.tensor(float("inf") if value is None else value)]


def _seconds(step: Callable[[Batch], Metrics], batch: Batch) -> float:
    """The shortest of three steps."""
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        float(step(batch)["bound"])  # waits for a device
        times.append(time.perf_counter() - begin)
    return min(times)
