"""Several runs trained in lockstep: one program takes the step of all of them, everything else is each run's own.

Runs that differ in numbers alone (seed, learning rate, β, temperature) share the arithmetic of their steps: the
recorded step of one is mapped over the stacked tensors of all. Noise, order of the data, schedules, the update of the
parameters, averages, checkpoints, early stopping and failure are what they are in a run alone, by the same code. Before
the first step the stacked one is held to what the program of each run does, on other noise and other values of every
schedule; a run that differs by more than rounding, or that cannot be stacked, is trained alone afterwards, and is told
why.
"""

from __future__ import annotations

import inspect
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pyro
from torch import Tensor, nn

from ppl_vae.compile.kind import kind
from ppl_vae.compile.verify import CaptureError
from ppl_vae.sweeps.lane import Lane
from ppl_vae.sweeps.together import Together
from ppl_vae.training.fit import Call, fit
from ppl_vae.training.history import History
from ppl_vae.training.isolation import isolate_globals, stop_validating
from ppl_vae.training.loop import interrupt, is_done, run
from ppl_vae.training.setup import Plan
from ppl_vae.training.signals import PostponedSignals


@dataclass(frozen=True)
class Outcome:
    """The end of one run of several.

    Attributes:
        history: its history.
        error: what it failed by; None if it did not.
        alone: why it was trained alone; empty where it was one of a stack.
    """

    history: History
    error: BaseException | None
    alone: str


def fit_together(
    runs: Sequence[Mapping[str, Any]], *, progress: Callable[[str], object] | None = None, at_once: int = 64
) -> list[Outcome]:
    """Train several pairs, those that differ in numbers alone as one program.

    Each is trained as `ppl_vae.fit` would train it: the same noise, the same order of data, the same files in its
    directory, to rounding the same numbers: what a step leaves behind differs by at most 10³ ε of its size, which is
    verified before the first step, and a history in the fifth digit or so after some hundred steps of float32.

    Args:
        runs: the arguments of `fit`, by name, of each.
        progress: is told a line at a time; nothing is told without it.
        at_once: the most runs in one stack; more of them cost memory, and gain little.

    Returns:
        The outcome of each run, in order; a run that fails stops no other.

    Raises:
        KeyboardInterrupt: on Ctrl-C, after the step at hand; the state of each run that is not done is saved.

    Example:
        >>> import functools, torch, pyro, pyro.distributions as dist, ppl_vae as pv
        >>> class Model(torch.nn.Module):
        ...     def forward(self, x):
        ...         with pyro.plate("data", x.shape[0]):
        ...             z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...             pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> class Guide(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.slope = torch.nn.Parameter(torch.tensor(0.0))
        ...     def forward(self, x):
        ...         with pyro.plate("data", x.shape[0]):
        ...             pyro.sample("z", dist.Normal(self.slope * x, 0.5**0.5))
        >>> x = 2**0.5 * torch.randn(256, generator=torch.Generator().manual_seed(0))
        >>> adam = functools.partial(torch.optim.Adam, lr=0.02)
        >>> outcomes = fit_together([
        ...     {"vae": pv.VAE(Model(), Guide()), "data": x, "optimizer": adam, "seed": seed} for seed in range(3)
        ... ])
        >>> [outcome.history.compiled for outcome in outcomes]
        ['batched: one program for 3 runs', 'batched: one program for 3 runs', 'batched: one program for 3 runs']
    """
    signals, say = PostponedSignals(), progress or (lambda text: None)
    lanes = [Lane(number, _call(run)) for number, run in enumerate(runs)]
    settings = pyro.settings.get()
    with ExitStack() as stack:
        for lane in lanes:
            stack.enter_context(lane.call.isolated())
        stack.enter_context(signals)
        try:
            for lane in lanes:
                pyro.settings.set(**settings)
                with lane.turn():
                    lane.training = lane.call.begin(signals)
            for group in _groups([lane for lane in lanes if not lane.ended], at_once):
                _train(group, settings, say)
            for lane in lanes:
                _train_alone(lane, settings, say, progress is not None)
        except BaseException as error:  # a second Ctrl-C, or a fault of this module: no run is left open
            for lane in lanes:
                if not lane.ended:
                    with lane.turn():
                        lane.end("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", error)
            raise
    if signals.pending is not None:
        signals.deliver()
    return [Outcome(lane.call.history, lane.error, lane.alone) for lane in lanes]


