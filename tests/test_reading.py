"""Files from elsewhere: what is no regular file, deep, large, or of another form."""

import os
import socket
from typing import Any

import pytest

from ppl_vae.errors import DataError, RunError
from ppl_vae.reading import DEPTH, of_form, parse_json, require_regular


def test_pipes_devices_and_sockets_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(tmp_path)  # the name of a socket is short
        server.bind("socket")
        for name, kind in (("pipe", "a pipe"), ("socket", "a socket"), (".", "a folder")):
            with pytest.raises(RunError, match=f"which is {kind}, expected a thing"):
                require_regular(tmp_path / name, "a thing")
    (tmp_path / "link").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="which is a device"):
        require_regular(tmp_path / "link", "a csv file", DataError)
    (tmp_path / "loop").symlink_to("loop")
    for name in ("loop", "nothing", "x" * 5000, "\0"):
        with pytest.raises(RunError, match="cannot be read"):
            require_regular(tmp_path / name, "a thing")


def test_bounds():
    assert parse_json("[" * DEPTH + "]" * DEPTH)
    for text in ("[" * (DEPTH + 1) + "]" * (DEPTH + 1), "[" * 100_000, "9" * 5000, '"\\ud800"', '{"\\udcff": 1}', ""):
        with pytest.raises(ValueError, match=r"."):
            parse_json(text)


def test_forms(tmp_path):
    path, value = tmp_path / "f.json", {"a": [1, "x"]}
    assert of_form(value, path, "a thing", dict[str, Any]) is value
    with pytest.raises(RunError, match=r"with a\[1\]='x', expected a thing: a\[1\] is a whole number"):
        of_form(value, path, "a thing", dict[str, list[int]])
