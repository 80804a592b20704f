"""What is replaced is there in full or not at all, be it a file or a folder."""

import os

import pytest

from ppl_vae.errors import RunError
from ppl_vae.files import replace, replacing


def write(path, text):
    with replacing(path) as temporary:
        temporary.write_text(text)


def write_folder(path, text):
    with replacing(path) as temporary:
        temporary.mkdir()
        (temporary / "part").write_text(text)


def interrupted(path):
    with replacing(path) as temporary:
        temporary.mkdir()
        raise KeyboardInterrupt


def test_a_folder_is_replaced_by_a_folder(tmp_path):
    (tmp_path / ".store.tmp").mkdir()  # a process was killed
    for text in ("old", "new"):
        write_folder(tmp_path / "store", text)
        assert (tmp_path / "store" / "part").read_text() == text
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize("writing", [write, write_folder])
def test_an_error_inside_leaves_what_was_there(writing, tmp_path):
    path = tmp_path / "store"
    writing(path, "old")
    with pytest.raises(KeyboardInterrupt):
        interrupted(path)
    assert [p.name for p in tmp_path.iterdir()] == ["store"]
    assert (path / "part" if path.is_dir() else path).read_text() == "old"


def test_a_place_that_is_none_is_one_clear_error(tmp_path):
    with pytest.raises(RunError, match=r"No such file .* when writing .*result, expected a folder"):
        write(tmp_path / "nowhere" / "result", "1")


# --- what processes leave
# -------------------------------------------------------------------------------------------------------------------


def test_what_a_killed_process_has_left_is_taken_away_and_what_a_living_one_writes_is_not(tmp_path):
    place, dead = replace._place(), 2**22 + 1  # beyond the highest number of a process
    for name in (f".a.{place}-{dead}-ab.tmp", f".a.{place}-{os.getppid()}-cd.tmp", f".a.00000000-{dead}-ef.tmp"):
        (tmp_path / name).write_text("half")
    (tmp_path / f".b.{place}-{dead}-ab.tmp").write_text("of another file")
    write(tmp_path / "a", "1")
    left = sorted(p.name for p in tmp_path.iterdir())
    others = [f".a.00000000-{dead}-ef.tmp", f".a.{place}-{os.getppid()}-cd.tmp", f".b.{place}-{dead}-ab.tmp"]
    assert left == sorted([*others, "a"])


def test_a_folder_that_was_put_aside_by_a_killed_process_comes_back(tmp_path):
    aside = tmp_path / f".store.{replace._place()}-{2**22 + 1}-ab.old"
    aside.mkdir()
    (aside / "part").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "store")
    assert (tmp_path / "store" / "part").read_text() == "old"


def test_a_file_takes_no_folders_place(tmp_path):
    write_folder(tmp_path / "store", "old")
    with pytest.raises(RunError):
        write(tmp_path / "store", "new")
    assert (tmp_path / "store" / "part").read_text() == "old"
