"""What is read of a run is a plain file that lies in it."""

import os

import pytest

from ppl_vae.errors import DamagedError
from ppl_vae.files.inside import content


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
