"""Files from elsewhere: what is no regular file, deep, large, or of another form."""

import os
import socket

import pytest

from ppl_vae.errors import DataError, RunError
from ppl_vae.reading import DEPTH, parse_json, parse_row, read_bytes, read_json, read_text, read_yaml, require_regular


def test_pipes_devices_and_sockets_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(tmp_path)  # the name of a socket is short
        server.bind("socket")
        for name, kind in (("pipe", "a pipe"), ("socket", "a socket"), (".", "a folder")):
            with pytest.raises(RunError, match=f"which is {kind}, expected a thing"):
                read_bytes(tmp_path / name, "a thing")
    (tmp_path / "link").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="which is a device"):
        require_regular(tmp_path / "link", "a csv file", DataError)
    (tmp_path / "loop").symlink_to("loop")
    for name in ("loop", "nothing", "x" * 5000, "\0"):
        with pytest.raises(RunError, match="cannot be read"):
            read_bytes(tmp_path / name, "a thing")


def test_bounds(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"\xff")
    with pytest.raises(RunError, match="in UTF-8"):
        read_text(path, "a text")
    with pytest.raises(RunError, match="of 1 bytes, expected a text: at most 0 bytes"):
        read_text(path, "a text", most=0)
    assert parse_json("[" * DEPTH + "]" * DEPTH)
    for text in ("[" * (DEPTH + 1) + "]" * (DEPTH + 1), "[" * 100_000, "9" * 5000, '"\\ud800"', '{"\\udcff": 1}', ""):
        with pytest.raises(ValueError, match=r"."):
            parse_json(text)


def test_forms(tmp_path):
    path = tmp_path / "f.json"
    path.write_text('{"a": [1, "x"]}')
    assert read_json(path, "a thing") == {"a": [1, "x"]}
    with pytest.raises(RunError, match=r"with a\[1\]='x', expected a thing: a\[1\] is a whole number"):
        read_json(path, "a thing", dict[str, list[int]])


@pytest.mark.parametrize(
    "line", ["null", "1", "[]", '{"a": "x"}', '{"a": true}', '{"a": {}}', "{", '{"a": 1' + "0" * 400 + "}"]
)
def test_rows(line):
    with pytest.raises(ValueError, match=r"."):
        parse_row(line)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [1]\nb: *a",
        "a: &a [x,x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(9)),
        "[" * 500,
        "a: [",
        "a: \x00",
        "{" * 101 + "}" * 101,
        "%YAML 9",
    ],
)
def test_yaml(tmp_path, text):
    path = tmp_path / "f.yaml"
    path.write_text(text)
    with pytest.raises(RunError, match=r"f\.yaml"):
        read_yaml(path, "a config")
    path.write_text("a: {b: [1, 2.5, null]}")
    assert read_yaml(path, "a config") == path.read_text()
