"""A group of Pyro's own catalogue of legal and illegal pairs, in words and shapes of this project."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Group:
    """One pair of a feature that Pyro's `tests/infer/test_valid_models.py` tests.

    Args:
        name: Pyro's name of the test without `test_`, and in brackets the parameter that changes the pair.
        build: Gives `model, guide` or `model, guide, batch`.
        pyro: What Pyro says: the pair is legal, legal with a warning, or illegal.
        elbos: The names of Pyro's ELBOs of which this is said.
        ours: What this project is to say.
        why: For what is refused: a pattern that the reason matches.
        objective: Gives the objective; the ELBO by default.
        oracle: `"exact"` sums over every assignment; `"pyro"` takes Pyro's own value where these are too many.
        options: Arguments of Pyro's ELBOs.
        estimators: Estimators that `check` must name, by site.
        particles: Draws per datum.
        note: What a reader must know.
    """

    name: str
    build: Callable[[], tuple[Any, ...]]
    pyro: Literal["legal", "warning", "illegal"] = "legal"
    elbos: tuple[str, ...] = ("Trace", "TraceEnum")
    ours: Literal["right", "refused"] = "right"
    why: str = ""
    objective: Callable[[], Any] | None = None
    oracle: Literal["exact", "pyro"] = "exact"
    options: dict[str, Any] = field(default_factory=dict)
    estimators: dict[str, str] = field(default_factory=dict)
    particles: int = 1
    note: str = ""

    def __str__(self) -> str:
        return self.name


GROUPS: dict[str, Group] = {}


def group(name: str, **known: Any) -> Callable[[Callable[[], tuple[Any, ...]]], Any]:
    """Enter the decorated builder as a group of this name."""

    def enter(build: Callable[[], tuple[Any, ...]]) -> Callable[[], tuple[Any, ...]]:
        assert name not in GROUPS, f"two groups are named {name}"
        if known.get("pyro") == "illegal":
            known.setdefault("ours", "refused")
        GROUPS[name] = Group(name, build, **known)
        assert GROUPS[name].ours == "right" or GROUPS[name].why, f"{name} is refused without a reason"
        return build

    return enter


def groups(name: str, variants: dict[str, tuple[Any, ...]], **known: Any) -> Callable[[Callable[..., Any]], Any]:
    """Enter a builder once per variant, by its arguments; `known[label]` may hold what differs for one of them."""

    def enter(build: Callable[..., Any]) -> Callable[..., Any]:
        for label, arguments in variants.items():
            differs = known.get(label, {})
            common = {k: v for k, v in known.items() if k not in variants}
            group(f"{name} [{label}]", **{**common, **differs})(lambda a=arguments: build(*a))
        return build

    return enter
