"""Training on data that stay in their files: resumed at any step, the same bits; flat in memory."""

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import Dataset, IterableDataset

import ppl_vae as pv
from ppl_vae.errors import DataError, RunError
from tests.training.pairs import identical, interrupt_at, pair, rows, train, weights


@pytest.fixture
def file(tmp_path):
    """60 grey levels of 6 pixels, in blocks of 5."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((60, 6), dtype=np.float32))
    return tmp_path / "x.npy"


def mapped(file, block=5, window=3, **how):
    how = {"binarization": "dynamic", "validation": 10, "test": 0} | how
    return pv.datasets.npy(file, mmap=True, shuffle_block=block, shuffle_window=window, **how)


def items(file):
    class Rows(Dataset):
        def __init__(self):
            self.x = np.load(file)

        def __len__(self):
            return len(self.x)

        def __getitem__(self, i):
            return (self.x[i] > 0.5).astype(np.float32)

    return pv.datasets.from_arrays(Rows(), validation=10)


def one_by_one(file):
    class Stream(IterableDataset):
        def __len__(self):
            return 60

        def __iter__(self):
            return iter((np.load(file) > 0.5).astype(np.float32))

    return pv.datasets.from_arrays(Stream(), validation=10)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Epochs of 4 steps that were never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    np.save(folder / "x.npy", np.random.default_rng(0).random((60, 6), dtype=np.float32))
    vae = pair()
    history = train(vae, folder / "run", data=mapped(folder / "x.npy"), epochs=3)
    return rows(history), weights(vae)


@pytest.mark.parametrize("step", [2, 6, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 3, 4, 5, 7, 8))])
def test_interrupted_at_any_step_the_rest_is_the_same(step, file, whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(pair(), tmp_path / "run", data=mapped(file), epochs=3, objective=interrupt_at(step))
    vae = pair(seed=7)
    history = train(vae, tmp_path / "run", data=mapped(file), epochs=3, resume=True)
    assert rows(history) == whole[0]
    assert identical(weights(vae), whole[1])


@pytest.mark.parametrize("made", [pytest.param(items, marks=pytest.mark.slow), one_by_one])
def test_data_sets_of_torch_are_resumed_too(made, file, tmp_path):
    results = []
    for step in (None, 2):
        folder = tmp_path / str(step)
        if step is not None:
            with pytest.raises(KeyboardInterrupt):
                train(pair(), folder, data=made(file), epochs=2, objective=interrupt_at(step))
        vae = pair(seed=0 if step is None else 7)
        history = train(vae, folder, data=made(file), epochs=2, resume=step is not None)
        results.append((rows(history), weights(vae)))
    assert results[0][0] == results[1][0]
    assert identical(results[0][1], results[1][1])


def test_data_of_a_window_are_trained_on_as_in_memory(file, tmp_path):
    results = []
    for data in (
        pv.datasets.npy(file, binarization="dynamic", validation=10, test=0),
        mapped(file, window=100),
    ):
        vae = pair()
        results.append((rows(train(vae, tmp_path / str(len(results)), data=data, epochs=2)), weights(vae)))
    assert results[0][0] == results[1][0]
    assert identical(results[0][1], results[1][1])
    again = pv.datasets.npy(file, binarization="dynamic", validation=10, test=0)
    train(pair(), tmp_path / "1", data=again, epochs=2, resume=True)  # begun on the file, goes on in memory


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: mapped(file, block=6), r"order\.blocks 10, which was 12"),
        (lambda file: mapped(file, window=2), r"order\.window 2, which was 3"),
        (lambda file: pv.datasets.npy(file, binarization="dynamic", validation=10, test=0), r"order nothing"),
        (lambda file: _rewritten(file), r"other values \(their SHA-256 has changed\)"),
    ],
    ids=["blocks", "window", "memory", "values"],
)
def test_other_data_or_another_order_are_another_run(change, message, file, tmp_path):
    train(pair(), tmp_path / "run", data=mapped(file), epochs=1)
    with pytest.raises(RunError, match=message):
        train(pair(), tmp_path / "run", data=change(file), epochs=2, resume=True)


def _rewritten(file):
    np.save(file, np.load(file)[::-1])
    return mapped(file)


@pytest.mark.parametrize("harm", ["cut", "gone", "written"])
def test_a_file_that_changes_while_it_is_read_is_refused(harm, file):
    data = mapped(file, window=1)
    if harm == "cut":
        with file.open("r+b") as stream:
            stream.truncate(300)
    elif harm == "gone":
        file.unlink()
    else:
        np.save(file, np.load(file))
    with pytest.raises(DataError, match=r"x\.npy, which (is gone|has changed since it was opened), expected"):
        pv.fit(pair(), data, epochs=1, progress=False)


def test_every_verb_of_a_pair_goes_by_batch(file):
    vae, data = pair(), mapped(file, binarization="threshold", test=8)
    memory = pv.datasets.npy(file, binarization="threshold", validation=10, test=8)
    tables = [pv.evaluate(vae, d.test, 4, seed=1).table for d in (data, memory)]
    assert tables[0].equals(tables[1])
    draws = [pv.posterior(vae, d.test, draws=2, seed=1)["posterior"]["z"].values for d in (data, memory)]
    assert np.array_equal(*draws)
    np.save(file, np.load(file).round())
    lone = pv.fit(pair(), np.load(file, mmap_mode="r"), epochs=1, seed=1, progress=False)
    assert rows(lone) == rows(pv.fit(pair(), np.load(file), epochs=1, seed=1, progress=False))


FIT = """
import sys, numpy as np, torch, ppl_vae as pv
from ppl_vae import models, guides
kind, path = sys.argv[1:]
source = {"npy": pv.datasets.npy, "parquet": pv.datasets.parquet}[kind]
more = {"shuffle_block": 1024} if kind == "npy" else {"standardization": "none"}
data = source(path, mmap=True, shuffle_window=8, validation=500, test=500, **more)
model = models.VAE(data.spec, latent_dim=2, hidden=[8])
vae = pv.VAE(model, guides.Amortized(data.spec, model, hidden=[8]))
pv.fit(vae, data, epochs=1, batch_size=1024, progress=False, directory=path + ".run", compile="off")
pv.evaluate(vae, data.test, 2)
"""


def peak(*arguments):
    """The most memory of a process that is not file cache, in bytes: RssAnon, looked at 100 times a second."""
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(FIT), *map(str, arguments)])
    most = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            continue
        found = [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon")]
        most = max([most, *found])
        time.sleep(0.01)
    assert process.returncode == 0
    return most


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory of a process is read in /proc")
@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_memory_is_flat_in_the_size_of_the_file(kind, tmp_path):
    """Four times the rows (of npy twice, too): the peak may rise by 9 bytes a row for the split, and 5 % of the file.

    Of Parquet, 1.5 kB for the description of each column of a row group, and 8 MB for Arrow's pool, besides.
    """
    peaks, rng = {}, np.random.default_rng(0)
    for rows_ in (60_000, 120_000, 240_000) if kind == "npy" else (30_000, 120_000):
        x = rng.standard_normal((rows_, 250 if kind == "npy" else 100), dtype=np.float32)
        path = tmp_path / f"{rows_}.{kind}"
        if kind == "npy":
            np.save(path, x)
        else:
            pytest.importorskip("pyarrow")
            import pandas as pd

            pd.DataFrame(x).rename(columns=str).to_parquet(path, row_group_size=4096)
        size = x.nbytes
        del x
        peaks[size] = peak(kind, path)
        path.unlink()
    sizes, groups = sorted(peaks), {"npy": (0, 0), "parquet": (8e6, 1500 / (4 * 4096))}[kind]
    for size in sizes[1:]:
        more = size - sizes[0]
        assert peaks[size] - peaks[sizes[0]] < (0.05 + 9 / x_row(kind) + groups[1]) * more + groups[0], peaks


def x_row(kind):
    """Bytes of a row."""
    return 4 * (250 if kind == "npy" else 100)
