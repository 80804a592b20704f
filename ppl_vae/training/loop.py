"""The training loop, and all of its state."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import nn

from ppl_vae import rng
from ppl_vae.compile.adam import Updater
from ppl_vae.compile.meter import Meter
from ppl_vae.compile.stepper import Stepper, length
from ppl_vae.compile.verify import fingerprint
from ppl_vae.errors import NonFiniteError, PplVaeError
from ppl_vae.runs import reference
from ppl_vae.runs import state as serialize
from ppl_vae.runs.state import put_tensors, take_tensors
from ppl_vae.schedules import Schedule
from ppl_vae.training import nonfinite
from ppl_vae.training.batches import Batches
from ppl_vae.training.checkpoint import Store
from ppl_vae.training.history import History, Row, epochs_since_best
from ppl_vae.training.isolation import evaluating, stop_validating
from ppl_vae.training.optimizers import OptimizerFactory, build_optimizer, trainable
from ppl_vae.training.progress import Quiet, reporter
from ppl_vae.training.recipe import describe, describe_data, describe_optimizer
from ppl_vae.training.schedulers import Pacer
from ppl_vae.training.signals import Interrupted, PostponedSignals

# the same noise after every epoch and in every run: differences are differences of the pairs
VALIDATION_SEED = 0
INITIAL, NOISE, ORDER = 0, 1, 2  # purposes of the streams of random numbers of a run


@dataclass(frozen=True)
class Plan:
    """The numbers that training goes by; see `fit`."""

    epochs: int = 20
    steps: int | None = None
    batch_size: int = 128
    seed: int = 0
    grad_clip: float | None = None
    grad_clip_value: float | None = None
    early_stopping: int | None = None
    keep: str = "best"
    compile: str = "auto"


class Loop:
    """One run of training: its parts, where it is, and all state to go on.

    Numbers stay on the device: a step reads none. The running average is read once an epoch, and by the clock
    for the progress bar; a NaN stays in it, so nothing need be checked at each step. Once it is seen, the
    epoch is replayed from the state at its start to find the step and the site.
    """

    optimizer: torch.optim.Optimizer
    pacer: Pacer

    def __init__(
        self,
        vae: Any,
        objective: Any,
        train: Batches,
        validation: Batches | None,
        plan: Plan,
        history: History,
        store: Store | None,
        signals: PostponedSignals,
        callbacks: Sequence[Callable[[Row], object]],
        device: torch.device,
        test: Any = None,
    ) -> None:
        self.vae, self.objective, self.train, self.validation = vae, objective, train, validation
        self.plan, self.history, self.store, self.signals = plan, history, store, signals
        self.callbacks, self.device, self.test = callbacks, device, test
        self.history.keep = plan.keep
        self.per_epoch = math.ceil(len(train) / plan.batch_size)
        self.steps = plan.epochs * self.per_epoch if plan.steps is None else plan.steps
        self.epochs = plan.epochs if plan.steps is None else math.ceil(plan.steps / self.per_epoch)
        self.chosen: Any = None  # the optimizer as it was made, and the schedule of its learning rate
        self.schedule: Any = None
        self.reference: tuple[Any, ...] = ()  # the first data
        # Where training is: whole epochs, steps in all, steps in the epoch at hand and seconds spent on it.
        self.epoch = self.step = self.position = 0
        self.spent = 0.0
        self.meter = Meter()
        self.best: Any = None  # weights
        self.snapshot: Any = None  # all state where this process entered the epoch
        self.validating = True
        self.reporter: Any = Quiet()
        if plan.early_stopping is not None and validation is None:
            raise PplVaeError(
                f"Got early_stopping={plan.early_stopping} without validation data, expected a Dataset with "
                "a validation "
                "split: the training bound cannot tell when to stop."
            )

    # --- setting up
    # -----------------------------------------------------------------------------------------------

    def prepare(
        self, optimizer: OptimizerFactory, scheduler: Any, groups: Mapping[str, Mapping[str, Any]] | None
    ) -> None:
        """Let lazily made parameters appear, then make the optimizer over all of them."""
        from ppl_vae.core.run import prepare
        from ppl_vae.training.lint import lint

        if not self.vae.training:
            self.vae.train()  # otherwise as found: a part put into evaluation mode by hand stays so
        if (what := nonfinite.broken(dict(self.vae.named_parameters()))) is not None:
            self._fail(math.nan, what, None, None)
        batch = next(self.train.batches(self.plan.batch_size))
        self.history.warnings = lint(self.vae, batch, len(self.train))
        prepare(self.vae, batch, self.particles)
        self.reference = reference.choose(batch, self.vae)
        if isinstance(self.objective, nn.Module) and any(map(nn.parameter.is_lazy, self.objective.parameters())):
            with evaluating(self.device, self.plan.seed, self.vae, self.objective):
                self.objective(self.vae, batch, total=len(self.train))
        parts = [p for p in (self.vae, self.objective) if isinstance(p, nn.Module)]
        named = [(name, m) for part in parts for name, m in part.named_modules() if isinstance(m, Schedule)]
        self.schedules = {name.rpartition(".")[2]: schedule for name, schedule in named}
        self.moving = [schedule for schedule in {m: None for _, m in named} if schedule.until > 0]
        self.parameters, self.schedule = trainable(*parts), scheduler
        if self.epochs or self.parameters:
            self.optimizer = build_optimizer(optimizer, self.parameters, groups)
            self.chosen = describe_optimizer(self.optimizer)
            self.updater = Updater(self.optimizer)
            self.pacer = Pacer(
                scheduler,
                self.optimizer,
                steps=self.steps,
                epochs=self.epochs,
                validated=self.validation is not None,
            )
            self.stepper = Stepper(
                self.vae,
                self.objective,
                len(self.train),
                self.updater,
                self.parameters,
                clip=self.plan.grad_clip,
                clip_value=self.plan.grad_clip_value,
                mode=self.plan.compile,
                steps=self.steps,
                batch_size=min(self.plan.batch_size, len(self.train)),
                schedules=self.moving,
                device=self.device,
            )

    @property
    def particles(self) -> int:
        """K of the objective."""
        return int(getattr(self.objective, "num_particles", 1))

    def start(self, resume: bool) -> None:
        """Begin anew, or go on from the last saved state."""
        rng.seed_all(rng.derive(self.plan.seed, NOISE), self.device)
        if self.store is None:
            return
        self.store.take(resume)
        recipe = self.recipe()
        state = self.store.load() if resume else None
        if state is not None:
            self.store.refuse_other(recipe, state)
            self.history.rows[:] = self.store.read_rows(state["rows"])
            self.load(state, str(self.store.last))
            if self.store.model.exists():
                self.best = serialize.load(self.store.model)
        self.store.begin(self.plan.seed)
        if state is None or not self.store.recipe.exists():
            self.store.save_recipe(recipe)
        if (state is None or not self.store.has_reference) and (why := self.store.save_reference(self.reference)):
            warnings.warn(why, stacklevel=2)
        if state is None:
            # so that a run killed in its first epoch, too, goes on with the same initial weights
            self._save()
        self.store.rewrite(self.history.rows)

    def recipe(self) -> dict[str, Any]:
        """The identity of this run, which a resumed run must share with the interrupted one."""
        plan = dataclasses.asdict(self.plan)
        return {
            **{name: value for name, value in plan.items() if name not in ("epochs", "steps")},
            "data": {
                "train": describe_data(self.train.split),
                "validation": describe_data(None if self.validation is None else self.validation.split),
                "test": describe_data(self.test),
            },
            "objective": describe(self.objective),
            "optimizer": self.chosen,
            "scheduler": describe(self.schedule),
            "model": describe(self.vae.model),
            "guide": describe(self.vae.guide),
            "estimators": describe(self.vae.estimators),
            "trained parameters": {name: list(p.shape) for name, p in self.parameters.items()},
        }

    # --- state
    # ----------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on; tensors are those in use, not copies."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "position": self.position,
            "spent": self.spent,
            "rows": len(self.history),  # they are in metrics.jsonl
            "vae": take_tensors(self.vae),
            "objective": take_tensors(self.objective),
            "optimizer": self.optimizer.state_dict() if self.parameters else None,
            "scheduler": self.pacer.state() if self.parameters else None,
            "meter": self.meter.state(),
            "rng": rng.capture(self.device),
        }

    def load(self, state: Any, source: str) -> None:
        """Go back, or on, to what `state` gave."""
        self.epoch, self.step, self.position = state["epoch"], state["step"], state["position"]
        self.spent = state["spent"]
        del self.history.rows[state["rows"] :]
        if self.parameters:
            self.optimizer.load_state_dict(state["optimizer"])
            self.updater.reset()
            self.pacer.load(state["scheduler"])
        self.meter = Meter()
        self.meter.load(state["meter"], self.device)
        self._put(state["vae"], state["objective"], state["rng"], source)

    def _put(self, vae: Any, objective: Any, generators: Any, source: str = "the snapshot") -> None:
        put_tensors(self.vae, vae, source)
        put_tensors(self.objective, objective, source)
        rng.restore(generators, self.device)

    def _save(self) -> None:
        if self.store is not None:
            self.store.save_last(self.state())

    # --- running
    # --------------------------------------------------------------------------------------------------

    def run(self, progress: bool | None) -> None:
        """Train until the end, an early stop, or a signal; then hold the weights to keep."""
        try:
            with reporter(progress, steps=self.steps, epochs=self.epochs, done=self.step) as self.reporter:
                for found in self.history.warnings:
                    self.reporter.note(f"warning: {found.kind}, at {found.where}: {found.what} Fix: {found.fix}")
                if self.epochs == 0 and not self.history.rows:
                    self._evaluate_only()
                while self.step < self.steps and not self._stops_early():
                    self._run_epoch()
                self.reporter.done(self.history)
        except Interrupted:
            self._keep_weights()
            raise
        self.history.status = "stopped early" if self.step < self.steps else "finished"
        self._keep_weights()

    def _run_epoch(self) -> None:
        self.snapshot = copy.deepcopy(self.state())
        started, look = time.monotonic() - self.spent, time.monotonic() + self.reporter.seconds
        for batch in self._batches():
            self._train_on(batch)
            self.spent = time.monotonic() - started
            if self.signals.pending is not None:
                self._interrupt(save=True)
            if time.monotonic() >= look:
                look = time.monotonic() + self.reporter.seconds
                self.reporter.step(self.step, self.epoch + 1, self._averages()["bound"])
        averages = self._averages()
        self.epoch, self.position, self.meter = self.epoch + 1, 0, Meter()
        row: Row = {"epoch": self.epoch, "step": self.step}
        grad_norm = averages.pop("grad_norm")
        row |= {f"train/{name}": value for name, value in averages.items()}
        row |= {"lr": float(self.optimizer.param_groups[0]["lr"]), "grad_norm": grad_norm}
        row |= {name: float(schedule.value) for name, schedule in self.schedules.items()}
        row |= self._validate()
        self.pacer.after_epoch(-row.get("validation/bound", math.nan))
        row["seconds"] = time.monotonic() - started
        self.spent = 0.0
        self._tell_how_it_ran()
        self._record(row)

    def _tell_how_it_ran(self) -> None:
        """Say once how steps are run, where that is not what happens by itself."""
        before, self.history.compiled = self.history.compiled, self.stepper.description + self.stepper.aside
        if before != self.history.compiled and (self.stepper.captures or self.stepper.gave_up):
            self.reporter.note(f"steps run {self.history.compiled}")

    def _batches(self) -> Iterator[tuple[Any, ...]]:
        """The rest of the epoch; seed and epoch fix its order, so any place in it is found again."""
        generator = torch.Generator().manual_seed(rng.derive(self.plan.seed, ORDER, self.epoch))
        batches = self.train.batches(self.plan.batch_size, generator)
        for _ in range(self.position):
            next(batches)
        return itertools.islice(batches, self.steps - self.step)

    def _train_on(self, batch: tuple[Any, ...]) -> None:
        """One step of training; reads nothing from the device."""
        self._set_schedules(self.step)
        try:
            if self.step == 0:
                self.stepper.by_program(batch, self.meter)
            else:
                if self.validating:  # a resumed run: it must take each step in the way of an uninterrupted one
                    self.stepper.dry_run(batch)
                self._stop_validating()
                self.stepper(batch, self.meter, self.step)
        except Exception as error:
            self._blame(error, length(batch))
            raise
        self._stop_validating()
        self._advance()

    def _stop_validating(self) -> None:
        """Arguments are checked in the first step of a process."""
        if self.validating:
            self.validating = False
            stop_validating()

    def _advance(self) -> None:
        self.pacer.after_step()
        self.step += 1
        self.position += 1

    def _set_schedules(self, step: int) -> None:
        for schedule in self.moving:
            schedule.advance(step, step / self.per_epoch)

    def _averages(self) -> dict[str, float]:
        averages = self.meter.read()
        if not (math.isfinite(averages["bound"]) and math.isfinite(averages["grad_norm"])):
            self._locate(None)
        return averages

    # --- between epochs
    # -------------------------------------------------------------------------------------------

    def _validate(self) -> Row:
        return {} if self.validation is None else self._evaluate(self.validation, "validation")

    def _evaluate(self, feed: Batches, prefix: str) -> Row:
        """Averages over a split with every schedule at its final value, so that epochs can be compared."""
        meter = Meter()
        with evaluating(self.device, VALIDATION_SEED, self.vae, self.objective):
            for schedule in self.moving:
                schedule.value.fill_(schedule.final)
            for batch in feed.batches(self.plan.batch_size):
                bound = self.objective(self.vae, batch, total=len(self.train))
                meter.add({"bound": bound.value, **bound.metrics}, length(batch))
        averages = meter.read()
        if "elbo" not in averages:
            averages["elbo"] = self._elbo(feed)
        row = {f"{prefix}/{name}": value for name, value in averages.items()}
        if not math.isfinite(row[f"{prefix}/bound"]):
            warnings.warn(
                f"The {prefix} bound after epoch {self.epoch} is {row[f'{prefix}/bound']}; the epoch cannot "
                "become the "
                "best. Are there data outside the support of the likelihood?",
                stacklevel=2,
            )
        return row

    def _elbo(self, feed: Batches) -> float:
        """The unweighted ELBO over a split, for an objective of the user's own that tells none: one draw a datum."""
        from ppl_vae.core.run import terms

        meter = Meter()
        try:
            with evaluating(self.device, VALIDATION_SEED, self.vae, self.objective):
                for batch in feed.batches(self.plan.batch_size):
                    elbo = terms(self.vae, batch, 1, total=len(self.train)).elbo
                    meter.add({"elbo": elbo.detach()}, length(batch))
        except PplVaeError as error:
            warnings.warn(f"The pair has no ELBO to tell beside its objective's bound: {error}", stacklevel=2)
            return math.nan
        return meter.read()["elbo"]

    def _evaluate_only(self) -> None:
        started = time.monotonic()
        row: Row = {"epoch": 0, "step": 0}
        row |= self._evaluate(self.train, "train") | self._validate()
        self._record(row | {"seconds": time.monotonic() - started})

    def _record(self, row: Row) -> None:
        """Metrics first, then weights, then the state to go on from: a kill in between is made up for."""
        self.history.rows.append(row)
        is_best = self.history.best is row
        keeps = self.history.kept is row
        if keeps:
            self.best = copy.deepcopy(self.vae.state_dict())
        if self.store is not None:
            self.store.append(row)
            if keeps:
                self.store.save_best(self.best, self.epoch)
        self._save()
        self.reporter.epoch(row, is_best and self.validation is not None)
        if self.callbacks:
            before = fingerprint(self.vae, self.objective)
            with evaluating(self.device, VALIDATION_SEED, self.vae, self.objective):
                for callback in self.callbacks:
                    callback(dict(row))
            if self.parameters and fingerprint(self.vae, self.objective) != before:
                self.stepper.forget()
        if self.signals.pending is not None:
            self._interrupt(save=False)

    def _stops_early(self) -> bool:
        patience = self.plan.early_stopping
        return patience is not None and bool(self.history.rows) and epochs_since_best(self.history.rows) >= patience

    def _interrupt(self, *, save: bool) -> NoReturn:
        if save:
            self._save()
        if self.store is not None and self.best is None:
            self.store.save_best(self.vae.state_dict(), self.epoch)  # better than none
        raise Interrupted

    def _keep_weights(self) -> None:
        if self.plan.keep == "best" and self.best is not None:
            self.vae.load_state_dict(self.best)

    # --- when it goes wrong
    # ---------------------------------------------------------------------------------------

    def _blame(self, error: Exception, size: int) -> None:
        """Say that a step failed because of NaN, or of a batch of one, in place of the error that it led to."""
        if size == 1 and "more than 1 value per channel" in str(error):
            raise PplVaeError(
                f"Got a batch of one datum ({len(self.train)} data in batches of {self.plan.batch_size}), expected "
                "at least two: batch norm cannot normalize one. Take a batch_size that leaves another remainder."
            ) from error
        if nonfinite.broken(self.parameters) or (self.validating and isinstance(error, ValueError)):
            self._locate(error)

    def _locate(self, cause: Exception | None) -> None:
        """Replay the epoch from the state kept at its start; raise at the first number that is not finite.

        Returns where `cause` turns out to be something else.
        """
        reached, self.validating = self.step, True
        stop_validating()
        self.load(copy.deepcopy(self.snapshot), "the snapshot")
        for batch in self._batches():
            before = copy.deepcopy((take_tensors(self.vae), take_tensors(self.objective), rng.capture(self.device)))
            try:
                self._set_schedules(self.step)
                metrics = self.stepper.gradient(batch)
                wrong = not all(bool(torch.isfinite(metrics[name])) for name in ("bound", "grad_norm"))
                value = float(metrics["bound"])
            except Exception:
                wrong, value = True, math.nan
            if wrong:
                self._put(*before)
                what, site = nonfinite.diagnose(self.vae, batch, self.particles, len(self.train), self.parameters)
                self._put(*before)
                if cause is not None and site is None and math.isnan(value):
                    return
                self._fail(value, what, site, cause)
            if self.step > reached:
                break
            self.updater.step()
            self._advance()
        self._fail(
            math.nan,
            "it did not occur again when the epoch was replayed, so the site is unknown",
            None,
            cause,
        )

    def _fail(self, value: float, what: str, site: str | None, cause: Exception | None) -> NoReturn:
        found = (
            f"Got a bound of {value}"
            if not math.isfinite(value)
            else f"Got a gradient that is not finite at bound {value}"
        )
        kept = "The pair holds the weights of before this step"
        if self.store is not None:
            kept += f"; {self.store.directory} holds those after epoch {self.epoch}"
        error = NonFiniteError(
            f"{found} in epoch {self.epoch + 1}, step {self.step + 1} (batch {self.position + 1} of the "
            "epoch), expected "
            f"finite numbers: {what}. {kept}."
        )
        error.epoch, error.step, error.site = self.epoch + 1, self.step + 1, site  # type: ignore[attr-defined]
        raise error from cause
