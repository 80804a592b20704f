"""Wherever a public part takes one of some words, another word is refused by name: a search over all signatures."""

import contextlib
import inspect
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import torch

import ppl_vae as pv
from ppl_vae.datasets.spec import Spec
from ppl_vae.errors import ArgumentError, DataError

ROOMS = ("models", "guides", "nn", "likelihoods", "objectives")
LABELS = torch.arange(30) % 3
SPECS = (
    pv.datasets.from_arrays(torch.rand(30, 1, 8, 8).round(), labels=LABELS, with_labels=True).spec,
    Spec((12,), "counts"),
    Spec((12,), "real"),
)


def words_of(hint):
    """The words that a type allows, wherever its `Literal` stands."""
    own = get_args(hint) if get_origin(hint) is Literal else ()
    return [w for w in own if isinstance(w, str)] + [w for part in get_args(hint) for w in words_of(part)]


def public():
    for room in ROOMS:
        module = getattr(pv, room)
        for name in sorted(n for n in dir(module) if not n.startswith("_")):
            part = getattr(module, name)
            if not (inspect.isclass(part) and part.__module__.startswith("ppl_vae.")):
                continue
            hints = get_type_hints(part.__init__)
            for key in inspect.signature(part).parameters:
                if key in hints and words_of(hints[key]):
                    yield pytest.param(part, key, id=f"{room}.{name}({key})")


def models(spec):
    """Models of the kinds that guides go with, as far as they take these data."""
    kinds = (pv.models.VAE, pv.models.Hierarchical, pv.models.SemiSupervised, pv.models.Discrete)
    for kind in kinds:
        with contextlib.suppress(DataError):
            yield kind(spec)


def make(part, spec, model, **words):
    """The part with what it needs, and words."""
    needed = {"spec": spec, "likelihood": pv.likelihoods.likelihood_for(spec), "model": model}
    given = {
        name: needed.get(name, 4)
        for name, p in inspect.signature(part).parameters.items()
        if name not in words and p.default is inspect.Parameter.empty and p.kind is not p.VAR_KEYWORD
    }
    part(**given, **words)


@pytest.mark.parametrize(("part", "key"), list(public()))
def test_another_word_is_refused_by_name(part, key):
    refused = 0
    for spec in SPECS:
        for model in models(spec):
            try:
                make(part, spec, model, **{key: "nonsense"})
            except ArgumentError as error:
                refused += "'nonsense', expected" in str(error)
            except (DataError, AttributeError, TypeError):  # data, or a model, of another kind than it takes
                continue
            else:
                pytest.fail(f"accepted, with {spec}")
    assert refused
