"""The makings of a run: its parts, which stay as they are, and its state, which training changes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ppl_vae import rng
from ppl_vae.compile.adam import Updater
from ppl_vae.compile.gradient import Gradient
from ppl_vae.compile.guard import Guard
from ppl_vae.compile.precision import require_float32
from ppl_vae.compile.stepper import Stepper
from ppl_vae.core.run import prepare
from ppl_vae.errors import PplVaeError
from ppl_vae.runs import reference
from ppl_vae.schedules import Schedule
from ppl_vae.training import nonfinite
from ppl_vae.training.average import Average
from ppl_vae.training.batches import Batches
from ppl_vae.training.checkpoint import Store
from ppl_vae.training.group import Group
from ppl_vae.training.history import History, Row
from ppl_vae.training.isolation import evaluating
from ppl_vae.training.lint import lint
from ppl_vae.training.optimizers import OptimizerFactory, build_optimizer, trainable
from ppl_vae.training.progress import Quiet
from ppl_vae.training.recipe import describe_optimizer
from ppl_vae.training.schedulers import Pacer
from ppl_vae.training.shares import SharedStepper, require_divisible, shared_norms
from ppl_vae.training.signals import PostponedSignals
from ppl_vae.training.state import State

INITIAL, NOISE, ORDER = 0, 1, 2  # purposes of the streams of random numbers of a run


@dataclass(frozen=True)
class Plan:
    """The numbers that training goes by; see `fit`, whose signature has their defaults."""

    epochs: int
    steps: int | None
    batch_size: int
    seed: int
    grad_clip: float | None
    grad_clip_value: float | None
    early_stopping: int | None
    keep: str
    ema: float | None
    compile: str
    accumulate: int
    precision: str
    nonfinite: str
    nonfinite_budget: int


@dataclass
class Process:
    """Things that a process keeps beside the state, and another process that goes on makes anew.

    Attributes:
        best: weights of the best epoch, which are in `model.safetensors` too if `is_best_saved`.
        is_saved: whether the state of the last whole epoch is in its file.
        snapshot: all state where this process entered the epoch.
        validating: true until the first step of the process, in which arguments are checked.
        reporter: tells how it goes.
    """

    best: Any = None
    is_best_saved: bool = True
    is_saved: bool = True
    snapshot: Any = None
    validating: bool = True
    reporter: Any = field(default_factory=Quiet)


@dataclass(frozen=True)
class Parts:
    """The arguments of a run, see `fit`, with the processes that take part and the shares that batches are taken in."""

    plan: Plan
    train: Batches
    validation: Batches | None
    test: Any
    history: History
    store: Store | None
    signals: PostponedSignals
    callbacks: Sequence[Callable[[Row], object]]
    device: torch.device
    group: Group
    shares: int


@dataclass(frozen=True)
class Training(Parts):
    """One run: its parts, and all state to go on.

    Attributes:
        per_epoch: steps of an epoch.
        steps: those of the whole run.
        epochs: those of the whole run, of which the last may be cut off.
        particles: K of the objective.
        schedules: those of pair and objective by name, and of them those that are `moving`.
        parameters: those that are trained, by name.
        chosen: the optimizer as it was made, and the `scheduler` that was asked for.
        reference: the first data.
        state: what training changes, with the pair and the objective.
        stepper: takes steps; None where nothing is trained.
        process: what is not needed to go on.
    """

    per_epoch: int
    steps: int
    epochs: int
    particles: int
    schedules: Mapping[str, Schedule]
    moving: Sequence[Schedule]
    parameters: Mapping[str, Tensor]
    chosen: Any
    scheduler: Any
    reference: tuple[Any, ...]
    state: State
    stepper: Stepper | SharedStepper | None
    process: Process = field(default_factory=Process)

    def rest_of_epoch(self) -> Iterator[tuple[Any, ...]]:
        """The batches ahead; seed and epoch fix their order, so that any place in it is found again."""
        generator = torch.Generator().manual_seed(rng.derive(self.plan.seed, ORDER, self.state.epoch))
        batches = self.train.batches(self.plan.batch_size, generator, done=self.state.position)
        return itertools.islice(batches, self.steps - self.state.step)

    @property
    def is_moving(self) -> bool:
        """True as long as some schedule is to have another value at a later step."""
        step, epoch = self.state.step, self.state.step / self.per_epoch
        return any((step if schedule.unit == "steps" else epoch) < schedule.until for schedule in self.moving)

    def set_schedules(self) -> None:
        """Move what moves to where it is at the step ahead."""
        step = self.state.step
        for schedule in self.moving:
            schedule.advance(step, step / self.per_epoch)


def set_up(
    vae: Any,
    objective: Any,
    optimizer: OptimizerFactory,
    scheduler: Any,
    groups: Mapping[str, Mapping[str, Any]] | None,
    given: Parts,
) -> Training:
    """Let lazily made parameters appear, then make the optimizer over all of them, and what takes steps.

    Raises:
        PplVaeError: early stopping without validation data.
        NonFiniteError: the pair holds NaN.
        CheckError: what the linter refuses.
    """
    plan, data = given.plan, given.train
    if plan.early_stopping is not None and given.validation is None:
        raise PplVaeError(
            f"Got early_stopping={plan.early_stopping} without validation data, expected a Dataset with a validation "
            "split: the training bound cannot tell when to stop."
        )
    per_epoch = data.num_batches(plan.batch_size)
    steps = plan.epochs * per_epoch if plan.steps is None else plan.steps
    epochs = plan.epochs if plan.steps is None else math.ceil(plan.steps / per_epoch)
    if isinstance(objective, nn.Module):
        objective.to(given.device)  # its schedules, and a network that it trains, are where the pair is
    state = State(vae, objective, given.device, given.history.rows)
    if not vae.training:
        vae.train()  # otherwise as found: a part put into evaluation mode by hand stays so
    if (what := nonfinite.broken(dict(vae.named_parameters()))) is not None:
        nonfinite.fail(state, given.store, math.nan, what, None, None)
    heads = data.firsts(plan.batch_size)
    batch = heads[0]
    given.history.warnings = tuple(finding for head in heads for finding in lint(vae, head, len(data)))
    particles = int(getattr(objective, "num_particles", 1))
    for head in heads:
        prepare(vae, head, particles)
    if given.shares > 1:
        for head in heads:
            require_divisible(vae, objective, head, len(data), given.shares)
        given.history.warnings += shared_norms(vae, given.shares)
    if plan.precision != "full":
        require_float32(vae, plan.precision)
    first = reference.choose(batch, vae)
    if isinstance(objective, nn.Module) and any(map(nn.parameter.is_lazy, objective.parameters())):
        with evaluating(given.device, plan.seed, vae, objective):
            objective(vae, batch, total=len(data))
    modules = [part for part in (vae, objective) if isinstance(part, nn.Module)]
    named = [(name, m) for part in modules for name, m in part.named_modules() if isinstance(m, Schedule)]
    moving = [schedule for schedule in {m: None for _, m in named} if schedule.until > 0]
    parameters = trainable(*modules)
    chosen = stepper = None
    if epochs or parameters:
        sparse = any(getattr(m, "sparse", False) is True for part in modules for m in part.modules())  # embeddings
        made = build_optimizer(optimizer, parameters, groups, fuses=not sparse)
        chosen = describe_optimizer(made)
        if plan.nonfinite == "raise":
            state.optimizer = Updater(made)
        else:
            state.optimizer = Guard(made, (vae, objective), backoff=plan.nonfinite == "backoff")
        validated = given.validation is not None
        state.scheduler = Pacer(scheduler, made, steps=steps, epochs=epochs, validated=validated)
        stepper = _stepper(given, state, parameters, moving, steps)
        if plan.ema is not None:
            state.average = Average(vae, list(parameters.values()), plan.ema)
    return Training(
        **vars(given),
        per_epoch=per_epoch,
        steps=steps,
        epochs=epochs,
        particles=particles,
        schedules={name.rpartition(".")[2]: schedule for name, schedule in named},
        moving=moving,
        parameters=parameters,
        chosen=chosen,
        scheduler=scheduler,
        reference=first,
        state=state,
        stepper=stepper,
    )


def _stepper(
    given: Parts, state: State, parameters: Mapping[str, Tensor], moving: Sequence[Schedule], steps: int
) -> Stepper | SharedStepper:
    """Make the object that takes steps: each on the whole batch, or in shares."""
    plan, updater = given.plan, state.optimizer
    assert updater is not None
    limits = plan.grad_clip, plan.grad_clip_value
    gradient = Gradient(state.vae, state.objective, len(given.train), parameters, *limits, plan.precision)

    def stepper(gradient: Gradient, updater: Any) -> Stepper:
        return Stepper(
            gradient,
            updater,
            mode=plan.compile,
            steps=steps,
            batch_size=math.ceil(min(plan.batch_size, len(given.train)) / given.shares),
            per_epoch=given.train.num_batches(plan.batch_size),
            schedules=moving,
            device=given.device,
        )

    if given.shares == 1:
        return stepper(gradient, updater)
    return SharedStepper(
        gradient,
        updater,
        number=given.shares,
        seed=plan.seed,
        group=given.group,
        signals=given.signals,
        at=lambda: state.step,
        stepper=stepper,
        device=given.device,
    )
