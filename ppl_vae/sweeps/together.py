"""The steps of several runs as one: verified against each run's own program, taken through an epoch."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from ppl_vae import rng
from ppl_vae.compile.capture import State
from ppl_vae.compile.gradient import Bound, length
from ppl_vae.compile.kind import kind, plain_values
from ppl_vae.compile.substitute import attempt, require_still
from ppl_vae.compile.verify import GRADIENT, CaptureError, compare, reason
from ppl_vae.core.snapshot import Snapshot
from ppl_vae.frames import module_of
from ppl_vae.sweeps.held_out import HeldOut
from ppl_vae.sweeps.lane import Lane
from ppl_vae.sweeps.stack import Program, Stack
from ppl_vae.training.isolation import stop_validating
from ppl_vae.training.loop import begin_epoch, end_epoch, interrupt, is_done, train_on

Batch = tuple[Any, ...]

SAVING = 0.1
"""The most of the time that goes into files: of short epochs, not every one is saved."""

RANDOM, TORCH = "the random state", "the random state 0"


class Together:
    """Runs in lockstep, each a lane of one stack.

    Args:
        lanes: of one kind, before a step; distributions do not check their arguments.

    Attributes:
        stacked: how many there are in the stack.
        refused: those whose own step is another than the stacked one.

    Raises:
        CaptureError: they cannot be stacked.
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self.lanes, self.stacked, self.refused = list(lanes), len(lanes), list[Lane]()
        first, self._held = lanes[0].training, {lane.number: _held(lane) for lane in lanes if _is_called_back(lane)}
        states = [State.of(Bound(*lane.parts, len(first.train))) for lane in lanes]
        self.stack = Stack(states)
        self._parameters = [list(state.trained.values()) for state in states]
        self._programs: dict[Any, tuple[Program, tuple[str, ...]]] = {}
        self._saved, self._saving = -math.inf, 0.0
        size, data = first.plan.batch_size, len(first.train)
        epochs = max(lane.training.epochs - lane.training.state.epoch for lane in lanes)
        for rows, an_epoch in Counter(min(size, data - start) for start in range(0, data, size)).items():
            self._verify([next(lane.training.train.batches(rows)) for lane in lanes], epochs * an_epoch)
        self._held_out = HeldOut(self.stack, [self.lanes[place] for place in self._places()], self._places())

    @property
    def live(self) -> list[Lane]:
        """Those that go on here."""
        return [self.lanes[place] for place in self._places()]

    def _places(self) -> list[int]:
        return [place for place, lane in enumerate(self.lanes) if not lane.ended and not lane.alone]

    # --- the step
    # ---------------------------------------------------------------------------------------------------------

    def _gradients(
        self, batches: Sequence[Batch], tensors: Sequence[Tensor], streams: list[Tensor], places: Sequence[int]
    ) -> tuple[tuple[str, ...], Tensor]:
        """Put the gradients of some runs into `.grad`, clipped; give the names of metrics, and `(runs, metrics)`."""
        program, names = self._programs[_shape(batches[0])]
        value, _, *rest = program(tensors, [torch.stack(same) for same in zip(*batches, strict=True)], streams)
        results, gradients = (value, *rest[: len(names) - 1]), rest[len(names) - 1 :]
        rows = torch.stack([r for r in results if r is not None], dim=1)
        own = [None if g is None else g.contiguous() for g in gradients]
        norms = rows[:, names.index("grad_norm")]
        for place in places:
            for parameter, gradient in zip(self._parameters[place], own, strict=True):
                parameter.grad = None if gradient is None else gradient[place]
            self.lanes[place].stepper.gradient.clipped({"grad_norm": norms[place]})
        return names, rows

    def _step(self, own: Mapping[int, Batch], tensors: Sequence[Tensor]) -> None:
        """One step of some runs, each on its batch; the rows of others are ballast."""
        places = list(own)
        batches = [own.get(place, own[places[0]]) for place in range(self.stacked)]
        streams = [lane.generators["torch"] for lane in self.lanes]
        for place in places:
            training = self.lanes[place].training
            training.set_schedules()
            assert training.state.optimizer is not None
            training.state.optimizer.keep()
        names, rows = self._gradients(batches, tensors, streams, places)
        size = length(batches[0])
        for place in places:
            lane = self.lanes[place]
            lane.generators["torch"] = streams[place]
            state = lane.training.state
            assert state.optimizer is not None
            state.optimizer.step({name: rows[place, names.index(name)] for name in ("bound", "grad_norm")})
            state.meter.add_row(names, rows[place], size, state.optimizer.ok)
            state.end_step()

    # --- verifying
    # --------------------------------------------------------------------------------------------------------

    def _verify(self, batches: Sequence[Batch], calls: int) -> None:
        """Record a step on batches of this shape, so many of which are to come, and hold it to each program.

        On other data, other noise and other values of every schedule than it was recorded with, which no two runs
        share. A run that it is not the same for is refused, and all that was done here is undone. Of further shapes
        (the shorter last batch of an epoch) one run's program is asked: it is the recording that is new, not the runs.

        Raises:
            CaptureError: the step cannot be recorded or stacked, or is the same for no run.
        """
        before = [Snapshot.of(lane.parts, None) for lane in self.lanes]
        try:
            attempt("run", lambda: self.lanes[0].stepper.dry_run(batches[0]))
            gradient = self.lanes[0].stepper.gradient
            made = attempt("captured", lambda: gradient.recorded(batches[0]))
            with self.stack.joined(range(self.stacked)) as tensors:
                program = attempt("stacked", lambda: Program(made.graph, tensors, batches[0], calls))
            further = bool(self._programs)
            self._programs[_shape(batches[0])] = program, tuple(made.names)
            self._compare(batches, self._places()[:1] if further else range(self.stacked))
        finally:
            for lane, snapshot in zip(self.lanes, before, strict=True):
                snapshot.put(lane.parts, None)
                lane.stepper.gradient.forget()
        if not self.live:
            raise CaptureError(self.refused[0].alone)

    def _compare(self, batches: Sequence[Batch], asked: Sequence[int]) -> None:
        """Hold the stacked step to the programs of the runs that are asked."""
        others, streams = [], []
        expected: list[dict[str, Tensor] | None] = []
        for place, (lane, batch) in enumerate(zip(self.lanes, batches, strict=True)):
            rng.seed_all(rng.derive(lane.call.plan.seed, len(self._programs), place), lane.training.device)
            for schedule in lane.training.moving:
                schedule.value.mul_(0.75).add_(0.125 + place / 64)
            others.append(tuple(x.flip(0) if x.dim() else x for x in batch))
            streams.append(torch.default_generator.get_state())
            try:
                expected.append(_left_by_program(lane, others[-1]) if place in asked else None)
            except Exception as error:
                expected.append(None)
                self._refuse(lane, str(error) if isinstance(error, CaptureError) else reason(error))
        with self.stack.joined(range(self.stacked)) as tensors:
            names, rows = self._gradients(others, tensors, streams, range(self.stacked))
            modules = [[part for part in lane.parts if isinstance(part, nn.Module)] for lane in self.lanes]
            buffers = [{f"buffer {n}": b.clone() for m in parts for n, b in m.named_buffers()} for parts in modules]
        for place, (lane, rest) in enumerate(zip(self.lanes, expected, strict=True)):
            if rest is None:
                continue
            metrics = {name: rest.pop(name) for name in names if name in rest}
            gradients = {GRADIENT + n: p.grad for n, p in lane.training.parameters.items() if p.grad is not None}
            try:
                found = dict(zip(names, rows[place].unbind(), strict=True))
                # a metric near zero is the rounding of what it is the difference of
                compare(metrics, found, "stacked", least=0.01 * float(metrics["bound"].abs()))
                compare(rest, {**gradients, **buffers[place], TORCH: streams[place]}, "stacked")
            except CaptureError as error:
                self._refuse(lane, str(error))

    def _refuse(self, lane: Lane, why: str) -> None:
        if not lane.alone:
            lane.alone = why
            self.refused.append(lane)

    # --- an epoch
    # --------------------------------------------------------------------------------------------------------

    def epoch(self, settings: dict[str, Any], say: Callable[[str], object]) -> None:
        """Take the runs that are live through an epoch, or to where a signal stops them.

        Those that are ahead, as runs are that were killed while their states were being saved, wait for the others: all
        that were in a stack stay in one of its size, and end with the bits of the sweep that was not killed.

        Args:
            settings: Pyro's, for the first step of a run, in which distributions check their arguments.
            say: is told the figures of the epoch.
        """
        started = time.monotonic()
        least = min(lane.training.state.epoch for lane in self.live)
        live = [lane for lane in self.live if lane.training.state.epoch == least]
        signals = live[0].training.signals
        for lane in live:
            with lane.turn():
                begin_epoch(lane.training)
        feeds = {lane.number: lane.training.rest_of_epoch() for lane in live}
        for lane in live:
            if lane.training.state.step == 0:
                pyro.settings.set(**settings)
                with lane.turn():
                    train_on(lane.training, next(feeds[lane.number]))
        stop_validating()
        left = {
            place: feeds[lane.number]
            for place, lane in enumerate(self.lanes)
            if lane.number in feeds and not lane.ended
        }
        ahead = {place: batch for place, feed in left.items() if (batch := next(feed, None)) is not None}
        while signals.pending is None and ahead:
            places = _alike(ahead)
            with self.stack.joined(places) as tensors:
                while signals.pending is None and ahead and places == _alike(ahead):
                    self._step({place: ahead.pop(place) for place in places}, tensors)
                    ahead |= {place: b for place in places if (b := next(left[place], None)) is not None}
        for lane in self.live:
            lane.stepper.gradient.forget()  # they are rows of all runs' gradients
        if signals.pending is not None:
            for lane in self.live:
                with lane.turn():
                    interrupt(lane.training, unsaved=True)
            return
        validations = self._held_out.meters([self.lanes[place] for place in left], list(left)) if left else {}
        now = time.monotonic()
        share = (now - started) / len(live)
        saves = (now - self._saved) * SAVING >= self._saving
        for lane in (self.lanes[place] for place in left):
            with lane.turn():
                lane.described = lane.described or lane.stepper.description
                lane.stepper.description = f"batched: one program for {self.stacked} runs"
                end_epoch(lane.training, lambda: share, validations.get(lane.number), saves=saves)
            if not lane.ended and lane.number in self._held and _held(lane) != self._held[lane.number]:
                lane.alone = "a callback has changed more than values of its tensors"
        for lane in self.live:
            if is_done(lane.training):
                with lane.turn():
                    lane.end()
        if saves:
            self._saved = time.monotonic()
            self._saving = self._saved - now
        say(_summary(live, share * len(live)))


