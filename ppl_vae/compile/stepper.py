"""Training steps, each in the fastest way that gives the same: by the program, by its graph, or by compiled code."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from ppl_vae.compile.adam import Updater, in_the_middle
from ppl_vae.compile.capture import held_by
from ppl_vae.compile.cost import runs_to_pay, steps_to_capture
from ppl_vae.compile.fused import FusedStep
from ppl_vae.compile.gradient import Batch, Gradient, Metrics, RecordedGradient, length
from ppl_vae.compile.guard import all_finite
from ppl_vae.compile.kind import kind
from ppl_vae.compile.meter import Meter
from ppl_vae.compile.recall import Recorded, layout, recalled
from ppl_vae.compile.replay import Replay, ReplayedStep, waits_at
from ppl_vae.compile.substitute import Original, attempt, verify
from ppl_vae.compile.verify import CaptureError
from ppl_vae.schedules import Schedule

StepFunction = Callable[[Batch, Meter], None]
T = TypeVar("T")

SHAPES = 16
"""Shapes of batches that are captured; further ones are left to the program."""


SEVERAL, CALL, BYTES = 16, 0.05, 2**26
"""Steps of one call: so many, so many seconds, and batches of so many bytes at most. Signals wait for its end."""


class Stepper:
    """Takes training steps: gradient, clipping, update, averages; by the program, or without it.

    Capture is verified, never assumed. On other noise, other data and other values of every schedule than
    those it was captured with, a graph must give the program's bound, metrics, gradients, buffers and random
    state: to the bit, for it runs the same kernels in the same order. What Inductor makes of the graph and the
    update of the parameters must leave behind the same to rounding. What differs or cannot be had is done in the next
    best way, and `description` says why.

    Args:
        gradient: by the program.
        updater: changes the parameters.
        mode: `"off"`, `"auto"`, `"export"` or `"inductor"`.
        steps: of the whole run, by which `auto` chooses.
        batch_size: of a full batch.
        per_epoch: steps of an epoch, of which a shorter batch takes one: compiled code pays later for it.
        schedules: those that move.
        device: of the pair.
    """

    def __init__(
        self,
        gradient: Gradient,
        updater: Updater,
        *,
        mode: str,
        steps: int,
        batch_size: int,
        per_epoch: int,
        schedules: Sequence[Schedule],
        device: torch.device,
    ) -> None:
        self.gradient, self.updater = gradient, updater
        self.mode, self.steps, self.batch_size, self.per_epoch = mode, steps, batch_size, per_epoch
        self.device = device
        parts = (gradient.vae, gradient.objective)
        self.original = Original(gradient.told(gradient), parts, device, schedules)
        self.captures = mode != "off" and (mode != "auto" or steps >= steps_to_capture(device))
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
        shape = _shape(batch)
        way = self._ways.get(shape)
        if way is None:
            way = self.by_program
            if self._can_verify(batch):
                way = self._ways[shape] = self._kept(lambda: self._way(batch, shape))
        if shape in self._due and step >= self._due[shape][0] and self._can_verify(batch):
            _, make = self._due.pop(shape)
            way = self._ways[shape] = self._kept(lambda: make(batch))
        way(batch, meter)

    def at_once(self, batch: Batch) -> int:
        """The number of batches of this shape that `several` may take in one call: those of a twentieth of a second."""
        way = self._ways.get(_shape(batch))
        size = sum(x.nbytes for x in batch if isinstance(x, Tensor))
        return max(1, min(way.most, BYTES // max(1, size))) if isinstance(way, _Standing) else 1

    def several(self, batches: Sequence[Batch], meter: Meter, told: Callable[[], object]) -> None:
        """Take a step on each batch, no more than `at_once`, with the bits of single ones.

        Args:
            batches: of one shape.
            meter: the averages that their metrics are added to.
            told: is called for each step, before the next one's learning rate is read.
        """
        way = self._ways[_shape(batches[0])]
        assert isinstance(way, _Standing)
        way.several(batches, meter, told)

    def by_program(self, batch: Batch, meter: Meter) -> None:
        """Take a step by the program itself."""
        self._take(self.gradient, batch, meter)

    def replay(self, batch: Batch) -> Metrics:
        """The gradient of a step by the program, left in `.grad`, without the update of the parameters."""
        return self.gradient(batch)

    def parts(self, batch: Batch) -> Iterator[Batch]:
        """The parts of a batch that programs are given one after the other; noise is drawn as in the step."""
        yield batch

    def dry_run(self, batch: Batch) -> Metrics:
        """Compute a gradient as the program does, and leave nothing of it but its metrics."""
        return self._kept(lambda: self.gradient(batch))

    def _can_verify(self, batch: Batch) -> bool:
        """False where a batch tells nothing: any two steps that are not finite are alike. The next one is tried."""
        if not self.captures:
            return True
        return bool(all_finite(self.dry_run(batch)))

    @property
    def has_recorded(self) -> bool:
        """True where steps are taken by what was recorded of the pair, which holds for it as it was."""
        return any(way != self.by_program for way in self._ways.values())

    def forget(self) -> None:
        """Capture anew: the pair is another one than was captured."""
        self._ways.clear()
        self._due.clear()

    def _kept(self, make: Callable[[], T]) -> T:
        """Make something, and leave all numbers as they were, and no gradient."""
        try:
            return self.original.kept(make)
        finally:
            self.gradient.forget()

    def _by(self, gradient: Callable[[Batch], Metrics]) -> StepFunction:
        """Steps that take the gradient in this way."""
        return lambda batch, meter: self._take(gradient, batch, meter)

    def _take(self, gradient: Callable[[Batch], Metrics], batch: Batch, meter: Meter) -> None:
        self.updater.keep()
        metrics = gradient(batch)
        self.updater.step(metrics)
        meter.add(metrics, length(batch), self.updater.ok)

    def _way(self, batch: Batch, shape: Any) -> StepFunction:
        """The way for batches of this shape, until full ones are due to be compiled."""
        if not self.captures or len(self._ways) >= SHAPES:
            return self.by_program
        full = length(batch) == self.batch_size  # what the program makes at its first batch of a shape has been made
        try:
            recorded = self._recorded(batch)
        except CaptureError as error:
            self.gave_up = True
            if full:
                self.captures, self.description = False, f"eager: {error}"
            else:
                self.aside = f"; shorter batches eager: {error}"
            return self.by_program
        way = self._by(recorded)
        if full and self.mode == "auto" and (slower := self._slower(recorded, batch)):
            way, self.description, self.gave_up = self.by_program, f"eager: {slower}", True
        elif self.device.type == "cuda" and not (full and self.mode == "inductor"):
            way = self._replayed(recorded, batch, way)
        if self.mode in ("auto", "inductor") and (full or not self.gave_up):
            asked = full and self.mode == "inductor"
            due = 0 if asked else runs_to_pay(recorded.graph, self.device) * (1 if full else self.per_epoch)
            self._due[shape] = due, lambda batch: self._compiled_at(due, recorded, batch, way)
        return way

    def _recorded(self, batch: Batch) -> RecordedGradient:
        """The verified graph of a gradient."""

        def holds(made: Recorded) -> RecordedGradient:
            recorded = self.gradient.by(made)
            trials = (self.original.perturbed(batch) for _ in range(2))  # a constant may fit once by chance
            exact = self.device.type == "cpu"  # on a GPU, sums may be added up in another order each time
            verify(self.original, self.gradient.told(recorded), trials, "captured", exact=exact)
            return recorded

        record = functools.partial(self.gradient.record, batch)
        also = "gradient", self.gradient.total, self.gradient.precision, layout(batch)
        program = kind(self.gradient.vae, self.gradient.objective)
        return recalled(program, also, lambda: attempt("captured", record), holds)

    def _compiled_at(self, due: float, recorded: RecordedGradient, batch: Batch, way: StepFunction) -> StepFunction:
        """Compiled steps, which are due now; the way of before, with the reason, where they cannot be had."""
        full = length(batch) == self.batch_size
        try:
            made = self._compiled(recorded, batch, way)
        except CaptureError as error:
            kind = "eager" if way == self.by_program else "export"
            if full:
                self.description, self.gave_up = f"{kind}: {error}", True
                self._due.clear()  # shorter ones would fail alike
            else:
                self.aside = f"; shorter batches {kind}: {error}"
            return way
        if full and self.mode == "auto":
            self.description = f"inductor: from step {math.ceil(due)} on"
        return made

    def _compiled(self, recorded: RecordedGradient, batch: Batch, way: StepFunction) -> StepFunction:
        """Verified steps by Inductor, with the update of the parameters where that is Adam's."""
        if self.device.type == "cuda" or self.updater.groups is None:
            run = attempt("compiled", lambda: recorded.compiled(batch))
            verify(self.original, self.gradient.told(run), [self.original.perturbed(batch)], "compiled")
            return self._replayed(run, batch, self._by(run)) if self.device.type == "cuda" else self._by(run)
        limits = self.gradient.clip, self.gradient.clip_value
        step = attempt("compiled", lambda: FusedStep(recorded, self.updater, *limits, batch))
        return self._verified(step, batch, way, "compiled", {"lr": 0.7, "betas": (0.6, 0.4)})

    def _replayed(self, recorded: RecordedGradient, batch: Batch, way: StepFunction) -> StepFunction:
        """Verified steps as one CUDA graph: with the update of the parameters, or without it, or the way of before."""
        limits = self.gradient.clip, self.gradient.clip_value
        how = "captured as one CUDA graph"
        try:
            if any(t.device.type == "cpu" for t in held_by(recorded.graph)):
                raise CaptureError("it reads a tensor on the CPU that is no part of the pair")
            if self.updater.groups is None:
                inputs = recorded.state.inputs
                run = attempt(how, lambda: Replay(recorded.run, inputs, batch, self.device))
                found = recorded.by(lambda *tensors: run(*tensors[len(inputs) :]))
                verify(self.original, self.gradient.told(found), [self.original.perturbed(batch)], how)
                return self._by(found)
            step = attempt(how, lambda: ReplayedStep(recorded, self.updater, *limits, batch))
            return self._verified(step, batch, way, how, {"lr": 0.7})
        except CaptureError as error:
            taken = [*recorded.state.inputs, *batch]
            waits = self.original.kept(lambda: waits_at(recorded.graph, taken))
            self.aside = f"; kernel by kernel: {f'{waits} waits for the GPU' if waits else error}"
            return way

    def _verified(
        self, step: FusedStep | ReplayedStep, batch: Batch, way: StepFunction, how: str, chosen: dict[str, Any]
    ) -> StepFunction:
        """Steps that leave behind what those of the program do, the state of the optimizer included.

        Should the optimizer then turn to what the step was not made for, steps are taken in the `way` of before.
        """
        other = self.original.perturbed(batch)
        self.original.kept(lambda: self.gradient(other))  # the optimizer's averages are made of the size of it
        with in_the_middle(step.groups, chosen) as rewind:

            def told(step: StepFunction) -> Callable[[Batch], Metrics]:
                def tell(batch: Batch) -> Metrics:
                    meter = Meter()
                    step(batch, meter)
                    self.gradient.forget()
                    return {name: torch.tensor(value) for name, value in meter.read().items()} | rewind()

                return tell

            verify(replace(self.original, run=told(self.by_program)), told(step), [other], how)
        return _Standing(step, way)

    def _slower(self, recorded: RecordedGradient, batch: Batch) -> str:
        """A sentence if a graph is slower than the program. Both give the same bits, so that the clock may choose."""
        program, graph = _seconds(self.gradient, batch), _seconds(recorded, batch)
        told = f"its graph is slower, {1e3 * graph:.3g} against {1e3 * program:.3g} ms a step"
        return told if graph > 1.1 * program else ""


