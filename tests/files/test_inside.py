"""What lies inside a run is neither written nor read through links, and nothing waits for a pipe."""

import os

import pytest

import ppl_vae as pv
from ppl_vae import files
from ppl_vae.errors import DamagedError, RunError
from ppl_vae.files.inside import content
from ppl_vae.files.replace import put, write
from ppl_vae.runs.files import append, write_atomically
from ppl_vae.runs.recorder import RunWriter
from ppl_vae.training import Store

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links need rights there")


@pytest.fixture
def run(tmp_path):
    """A run, and a folder beside it in which nothing may change."""
    with RunWriter(tmp_path / "run") as writer:
        writer.start(verb="fit")
        writer.end("finished")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_text("mine")
    yield tmp_path / "run"
    assert [p.name for p in outside.iterdir()] == ["mine"]
    assert (outside / "mine").read_text() == "mine"


def outside(run):
    return run.parent / "outside"


@pytest.mark.parametrize("target", ["mine", "nothing"])
def test_a_link_in_place_of_a_file_is_replaced(target, run):
    (run / "report.html").symlink_to(outside(run) / target)
    (run / ".report.html.tmp").symlink_to(outside(run) / target)
    write_atomically(run / "report.html", "new")
    assert not (run / "report.html").is_symlink()
    assert files.read(run / "report.html") == b"new"


@pytest.mark.parametrize("target", ["mine", "nothing"])
def test_a_file_that_grows_is_not_grown_through_a_link(target, run):
    (run / "metrics.jsonl").symlink_to(outside(run) / target)
    with pytest.raises(RunError, match=r"metrics\.jsonl"):
        append(run / "metrics.jsonl", "{}\n")


WRITES = {
    "evaluation": lambda d: files.folder(d / "evaluation" / "test"),
    "figures": lambda d: write_atomically(d / "figures" / "a.png", b"1"),
    "checkpoints": lambda d: Store(d).save_last({"position": 0}),
    "export": lambda d: files.folder(d / "export"),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_folder_that_is_a_link_is_refused(name, run):
    (run / name).symlink_to(outside(run), target_is_directory=True)
    with pytest.raises(DamagedError, match=rf"{name}, a link to .*outside, inside"):
        WRITES[name](run)
    with pytest.raises(DamagedError, match="a link to"):
        files.read(run / name / "mine")


def test_the_lock_is_no_link(run):
    (run / ".lock").unlink()
    (run / ".lock").symlink_to(outside(run) / "mine")
    with pytest.raises(RunError, match="expected a folder that can be written to"):
        RunWriter(run, resume=True)
    assert pv.Run(run).status == "finished"


def test_the_folder_of_a_run_may_be_a_link(run, tmp_path):
    (tmp_path / "linked").symlink_to(run, target_is_directory=True)
    write_atomically(tmp_path / "linked" / "table.csv", "a")
    assert files.read(run / "table.csv") == b"a"
    with RunWriter(tmp_path / "linked", resume=True):
        pass


def test_outside_of_runs_links_are_the_users_own(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there", target_is_directory=True)
    write_atomically(files.folder(tmp_path / "link" / "deeper") / "a", "a")
    assert (tmp_path / "there" / "deeper" / "a").read_text() == "a"
    assert not list(tmp_path.rglob("manifest.json"))


def test_a_new_file_is_opened_exclusively(run):
    for make in (lambda p: p.write_text("there"), lambda p: p.symlink_to(outside(run) / "mine")):
        make(run / "new")
        with pytest.raises(FileExistsError):
            write(run / "new", b"1")
        (run / "new").unlink()
    os.mkfifo(run / "pipe")
    with pytest.raises(OSError):  # noqa: PT011 - of whichever kind
        put(run / "pipe", b"1", os.O_APPEND)


@pytest.mark.parametrize("kind", ["link", "link to nothing", "pipe", "folder", "large", "missing", "device"])
def test_only_a_regular_file_of_some_size_is_read(tmp_path, kind):
    path = tmp_path / "config.yaml"
    (tmp_path / "secret").write_text("s3cr3t: 1")
    make = {
        "link": lambda: path.symlink_to("secret"),
        "link to nothing": lambda: path.symlink_to("gone"),
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "large": lambda: path.write_text("a" * 20),
        "missing": lambda: None,
        "device": lambda: path.symlink_to("/dev/zero"),
    }
    make[kind]()
    told = FileNotFoundError if kind == "missing" else DamagedError
    with pytest.raises(told, match=r"config\.yaml") as caught:
        content(path, 10)
    assert "s3cr3t" not in str(caught.value)
