"""One way from a program to what runs in its place: recorded, verified, compiled when due, refused with a reason.

Steps of training, tiles of an evaluation and exported programs go it alike. `attempt` makes the substitute, `verify`
holds it to the program; either raises `CaptureError`, whose message says in a line why the program, or what was there
before, goes on to be run.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ppl_vae import rng
from ppl_vae.compile.kind import plain_values
from ppl_vae.compile.verify import CaptureError, compare, reason
from ppl_vae.core.programs import exclusive
from ppl_vae.core.snapshot import Snapshot
from ppl_vae.schedules import Schedule

Inputs = tuple[Any, ...]
Run = Callable[[Inputs], Mapping[str, Tensor]]
T = TypeVar("T")


@dataclass(frozen=True)
class Original:
    """A program that something else is to stand in for, with all that it reads and changes beside its inputs.

    Args:
        run: takes inputs, gives tensors by name.
        parts: modules whose tensors it may change; what is no module has none.
        device: of the random numbers that it draws; None if it may draw none.
        schedules: numbers that move from run to run.
        least: the size below which rounding is that of a number of this size.
        dtype: the coarsest that it computes in; None if that is the dtype of each result.
    """

    run: Run
    parts: Sequence[Any] = ()
    device: torch.device | None = None
    schedules: Sequence[Schedule] = ()
    least: float = 1e-30
    dtype: torch.dtype | None = None

    def kept(self, make: Callable[[], T]) -> T:
        """Make something, and leave all numbers as they were."""
        before = Snapshot.of(self.parts, self.device)
        try:
            return make()
        finally:
            before.put(self.parts, self.device)

    def perturbed(self, inputs: Inputs) -> Inputs:
        """Change everything that may change from run to run, and give other inputs."""
        torch.rand(1)  # another place in the stream than that of the capture
        for schedule in self.schedules:
            schedule.value.mul_(0.75).add_(0.125)
        if self.device is not None:
            rng.seed_all(int(torch.randint(2**31, ())), self.device)  # of Python and NumPy too
        return tuple(x.flip(0) if x.dim() else x for x in inputs)

    def left_by(self, run: Run, inputs: Inputs) -> dict[str, Tensor]:
        """All that a run leaves behind: its results, buffers, and the states of generators."""
        results = {name: value.clone() for name, value in run(inputs).items()}
        modules = [part for part in self.parts if isinstance(part, nn.Module)]
        buffers = {f"buffer {n}": b.clone() for part in modules for n, b in part.named_buffers()}
        generators = () if self.device is None else _tensors(rng.capture(self.device))
        return {**results, **buffers, **{f"the random state {i}": t for i, t in enumerate(generators)}}


@exclusive  # a recorder changes torch for all threads as long as it records
def attempt(how: str, make: Callable[[], T]) -> T:
    """Make a substitute.

    Args:
        how: a word for what is done: `"captured"`, `"compiled"`.
        make: gives it, or fails.

    Raises:
        CaptureError: it cannot be made; says why, and at which line of the user's.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make()
    except CaptureError:
        raise
    except Exception as error:
        raise CaptureError(f"it cannot be {how} ({reason(error)})") from error


def verify(original: Original, run: Run, trials: Iterable[Inputs], how: str, *, exact: bool = False) -> None:
    """Check that a substitute leaves behind what the program does, on each of the trials.

    Args:
        original: the program, in the state of the trial.
        run: its substitute.
        trials: inputs, other ones than it was made with; they may perturb everything else as they are asked for.
        how: a word for what was done.
        exact: to the bit, as the same operations in the same order give it; else to rounding.

    Raises:
        CaptureError: either fails, or they leave something else; says which.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a program has to say it says when it is run
        for inputs in trials:
            start, plain = Snapshot.of(original.parts, original.device), plain_values(*original.parts)
            try:
                expected = original.left_by(original.run, inputs)
            except Exception as error:
                raise CaptureError(f"on other noise and data the program fails ({reason(error)})") from error
            require_still(plain, original.parts)
            start.put(original.parts, original.device)
            try:
                found = original.left_by(run, inputs)
            except Exception as error:
                raise CaptureError(f"{how}, it fails ({reason(error)})") from error
            compare(expected, found, how, exact=exact, least=original.least, dtype=original.dtype)


def require_still(plain: Mapping[str, Any], parts: Iterable[Any]) -> None:
    """Refuse a program that changes plain values as it runs: what it does by them no graph of it would do.

    Args:
        plain: `plain_values` of before it ran.
        parts: of which.

    Raises:
        CaptureError: it does; names the first.
    """
    now = plain_values(*parts)
    if changed := [name for name, value in now.items() if name not in plain or plain[name] != value]:
        raise CaptureError(f"the program changes {changed[0]} as it runs")


def _tensors(value: Any) -> list[Tensor]:
    """Those of nested containers; numbers become tensors."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple):
        return [t for part in value for t in _tensors(part)]
    return [value if isinstance(value, Tensor) else torch.tensor(float("inf") if value is None else value)]
