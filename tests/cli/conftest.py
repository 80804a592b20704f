"""The command line called in this process, in a folder of its own; one trained run shared by a file's tests."""

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from ppl_vae.__main__ import main
from tests.cli.small import SMALL


@dataclass
class Called:
    """What a command line did: exit code, both streams, the folder it ran in."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def json(self) -> list[dict]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def left(self) -> list[str]:
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*"))


@pytest.fixture
def cli(tmp_path, monkeypatch, capsys):
    """`cli("train", "seed=1")` runs in `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def call(*words):
        capsys.readouterr()
        code = main([str(w) for w in words])
        captured = capsys.readouterr()
        return Called(code, captured.out, captured.err, tmp_path)

    return call


@pytest.fixture
def train(cli):
    """`train("seed=1")`: a model small enough to train in an instant."""
    return lambda *words: cli("train", *SMALL, *words)


@pytest.fixture
def shell(tmp_path):
    """`shell("train", …)`: the same in a fresh process; `start` gives the process itself."""

    class Shell:
        def start(self, *words, **options):
            return subprocess.Popen(
                [sys.executable, "-m", "ppl_vae", *map(str, words)],
                cwd=tmp_path, env={**os.environ, "PYTHONUNBUFFERED": "1"}, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
            )  # fmt: skip

        def __call__(self, *words):
            process = self.start(*words)
            out, err = process.communicate(timeout=120)
            return Called(process.returncode, out, err, tmp_path)

    return Shell()


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A finished run, made once a session; copy it before changing it."""
    folder = tmp_path_factory.mktemp("trained")
    before = Path.cwd()
    os.chdir(folder)
    try:
        code = main(["train", *SMALL, "format=json", "hydra.run.dir=run"])
    finally:
        os.chdir(before)
    assert code == 0
    return folder / "run"


@pytest.fixture
def run_copy(trained, tmp_path):
    """A finished run of the test's own."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


class Forks(BasicLauncher):
    """A launcher of processes: each job in one of its own, all at once; what this process remembers is lost there."""

    def launch(self, job_overrides, initial_job_idx):
        children = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
                    super().launch([overrides], number)
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        return []


@pytest.fixture
def forks(monkeypatch):
    """`hydra/launcher=forks`."""
    plugins = Plugins.instance()
    module = ModuleType("hydra_plugins.forks")  # where Hydra takes launchers from
    module.Forks, Forks.__module__, node = Forks, module.__name__, {"_target_": f"{module.__name__}.Forks"}
    parent = sys.modules.get("hydra_plugins") or ModuleType("hydra_plugins")
    monkeypatch.setitem(sys.modules, parent.__name__, parent)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(parent, "forks", module, raising=False)
    plugins.register(Forks)
    ConfigStore.instance().store(group="hydra/launcher", name="forks", node=node)
    yield "hydra/launcher=forks"
    plugins.class_name_to_class.pop(node["_target_"])
    del ConfigStore.instance().repo["hydra"]["launcher"]["forks.yaml"]
