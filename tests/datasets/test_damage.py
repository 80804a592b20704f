"""Files damaged at random: a data set, where the damage cannot be seen, or a DataError; never anything else."""

import gzip
import io
import struct

import numpy as np
import pandas as pd
import pytest

from ppl_vae.datasets import csv, idx, npy, npz, parquet
from ppl_vae.errors import DataError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 4, 4), dtype="uint8")
TABLE = pd.DataFrame(RNG.normal(size=(20, 3)), columns=list("abc")).assign(kind=list("xy") * 10)


def saved(save, *args, **options):
    stream = io.BytesIO()
    save(stream, *args, **options)
    return stream.getvalue()


IDX = bytes([0, 0, 8, 3]) + struct.pack(">3I", *IMAGES.shape) + IMAGES.tobytes()
FILES = {
    "train-images-idx3-ubyte": (IDX, idx, {}),
    "train-images-idx3-ubyte.gz": (gzip.compress(IDX), idx, {}),
    "x.npz": (saved(np.savez, x_train=IMAGES, y_train=np.arange(20)), npz, {}),
    "compressed.npz": (saved(np.savez_compressed, x_train=IMAGES, y_train=np.arange(20)), npz, {}),
    "x.npy": (saved(np.save, RNG.normal(size=(20, 4))), npy, {}),
    "t.csv": (TABLE.to_csv(index=False).encode(), csv, {"label": "kind"}),
    "t.csv.gz": (gzip.compress(TABLE.to_csv(index=False).encode()), csv, {"label": "kind"}),
    "t.parquet": (None, parquet, {"label": "kind"}),
}


def damaged(content, rng):
    kind, out = rng.integers(3), bytearray(content)
    if kind == 0:
        return out[: rng.integers(len(out))]
    if kind == 1:
        for place in rng.integers(len(out), size=rng.choice([1, 2, 8])):
            out[place] = rng.integers(256)
        return out
    start = rng.integers(len(out))
    out[start : start + rng.integers(20)] = rng.bytes(rng.integers(20))
    return out


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore:Reading `.npy`")  # numpy's, of headers that Python 2 might have written
def test_nothing_but_a_clear_refusal(tmp_path, name):
    content, source, options = FILES[name]
    if content is None:
        pytest.importorskip("pyarrow")
        content = saved(lambda stream: TABLE.to_parquet(stream))
    rng, messages = np.random.default_rng(1), []
    for _ in range(60):
        (tmp_path / name).write_bytes(damaged(content, rng))
        try:
            source(tmp_path / name, **options)
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert all("expected" in message for message in messages)
