"""The training loop: epochs of steps, and what is done between them.

Numbers stay on the device: a step reads none. The running average is read once an epoch, and by the clock for the
progress bar; a NaN stays in it, so that nothing need be checked at each step (see `nonfinite`).
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import torch

from ppl_vae.compile.gradient import length
from ppl_vae.compile.guard import Guard, all_finite
from ppl_vae.compile.kind import fingerprint
from ppl_vae.compile.meter import Meter
from ppl_vae.compile.stepper import Stepper
from ppl_vae.core.run import terms
from ppl_vae.core.snapshot import Snapshot, copied
from ppl_vae.errors import PplVaeError
from ppl_vae.training import callbacks, nonfinite
from ppl_vae.training.batches import Batches
from ppl_vae.training.group import RanksError
from ppl_vae.training.history import Row, epochs_since_best
from ppl_vae.training.isolation import evaluating, stop_validating
from ppl_vae.training.progress import Progress, reporter
from ppl_vae.training.resume import save, save_step
from ppl_vae.training.setup import Training
from ppl_vae.training.signals import Interrupted

__all__ = [
    "begin_epoch",
    "end_epoch",
    "finish",
    "interrupt",
    "is_done",
    "keep_weights",
    "run",
    "settle",
    "train_on",
    "validate",
]

# the same noise after every epoch and in every run: differences are differences of the pairs
VALIDATION_SEED = 0

LOST = 600.0  # by a kill in a long epoch, at most so many seconds

APART = 1e-4  # by so much of their size weights may differ between processes, whose processors may round differently


def run(training: Training, progress: Progress) -> None:
    """Train until the end, an early stop, or a signal; then hold the weights to keep.

    Raises:
        Interrupted: by a signal; all state has been saved.
        NonFiniteError: the bound became NaN or infinite.
    """
    state, history, process = training.state, training.history, training.process
    telling = reporter(progress, steps=training.steps, epochs=training.epochs, done=state.step)
    try:
        with telling as process.reporter:
            for found in history.warnings:
                process.reporter.note(f"warning: {found.kind}, at {found.where}: {found.what} Fix: {found.fix}")
            if training.epochs == 0 and not history.rows:
                _evaluate_only(training)
            while not is_done(training):
                _run_epoch(training)
            process.reporter.done(history)
    except Interrupted:
        keep_weights(training)
        raise
    finish(training)


def is_done(training: Training) -> bool:
    """True at the end, or where training is to stop early.

    After the last step an epoch is still to be closed where a signal came in between.
    """
    state = training.state
    at_end = state.step > training.steps or (state.step == training.steps and state.position == 0)
    return at_end or state.stopped or _stops_early(training)


def finish(training: Training) -> None:
    """Say how training ended, and hold the weights to keep."""
    training.history.status = "stopped early" if training.state.step < training.steps else "finished"
    keep_weights(training)


def _run_epoch(training: Training) -> None:
    state, reporter = training.state, training.process.reporter
    begin_epoch(training)
    started, look = time.monotonic() - state.spent, time.monotonic() + reporter.seconds
    saved = time.monotonic()
    for batches in _together(training):
        if len(batches) == 1:
            train_on(training, batches[0])
        else:
            _train_on_several(training, batches)
        state.spent = time.monotonic() - started
        if training.signals.stop is not None:
            interrupt(training, unsaved=True)
        if training.group.size == 1 and time.monotonic() - saved >= LOST:  # of several, the others would have to agree
            save_step(training)
            saved = time.monotonic()
        if time.monotonic() >= look:
            look = time.monotonic() + reporter.seconds
            reporter.step(state.step, state.epoch + 1, _glance(training))
    end_epoch(training, lambda: time.monotonic() - started)


def _together(training: Training) -> Iterator[list[tuple[Any, ...]]]:
    """The batches ahead, as many together as are taken in one call; the next ones are drawn once these are done."""
    held: list[tuple[Any, ...]] = []
    most = 1
    for batch in training.rest_of_epoch():
        if held and len(held[0][0]) != len(batch[0]):  # the last one is shorter
            yield held
            held = []
        if not held:
            most = _at_once(training, batch)
        held.append(batch)
        if len(held) == most:
            yield held
            held = []
    if held:
        yield held


def _at_once(training: Training, batch: tuple[Any, ...]) -> int:
    """The number of steps that go into one call: one where something of ours is done between two of them."""
    state, stepper = training.state, training.stepper
    if not isinstance(stepper, Stepper) or (most := stepper.at_once(batch)) == 1:
        return 1
    assert state.scheduler is not None
    between = training.process.validating or state.average is not None or training.is_moving
    ahead = training.train.may_be_ahead and state.scheduler.looks_at_nothing
    return 1 if between or not ahead else most


def begin_epoch(training: Training) -> None:
    """Take note of what callbacks may have done to the optimizer, and keep the state to replay the epoch from."""
    if training.state.optimizer is not None and training.stepper is not None:
        training.state.optimizer.reset()
        training.stepper.gradient.adopt(training.state.optimizer.optimizer)
    training.process.snapshot = copied(training.state.take())


def end_epoch(
    training: Training, seconds: Callable[[], float], validation: Meter | None = None, *, saves: bool = True
) -> None:
    """Read the averages, validate, and record it all.

    Args:
        training: the run, after the last step of an epoch.
        seconds: gives the seconds that the epoch took.
        validation: the averages over the validation data, where they were taken already.
        saves: whether weights and state are written now; where not, `catch_up` must write them.
    """
    state = training.state
    assert state.optimizer is not None
    assert state.scheduler is not None
    averages = _averages(training, _join_meters(training))
    state.end_epoch()
    row: Row = {"epoch": state.epoch, "step": state.step}
    grad_norm = averages.pop("grad_norm")
    row |= {f"train/{name}": value for name, value in averages.items()}
    row |= {"lr": state.optimizer.lr, "grad_norm": grad_norm}
    if isinstance(state.optimizer, Guard):
        row |= _skipped(training, state.optimizer)
    row |= {name: float(schedule.value) for name, schedule in training.schedules.items()}
    if validation is None or training.validation is None:
        row |= validate(training)
    else:
        settle(training)
        row |= _row(training, validation, training.validation, "validation")
    state.scheduler.after_epoch(-row.get("validation/bound", math.nan))
    row["seconds"] = seconds()
    state.spent = 0.0
    _tell_how_it_ran(training)
    _record(training, row, saves)


def train_on(training: Training, batch: tuple[Any, ...]) -> None:
    """One step of training; reads nothing from the device."""
    state, stepper, process = training.state, training.stepper, training.process
    assert stepper is not None
    training.set_schedules()
    try:
        if process.validating and state.step > 0:
            # a resumed run: it must take each step in the way of an uninterrupted one
            _checked(training, batch, lambda: stepper.dry_run(batch))
            _stop_validating(training)
        if state.step > 0:
            stepper(batch, state.meter, state.step)
        elif not _checked(training, batch, lambda: stepper.by_program(batch, state.meter)):
            stepper.by_program(batch, state.meter)
    except Exception as error:
        nonfinite.blame(training, error, length(batch))
        raise
    if process.validating:
        _stop_validating(training)
    state.end_step()


def _train_on_several(training: Training, batches: Sequence[tuple[Any, ...]]) -> None:
    """Steps of training in one call."""
    training.set_schedules()
    assert isinstance(training.stepper, Stepper)
    try:
        training.stepper.several(batches, training.state.meter, training.state.end_step)
    except Exception as error:
        nonfinite.blame(training, error, length(batches[0]))
        raise


def _checked(training: Training, batch: tuple[Any, ...], take: Callable[[], object]) -> bool:
    """Take a step in which arguments are checked; False if it is to be skipped, and so has nothing to be checked."""
    guard, parts, group = training.state.optimizer, (training.state.vae, training.state.objective), training.group
    if not isinstance(guard, Guard):
        take()
        return True
    before = Snapshot.of(parts, training.device)
    try:
        take()
    except Exception as error:
        failed = isinstance(error, ValueError)
        if group.size > 1 and getattr(error, "told_to_ranks", False):
            failed = any(group.gather(failed))
        if not failed:
            raise
        _stop_validating(training)
        before.put(parts, training.device)
        assert training.stepper is not None
        finite = bool(all_finite(training.stepper.replay(batch)))
        before.put(parts, training.device)
        if finite:  # it is another error, such as data outside of a support
            raise
        return False
    return True


def _stop_validating(training: Training) -> None:
    """Arguments are checked in the first step of a process."""
    training.process.validating = False
    stop_validating()


def _glance(training: Training) -> float:
    """The running average of the bound: of several processes, over what this one has seen."""
    if training.group.size == 1:
        return _averages(training, training.state.meter)["bound"]
    return training.state.meter.read().get("bound", math.nan)


def _join_meters(training: Training) -> Meter:
    """The averages of the epoch over what all processes have seen.

    Raises:
        RanksError: their weights have come apart.
    """
    group, meter, device = training.group, training.state.meter, training.device
    if group.size == 1:
        return meter
    weights = [float(p.detach().double().abs().sum()) for p in training.parameters.values()]
    found = group.gather((meter.state(torch.device("cpu")), weights))
    joined = Meter()
    for rank, (state, others) in enumerate(found):
        other = Meter()
        other.load(state, device)
        joined.merge(other)
        for name, a, b in zip(training.parameters, found[0][1], others, strict=True):
            if math.isfinite(a) and abs(a - b) > APART * a:
                raise RanksError(
                    f"Got {name!r} on rank {rank} that is not what it is on rank 0 (Σ|θ| of {b:.9g} and {a:.9g}), "
                    "expected the same weights after the same steps: something changes them on one process alone, such "
                    "as a hook or an optimizer with noise of its own. Train in one process, with trainer.accumulate."
                )
    return joined


def _averages(training: Training, meter: Meter) -> dict[str, float]:
    averages = meter.read()
    if nonfinite.is_over(training, averages):
        nonfinite.locate(training, None)
    return averages


def _skipped(training: Training, guard: Guard) -> Row:
    """The columns of an epoch on steps that were skipped, which are said aloud."""
    budget, epoch = training.plan.nonfinite_budget, training.state.epoch
    number = guard.skipped - training.history.skipped
    row: Row = {"skipped": number, **({"lr_factor": guard.factor} if guard.backoff else {})}
    if number:
        steps = f"{number} step{'s' if number > 1 else ''} of epoch {epoch}"
        slower = f", learning rate times {guard.factor:.3g}" if guard.backoff else ""
        training.process.reporter.note(
            f"warning: {steps} skipped, the last one step {guard.last}: "
            f"bound or gradient not finite ({guard.skipped} of at most {budget} in all{slower})"
        )
    return row


def _tell_how_it_ran(training: Training) -> None:
    """Say once how steps are run, where that is not what happens by itself."""
    history, stepper = training.history, training.stepper
    assert stepper is not None
    before, history.compiled = history.compiled, stepper.description + stepper.aside
    if before != history.compiled and (stepper.captures or stepper.gave_up):
        training.process.reporter.note(f"steps run {history.compiled}")


def validate(training: Training) -> Row:
    """Averages over the validation data, by the program; nothing without any."""
    feed = training.validation
    if feed is None:
        return {}
    settle(training)
    return training.group.from_first(lambda: _evaluate(training, feed, "validation"))


def _evaluate(training: Training, feed: Batches, prefix: str) -> Row:
    """Averages over a split with every schedule at its final value, so that epochs can be compared."""
    vae, objective, meter = training.state.vae, training.state.objective, Meter()
    with training.state.holding_weights(), evaluating(training.device, VALIDATION_SEED, vae, objective):
        settle(training)
        for batch in feed.batches(training.plan.batch_size):
            bound = objective(vae, batch, total=len(training.train))
            meter.add({"bound": bound.value, **bound.metrics}, length(batch))
    return _row(training, meter, feed, prefix)


def settle(training: Training) -> None:
    """Set every schedule to its final value, at which epochs are compared."""
    for schedule in training.moving:
        schedule.value.fill_(schedule.final)


def _row(training: Training, meter: Meter, feed: Batches, prefix: str) -> Row:
    averages = meter.read()
    if "elbo" not in averages:
        averages["elbo"] = _elbo(training, feed)
    row = {f"{prefix}/{name}": value for name, value in averages.items()}
    if not math.isfinite(row[f"{prefix}/bound"]):
        warnings.warn(
            f"The {prefix} bound after epoch {training.state.epoch} is {row[f'{prefix}/bound']}; the epoch cannot "
            "become the best. Are there data outside the support of the likelihood?",
            stacklevel=2,
        )
    return row


def _elbo(training: Training, feed: Batches) -> float:
    """The unweighted ELBO over a split, for an objective of the user's own that tells none: one draw a datum."""
    vae, meter = training.state.vae, Meter()
    try:
        with (
            training.state.holding_weights(),
            evaluating(training.device, VALIDATION_SEED, vae, training.state.objective),
        ):
            for batch in feed.batches(training.plan.batch_size):
                elbo = terms(vae, batch, 1, total=len(training.train)).elbo
                meter.add({"elbo": elbo.detach()}, length(batch))
    except PplVaeError as error:
        warnings.warn(f"The pair has no ELBO to tell beside its objective's bound: {error}", stacklevel=2)
        return math.nan
    return meter.read()["elbo"]


