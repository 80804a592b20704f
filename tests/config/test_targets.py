"""`_target_` to object: found, checked, built; nothing that a config may not name."""

from collections.abc import Mapping, Sequence
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Literal, Optional

import pytest
import torch

from ppl_vae import datasets, models
from ppl_vae.config.locate import locate
from ppl_vae.config.targets import AnnotationMismatch, build, check, describe, fit_value, options
from ppl_vae.errors import PplVaeError, UsageError

SPEC = datasets.Spec(shape=(3,), support="real")


def test_a_class_is_constructed_and_given_what_it_names():
    node = check(
        "model", {"_target_": "ppl_vae.models.VAE", "latent_dim": 2, "hidden": [4]}, given=("spec", "likelihood")
    )
    model = build("model", node, spec=SPEC, likelihood=None)
    assert isinstance(model, models.VAE)
    assert model.latent_dim == 2


def test_an_optimizer_waits_for_its_parameters():
    factory = build("optimizer", check("optimizer", {"_target_": "torch.optim.Adam", "lr": 0.1, "betas": [0.9, 0.99]}))
    assert isinstance(factory, partial)
    optimizer = factory([torch.nn.Parameter(torch.zeros(1))])
    assert optimizer.defaults["betas"] == (0.9, 0.99)


def test_a_function_is_the_program_itself(tmp_path, monkeypatch):
    (tmp_path / "programs_of_mine.py").write_text("def model(x, spec, depth=1):\n    return x, spec, depth\n")
    monkeypatch.syspath_prepend(tmp_path)
    node = check("model", {"_target_": "programs_of_mine.model", "depth": 3}, trusted=True)
    program = build("model", node, trusted=True, spec="spec", likelihood=1)
    assert program("x") == ("x", "spec", 3)


def test_functions_of_other_groups_are_called():
    assert (
        build("scheduler", check("scheduler", {"_target_": "ppl_vae.training.schedulers.constant"})).factor(0, 1) == 1
    )


def test_nested_targets_are_checked_and_built():
    beta = {"_target_": "ppl_vae.schedules.linear", "start": 0.0, "end": 1.0, "over": 3}
    node = {"_target_": "ppl_vae.objectives.ELBO", "beta": beta}
    objective = build("objective", check("objective", node))
    assert type(objective.beta).__name__ == "Schedule"
    with pytest.raises(UsageError, match=r"objective\.beta\.strt"):
        check("objective", {**node, "beta": {**beta, "strt": 1}})


def test_keys_that_a_file_gave_to_another_target_are_left_out_but_others_are_errors():
    node = {"_target_": "torch.optim.SGD", "lr": 0.1, "betas": [0.9, 0.99]}
    loose = frozenset({"optimizer.betas", "optimizer.lr"})
    assert check("optimizer", node, loose=loose) == {"_target_": "torch.optim.SGD", "lr": 0.1}
    with pytest.raises(UsageError, match=r"optimizer\.betas: torch\.optim\.SGD has no such parameter"):
        check("optimizer", node)


REFUSED = {
    "shell": "os.system",
    "shell by another name": "torch.os.system",
    "evaluation": "builtins.eval",
    "pickle": "pickle.loads",
    "torch's pickle": "torch.load",
    "process": "subprocess.run",
    "no name": "VAE",
    "no callable": "torch.pi",
    "module": "torch.optim",
    "relative": ".models.VAE",
    "number": 3,
}


@pytest.mark.parametrize("path", REFUSED.values(), ids=REFUSED)
def test_what_a_config_may_not_name(path):
    with pytest.raises(UsageError, match=r"model\._target_"):
        locate(path, "model")


def test_an_error_inside_a_users_module_is_theirs(tmp_path, monkeypatch):
    (tmp_path / "needs_what_is_not_there.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        locate("needs_what_is_not_there.model", "model", trusted=True)


def test_nan_is_a_value_not_a_type():
    with pytest.raises(PplVaeError) as caught:
        check("optimizer", {"_target_": "torch.optim.SGD", "lr": float("nan")})
    assert not isinstance(caught.value, UsageError)


def test_what_a_target_needs_is_named():
    with pytest.raises(UsageError, match=r"objective\.over is needed"):
        check("objective", {"_target_": "ppl_vae.schedules.linear", "start": 0.0, "end": 1.0})


class Colour(Enum):
    red = 1


FITS = {
    "int": (3, int, 3),
    "int as float": (3, float, 3),
    "int as float in a tuple": ([0, 0.9], tuple[float, float], (0.0, 0.9)),
    "int as float in a mapping": ({"a": 1}, Mapping[str, float], {"a": 1.0}),
    "bool": (True, bool, True),
    "text": ("a", str, "a"),
    "a number as text": (2024, str, "2024"),
    "none": (None, None | int, None),
    "optional": (2, Optional[int], 2),  # noqa: UP045
    "exact type of a union": (3, float | int, 3),
    "literal": ("a", Literal["a", "b"], "a"),
    "list": ([1], list[int], [1]),
    "sequence": ([1, 2], Sequence[int], [1, 2]),
    "tuple": ([1, 2], tuple[int, ...], (1, 2)),
    "pair": ([0.9, 1], tuple[float, float], (0.9, 1.0)),
    "mapping": ({"a": 1}, Mapping[str, float], {"a": 1.0}),
    "path": ("a", Path, Path("a")),
    "path or text": ("a", str | Path, "a"),
    "enum": ("red", Colour, Colour.red),
    "any": ("x", Any, "x"),
    "dtype or text": ("float64", torch.dtype | str, "float64"),
    "name of an import for types only": (3, "Unknown", 3),
}
MISFITS = {
    "text as int": ("a", int),
    "bool as int": (True, int),
    "float as int": (2.5, int),
    "int as bool": (1, bool),
    "bool as float": (True, float),
    "bool as text": (True, str),
    "none": (None, int),
    "literal": ("c", Literal["a", "b"]),
    "text as list": ("ab", list[str]),
    "element": ([1, "a"], Sequence[int]),
    "length": ([1], tuple[float, float]),
    "union": ("a", int | None),
    "class": ("a", torch.Tensor),
}


@pytest.mark.parametrize(("value", "hint", "expected"), FITS.values(), ids=FITS)
def test_fits(value, hint, expected):
    found = fit_value(value, hint)
    assert found == expected
    assert repr(found) == repr(expected)


@pytest.mark.parametrize(("value", "hint"), MISFITS.values(), ids=MISFITS)
def test_misfits(value, hint):
    with pytest.raises(AnnotationMismatch):
        fit_value(value, hint)


def test_words():
    assert describe(int | None) == "an integer | null"
    assert describe(Literal["a", "b"]) == "a | b"
    assert options(Literal["a"] | None) == ["a"]
