"""A program of the catalogue: a pair, the batches it is given, and what is known about it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """One legal pair.

    Args:
        name: What the pair shows.
        build: Gives `model, guide, batch, *further batches`; each batch is a tuple.
        kl: Whether Pyro's `TraceMeanField_ELBO` is right for the pair, so that analytic KL must agree with it.
        generic: Whether the programs take the dtype of their parameters and data.
        frozen: Parts of the names of parameters that may not move.
        random: Whether two runs on equal values differ: the programs draw numbers beside their sites (dropout,
            subsampling), or values carry more than they show (straight-through draws).
        enumerated: Whether discrete sites are summed out.
        pair: Further arguments of `VAE`.
        data: Whether some plate follows the data.
        warnings: The kinds of warning that `check` rightly gives.
    """

    name: str
    build: Callable[[], tuple[Any, ...]]
    kl: bool = False
    generic: bool = True
    frozen: tuple[str, ...] = ()
    random: bool = False
    enumerated: bool = False
    pair: dict[str, Any] = field(default_factory=dict)
    data: bool = True
    warnings: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return self.name


CASES: dict[str, Case] = {}


def case(*, warnings: tuple[str, ...] = (), **known: Any) -> Callable[[Callable[[], tuple[Any, ...]]], Any]:
    """Enter the decorated builder into the catalogue under its own name."""

    def enter(build: Callable[[], tuple[Any, ...]]) -> Callable[[], tuple[Any, ...]]:
        assert build.__name__ not in CASES, f"two cases are named {build.__name__}"
        CASES[build.__name__] = Case(build.__name__, build, warnings=frozenset(warnings), **known)
        return build

    return enter
