"""Shared keywords: one declaration, visible in every signature, refused by name where they do not belong."""

import inspect
import typing

import pytest
import torch

from ppl_vae.config.targets import check
from ppl_vae.datasets import from_arrays
from ppl_vae.datasets.load import SOURCES
from ppl_vae.datasets.mnist import FETCHED, Fetched
from ppl_vae.datasets.preparation import BASICS, PIXELS, PREPARATION, Basics, Pixels, Preparation
from ppl_vae.datasets.tables import TABLE, Table
from ppl_vae.errors import ArgumentError, UsageError

FUNCTIONS = [*SOURCES, from_arrays]
KINDS = [(Basics, BASICS), (Pixels, PIXELS), (Preparation, PREPARATION), (Table, TABLE), (Fetched, FETCHED)]


@pytest.mark.parametrize(("kind", "defaults"), KINDS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_keyword_has_a_default_and_words(kind, defaults):
    assert typing.get_type_hints(kind).keys() == defaults.keys()
    words = "".join(base.__doc__ for base, held in KINDS if held.keys() <= defaults.keys())
    assert all(f"        {key}: " in words for key in defaults)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_a_signature_names_what_is_shared_and_nothing_else_is_taken(function):
    parameters = inspect.signature(function).parameters
    assert {"dtype", "seed"} <= parameters.keys()
    assert not any(p.kind is p.VAR_KEYWORD or isinstance(p.annotation, typing.ForwardRef) for p in parameters.values())
    with pytest.raises(ArgumentError, match=f"sede=1 for {function.__name__}, expected only .*perhaps 'seed'"):
        function(sede=1)


@pytest.mark.parametrize(
    ("name", "key"), [("csv", "scaling"), ("mnist", "test"), ("digits", "levels"), ("sprites", "dequantization")]
)
def test_what_does_not_apply_is_refused(name, key):
    function = next(source for source in SOURCES if source.__name__ == name)
    with pytest.raises(ArgumentError, match=f"Got {key}=3 for {name}"):
        function(**{key: 3})


def test_a_call_leaves_the_defaults_as_they_are():
    before = dict(PREPARATION)
    from_arrays(torch.rand(9, 2), seed=4, dtype="float64")
    assert before == PREPARATION


def test_a_config_is_held_to_them():
    target = {"_target_": "ppl_vae.datasets.digits"}
    assert check("dataset", {**target, "scaling": "none"})["scaling"] == "none"
    with pytest.raises(UsageError, match=r"expected none \| unit"):
        check("dataset", {**target, "scaling": "units"})
    with pytest.raises(UsageError, match=r"dataset\.sede: .*seed"):
        check("dataset", {**target, "sede": 1})
    with pytest.raises(UsageError, match=r"dataset\.seed: got 'x', expected an integer"):
        check("dataset", {**target, "seed": "x"})