def _evaluate_only(training: Training) -> None:
    started = time.monotonic()
    row: Row = {"epoch": 0, "step": 0}
    row |= training.group.from_first(lambda: _evaluate(training, training.train, "train")) | validate(training)
    _record(training, row | {"seconds": time.monotonic() - started}, saves=True)


def _record(training: Training, row: Row, saves: bool) -> None:
    """Metrics first, then weights, then the state to go on from: a kill in between is made up for."""
    state, process, store = training.state, training.process, training.store
    with training.group.agreed():
        if store is not None:
            store.append(row)
        training.history.rows.append(row)
        is_best = training.history.best is row
        if training.history.kept is row:
            process.best, process.is_best_saved = copied(state.weights()), False
        process.is_saved = False
        if saves:
            save(training)
        process.reporter.epoch(row, is_best and training.validation is not None)
        if training.callbacks and (stopping := _call_back(training, row)):
            state.stopped = True
            process.reporter.note(f"stopped after epoch {state.epoch} by {', '.join(stopping)}")
            if saves:
                save(training)
    if training.group.size > 1:
        state.stopped = training.group.from_first(lambda: state.stopped)
    _agree_on_signals(training)
    if training.signals.stop is not None:
        interrupt(training, unsaved=not process.is_saved)


def _call_back(training: Training, row: Row) -> list[str]:
    """Call back; give the names of callbacks that stop training."""
    state, stepper = training.state, training.stepper
    before = fingerprint(state.vae, state.objective) if stepper is not None and stepper.has_recorded else None
    kinds = _kinds(training)
    with state.holding_weights(), evaluating(training.device, VALIDATION_SEED, state.vae, state.objective):
        stopping = callbacks.ask(training.callbacks, row)
    for name, now in _kinds(training).items():
        if now != kinds[name]:
            raise PplVaeError(
                f"Got {name!r} as {now} from a callback, expected it as {kinds[name]}, for which batches and the state "
                "of the optimizer are made. Convert the pair before training (vae.double(), vae.to(…)), a copy of it "
                "in the callback (copy.deepcopy), or train on in a second fit."
            )
    if stepper is not None and before is not None and fingerprint(state.vae, state.objective) != before:
        stepper.forget()
    return stopping


