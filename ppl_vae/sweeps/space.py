"""The space of a search: which keys take which values, said in Hydra's own grammar of overrides."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ppl_vae.errors import UsageError
from ppl_vae.sweeps.plan import key as key_of

HOW = (
    "expected choices (KEY=1,2 or KEY=glob(*)), range(START,STOP[,STEP]), interval(LOW,HIGH), int(interval(LOW,HIGH)), "
    "or one of the latter three in tag(log, …)"
)


@dataclass(frozen=True)
class Dimension:
    """One key of a search, with the values that it may take.

    Args:
        key: as Hydra is told it, `+` and all.
        choices: the texts that it chooses from; empty where it is a number between `low` and `high`.
        low: the least number.
        high: the greatest one, itself included.
        step: between numbers; None: any number.
        log: uniform in the logarithm.

    Example:
        >>> lr = Dimension("optimizer.lr", low=1e-4, high=1e-2, log=True)
        >>> lr.text(lr.at(0.5))
        '0.001'
        >>> Dimension("model.depth", low=1, high=3, step=1).values
        ('1', '2', '3')
    """

    key: str
    choices: tuple[str, ...] = ()
    low: float = math.nan
    high: float = math.nan
    step: float | None = None
    log: bool = False

    @property
    def name(self) -> str:
        """The key without what Hydra is told beside it."""
        return key_of(self.key)

    @property
    def values(self) -> tuple[str, ...] | None:
        """All values, as they are told; None where there is no end of them."""
        if self.choices or self.step is None:
            return self.choices or None
        return tuple(self.text(self.low + i * self.step) for i in range(round((self.high - self.low) / self.step) + 1))

    def at(self, u: float) -> Any:
        """The value at a place u in [0, 1): what is uniform there is a draw of the dimension."""
        if self.choices:
            return self.choices[int(u * len(self.choices))]
        if self.step is None:
            low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
            found = low + u * (high - low)
            return self.told(math.exp(found) if self.log else found)
        if self.log:  # a step of 1, and each number has its share between the halves beside it
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            return min(max(round(math.exp(low + u * (high - low))), self.low), self.high)
        return self.low + int(u * (round((self.high - self.low) / self.step) + 1)) * self.step

    def told(self, value: Any) -> Any:
        """A value as it is tried: one of an interval in six digits, which can be read and typed."""
        return value if self.choices or self.step else min(max(float(f"{value:.6g}"), self.low), self.high)

    def text(self, value: Any) -> str:
        """A value as Hydra is told it."""
        if isinstance(value, str):
            return value
        whole = isinstance(self.low, int) and isinstance(self.step, int)
        return str(int(value)) if whole else repr(float(f"{value:.15g}") if self.step else float(value))


@dataclass(frozen=True)
class Space:
    """All that the jobs of a search are told.

    Args:
        parts: in the order of the command line: an override that is the same for all jobs, or a dimension.
        averaged: the dimensions whose values all belong to one trial, whose figures are averaged over them.
    """

    parts: tuple[str | Dimension, ...]
    averaged: tuple[Dimension, ...] = ()

    @property
    def searched(self) -> tuple[Dimension, ...]:
        """The dimensions that trials differ in."""
        return tuple(p for p in self.parts if isinstance(p, Dimension) and p not in self.averaged)

    @property
    def seeds(self) -> int:
        """The number of jobs of a trial."""
        return math.prod(len(d.choices) for d in self.averaged)

    def jobs(self, values: Mapping[str, Any]) -> list[tuple[str, ...]]:
        """The overrides of the jobs of one trial, by the values of its dimensions."""
        found = []
        for combination in itertools.product(*(d.choices for d in self.averaged)):
            told = dict(values) | {d.name: v for d, v in zip(self.averaged, combination, strict=True)}
            found.append(tuple(p if isinstance(p, str) else f"{p.key}={p.text(told[p.name])}" for p in self.parts))
        return found

    def at(self, place: Iterable[float]) -> dict[str, Any]:
        """The values at a place in the unit cube."""
        return {d.name: d.at(float(u)) for d, u in zip(self.searched, place, strict=True)}

    def grid(self) -> list[dict[str, Any]]:
        """Every combination.

        Raises:
            UsageError: for a dimension without end.
        """
        for dimension in self.searched:
            if dimension.values is None:
                raise UsageError(
                    f"{dimension.name}: got an interval, of which there is no grid; expected choices or a range, or a "
                    "number of draws (hydra.sweeper.n=27)"
                )
        names = [d.name for d in self.searched]
        return [dict(zip(names, v, strict=True)) for v in itertools.product(*(d.values or () for d in self.searched))]

    @classmethod
    def read(cls, overrides: Sequence[str], averaged: Sequence[str] = ("seed",), loader: Any = None) -> Space:
        """The space that overrides describe; of those of one key the last counts.

        Args:
            overrides: in Hydra's grammar.
            averaged: the keys over which a trial is averaged.
            loader: Hydra's, which knows the options of groups.

        Raises:
            UsageError: for what is no space, or one with nothing to search.

        Example:
            >>> space = Space.read(["model=vae", "model.latent_dim=2,8", "seed=0,1"])
            >>> space.grid()
            [{'model.latent_dim': '2'}, {'model.latent_dim': '8'}]
            >>> space.jobs({"model.latent_dim": "8"})
            [('model=vae', 'model.latent_dim=8', 'seed=0'), ('model=vae', 'model.latent_dim=8', 'seed=1')]
        """
        from hydra.core.override_parser.overrides_parser import OverridesParser

        parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
        told = {o.get_key_element(): o for o in parsed}
        parts = tuple(_dimension(o) if o.is_sweep_override() else str(o.input_line) for o in told.values())
        over = tuple(p for p in parts if isinstance(p, Dimension) and p.name in averaged)
        for dimension in over:
            if not dimension.choices:
                raise UsageError(
                    f"{dimension.name}: got numbers to search, expected choices, such as {dimension.name}=0,1: trials "
                    "are averaged over it (hydra.sweeper.average=[] searches it)"
                )
        space = cls(parts, over)
        if not space.searched:
            raise UsageError(
                f"got no key to search, {HOW}, on the command line or in hydra.sweeper.params"
                + (f"; trials are averaged over {', '.join(averaged)}" if averaged else "")
            )
        return space


def _dimension(override: Any) -> Dimension:
    """The dimension that an override of several values is."""
    from hydra.core.override_parser.types import Glob, IntervalSweep, RangeSweep

    key, said, value = override.get_key_element(), override.input_line, override.value()
    tags = set() if isinstance(value, Glob) else set(value.tags)
    if tags - {"log"} or (tags and not isinstance(value, (IntervalSweep, RangeSweep))):
        raise UsageError(f"{said}: got the tag {', '.join(sorted(tags))}, {HOW}")
    log = bool(tags)
    if isinstance(value, RangeSweep):
        numbers = sorted(value.range())
        whole = all(isinstance(n, int) for n in numbers)
        if not numbers or (log and (not whole or abs(value.step) != 1 or numbers[0] < 1)):
            raise UsageError(f"{said}: got {'no whole numbers from 1 on' if log else 'nothing'} in this range, {HOW}")
        return Dimension(key, low=numbers[0], high=numbers[-1], step=abs(value.step), log=log)
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        if low is None or high is None or not low < high or (log and low <= 0):
            raise UsageError(f"{said}: got no interval from low to high{' above 0' if log else ''}, {HOW}")
        return Dimension(key, low=low, high=high, step=1 if isinstance(low, int) else None, log=log)
    choices = tuple(dict.fromkeys(override.sweep_string_iterator()))
    if not choices:
        raise UsageError(f"{said}: no option is of this pattern, {HOW}")
    return Dimension(key, tuple(sorted(choices)) if isinstance(value, Glob) else choices)
