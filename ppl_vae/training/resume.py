"""The beginning of a run, anew or from a checkpoint, and the files that let it go on."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

from ppl_vae import rng
from ppl_vae.nn.formerly import former_name
from ppl_vae.runs import state as serialize
from ppl_vae.training.recipe import describe, describe_data
from ppl_vae.training.setup import NOISE, Training


def start(training: Training, resume: bool) -> None:
    """Begin anew, or go on from the last saved state.

    Raises:
        RunError: the directory holds another run, or none that can be resumed.
    """
    rng.seed_all(rng.derive(training.plan.seed, NOISE), training.device)
    store = training.store
    if store is None:
        return
    store.take(resume)
    recipe = recipe_of(training)
    state = store.load() if resume else None
    if state is not None:
        store.refuse_other(recipe, state)
        training.history.rows[:] = store.read_rows(state["rows"])
        training.state.put(state, str(store.last))
        if store.model.exists():
            training.process.best = serialize.load(store.model)
    store.begin(training.plan.seed)
    if state is None or not store.recipe.exists():
        store.save_recipe(recipe)
    if (state is None or not store.has_reference) and (why := store.save_reference(training.reference)):
        warnings.warn(why, stacklevel=2)
    if state is None:
        # so that a run killed in its first epoch, too, goes on with the same initial weights
        save(training)
    store.rewrite(training.history.rows)


def save(training: Training) -> None:
    """Keep the best weights, then all state to go on."""
    _write(training, training.state.take())


def catch_up(training: Training) -> None:
    """Keep what an epoch left unsaved; of an epoch that ends in the middle, the state where it began."""
    if not training.process.is_saved:
        _write(training, training.process.snapshot if training.state.position else training.state.take())


def _write(training: Training, state: dict[str, Any]) -> None:
    process, store = training.process, training.store
    process.is_saved = True
    if store is None:
        return
    if not process.is_best_saved and (kept := training.history.kept) is not None:
        store.save_best(process.best, int(kept["epoch"]))
        process.is_best_saved = True
    store.save_last(state)


def recipe_of(training: Training) -> dict[str, Any]:
    """The identity of a run, which a resumed run must share with the interrupted one."""
    plan = dataclasses.asdict(training.plan)
    validation = training.validation
    vae = training.state.vae
    return {
        **{name: value for name, value in plan.items() if name not in ("epochs", "steps")},
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
