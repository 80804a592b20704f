"""Files of HDF5 that reach out of themselves, or hold themselves."""

import os

import h5py
import numpy as np
import pytest

from ppl_vae.errors import RunError
from ppl_vae.files.hdf5 import require_contained
from ppl_vae.inference_data.groups import Dimensions, datatree, load, save

TREE = datatree({"posterior": {"z": np.zeros((1, 4, 5, 3))}}, Dimensions(frozenset({"z"})))


def unknown_filter(group):
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((4,))
    made.set_filter(32111, h5py.h5z.FLAG_OPTIONAL)
    h5py.h5d.create(group.id, b"f", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((4,)), made)


def deep(group):
    group.create_group("/".join("a" * 30))


def many(group):
    for i in range(10_001):
        group.create_group(f"g{i}")


HOSTILE = {
    "a link to another place": lambda g: g.__setitem__("s", h5py.SoftLink("/posterior/z")),
    "a link to another file": lambda g: g.__setitem__("s", h5py.ExternalLink("/etc/passwd", "/")),
    "there twice": lambda g: g.__setitem__("s", g),
    "values in another file, '/etc/passwd'": lambda g: g.create_dataset(
        "e", (9,), "u1", external=[("/etc/passwd", 0, 9)]
    ),
    "values of other variables": lambda g: g.create_virtual_dataset("v", h5py.VirtualLayout((4,), "f4")),
    "behind the filter 32111": unknown_filter,
    "groups in more than 16 others": deep,
    "more than 10000 groups": many,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_reaches_out_is_refused(tmp_path, what):
    path = save(TREE, tmp_path / "p.nc")
    with h5py.File(path, "a") as file:
        HOSTILE[what](file["posterior"])
    with pytest.raises(RunError, match=what):
        load(path)


def test_large_attributes(tmp_path):
    path = tmp_path / "p.nc"
    with h5py.File(path, "w", libver="latest") as file:
        file.create_group("g")
        file["g"].attrs.create("x", np.zeros(3 * 2**20))
    with pytest.raises(RunError, match="25165824 bytes of attributes at '/g/'"):
        require_contained(path)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.nc")
    (tmp_path / "text.nc").write_text("x" * 1000)
    for name, why in (("pipe", "a pipe"), ("text", "no readable netCDF file"), ("none", "No posterior")):
        with pytest.raises(RunError, match=why):
            load(tmp_path / f"{name}.nc")


def test_our_own_files_pass(tmp_path):
    assert load(save(TREE, tmp_path / "p.nc"))["posterior"]["z"].shape == (1, 4, 5, 3)


def test_a_heap_that_leads_nowhere_is_refused(tmp_path):
    """One byte of a size: HDF5 looks for the next object for ever, and no signal reaches it."""
    path = tmp_path / "texts.nc"
    with h5py.File(path, "w") as file:
        file.attrs["one"] = "text"
        file.attrs["two"] = "another text"
    require_contained(path)
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    content[heap + 16 + 8] = 0x80  # the size of the first text
    path.write_bytes(bytes(content))
    with pytest.raises(RunError, match="its texts at byte"):
        require_contained(path)


def test_values_that_are_not_there_are_refused(tmp_path):
    """A size is two numbers in a file; whoever uses the values would ask for all of its memory."""
    path = tmp_path / "sparse.nc"
    with h5py.File(path, "w") as file:
        file.create_dataset("z", (10**7, 10**4), "f8", chunks=(100, 100))
    with pytest.raises(RunError, match="100000000000 values in 0 bytes at '/z'"):
        require_contained(path)
