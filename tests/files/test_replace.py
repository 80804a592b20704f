"""What is replaced is there in full or not at all, be it a file or a folder."""

import pytest

from ppl_vae.errors import RunError
from ppl_vae.files import replacing


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