def _kinds(training: Training) -> dict[str, str]:
    """Of what kind each trained parameter is, in words."""
    return {name: f"{tuple(p.shape)} of {p.dtype} on {p.device}" for name, p in training.parameters.items()}


def _agree_on_signals(training: Training) -> None:
    """Between epochs, let all processes know of a signal that one of them was sent."""
    signals = training.signals
    if training.group.size > 1 and (sent := [s for s in training.group.gather(signals.pending) if s is not None]):
        signals.agree(sent[0])


def _stops_early(training: Training) -> bool:
    patience, rows = training.plan.early_stopping, training.history.rows
    return patience is not None and bool(rows) and epochs_since_best(rows) >= patience


def interrupt(training: Training, *, unsaved: bool) -> NoReturn:
    """Stop where a signal has come, in a state to go on from.

    Raises:
        Interrupted: always.
    """
    if unsaved:
        training.state.meter = _join_meters(training)
        save_step(training)
    if training.store is not None and training.process.best is None:
        training.store.save_best(training.state.weights(), training.state.epoch)  # better than none
    raise Interrupted


def keep_weights(training: Training) -> None:
    """Let the pair hold the weights that are to be kept."""
    if training.plan.keep == "best" and training.process.best is not None:
        training.state.vae.load_state_dict(training.process.best)
    elif training.state.average is not None:
        training.state.vae.load_state_dict(training.state.weights())
