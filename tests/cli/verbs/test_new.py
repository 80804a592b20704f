"""`ppl-vae new`: what it makes is tested, trains and sweeps as it is; bad names make nothing."""

import os
import subprocess
import sys

import pytest

NEW = {
    "conf/dataset/spirals.yaml",
    "conf/experiment/spirals.yaml",
    "conf/guide/spirals.yaml",
    "conf/model/spirals.yaml",
    "conftest.py",
    "README.md",
    "spirals.py",
    "tests/test_spirals.py",
    ".gitignore",
}


@pytest.fixture
def project(cli, tmp_path, monkeypatch):
    """A new project, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    called = cli("new", "spirals")
    assert called.code == 0, called.err
    return tmp_path / "spirals"


def test_all_of_it_bears_the_name(project):
    found = {str(path.relative_to(project)): path for path in project.rglob("*") if path.is_file()}
    assert set(found) == NEW
    assert not any("my_project" in path.read_text() for path in found.values())
    assert [path.name for path in project.parent.iterdir()] == ["spirals"]


@pytest.mark.parametrize("name", ["3d", "a b", "class", "json", "torch", "../out", "é", "spirals"])
def test_names_that_would_not_do_make_nothing(cli, project, name):
    before = sorted(project.parent.rglob("*"))
    called = cli("new", name)
    assert called.code == 2, called
    assert "expected" in called.err
    assert sorted(project.parent.rglob("*")) == before


def test_an_empty_folder_is_filled(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (told,) = cli("new", "name=mine", "format=json").json
    assert told["next"][0] == "cd mine"
    assert (tmp_path / "mine" / "mine.py").is_file()


@pytest.mark.slow
def test_its_own_tests_pass_and_its_commands_run(cli, project, monkeypatch, repository):
    """As README of the project says, with fewer epochs."""
    monkeypatch.chdir(project)
    where = os.environ | {"PYTHONPATH": str(repository)}
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(words, capture_output=True, text=True, env=where, check=False)
    assert done.returncode == 0, done.stdout
    short = ["--config-dir", "conf", "experiment=spirals", "trainer.epochs=2", "results.figures=false"]
    for more in ([], ["-m", "model.latent_dim=1,2", "seed=0,1"]):
        words = [sys.executable, "-m", "ppl_vae", "train", *more, *short]
        done = subprocess.run(words, capture_output=True, text=True, env=where, check=False)
        assert done.returncode == 0, done.stderr
    assert len(list((project / "outputs").rglob("run.json"))) == 5
