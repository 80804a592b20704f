"""Numbers that change while training: β, temperatures, free bits.

A schedule is a function of training progress. Its current value lies in a buffer, so that a compiled step reads it as
a tensor, a state dict holds it, and a resumed run goes on where it was.
"""

import math
from collections.abc import Callable
from numbers import Real

import torch
from torch import Tensor, nn

from ppl_vae.doors import doors
from ppl_vae.errors import ArgumentError
from ppl_vae.kinds import shown

__all__ = [
    "Schedule",
    "constant",
    "cosine",
    "cyclic",
    "exponential",
    "linear",
]


class Schedule(nn.Module):
    """A number `f(step)` that training advances.

    Args:
        f: From a step (from 0) to the value.
        until: The first step from which the value no longer changes (`math.inf` if it always does).
        final: The value from then on, at which bounds are compared and reported.
        unit: Whether `step` counts optimizer steps or epochs.

    Example:
        >>> beta = linear(0.0, 1.0, 10)
        >>> beta.advance(step=5, epoch=0); float(beta.value)
        0.5
    """

    value: Tensor

    def __init__(
        self,
        f: Callable[[float], float],
        *,
        until: float,
        final: float,
        unit: str = "steps",
        name: str = "schedule",
    ) -> None:
        super().__init__()
        if unit not in ("steps", "epochs"):
            raise ArgumentError(f"Got unit={unit!r}, expected 'steps' or 'epochs'.")
        self.f, self.until, self.final, self.unit, self.name = f, until, final, unit, name
        if not isinstance(start := f(0), Real | Tensor):
            raise ArgumentError(f"Got f(0)={shown(start)}, expected a number: f gives the value at a step or an epoch.")
        self.register_buffer("value", torch.tensor(float(start)))

    def advance(self, step: int, epoch: float) -> None:
        """Set the value for a step and an epoch."""
        self.value.fill_(self.f(step if self.unit == "steps" else epoch))

    def like(self, numbers: Tensor) -> Tensor:
        """The value as wide as the numbers that it meets: what is computed of it and a number is rounded as they are.

        Args:
            numbers: such as log-densities.
        """
        return self.value.to(torch.promote_types(self.value.dtype, numbers.dtype))

    def extra_repr(self) -> str:  # noqa: D102
        return f"{self.name}, now {float(self.value):.4g}"


def constant(value: float) -> Schedule:
    """Always `value`.

    Args:
        value: The number.
    """
    return Schedule(lambda step: value, until=0, final=value, name=f"constant {value}")


def linear(start: float, end: float, over: float, unit: str = "steps") -> Schedule:
    """From `start` to `end` in a straight line over `over` steps (or epochs), then `end`: the usual warm-up of β.

    Args:
        start: The first value.
        end: The last value.
        over: Steps or epochs from one to the other.
        unit: `"steps"` or `"epochs"`.
    """
    _positive("over", over)
    return Schedule(
        lambda step: start + (end - start) * min(step / over, 1.0),
        until=over,
        final=end,
        unit=unit,
        name=f"linear {start}→{end} over {over} {unit}",
    )


def cyclic(
    start: float, end: float, period: float, ramp: float = 0.5, cycles: int = 4, unit: str = "steps"
) -> Schedule:
    """`cycles` times a ramp from `start` to `end` over the first part `ramp` of each period; then `end`.

    Args:
        start: The value at the beginning of each period.
        end: The value after each ramp.
        period: Steps or epochs of one cycle.
        ramp: The part of it in which the value rises, in (0, 1].
        cycles: How many.
        unit: `"steps"` or `"epochs"`.

    References:
        Fu et al. (2019), Cyclical Annealing Schedule: A Simple Approach to Mitigating KL Vanishing,
            https://arxiv.org/abs/1903.10145
    """
    _positive("period", period)
    _positive("ramp", ramp)

    def f(step: float) -> float:
        if step >= cycles * period:
            return end
        return start + (end - start) * min((step % period) / (period * ramp), 1.0)

    return Schedule(f, until=cycles * period, final=end, unit=unit, name=f"cyclic {start}→{end}")


def cosine(start: float, end: float, over: float, unit: str = "steps") -> Schedule:
    """From `start` to `end` along half a cosine over `over` steps (or epochs), then `end`.

    Args:
        start: The first value.
        end: The last value.
        over: Steps or epochs from one to the other.
        unit: `"steps"` or `"epochs"`.
    """
    _positive("over", over)
    return Schedule(
        lambda step: end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(step / over, 1.0))),
        until=over,
        final=end,
        unit=unit,
        name=f"cosine {start}→{end} over {over} {unit}",
    )


def exponential(start: float, end: float, over: float, unit: str = "steps") -> Schedule:
    """From `start` to `end`, both positive, by a constant factor a step: the usual cooling of a temperature.

    Args:
        start: The first value, positive.
        end: The last value, positive.
        over: Steps or epochs from one to the other.
        unit: `"steps"` or `"epochs"`.
    """
    _positive("over", over)
    _positive("start", start)
    _positive("end", end)
    return Schedule(
        lambda step: start * (end / start) ** min(step / over, 1.0),
        until=over,
        final=end,
        unit=unit,
        name=f"exponential {start}→{end} over {over} {unit}",
    )


def as_schedule(value: "float | Schedule", name: str) -> Schedule:
    """A number as a schedule that stays."""
    if isinstance(value, Schedule):
        return value
    number = float(value)
    if not math.isfinite(number):
        raise ArgumentError(f"Got {name}={value!r}, expected a finite number.")
    return constant(number)


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise ArgumentError(f"Got {name}={value!r}, expected a number above 0.")


doors(__name__)
