"""The README's example saved as a file and run from the command line: equal to the Python form, number for number."""

import contextlib
import io
import json
import re
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ppl_vae.runs.run import Run

EPOCHS = 3
"""In place of the README's 100: equality of all numbers needs no more."""


@pytest.fixture(scope="module")
def source(repository):
    text = (repository / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert "epochs=100" in block
    return block


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where the Python form keeps its checkpoints."""
    return tmp_path_factory.mktemp("python")


@pytest.fixture(scope="module")
def in_python(source, kept):
    """What the example's own variables hold once it has run."""
    source = source.replace("epochs=100", f"epochs={EPOCHS}, directory={str(kept)!r}")
    names = {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(io.StringIO()):
        exec(compile(source, "README.md", "exec"), names)
    return {**names, "said": said.getvalue()}


@pytest.fixture(scope="module")
def on_the_command_line(source, in_python, tmp_path_factory):
    """The run directory of the same, with the classes of the example in a file."""
    from ppl_vae.__main__ import main

    folder = tmp_path_factory.mktemp("readme")
    definitions = source[: source.index("torch.manual_seed(0)")]
    (folder / "readme_pair.py").write_text(definitions)
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        words = ["model._target_=readme_pair.Model", "guide._target_=readme_pair.Guide", f"trainer.epochs={EPOCHS}"]
        assert main(["train", *words, "hydra.run.dir=run", "results.num_particles=100", "results.figures=false"]) == 0
        assert main(["posterior", "run=run", "data=5", "draws=200", "figures=false"]) == 0
        assert main(["generate", "run=run", "n=16", "figures=false"]) == 0
    sys.modules.pop("readme_pair", None)
    return folder / "run"


def test_the_history(in_python, on_the_command_line):
    lines = (on_the_command_line / "metrics.jsonl").read_text().splitlines()
    rows = [{k: v for k, v in json.loads(line).items() if k not in ("seconds", "check")} for line in lines]
    assert rows == [{k: v for k, v in row.items() if k != "seconds"} for row in in_python["history"]]


def test_the_weights(in_python, on_the_command_line):
    loaded = load_file(on_the_command_line / "model.safetensors")
    ours = in_python["vae"].state_dict()
    assert loaded.keys() == ours.keys()
    assert all(torch.equal(loaded[k], ours[k]) for k in ours)


def test_the_checkpoints(in_python, on_the_command_line, kept):
    """All state to go on: weights, optimizer, generators, order of the data."""
    ours, theirs = (load_file(folder / "checkpoints" / "last.safetensors") for folder in (kept, on_the_command_line))
    assert ours.keys() == theirs.keys()
    different = [k for k in ours if not torch.equal(ours[k], theirs[k])]
    assert not [k for k in different if "seconds" not in k]


def test_the_evaluation(in_python, on_the_command_line):
    summary = json.loads((on_the_command_line / "evaluation" / "test" / "summary.json").read_text())
    expected = in_python["evaluation"].summary
    assert summary == json.loads(json.dumps(expected))


def test_the_posterior(in_python, on_the_command_line):
    import arviz as az

    posterior, drawn = in_python["posterior"], Run.load(on_the_command_line).posterior()
    for group in ("posterior", "sample_stats", "posterior_predictive", "observed_data"):
        for name, values in posterior[group].data_vars.items():
            assert np.array_equal(values.values, drawn[group][name].values, equal_nan=True), (group, name)
    table = az.summary(drawn, var_names=["z"], kind="stats")
    assert str(table) in in_python["said"]


def test_the_settings_are_its_own(on_the_command_line):
    config = Run.load(on_the_command_line).plain_config
    assert config["model"] == {"_target_": "readme_pair.Model"}
    assert config["guide"] == {"_target_": "readme_pair.Guide"}
