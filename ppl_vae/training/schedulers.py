"""Learning rates over time: each a pure function of the training step, times the optimizer's own `lr`."""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from ppl_vae.compile.kind import kind
from ppl_vae.errors import PplVaeError

__all__ = ["PerStep", "Plateau", "Schedule", "burda", "constant", "cosine", "plateau", "step", "warmup"]


@dataclass(frozen=True)
class Schedule:
    """A factor on the learning rate, as a function of time.

    Args:
        factor: takes time and its end, gives the factor; time is counted in steps, or in epochs.
        per_step: whether the learning rate changes at every step, or between epochs only.

    Example:
        >>> halves = Schedule(lambda t, end: 0.5 if 2 * t >= end else 1.0, per_step=False)
    """

    factor: Callable[[int, int], float]
    per_step: bool = True

    def build(self, optimizer: Optimizer, steps: int, epochs: int) -> LambdaLR:
        """Attach the schedule to an optimizer that will run for so many steps and epochs."""
        end = steps if self.per_step else epochs
        return LambdaLR(optimizer, lambda t: self.factor(t, end))


@dataclass(frozen=True)
class PerStep:
    """Step a scheduler of `torch.optim.lr_scheduler` after every step, rather than after every epoch.

    Args:
        factory: takes the optimizer, gives the scheduler.
    """

    factory: Callable[[Optimizer], Any]


@dataclass(frozen=True)
class Plateau:
    """Marks a scheduler that follows the validation loss; see `plateau`."""

    options: dict[str, Any]


def constant() -> Schedule:
    """The learning rate stays what it is."""
    return Schedule(lambda t, end: 1.0)


def warmup(steps: int = 500) -> Schedule:
    """A linear start, then constant: factor(t) = min(1, (t + 1)/steps).

    Args:
        steps: length of the start.
    """
    _at_least("steps", steps, 1)
    return Schedule(lambda t, end: min(1.0, (t + 1) / steps))


def cosine(warmup: int = 0, floor: float = 0.0) -> Schedule:
    """Half a cosine after a linear start: factor = floor + (1 − floor)(1 + cos πs)/2, s the part done.

    Args:
        warmup: steps of the linear start.
        floor: the factor at the end.

    References:
        Loshchilov and Hutter (2017), SGDR: Stochastic Gradient Descent with Warm Restarts,
            https://arxiv.org/abs/1608.03983
    """
    _at_least("warmup", warmup, 0)
    _at_least("floor", floor, 0)

    def factor(t: int, end: int) -> float:
        if t < warmup:
            return (t + 1) / warmup
        done = min(1.0, (t - warmup) / max(1, end - warmup))
        return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2

    return Schedule(factor)


def step(every: int = 10, factor: float = 0.5) -> Schedule:
    """Drops at regular epochs: factor^⌊epoch/every⌋.

    Args:
        every: epochs between drops.
        factor: of one drop.
    """
    _at_least("every", every, 1)
    _at_least("factor", factor, 0)
    return Schedule(lambda t, end: factor ** (t // every), per_step=False)


def plateau(patience: int = 5, factor: float = 0.5, threshold: float = 1e-4, min_lr: float = 0.0) -> Plateau:
    """Multiply lr by `factor` when the validation loss has not improved for `patience` epochs.

    Args:
        patience: epochs to wait.
        factor: of one drop.
        threshold: the relative improvement that counts.
        min_lr: never below this.
    """
    _at_least("patience", patience, 0)
    return Plateau({"patience": patience, "factor": factor, "threshold": threshold, "min_lr": min_lr})


def burda(stages: int = 8) -> Schedule:
    """Stages of 3^i epochs, i = 0, 1, …, with factor round(10^(1 − i/7), 1)/10.

    With lr=1e-3 and eight stages (3,280 epochs) this is the paper's 1e-4 · round(10^(1 − i/7), 1). With
    another number of epochs the stages keep their proportions.

    Args:
        stages: how many.

    References:
        Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders, https://arxiv.org/abs/1509.00519,
            section 5

    Example:
        >>> [burda().factor(e, 3280) for e in (0, 1, 4, 13, 3279)]
        [1.0, 0.72, 0.52, 0.37, 0.1]
    """
    _at_least("stages", stages, 1)
    ends = [(3 ** (i + 1) - 1) // 2 for i in range(stages)]

    def factor(t: int, end: int) -> float:
        # In whole numbers: t·ends[-1] < ends[i]·end, so that boundaries are exact.
        stage = min(bisect.bisect_right([e * end for e in ends], t * ends[-1]), stages - 1)
        return round(round(10 ** (1 - stage / max(1, stages - 1)), 1) / 10, 6)

    return Schedule(factor, per_step=False)


class Pacer:
    """A schedule of any kind as the training loop needs it: when to step it, with what, and its state."""

    def __init__(self, schedule: Any, optimizer: Optimizer, *, steps: int, epochs: int, validated: bool) -> None:
        self.per_step = False
        self.scheduler: Any
        if isinstance(schedule, Schedule):
            self.per_step = schedule.per_step
            self.scheduler = schedule.build(optimizer, max(1, steps), max(1, epochs))
        elif isinstance(schedule, Plateau):
            self.scheduler = ReduceLROnPlateau(optimizer, **schedule.options)
        elif isinstance(schedule, PerStep):
            self.per_step = True
            self.scheduler = schedule.factory(optimizer)
        elif schedule is None:
            self.scheduler = None
        elif callable(schedule):
            self.scheduler = schedule(optimizer)
        else:
            raise PplVaeError(
                f"Got scheduler={schedule!r}, expected None, one of ppl_vae.training.schedulers, or a "
                "function of the "
                "optimizer, e.g. functools.partial(torch.optim.lr_scheduler.StepLR, step_size=10) (stepped "
                "per epoch)."
            )
        self.follows_loss = isinstance(self.scheduler, ReduceLROnPlateau)
        if self.follows_loss and not validated:
            raise PplVaeError(
                "Got a schedule that follows the validation loss, but no validation data; expected a Dataset "
                "with a "
                "validation split. Pass one, or take a schedule of time (cosine, step)."
            )
        if self.scheduler is not None and not all(hasattr(self.scheduler, m) for m in ("step", "state_dict")):
            raise PplVaeError(
                f"Got {type(self.scheduler).__name__} from scheduler={schedule!r}, expected an lr scheduler."
            )

    @functools.cached_property
    def looks_at_nothing(self) -> bool:
        """True if no code that somebody wrote runs between two steps: it could look at weights, or change them."""
        return not self.per_step or kind(self.scheduler).is_ours

    def after_step(self) -> None:
        """One optimizer step is done."""
        if self.per_step:
            self.scheduler.step()

    def after_epoch(self, loss: float) -> None:
        """One epoch is done, with this validation loss."""
        if self.follows_loss:
            self.scheduler.step(loss)
        elif self.scheduler is not None and not self.per_step:
            self.scheduler.step()

    def state(self) -> Any:
        """The state of the schedule; its functions of time are code, and are no part of it."""
        return None if self.scheduler is None else self.scheduler.state_dict()

    def load(self, state: Any) -> None:
        """Go on from what `state` gave."""
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state)


def _at_least(name: str, value: float, least: float) -> None:
    if not least <= value < math.inf:
        raise PplVaeError(f"Got {name}={value} for a schedule, expected a number of at least {least}.")
