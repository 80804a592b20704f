import hashlib
import struct

import numpy as np
import pytest
import scipy.sparse

from ppl_vae.datasets import files
from ppl_vae.datasets.convert import as_tensor
from ppl_vae.datasets.files import existing_file, existing_folder, reading, sha256
from ppl_vae.errors import DataError


def test_gives_absolute_paths(tmp_path, monkeypatch):
    (tmp_path / "a.npy").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert existing_file("a.npy", "an npy file") == tmp_path / "a.npy"
    assert existing_file("~/a.npy", "an npy file") == tmp_path / "a.npy"
    assert existing_folder("~", "a folder") == tmp_path


def test_a_near_name_is_offered(tmp_path):
    (tmp_path / "digits.npz").write_bytes(b"x")
    with pytest.raises(DataError, match=r"digit\.npz, which does not exist, expected an archive: perhaps 'digits.npz'"):
        existing_file(tmp_path / "digit.npz", "an archive")


def test_a_missing_folder_is_told_from_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"no directory .*/nowhere either"):
        existing_file(tmp_path / "nowhere" / "x.npz", "an archive")


def test_a_directory_is_no_file(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"x")
    with pytest.raises(DataError, match=r"Got the directory .*it holds 'x\.csv'"):
        existing_file(tmp_path, "a csv file")
    with pytest.raises(DataError, match="Got the file"):
        existing_folder(tmp_path / "x.csv", "a folder")


def test_an_empty_file(tmp_path):
    (tmp_path / "x.csv").touch()
    with pytest.raises(DataError, match=r"empty \(0 bytes\)"):
        existing_file(tmp_path / "x.csv", "a csv file")


@pytest.mark.parametrize("path", [None, "", "  ", 3])
def test_no_path(path):
    with pytest.raises(DataError, match="say where it is"):
        existing_file(path, "a csv file")


def test_checksums(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize("error", [KeyError("data"), OSError(5, "no\ndisk"), MemoryError(), struct.error("short")])
def test_whatever_a_reader_fails_at_is_damage(error):
    with (
        pytest.raises(
            DataError, match=rf"Got x\.npz, which .* no archive \({type(error).__name__}:.*\), expected .*: look"
        ),
        reading("x.npz", "archive", "look"),
    ):
        raise error


def test_a_refusal_stays_what_it_is():
    with pytest.raises(DataError, match=r"^as it is$"), reading("x.npz", "archive"):
        raise DataError("as it is")
    with pytest.raises(KeyboardInterrupt), reading("x.npz", "archive"):
        raise KeyboardInterrupt


def test_what_is_free_is_a_number_of_bytes():
    free = files.available()
    assert free is None or 2**20 < free < 2**50


def test_what_does_not_fit_is_said_before_it_is_made(monkeypatch):
    monkeypatch.setattr(files, "available", lambda: 2**20)
    files.check_fits(2**20, "x", "Do less.")
    with pytest.raises(DataError, match=r"Got x of 0\.0 GiB in memory, expected at most the 0\.0 GiB .* Do less\."):
        files.check_fits(2**20 + 1, "x", "Do less.")
    with pytest.raises(DataError, match="a sparse x of"):
        as_tensor(scipy.sparse.csr_matrix((1000, 1000), dtype=np.float32), "x")


def test_a_system_that_says_nothing_refuses_nothing(monkeypatch):
    monkeypatch.setattr(files, "available", lambda: None)
    files.check_fits(2**60, "x", "Do less.")
