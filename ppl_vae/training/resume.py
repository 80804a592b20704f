"""The beginning of a run, anew or from a checkpoint, and the files that let it go on."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

from ppl_vae import rng
from ppl_vae.compile.meter import Meter
from ppl_vae.nn.formerly import former_name
from ppl_vae.training import callbacks, nonfinite
from ppl_vae.training.checkpoint import Store
from ppl_vae.training.group import require_same
from ppl_vae.training.recipe import describe, describe_data, first_difference
from ppl_vae.training.setup import NOISE, Training


def start(training: Training, resume: bool) -> None:
    """Begin anew, or go on from the last saved state: of several processes, all from that of the first.

    Raises:
        RunError: the directory holds another run, or none that can be resumed.
        ArgumentError: the processes were not asked for the same run.
    """
    rng.seed_all(rng.derive(training.plan.seed, NOISE), training.device)
    group, store = training.group, training.store
    recipe = recipe_of(training) if store is not None or group.size > 1 else {}
    if group.size > 1:
        require_same(group.gather(recipe), first_difference)
    with group.agreed():
        state = None if store is None else _load(training, store, recipe, resume)
        if callbacks.start(training.callbacks, training.history.rows):
            training.state.stopped = True
    if group.size > 1:
        _follow(training)
    if store is not None:
        with group.agreed():
            _begin(training, store, recipe, anew=state is None)
    elif group.size > 1:
        with group.agreed():
            pass


def _load(training: Training, store: Store, recipe: dict[str, Any], resume: bool) -> Any | None:
    """Take the directory and, to go on, the state that was saved there; give it."""
    store.take(resume)
    state = store.load() if resume else None
    saved = store.saved
    if state is None or saved is None:
        return None
    store.refuse_other(recipe, state)
    training.history.rows[:] = store.read_rows(state["rows"])
    kept = training.history.kept
    best, told = store.load_best(None if kept is None else int(kept["epoch"]))
    training.state.put(state, str(saved.path))
    if best is not None:
        own = training.state.vae.state_dict()
        training.process.best = {k: v for k, v in best.items() if k in own} if told else best
        training.process.is_best_saved = not told
    for aloud in (saved.told, told):
        if aloud:
            warnings.warn(aloud, stacklevel=2)
    return state


def _begin(training: Training, store: Store, recipe: dict[str, Any], *, anew: bool) -> None:
    """Say that the run is running, and what it is."""
    ranks, shares = training.group.size, training.shares
    store.begin(training.plan.seed, {"processes": ranks, "shares": shares} if shares > 1 else {})
    if anew or not store.recipe.exists():
        store.save_recipe(recipe)
    if (anew or not store.has_reference) and (why := store.save_reference(training.reference)):
        warnings.warn(why, stacklevel=2)
    if not training.process.is_best_saved:  # they were damaged
        store.save_best(training.process.best, int((training.history.kept or {})["epoch"]))
        training.process.is_best_saved = True
    if store.saved is not None and store.saved.told:  # the last state was damaged
        store.save_last(training.state.take())
    if anew:
        # so that a run killed in its first epoch, too, goes on with the same initial weights
        save(training)
    store.rewrite(training.history.rows)


def _follow(training: Training) -> None:
    """Take the state of the first process: weights that it drew, or that were saved."""
    state, group = training.state, training.group
    taken, rows, best = group.from_first(lambda: (state.take(), training.history.rows, training.process.best))
    if not group.is_first:
        training.history.rows[:] = rows
        state.put(taken, "the first process")
        training.process.best = best
        state.meter = Meter()  # what the epoch has seen so far is counted once


def save(training: Training) -> None:
    """Keep the best weights, then all state to go on."""
    _write(training, training.state.take)


def catch_up(training: Training) -> None:
    """Keep what the last whole epoch left unsaved: the state where the next began, if it did."""
    if not training.process.is_saved:
        begun = training.process.snapshot
        _keep(training, from_beginning=begun is not None and begun["rows"] == len(training.history.rows))


def save_step(training: Training) -> None:
    """Keep the state within an epoch; where a number is not finite any more, that from which its step is found."""
    spoilt = nonfinite.is_over(training, training.state.meter.read())
    _keep(training, from_beginning=spoilt and training.process.snapshot is not None)


def _keep(training: Training, *, from_beginning: bool) -> None:
    """Keep the state at hand, or that where this process began the epoch."""
    _write(training, (lambda: training.process.snapshot) if from_beginning else training.state.take)


def _write(training: Training, state: Callable[[], dict[str, Any]]) -> None:
    process, store = training.process, training.store
    process.is_saved = True
    if store is None:
        return
    store.settle_metrics()
    if not process.is_best_saved and (kept := training.history.kept) is not None:
        store.save_best(process.best, int(kept["epoch"]))
        process.is_best_saved = True
    store.save_last(state())


def recipe_of(training: Training) -> dict[str, Any]:
    """The identity of a run, which a resumed run must share with the interrupted one."""
    plan = dataclasses.asdict(training.plan)
    validation = training.validation
    vae = training.state.vae
    return {
        **{name: value for name, value in plan.items() if name not in ("epochs", "steps")},
        "shares": training.shares,
        "data": {
            "train": describe_data(training.train.split),
            "validation": describe_data(None if validation is None else validation.split),
            "test": describe_data(training.test),
        },
        "objective": describe(training.state.objective),
        "optimizer": training.chosen,
        "scheduler": describe(training.scheduler),
        "model": describe(vae.model),
        "guide": describe(vae.guide),
        "estimators": describe(vae.estimators),
        "trained parameters": {former_name(vae, n): list(p.shape) for n, p in training.parameters.items()},
    }
