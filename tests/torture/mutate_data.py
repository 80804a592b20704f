"""Files of data, mutated at random and by hand, read in each way that there is.

`python -m tests.torture.mutate_data 20000 [SEED]` searches for long.
"""

from __future__ import annotations

import gzip
import io
import os
import random
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
import torch

import ppl_vae as pv
from tests.torture.result import CHUNK, Result, apart, main

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 4, 4), dtype="uint8")
NUMBERS = RNG.normal(size=(20, 3))
TABLE = pd.DataFrame(NUMBERS, columns=list("abc")).assign(n=range(20), kind=list("xy") * 10)


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes:
        name: of the file.
        content: of a valid one.
        read: takes the path; reads all of it.
        options: one of these is given to the reader.
        forge: makes a hostile file by hand, for the format.
    """

    name: str
    content: bytes
    read: Callable[..., object]
    options: tuple[dict[str, Any], ...] = ({},)
    forge: Callable[[random.Random], bytes] | None = None
    magic: int = field(default=64)


def saved(save: Callable[..., object], *args: Any, **options: Any) -> bytes:
    """The bytes that a function writes into a stream."""
    stream = io.BytesIO()
    save(stream, *args, **options)
    return stream.getvalue()


def loads(source: Callable[..., Any]) -> Callable[..., object]:
    """Read a data set, and each of its data."""

    def read(path: Path, **options: Any) -> object:
        data = source(path, **options)
        for split in data.splits.values():
            for start in range(0, min(len(split), 200), 64):
                split[start : start + 64].batch()
        return data.spec

    return read


# --- hostile files by hand
# ---------------------------------------------------------------------------------------------------------------------

SHAPES = (
    "(20, 3)",
    "(20, -3)",
    "(-20, -3)",
    "(10**12, 10**12)",
    "(2**63, 2)",
    "(2**31, 2**31)",
    "(2**62, 4)",
    "(20,)",
    "()",
    "(0, 3)",
    "(20, 0)",
    "(True, 3)",
    "(20.0, 3)",
    "('20', 3)",
    "[20, 3]",
    "20",
    "None",
    "((20, 3),)",
    "(20, 3, 0)",
    "(" + "1, " * 64 + ")",
    "(" + "1, " * 100 + "60)",
    "(" * 200 + ")" * 200,
    "(1000000000, 1000)",
    "(99999999999, 0)",
    "(0, 99999999999999999999999)",
    "{1: 2}",
    "(20, 3",
    "(1j, 3)",
    "(nan, 3)",
    "(1e400, 3)",
)
DESCRS = (
    "'<f8'",
    "'>f8'",
    "'|O'",
    "'O'",
    "'<U8'",
    "'<U0'",
    "'<U100000000'",
    "'|S3'",
    "'|S0'",
    "'|V8'",
    "'|V0'",
    "'<M8[ns]'",
    "'<m8[D]'",
    "'<M8'",
    "'<c16'",
    "'<f2'",
    "'<f16'",
    "'|b1'",
    "'<u8'",
    "'|i1'",
    "[('a', '<f8')]",
    "[('a', '|O')]",
    "[('a', '<f8', (3,))]",
    "('<f8', (3,))",
    "''",
    "None",
    "1",
    "'xyz'",
    "'<f3'",
    "[('a', '<f8'), ('a', '<f8')]",
    "[]",
    "[" * 150 + "]" * 150,
    "'<i4, O'",
    "{'names': ['a'], 'formats': ['O']}",
    "'<f8' * 9",
    "__import__('os')",
    "'\\ud800'",
)
ORDERS = ("False", "True", "None", "1", "'x'", "[]")


def npy_header(rng: random.Random) -> bytes:
    """An npy header of any shape, dtype and order, before a few bytes of values."""
    shape, descr, order = rng.choice(SHAPES), rng.choice(DESCRS), rng.choice(ORDERS)
    if rng.random() < 0.5:
        descr, order = "'<f8'", "False"
    elif rng.random() < 0.5:
        shape = "(20, 3)"
    extra = rng.choice([""] * 6 + ["'x': 1, ", "'shape': (1,), ", "**{}, ", "#", "\x00", "é" * 9])
    text = f"{{{extra}'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    body = text.encode("utf-8" if rng.random() < 0.9 else "utf-16")
    version = rng.choice([(1, 0)] * 6 + [(2, 0), (3, 0), (0, 0), (9, 9)])
    size = rng.choice([len(body)] * 8 + [0, 2, 65535, len(body) - 3, len(body) + 30])
    length = struct.pack("<H", size & 0xFFFF) if version[0] == 1 else struct.pack("<I", size)
    if version[0] == 2 and rng.random() < 0.3:
        length = struct.pack("<I", 2**32 - 1)
    return b"\x93NUMPY" + bytes(version) + length + body + NUMBERS.tobytes()[: rng.choice([480, 480, 0, 479, 8])]


def npz_members(rng: random.Random) -> bytes:
    """A zip archive of arrays with strange names, sizes and values."""
    stream = io.BytesIO()
    how = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    names = [
        "x",
        "x_train",
        "../x",
        "/etc/x",
        "",
        ".",
        "x/y",
        "a" * 3000,
        "日本",
        "x\n",
        "data",
        "y_train",
        "csr",
        "indptr",
    ]
    with zipfile.ZipFile(stream, "w", how) as archive:
        for _ in range(rng.choice([0, 1, 1, 2, 3, 40])):
            content = rng.choice(
                [
                    lambda: npy_header(rng),
                    lambda: saved(np.save, NUMBERS),
                    lambda: saved(np.save, np.arange(20) % 3),
                    lambda: saved(np.save, np.array([{}, []], dtype=object), allow_pickle=True),
                    lambda: b"",
                    lambda: b"\0" * 10**6,
                    lambda: saved(np.save, np.zeros((20, 10**5), "uint8")),
                    lambda: saved(np.save, np.zeros((0, 4))),
                    lambda: saved(np.save, np.array("x")),
                ]
            )()
            info = zipfile.ZipInfo(rng.choice(names) + rng.choice([".npy", ".npy", "", ".pkl", ".NPY"]))
            info.external_attr = rng.choice([0, 0o120777 << 16, 0o010644 << 16])
            archive.writestr(info, content, how)
        archive.comment = bytes(rng.choice([0, 0, 10]))
    return stream.getvalue()


CELLS = (
    "1",
    "-1.5",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "9" * 400,
    "1e-999",
    "",
    " ",
    "x",
    "1,5",
    "=1+1",
    '"',
    '""',
    "'",
    "\x00",
    "\t",
    "é",
    "日本",
    "true",
    "0x10",
    "1_000",
    "2020-01-01",
    "None",
    "NA",
    "1e5000000",
    "1j",
    "\\",
    "\u2028",
    "\r",
    "99999999999999999999",
    "18446744073709551615",
    "-9223372036854775809",
    "1.5.5",
    "+-1",
    "\ufeff",
    "#",
)


def csv_text(rng: random.Random) -> bytes:
    """Text that is nearly a table."""
    columns = rng.choice([1, 2, 3, 3, 3, 40])
    names = [rng.choice(["a", "b", "c", "", "a", "1", "é", "kind", "Unnamed: 0", "x" * 300]) for _ in range(columns)]
    if rng.random() < 0.6:
        names = [f"c{i}" for i in range(columns)]
    separator, end = rng.choice([",", ",", ",", ";", "\t", "|", " "]), rng.choice(["\n", "\n", "\r\n", "\r", "\n\n"])
    rows = [separator.join(names)]
    for _ in range(rng.choice([0, 1, 5, 20, 20])):
        width = columns if rng.random() < 0.97 else rng.choice([0, columns + 1, columns - 1, 100])
        odd = rng.random() < 0.1
        rows.append(separator.join(rng.choice(CELLS) if odd else f"{rng.gauss(0, 1):.3f}" for _ in range(width)))
    text = end.join(rows) + rng.choice(["", end, '"', "\x00", "\x1a"])
    try:
        return text.encode(rng.choice(["utf-8"] * 8 + ["utf-16", "latin-1", "utf-8-sig", "utf-32", "utf-7"]))
    except UnicodeEncodeError:
        return text.encode()


def idx_header(rng: random.Random) -> bytes:
    """An idx header that lies."""
    axes = rng.choice([0, 1, 2, 3, 3, 3, 4, 9, 255])
    sizes = [rng.choice([0, 1, 4, 4, 20, 20, 2**31, 2**32 - 1, 65536]) for _ in range(axes)]
    code = rng.choice([8, 8, 8, 9, 11, 12, 13, 14, 0, 255])
    head = bytes([rng.choice([0, 0, 0, 1]), 0, code, axes]) + struct.pack(f">{axes}I", *sizes)
    return head + bytes(rng.choice([320, 0, 1, 319, 5000]))


def safetensors_header(rng: random.Random) -> bytes:
    """A safetensors file whose header is hostile."""
    entry = rng.choice(
        [
            '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}',
            '{"dtype":"F32","shape":[1000000000,1000000000,1000000000],"data_offsets":[0,8]}',
            '{"dtype":"F32","shape":[-1],"data_offsets":[0,8]}',
            '{"dtype":"F32","shape":[0,99999999999],"data_offsets":[0,0]}',
            '{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}',
            '{"dtype":"X","shape":[2],"data_offsets":[0,8]}',
            '{"dtype":"F32","shape":[2],"data_offsets":[8,0]}',
            '{"dtype":"F32","shape":[2],"data_offsets":[0,99999999]}',
            '{"dtype":"F32","shape":"x","data_offsets":null}',
            '{"dtype":"F4","shape":[16],"data_offsets":[0,8]}',
            '{"dtype":"U64","shape":[1],"data_offsets":[0,8]}',
            '{"dtype":"C64","shape":[1],"data_offsets":[0,8]}',
            "[" * 5000 + "]" * 5000,
            "1",
        ]
    )
    deep = "[" * rng.choice([10, 900, 3000, 100000])
    state = rng.choice(
        [
            '{"state": {"a": {"$tensor": "a"}}}',
            '{"state": {"$tensor": "b"}}',
            '{"state": {"$dict": [[[1], 2]]}}',
            "{}",
            '{"state": {"$dict": 1}}',
            '{"state": {"$packed": [1]}}',
            '{"state": {"$float": "x"}}',
            "[]",
            "null",
            "x",
            "",
            '{"state": {"$tuple": null}}',
            '{"state": {"$tensor": ["a"]}}',
            '{"state": {"$array": "a"}}',
            "1e999",
            '{"state": {"$packed": [{"$tensor": "a"}, 1, 2, 3, 4, 5]}}',
            '{"state": ' + deep + "]" * len(deep) + "}",
            deep,
            '{"state": {"$float": [1]}}',
            '{"state": {"$dict": [[{"$dict": []}, 1]]}}',
            '{"state": ' + "9" * 5000 + "}",
            '{"state": {"$tensor": {}}}',
            '{"state": {"$dict": [[1]]}}',
            '{"state": {"$packed": {"a": 1}}}',
        ]
    )
    import json

    metadata = rng.choice(
        [json.dumps({"ppl_vae": state})] * 6 + ['{"state": "{}"}', "{}", '{"ppl_vae": 1}', "[]", '""']
    )
    text = f'{{"__metadata__":{metadata},"a":{entry}}}'
    if rng.random() < 0.1:
        text = rng.choice(["{}", "[]", "", "x", "{" * 50000, '{"a":1,"a":2}', '{"":' + entry + "}"])
    body = text.encode()
    size = rng.choice([len(body)] * 10 + [0, 1, 2**63, 2**64 - 1, 99_999_999, 100_000_001, len(body) + 8])
    return struct.pack("<Q", size) + body + bytes(rng.choice([8, 8, 8, 0, 7, 100]))


# --- kinds of files
# ---------------------------------------------------------------------------------------------------------------------

IDX = bytes([0, 0, 8, 3]) + struct.pack(">3I", *IMAGES.shape) + IMAGES.tobytes()
SPARSE = saved(scipy.sparse.save_npz, scipy.sparse.csr_matrix((NUMBERS > 0) * NUMBERS))
SPLITS = {"x_train": IMAGES, "y_train": np.arange(20) % 3, "x_test": IMAGES, "y_test": np.arange(20) % 3}


def _posterior(path: Path) -> object:
    from ppl_vae.inference_data.groups import load

    tree = load(path)
    return [v.values.sum() for g in tree.children.values() for v in g.variables.values() if v.dtype.kind in "biuf"]


def _state(path: Path) -> object:
    from ppl_vae.runs import state

    return state.load(path)


def _weights(path: Path) -> object:
    from ppl_vae.runs import state

    module = torch.nn.Linear(3, 2)
    return state.load_weights(path, module)


def _written(write: Callable[[Path], object], name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path)
        return path.read_bytes()


def _cells(path: Path) -> None:
    """Counts of cells as anndata writes them."""
    import h5py

    with h5py.File(path, "w") as file:
        matrix = scipy.sparse.csr_matrix(np.arange(60.0).reshape(20, 3) % 4)
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "shape": matrix.shape})
        for part in ("data", "indices", "indptr"):
            group[part] = getattr(matrix, part)
        for name, size in (("obs", 20), ("var", 3)):
            table = file.create_group(name)
            table.attrs.update({"_index": "_index", "encoding-type": "dataframe"})
            table["_index"] = [f"{name}{i}" for i in range(size)]
        kind = file["obs"].create_group("kind")
        kind.attrs["encoding-type"] = "categorical"
        kind["categories"], kind["codes"] = ["B", "T"], (np.arange(20) % 2).astype("int8")


def kinds() -> list[Kind]:
    """All kinds of files that are read, those of pyarrow where it is installed."""
    from ppl_vae.inference_data.groups import Dimensions, datatree, save
    from ppl_vae.runs import state

    tree = datatree({"posterior": {"z": NUMBERS.reshape(1, 4, 5, 3)}}, Dimensions(frozenset({"z"})))
    weights = {"weight": torch.zeros(2, 3), "bias": torch.ones(2)}
    whole = {"a": [1, 2.5, float("inf")], "b": (torch.arange(3), None), 3: {"x": np.arange(2)}}
    d = pv.datasets
    mmap = ({}, {"mmap": True}, {"mmap": True, "shuffle_block": 3}, {"dtype": "float64"})
    table = ({}, {"label": "kind"}, {"label": "kind", "columns": ["a", "b"]}, {"exclude": ["kind"], "support": "real"})
    text = (*table, {"header": False}, {"delimiter": ";"}, {"label": "kind", "shape": [2, 2]})
    csv = TABLE.to_csv(index=False).encode()
    found = [
        Kind("x.npy", saved(np.save, NUMBERS), loads(d.npy), mmap, npy_header),
        Kind("f.npy", saved(np.save, np.asfortranarray(NUMBERS.astype(">f4"))), loads(d.npy), mmap, npy_header),
        Kind("i.npy", saved(np.save, IMAGES), loads(d.npy), (*mmap, {"binarization": "dynamic"}), npy_header),
        Kind("x.npz", saved(np.savez, **SPLITS), loads(d.npz), ({}, {"labels": "y_train"}), npz_members),
        Kind("c.npz", saved(np.savez_compressed, **SPLITS), loads(d.npz), ({}, {"x": "x_train"}), npz_members),
        Kind("s.npz", SPARSE, loads(d.npz), ({},), npz_members),
        Kind("t.csv", csv, loads(d.csv), text, csv_text),
        Kind("t.csv.gz", gzip.compress(csv), loads(d.csv), text, lambda rng: gzip.compress(csv_text(rng))),
        Kind("train-images-idx3-ubyte", IDX, loads(d.idx), ({}, {"binarization": "threshold"}), idx_header),
        Kind("t10k.gz", gzip.compress(IDX), loads(d.idx), ({},), lambda rng: gzip.compress(idx_header(rng))),
        Kind(
            "cells.h5ad",
            _written(_cells, "c"),
            loads(d.h5ad),
            ({}, {"label": "kind"}, {"fields": ["kind"]}),
            magic=4096,
        ),
        Kind("posterior.nc", _written(lambda p: save(tree, p), "p.nc"), _posterior, magic=4096),
        Kind(
            "checkpoint.safetensors", _written(lambda p: state.save(p, whole), "s"), _state, ({},), safetensors_header
        ),
        Kind("model.safetensors", _written(lambda p: state.save(p, weights), "s"), _weights, ({},), safetensors_header),
    ]
    try:
        import pyarrow as pa
    except ImportError:
        return found
    parquet = saved(TABLE.to_parquet)
    groups = saved(lambda s: TABLE.to_parquet(s, row_group_size=6, compression="gzip"))
    stream, file = io.BytesIO(), io.BytesIO()
    arrow = pa.Table.from_pandas(TABLE)
    with pa.ipc.new_stream(stream, arrow.schema) as writer:
        writer.write_table(arrow)
    with pa.ipc.new_file(file, arrow.schema) as writer:
        writer.write_table(arrow, max_chunksize=6)
    both = (*table, *({"mmap": True, **o} for o in table), {"mmap": True, "shuffle_window": 1, "label": "kind"})
    return [
        *found,
        Kind("t.parquet", parquet, loads(d.parquet), both),
        Kind("g.parquet", groups, loads(d.parquet), both),
        Kind("t.arrow", file.getvalue(), loads(d.arrow), both),
        Kind("s.arrow", stream.getvalue(), loads(d.arrow), both),
    ]


# --- mutations
# ---------------------------------------------------------------------------------------------------------------------


def mutated(kind: Kind, others: list[Kind], rng: random.Random) -> tuple[str, bytes]:
    """Hostile content for a kind of file, with the name of what was done."""
    if kind.forge is not None and rng.random() < 0.4:
        content = kind.forge(rng)
        return ("forged", content) if rng.random() < 0.8 else ("forged, flipped", _flipped(content, rng, len(content)))
    content = kind.content
    how = rng.choice(
        ["flip", "flip", "head", "cut", "insert", "delete", "double", "swap", "other", "run", "small", "tail"]
    )
    size = len(content)
    start, length = rng.randrange(size), rng.choice([1, 2, 8, 40, 500])
    if how == "flip":
        return how, _flipped(content, rng, size)
    if how == "head":
        return how, _flipped(content, rng, min(size, kind.magic))
    if how == "tail":
        cut = max(0, size - 200)
        return how, content[:cut] + _flipped(content[cut:], rng, size - cut)
    if how == "cut":
        return how, content[: rng.choice([start, start, size - 1, size - length, 1])]
    if how == "insert":
        return how, content[:start] + rng.choice([rng.randbytes(length), bytes(length), b"\xff" * length]) + content[
            start:
        ]
    if how == "delete":
        return how, content[:start] + content[start + length :]
    if how == "double":
        return how, content[: start + length] + content[start:]
    if how == "swap":
        other = rng.choice(others).content
        return how, other[: kind.magic] + content[kind.magic :]
    if how == "other":
        return how, rng.choice(others).content
    if how == "run":
        value = rng.choice([b"\0", b"\xff", b"\x7f", b"\x80"])
        return how, content[:start] + value * min(length, size - start) + content[start + length :]
    return how, rng.choice(
        [b"", b"\0", b"\n", b"PK", b"\x89HDF\r\n\x1a\n", b"PAR1PAR1", b"ARROW1", b"\x1f\x8b", b"\x93NUMPY"]
    )


def _flipped(content: bytes, rng: random.Random, within: int) -> bytes:
    out = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        if out and within:
            place = rng.randrange(min(within, len(out)))
            out[place] = rng.choice([out[place] ^ (1 << rng.randrange(8)), rng.randrange(256), 0, 255, 127, 128])
    return bytes(out)


def search(count: int, seed: int) -> Result:
    """Read so many mutated files."""
    rng, found, all_kinds = random.Random(seed), Result(), kinds()
    keep = os.environ.get("KEEP_DATA")
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            kind = rng.choice(all_kinds)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # zipfile's, of names that occur twice
                how, content = mutated(kind, all_kinds, rng)
            options = rng.choice(kind.options)
            path = Path(folder) / kind.name
            path.write_bytes(content)
            before = len(found.undocumented) + len(found.hangs)
            if keep:
                (Path(keep) / "last").write_text(f"{kind.name} {how} {options}")
                (Path(keep) / "last.bin").write_bytes(content)
            found.judge(f"{kind.name} ({how}, {options}, {seed}.{number})", lambda: kind.read(path, **options))  # noqa: B023
            if keep and len(found.undocumented) + len(found.hangs) > before:
                (Path(keep) / f"{number}.{kind.name}").write_bytes(content)
            path.unlink()
    return found


def run(count: int, seed: int = 0, workers: int = 1) -> Result:
    """Read so many mutated files; many of them in processes of their own."""
    return search(count, seed) if count <= CHUNK else apart(search, count, seed, workers)


if __name__ == "__main__":
    main(run)