def _call(arguments: Mapping[str, Any]) -> Call:
    """The call of `fit` that these arguments are."""
    bound = inspect.signature(fit).bind(**arguments)
    bound.apply_defaults()
    told = dict(bound.arguments)
    told.pop("progress")
    plan = Plan(**{name: told.pop(name) for name in Plan.__dataclass_fields__})
    return Call.checked(plan=plan, **told)


# --- which runs are stacked
# ------------------------------------------------------------------------------------------------------------


def _groups(lanes: Sequence[Lane], at_once: int) -> list[list[Lane]]:
    """Runs of one kind, together; a run that has no other of its kind is to be trained alone."""
    found: dict[Any, list[Lane]] = {}
    owners = Counter(t for lane in lanes for t in _tensors(lane))
    for lane in lanes:
        if any(owners[t] > 1 for t in _tensors(lane)):
            lane.alone = "it shares a parameter or buffer (the pair, the objective) with another run"
            continue
        try:
            found.setdefault(_kind(lane), []).append(lane)
        except CaptureError as error:
            lane.alone = str(error)
    groups = []
    for alike in found.values():
        if len(alike) == 1:
            alike[0].alone = "no other run is of its kind"
            continue
        if all(is_done(lane.training) for lane in alike):
            for lane in alike:
                lane.alone = "it is done"
            continue
        size = math.ceil(len(alike) / math.ceil(len(alike) / at_once))
        groups += [alike[k : k + size] for k in range(0, len(alike), size)]
    return groups


def _tensors(lane: Lane) -> set[int]:
    """Parameters and buffers that the run reads and changes, each by its `id`."""
    modules = [part for part in lane.parts if isinstance(part, nn.Module)]
    return {id(t) for module in modules for t in (*module.parameters(), *module.buffers())}


def _kind(lane: Lane) -> Any:
    """All that runs must share to be stacked."""
    training = lane.training
    if training.device.type != "cpu":
        raise CaptureError(f"it is on {training.device}, and noise is drawn run by run on the CPU alone")
    if training.epochs == 0 or not training.parameters:
        raise CaptureError("there is nothing to train")
    if training.shares > 1:
        raise CaptureError("its batches are taken in shares")
    if training.plan.precision != "full":
        raise CaptureError(f"it computes in precision={training.plan.precision}")
    batch, *others = training.train.firsts(training.plan.batch_size)
    if others:
        raise CaptureError("its data are of several structures")
    if not all(isinstance(x, Tensor) for x in batch):
        raise CaptureError("the batch holds more than tensors")
    shapes = tuple((tuple(x.shape), x.dtype) for x in batch)
    sizes = training.plan.batch_size, training.per_epoch, len(training.train)
    held_out = None if training.validation is None else len(training.validation)
    return sizes, held_out, shapes, kind(*lane.parts)


# --- training
# --------------------------------------------------------------------------------------------------------------------


def _train_alone(lane: Lane, settings: dict[str, Any], say: Callable[[str], object], told: bool) -> None:
    """Train one run as `fit` does."""
    if lane.ended:
        return
    pyro.settings.set(**settings)
    with lane.turn():
        if lane.training.signals.pending is not None:
            interrupt(lane.training, unsaved=True)
        say(f"run {lane.number}: trained alone: {lane.alone}")
        if lane.described:
            lane.stepper.description = lane.described
        run(lane.training, None if told else False)
        lane.end()


def _train(group: list[Lane], settings: dict[str, Any], say: Callable[[str], object]) -> None:
    """Train runs of one kind in lockstep until the last of them ends."""
    started, before = time.monotonic(), 0
    while len(group) > 1:
        try:
            with isolate_globals(group[0].training.device):
                stop_validating()
                together = Together(group)
        except CaptureError as error:
            for lane in group:
                lane.alone = str(error)
            return
        for lane in together.refused:
            say(f"run {lane.number} is left out of the stack: {lane.alone}")
        if len(together.live) == 1:
            together.live[0].alone = "no other run is of its kind"
            return
        if not before:
            say(f"{len(together.live)} runs as one program, verified in {time.monotonic() - started:.1f} s")
        pyro.settings.set(**settings)
        while 2 * len(together.live) > together.stacked:
            together.epoch(settings, say)
        group, before = (
            together.live,
            together.stacked,
        )  # half of them have ended: those that are left make a smaller stack
    for lane in group:
        lane.alone = lane.alone or "the other runs of its kind have ended"
