import hashlib
import http.client
import io

import pytest

from ppl_vae.datasets.download import fetch, fetch_all, open_url
from ppl_vae.errors import DataError

CONTENT = b"images" * 1000
SUM = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """A world of addresses: content, an exception, or nothing."""

    def __init__(self, pages):
        self.pages, self.asked = pages, []

    def __call__(self, url):
        self.asked.append(url)
        page = self.pages.get(url, OSError("no route"))
        if isinstance(page, BaseException):
            raise page
        return page if hasattr(page, "read") else io.BytesIO(page)


class Torn(io.BytesIO):
    def read(self, *_):
        if self.tell():
            raise http.client.IncompleteRead(b"")
        return super().read(100)


def test_keeps_a_checked_file(tmp_path):
    server = Server({"http://a/f": CONTENT})
    assert fetch_all({"f": SUM}, ["http://a/"], tmp_path / "new" / "folder", server) == tmp_path / "new" / "folder"
    assert (tmp_path / "new" / "folder" / "f").read_bytes() == CONTENT
    fetch_all({"f": SUM}, ["http://a/"], tmp_path / "new" / "folder", server)
    assert server.asked == ["http://a/f"]  # once


def test_a_damaged_file_in_the_cache_is_fetched_again(tmp_path):
    (tmp_path / "f").write_bytes(CONTENT[:50])
    fetch_all({"f": SUM}, ["http://a"], tmp_path, Server({"http://a/f": CONTENT}))
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_the_next_mirror_is_tried(tmp_path):
    server = Server({"http://a/f": b"<html>", "http://b/f": Torn(CONTENT), "http://c/f": CONTENT})
    fetch("f", SUM, ["http://a", "http://b", "http://c"], tmp_path, server)
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]
    assert len(server.asked) == 3


def test_failure_names_every_reason_and_leaves_nothing(tmp_path):
    server = Server({"http://a/f": b"<html>"})
    with pytest.raises(
        DataError, match=r"(?s)http://a/f: got a file with SHA-256 .*http://b/f: no route.*dataset\.path=DIR"
    ):
        fetch("f", SUM, ["http://a", "http://b"], tmp_path, server)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fetch("f", SUM, ["http://a"], tmp_path, Server({"http://a/f": KeyboardInterrupt()}))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        fetch_all({"f": SUM}, ["http://a"], tmp_path / "file" / "below", Server({}))


def test_real_addresses_are_opened(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "f").write_bytes(CONTENT)
    fetch("f", SUM, [(tmp_path / "source").as_uri()], tmp_path, open_url)
    assert (tmp_path / "f").read_bytes() == CONTENT
