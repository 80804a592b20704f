"""The allow list: objects, found without importing anything for it, none of which makes code or places of its texts."""

import inspect
import json
import subprocess
import sys

import pytest
import torch

from ppl_vae import objectives, schedules
from ppl_vae.config import listed
from ppl_vae.config.listed import find
from ppl_vae.config.targets import describe, is_path, parameters

NAMED = {
    "torch.nn.ReLU": torch.nn.ReLU,
    "torch.nn.modules.activation.ReLU": torch.nn.ReLU,
    "torch.nn.functional.gelu": torch.nn.functional.gelu,
    "torch.optim.adam.Adam": torch.optim.Adam,
    "ppl_vae.objectives.ELBO": objectives.ELBO,
    "ppl_vae.objectives.elbo.ELBO": objectives.ELBO,
    "ppl_vae.schedules.linear": schedules.linear,
}


@pytest.mark.parametrize("name", NAMED)
def test_a_listed_object_by_its_names(name):
    assert find(name, "model.hidden") is NAMED[name]


NOT = [
    *("torch.nn.Module", "torch.optim.Optimizer", "torch.nn.functional.torch", "torch.nn.modules.module.functools"),
    *("torch.nn.functional.embedding", "torch.nn.DataParallel", "torch.nn.init.normal_", "torch.nn.ReLU.forward"),
    *("torch.nn.modules.activation.torch", "torch.nn.modules.activation.warnings", "torch.optim.adam._use_grad"),
    *("pyro.distributions.Normal.__init__", "pyro.distributions.torch.torch", "pyro.distributions.constraints"),
    *("ppl_vae.objectives.as_objective", "ppl_vae.objectives.Bound", "ppl_vae.schedules.Schedule"),
    *("ppl_vae.nn.join", "ppl_vae.datasets.load", "ppl_vae.datasets.from_arrays", "ppl_vae.runs.loggers.WandB"),
    *("ppl_vae.models", "torch.nn", "torch", "", ".", "torch.nn.", ".ReLU", "torch..nn.ReLU", "torch.nn.ReLU ", "os"),
    *("torch.nn.ReLU\n", "torch.nn.‮ReLU", "torch/nn.ReLU", "a." * 100_000 + "b", None, 3, [], {}, b"torch.nn.ReLU"),
]


@pytest.mark.parametrize("name", NOT, ids=lambda name: f"{name!r:.40}")
def test_what_is_not_listed_is_not_found(name):
    assert find(name, "model") is None


def test_what_reaches_files_stands_at_the_top_of_its_group():
    assert find("ppl_vae.datasets.digits", "dataset") is not None
    assert find("ppl_vae.runs.loggers.CSV", "logger") is not None
    for name in ("ppl_vae.datasets.digits", "ppl_vae.datasets.npz", "ppl_vae.runs.loggers.CSV"):
        for where in ("model", "model.hidden", "dataset.columns", "logger.config", "objective", ""):
            assert find(name, where) is None


def test_an_alias_of_something_else_is_not_reached(monkeypatch):
    """By the object that a name stands for, and not by the name."""
    monkeypatch.setattr(torch.nn, "Innocent", torch.load, raising=False)
    monkeypatch.setattr(torch.nn, "GELU", exec)
    assert find("torch.nn.Innocent", "model") is None
    assert find("torch.nn.GELU", "model") is None
    assert find("torch.nn.modules.activation.GELU", "model") is not None


PROGRAM = """
import json, sys
from ppl_vae.config.listed import find
find("torch.nn.ReLU", "model")
before = set(sys.modules)
names = ["torch.testing._internal.common_utils.run_tests", "torch.utils.collect_env.run", "torch._dynamo.reset",
         "torch.onnx.export", "torch.utils.cpp_extension.load", "pyro.contrib.gp.models.GPRegression", "this.s",
         "antigravity.fly", "ppl_vae.cli.search.OptunaSweeper", "ppl_vae.sklearn.VAE", "torch.nn.quantized.Linear"]
assert not any(find(name, "model") for name in names)
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_nothing_is_imported_on_the_way(tmp_path):
    (tmp_path / "antigravity.py").write_text("raise SystemExit")
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_only_sources_of_data_take_places_of_files():
    """And no parameter of a listed object takes a name of code: texts are chosen among, or stay what they are."""
    held = listed._listed("").places
    for found, place in held.values():
        takes = [name for name, p in parameters(found).items() if is_path(name, p)]
        if takes:
            assert place in listed.ONLY_AT, (found, takes)
    assert {place for _, place in held.values()} == {p.module for p in listed.PLACES if not p.module.startswith("zuko")}


def test_each_name_of_a_place_is_there():
    for place in (p for p in listed.PLACES if not p.module.startswith(listed.ON_DEMAND)):
        found = [getattr(x, "__name__", "") for x, home in listed._listed("").places.values() if home == place.module]
        assert found
        module = sys.modules[place.module]
        assert all(hasattr(module, name) for name in (*place.names, *place.but)), place


def test_texts_of_our_own_parts_are_chosen_among():
    """Each parameter that takes any text is known here: a new one is to be looked at before it is listed."""
    free = set()
    for found, place in listed._listed("").places.values():
        if not place.startswith("ppl_vae.") or place in listed.ONLY_AT:
            continue
        for name, p in parameters(found).items():
            words = describe(p.annotation).split(" | ")
            if "text" in words and p.kind is not inspect.Parameter.VAR_KEYWORD:
                free.add(name)
    assert free == {"batch", "column", "data_plate", "exposure", "site", "unit"}  # names: of fields, columns, plates


def test_the_page_names_every_place(repository):
    page = (repository / "docs" / "security.md").read_text(encoding="utf-8")
    for place in listed.PLACES:
        assert f"`{place.module}`" in page or f"`{place.module.rpartition('.')[2]}`" in page, place
        assert all(f"`{name}`" in page for name in place.but)