def _left_by_program(lane: Lane, batch: Batch) -> dict[str, Tensor]:
    """All that a step of the run's own program leaves behind; it changes nothing.

    Raises:
        CaptureError: the program does what no graph of tensors does.
    """
    original = lane.stepper.original
    start, plain = Snapshot.of(lane.parts, None), plain_values(*lane.parts)
    states = original.left_by(lambda _: {}, batch)
    try:
        left = original.left_by(original.run, batch)
    finally:
        start.put(lane.parts, None)
    require_still(plain, lane.parts)
    others = [name for name in left if name.startswith(RANDOM) and name != TORCH]
    if not all(torch.equal(left.pop(name), states[name]) for name in others):
        raise CaptureError("the program draws random numbers that are not torch's")
    return left


def _is_called_back(lane: Lane) -> bool:
    """True for a run with somebody's own callbacks, which may change a pair; ours look at it."""
    return not all(module_of(type(callback)).startswith("ppl_vae.") for callback in lane.training.callbacks)


def _held(lane: Lane) -> Any:
    """All that the stack takes for granted of a run: the kind of its parts, and which tensors are theirs."""
    modules = [part for part in lane.parts if isinstance(part, nn.Module)]
    return kind(*lane.parts), [id(t) for module in modules for t in (*module.parameters(), *module.buffers())]


