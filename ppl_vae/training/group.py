"""The processes that train one run together: what they tell each other, and how none of them is left waiting.

Each of them does the same things in the same order; what may fail on one alone is done within `agreed`, so that all go
on or none does. The first writes the run directory, the others write nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ppl_vae.errors import ArgumentError, RunError
from ppl_vae.frames import module_of

T = TypeVar("T")


class RanksError(RunError):
    """Another process of the run has failed, or cannot be reached."""


class Group:
    """One process by itself: it agrees with itself."""

    rank = 0
    size = 1

    @property
    def is_first(self) -> bool:
        """True for the one that writes."""
        return self.rank == 0

    def sum(self, numbers: Tensor) -> None:
        """Add what all have, in place; all get the same bits."""

    def gather(self, value: T) -> list[T]:
        """Give the value of each, by rank; what can be pickled."""
        return [value]

    def from_first(self, work: Callable[[], T]) -> T:
        """Do work on the first alone, and give its result to all; where it fails there, all fail."""
        with self.agreed():
            found = work() if self.is_first else None
        return self._of_first(found)

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """Within, each does its part; where one of them fails, all do.

        Raises:
            RanksError: another one failed.
        """
        failure: BaseException | None = None
        try:
            yield
        except BaseException as error:
            failure = error
        self.raise_any(failure)

    def raise_any(self, failure: BaseException | None) -> None:
        """Raise the error of this process, or tell that of another one; nothing where none failed."""
        if self.size == 1:
            if failure is not None:
                raise failure
            return
        told = self.gather(None if failure is None else f"{type(failure).__name__}: {failure}")
        if failure is not None:
            failure.told_to_ranks = True  # type: ignore[attr-defined]
            raise failure
        for rank, text in enumerate(told):
            if text is not None:
                error = RanksError(f"Rank {rank} of {self.size} failed, and so the run ends on all of them: {text}")
                error.told_to_ranks = True  # type: ignore[attr-defined]
                raise error

    def _of_first(self, value: T | None) -> T:
        return value  # type: ignore[return-value]

    def wait(self) -> None:
        """Wait until all have come here; one that cannot be reached any more is not waited for."""

    def part(self, error: BaseException) -> None:
        """Leave by an error, in a way that leaves none of the others waiting.

        What started the processes ends all as soon as one has gone: where all fail, let the first one write first. A
        failure before training is told to the others. In a step it is not, where they wait for something else: they
        miss this process as soon as it has gone.
        """


class Ranks(Group):
    """The processes of the default group of `torch.distributed`.

    Args:
        device: on which numbers are added.
    """

    def __init__(self, device: torch.device) -> None:
        import torch.distributed as dist

        self.rank, self.size, self.device = dist.get_rank(), dist.get_world_size(), device

    def sum(self, numbers: Tensor) -> None:  # noqa: D102
        with _reached():
            torch.distributed.all_reduce(numbers)

    def gather(self, value: T) -> list[T]:  # noqa: D102
        found: list[T] = [value] * self.size
        with _reached():
            torch.distributed.all_gather_object(found, value)
        return found

    def _of_first(self, value: T | None) -> T:
        sent: list[Any] = [value]
        with _reached():
            torch.distributed.broadcast_object_list(sent)
        first: T = sent[0]
        return first

    def wait(self) -> None:  # noqa: D102
        with contextlib.suppress(RanksError):
            self.gather(None)

    def part(self, error: BaseException) -> None:  # noqa: D102
        if hasattr(error, "told_to_ranks"):
            self.wait()
        elif not hasattr(error, "history"):
            with contextlib.suppress(RanksError):
                self.gather(f"{type(error).__name__}: {error}")


@contextmanager
def _reached() -> Iterator[None]:
    """Tell in words that a process cannot be reached, in place of a backend's own error.

    Raises:
        RanksError: it cannot.
    """
    try:
        yield
    except RuntimeError as error:
        said = (str(error).splitlines() or [""])[0][:200]
        raise RanksError(
            "Got no answer from another process of the run: it was killed, ran out of memory, or its machine cannot be "
            f"reached ({said}). What was saved after the last epoch is there: go on by the same command with resume, "
            "on as many processes as there are."
        ) from error


def group_of(distributed: bool, device: torch.device) -> Group:
    """The processes that take part.

    Raises:
        ArgumentError: `torch.distributed` has not been told of them.
    """
    if not distributed:
        return Group()
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        raise ArgumentError(
            "Got distributed=True in a process that knows of no others, expected a process group: call "
            "torch.distributed.init_process_group('gloo') first (or 'nccl', on GPUs) in a script that torchrun starts, "
            "as in torchrun --nproc_per_node=2 script.py."
        )
    return Ranks(device)


def require_bare(*modules: Any) -> None:
    """Refuse pairs that are wrapped for another way of training on many processes: `fit` would pass the wrapper by.

    Raises:
        ArgumentError: with what to do.
    """
    for module in modules:
        for name, part in module.named_modules() if isinstance(module, nn.Module) else ():
            if isinstance(part, (nn.parallel.DistributedDataParallel, nn.DataParallel)) or _sharded(part):
                where = f" at {name!r}" if name else ""
                raise ArgumentError(
                    f"Got a {type(part).__name__}{where}, expected the bare module: fit takes the gradient of the "
                    "programs themselves, which the wrapper never sees, so that each process would train alone. Leave "
                    "the wrapper out and say fit(…, distributed=True), on the command line engine=distributed."
                )


def _sharded(module: nn.Module) -> bool:
    inside = module_of(type(module)).startswith("torch.distributed.")
    return inside or any(type(p).__name__ == "DTensor" for p in module.parameters(recurse=False))


def require_same(told: Sequence[Any], first_difference: Callable[[Any, Any], tuple[str, str, str] | None]) -> None:
    """Refuse to train where the processes were not asked for the same run.

    Args:
        told: what each was asked for, by rank.
        first_difference: of two of them: its place, and how the one and the other has it.

    Raises:
        ArgumentError: naming what differs.
    """
    for rank, other in enumerate(told):
        if (found := first_difference(told[0], other)) is not None:
            place, first, here = found
            raise ArgumentError(
                f"Got {place} {first} on rank 0 and {here} on rank {rank}, expected the same run on all {len(told)} "
                "processes: each takes its share of the same batches. Give all of them the same data and settings."
            )
