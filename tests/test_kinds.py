"""Values held to annotations, and the doors that look at them."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypedDict

import numpy as np
import pytest
import torch

import ppl_vae as pv
from ppl_vae.doors import checked
from ppl_vae.errors import ArgumentError
from ppl_vae.kinds import Measured, misfit, numbers, shown


class Row(TypedDict, total=False):
    name: str
    sizes: list[int]


FITS = [
    (3, int), (np.int64(3), int), (3, float), (2.5, float), (np.float32(1), float), (torch.tensor(1.0), float),
    (math.inf, float), (True, bool), (np.bool_(1), bool), ("a", str), (None, int | None), ("a", Literal["a", "b"]),
    ((1, 2), Sequence[int]), ([1, 2], tuple[int, ...]), ((1, "a"), tuple[int, str]), ({"a": 1}, Mapping[str, int]),
    (len, Callable[..., int]), (Path("x"), str | Path), ({"name": "x"}, Row), ({"other": 1}, Row), (object(), Any),
    (math.nan, Measured), (np.float32("nan"), Measured), (2, Measured), ({"a": math.nan}, dict[str, Measured]),
    (torch.zeros(2), torch.Tensor), ({"a": 1}.keys(), Sequence[str]),
]  # fmt: skip
MISFITS = [
    (True, int), (2.0, int), ("3", int), (math.nan, float), (True, float), (1j, float), (10**400, float), ("1", float),
    (torch.zeros(3), float), (1, bool), (b"a", str), ("c", Literal["a", "b"]), (1, Literal[True]),
    ("ab", Sequence[str]),
    ([1, "a"], Sequence[int]), (np.zeros(2), Sequence[int]), ((1,), tuple[int, str]), ({1: 1}, Mapping[str, int]),
    ({"a": "b"}, Mapping[str, int]), (3, Callable[..., int]), ({"name": 3}, Row), ({"sizes": [1, None]}, Row),
    ([], Row), ("nan", Measured), (None, Measured),
    ((i for i in range(3)), Sequence[int]), (int, Sequence[int]), (torch.Tensor, torch.Tensor),
]  # fmt: skip


@pytest.mark.parametrize(("value", "hint"), FITS)
def test_what_fits(value, hint):
    assert misfit(value, hint) is None


@pytest.mark.parametrize(("value", "hint"), MISFITS)
def test_what_does_not(value, hint):
    where, _, expected = misfit(value, hint, "x")
    assert where.startswith(("x", "a key of x"))
    assert expected


def test_the_place_is_named():
    assert misfit({"sizes": [1, None]}, Row) == ("sizes[1]", None, "a whole number")
    assert misfit([1, "a"], Sequence[int] | None, "hidden") == ("hidden[1]", "a", "a whole number")


def test_an_argument_that_lacks_what_is_asked_of_it():
    class Own:
        @property
        def inner(self):
            return self.missing  # a fault of the user's own code

    with pytest.raises(ArgumentError, match="model=a Own, which has no latent_dim"):
        pv.guides.Deterministic(pv.datasets.Spec((3,), "real"), Own())

    @checked
    def asks(own):
        return own.inner

    with pytest.raises(AttributeError, match="missing"):
        asks(Own())


def test_numbers_of_anything():
    assert numbers(torch.ones(2, requires_grad=True), "x").tolist() == [1, 1]
    for strange in ("x", None, [[1], [1, 2]], np.array(["a"]), torch.zeros(2, device="meta"), object(), 1j, [], 3):
        with pytest.raises(pv.errors.DataError, match="Got x"):
            numbers(strange, "x")


def test_strange_values_are_shown():
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    assert shown(deep) == "a list"
    assert "\\ud800" in shown("\ud800")
    assert shown(np) == "a module"
    assert shown((torch.zeros(2), None)) == "a tuple (a Tensor of shape (2,), None)"
    assert len(shown("x" * 1000)) < 70


def test_every_public_constructor_and_function_is_a_door():
    """All that the reference lists looks at its arguments, but for records and what answers for itself."""
    missing = []
    rooms = (v for v in (getattr(pv, n) for n in pv.__all__) if isinstance(v, ModuleType))
    for room in (pv, *rooms):
        if room is pv.distributions:
            continue  # made at each step of training: they look by themselves
        if room is pv.sklearn:
            continue  # an estimator of scikit-learn looks at its parameters in `fit` (tests/sklearn)
        for name in getattr(room, "__all__", None) or [n for n in vars(room) if not n.startswith("_")]:
            thing = getattr(room, name)
            if not getattr(thing, "__module__", "").startswith("ppl_vae.") or isinstance(thing, ModuleType):
                continue
            if inspect.isclass(thing) and not issubclass(thing, BaseException):
                home = next(c for c in thing.__mro__ if "__init__" in c.__dict__)
                if home.__module__.startswith("ppl_vae.") and not getattr(home.__init__, "__checked__", False):
                    missing.append(name)
            elif inspect.isfunction(thing) and not getattr(thing, "__checked__", False):
                missing.append(name)
    # Frozen values that only the package makes, paths that answer for themselves, and what takes anything.
    assert sorted(set(missing)) == ["Code", "FittedPrior", "Imputation", "Run", "Site", "Sweep", "Terms", "citation"]