class _Standing:
    """Verified steps that stand in for others, as long as the optimizer is one that they were made for.

    Args:
        step: the verified one.
        way: that of before.

    Attributes:
        most: how many are taken in one call.
    """

    def __init__(self, step: FusedStep | ReplayedStep, way: StepFunction) -> None:
        self._step, self._way = step, way
        self.most = 1

    def __call__(self, batch: Batch, meter: Meter) -> None:
        begin = time.perf_counter()
        (self._step if self._step.is_ready() else self._way)(batch, meter)
        self._took(time.perf_counter() - begin)

    def several(self, batches: Sequence[Batch], meter: Meter, told: Callable[[], object]) -> None:
        """Take some steps."""
        begin = time.perf_counter()
        if isinstance(self._step, FusedStep) and self._step.is_ready():
            self._step.several(batches, meter, told)
        else:
            for batch in batches:
                self._way(batch, meter)
                told()
        self._took((time.perf_counter() - begin) / len(batches))

    def _took(self, seconds: float) -> None:
        """Find out how many steps go into a call: bits do not depend on it, so that the clock may tell."""
        if isinstance(self._step, FusedStep) and self._step.takes_several:
            self.most = max(1, min(SEVERAL, int(CALL / seconds)))


def _shape(batch: Batch) -> Any:
    return tuple((x.shape, x.dtype) if isinstance(x, Tensor) else None for x in batch)


def _seconds(step: Callable[[Batch], Metrics], batch: Batch) -> float:
    """The shortest of three steps."""
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        float(step(batch)["bound"])  # waits for a device
        times.append(time.perf_counter() - begin)
    return min(times)
