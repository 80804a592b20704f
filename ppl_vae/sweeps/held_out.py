"""The validation of several runs as one: the same data and the same noise for all, each run's own weights."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppl_vae import rng
from ppl_vae.compile.capture import recorded
from ppl_vae.compile.gradient import Bound, length
from ppl_vae.compile.meter import Meter
from ppl_vae.compile.substitute import attempt
from ppl_vae.compile.verify import CaptureError, compare
from ppl_vae.core.snapshot import Snapshot
from ppl_vae.sweeps.lane import Lane
from ppl_vae.sweeps.stack import Program, Stack
from ppl_vae.training.isolation import evaluating
from ppl_vae.training.loop import VALIDATION_SEED, settle, validate


class HeldOut:
    """Takes the averages over the validation data of all runs of a stack.

    Only where all runs validate on equal data and the stacked averages have been found those of each run's own program;
    `why` says why not, where each run validates by itself.

    Args:
        stack: of all runs.
        lanes: those that are live.
        places: theirs in the stack.
    """

    def __init__(self, stack: Stack, lanes: Sequence[Lane], places: Sequence[int]) -> None:
        self.stack, self.why = stack, ""
        self._programs: dict[Any, tuple[Program, tuple[str, ...]]] = {}
        self._batches: list[tuple[Any, ...]] = []
        before = [Snapshot.of(lane.parts, None) for lane in lanes]
        try:
            self._make(lanes, places)
        except CaptureError as error:
            self.why = str(error)
        finally:
            for lane, snapshot in zip(lanes, before, strict=True):
                snapshot.put(lane.parts, None)

    def meters(self, lanes: Sequence[Lane], places: Sequence[int]) -> dict[int, Meter]:
        """The averages by the numbers of the runs, every schedule at its final value; none where each takes its own."""
        if self.why:
            return {}
        moving = [schedule for lane in lanes for schedule in lane.training.moving]
        values = [schedule.value.clone() for schedule in moving]
        for lane in lanes:
            settle(lane.training)
        found = {place: Meter() for place in places}
        with (
            _holding_weights(lanes),
            self.stack.joined(places) as tensors,
            rng.forked(lanes[0].training.device, VALIDATION_SEED),
        ):
            streams = [torch.default_generator.get_state()] * len(tensors[0])
            for batch in self._batches:
                program, names = self._program(batch, lanes[0], tensors)
                rows = torch.stack([r for r in program(tensors, batch, streams) if r is not None], dim=1)
                for place, meter in found.items():
                    meter.sums(names, rows.device).add_(rows[place], alpha=length(batch))
                    meter.weigh(names, length(batch))
        for schedule, value in zip(moving, values, strict=True):
            schedule.value.copy_(value)
        return {lane.number: found[place] for lane, place in zip(lanes, places, strict=True)}

    def _make(self, lanes: Sequence[Lane], places: Sequence[int]) -> None:
        """Make the programs, and hold their averages to each run's own."""
        size = lanes[0].training.plan.batch_size
        feeds = [lane.training.validation for lane in lanes]
        if any(feed is None for feed in feeds):
            raise CaptureError("there are no validation data")
        first, *others = [list(feed.batches(size)) for feed in feeds if feed is not None]
        for feed in others:
            if not all(_equal(a, b) for a, b in zip(first, feed, strict=True)):
                raise CaptureError("the runs validate on data of their own")
        self._batches = first
        expected = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for lane in lanes:
                expected.append(attempt("run", functools.partial(validate, lane.training)))
        found = self.meters(lanes, places)
        for lane, row in zip(lanes, expected, strict=True):
            told = {f"validation/{name}": torch.tensor(value) for name, value in found[lane.number].read().items()}
            least = 0.01 * abs(row["validation/bound"])
            compare({name: torch.tensor(value) for name, value in row.items()}, told, "stacked", least=least)

    def _program(
        self, batch: tuple[Any, ...], lane: Lane, tensors: Sequence[Tensor]
    ) -> tuple[Program, tuple[str, ...]]:
        shape = _shape(batch)
        if shape not in self._programs:
            an_epoch = sum(_shape(other) == shape for other in self._batches)
            calls = (lane.training.epochs - lane.training.state.epoch) * an_epoch
            value = _Value(Bound(*lane.parts, len(lane.training.train)))
            with evaluating(lane.training.device, VALIDATION_SEED, *lane.parts):
                graph, _ = attempt("captured", lambda: recorded(value, batch))
            program = attempt("stacked", lambda: Program(graph, tensors, batch, calls, shared=True))
            self._programs[shape] = program, ("bound", *value.bound.names)
        return self._programs[shape]


@contextlib.contextmanager
def _holding_weights(lanes: Sequence[Lane]) -> Iterator[None]:
    """Within, each pair holds the weights that its run keeps."""
    with contextlib.ExitStack() as stack:
        for lane in lanes:
            stack.enter_context(lane.training.state.holding_weights())
        yield


class _Value(nn.Module):
    """The bound and its metrics, without what is differentiated."""

    def __init__(self, bound: Bound) -> None:
        super().__init__()
        self.bound = bound

    def forward(self, *batch: Tensor) -> tuple[Tensor, ...]:
        value, _, *metrics = self.bound(*batch)
        return (value, *metrics)


def _shape(batch: Sequence[Any]) -> Any:
    return tuple((x.shape, x.dtype) for x in batch)


def _equal(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return all(
        isinstance(a, Tensor) and isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
        for a, b in zip(one, other, strict=True)
    )