def _shape(batch: Batch) -> Any:
    return tuple((x.shape, x.dtype) for x in batch)


def _alike(ahead: Mapping[int, Batch]) -> list[int]:
    """The runs that step next: those with a whole batch ahead, while there are any, so that the others meet them.

    Runs that were interrupted stand at different steps of their epochs; the last batch of each may be a shorter one.
    """
    rows = max(length(batch) for batch in ahead.values())
    return sorted(place for place, batch in ahead.items() if length(batch) == rows)


def _summary(lanes: Sequence[Lane], seconds: float) -> str:
    """The figures of an epoch: from the worst to the best of the runs."""
    rows = [lane.call.history.rows[-1] for lane in lanes if lane.call.history.rows]
    if not rows:
        return "no run is left"
    told = [f"epoch {int(rows[0]['epoch'])}/{max(lane.training.epochs for lane in lanes)}  {len(rows)} runs"]
    for key in ("train/bound", "validation/bound"):
        if values := [row[key] for row in rows if key in row]:
            told.append(f"{key.replace('/', ' ')} {min(values):.3f} … {max(values):.3f}")
    if skipped := sum(int(row.get("skipped", 0)) for row in rows):
        told.append(f"{skipped} steps that were not finite skipped")
    failed = sum(lane.error is not None for lane in lanes)
    return "  ".join([*told, *([f"{failed} failed"] if failed else []), f"{seconds:.1f} s"])
