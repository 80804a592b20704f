"""The commit as git itself tells it, read from its files."""

import os
import shutil
import subprocess

import pytest

from ppl_vae.runs.git import commit

ALONE = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git to compare with")


def git(folder, *words):
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always"]
    done = subprocess.run(["git", "-C", folder, *author, *words], check=True, env=ALONE, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    git(home, "init", "-q")
    git(home, "commit", "-q", "--allow-empty", "-m", "a")
    return home


def told(folder):
    return git(folder, "rev-parse", "HEAD")


def test_branches_packed_loose_and_detached(repository):
    assert commit(repository) == told(repository)
    git(repository, "checkout", "-q", "-b", "team/a-branch.2")
    git(repository, "commit", "-q", "--allow-empty", "-m", "b")
    assert commit(repository) == told(repository)
    git(repository, "pack-refs", "--all")
    assert commit(repository) == told(repository)
    git(repository, "commit", "-q", "--allow-empty", "-m", "c")  # loose again, beside the packed one
    assert commit(repository) == told(repository)
    git(repository, "checkout", "-q", "--detach", "HEAD~1")
    assert commit(repository) == told(repository)


def test_from_below_in_a_worktree_and_in_a_submodule(repository, tmp_path):
    (repository / "a" / "b").mkdir(parents=True)
    assert commit(repository / "a" / "b") == told(repository)
    git(repository, "worktree", "add", "-q", "-b", "other", tmp_path / "tree")
    git(tmp_path / "tree", "commit", "-q", "--allow-empty", "-m", "t")
    git(repository, "pack-refs", "--all")
    assert commit(tmp_path / "tree") == told(tmp_path / "tree") != told(repository)
    git(repository, "submodule", "add", "-q", str(tmp_path / "tree"), "inner")
    assert commit(repository / "inner") == told(repository / "inner")


def test_no_repository_and_no_commit(tmp_path):
    assert commit(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert commit(tmp_path) is None


@pytest.mark.parametrize(
    "head",
    [
        "",
        "ref: ../../secret",
        "ref: refs/../../../secret",
        "ref: refs/heads/a b",
        "secret",
        "ref: " + "refs/" + "x" * 999,
        "\0",
    ],
)
def test_what_is_no_reference_is_not_followed(repository, tmp_path, head):
    (tmp_path / "secret").write_text("a" * 40)
    (repository / ".git" / "HEAD").write_text(head)
    assert commit(repository) is None


def test_odd_files_are_no_commits(repository):
    head = repository / ".git" / "HEAD"
    head.unlink()
    os.mkfifo(head)
    assert commit(repository) is None
    head.unlink()
    head.mkdir()
    assert commit(repository) is None
    shutil.rmtree(repository / ".git")
    (repository / ".git").write_text("gitdir: /dev\n")
    assert commit(repository) is None
