"""`model=counts` on an h5ad file, from training to what is made of a run."""

import h5py
import numpy as np
import pandas as pd
import pytest

SHORT = (
    "model=counts", "guide=counts", "model.hidden=[8]", "guide.hidden=[8]", "model.latent_dim=2", "trainer.epochs=2",
    "trainer.compile=off", "results.figures=false", "results.num_particles=2", "results.draws=2", "hydra.run.dir=run",
)  # fmt: skip
GENES = [f"gene{i}" for i in range(6)]


def write(path, genes):
    """Cells of which each gene has counts of its own, whatever the order of the genes."""
    rng = np.random.default_rng(0)
    by_name = dict(zip(GENES, rng.poisson(3.0, (6, 40)).astype("float32"), strict=True))
    x = np.stack([by_name.get(name, np.full(40, 99.0, "float32")) for name in genes], 1)
    with h5py.File(path, "w") as file:
        file["X"] = x
        for name, index in (("obs", [f"cell{i}" for i in range(40)]), ("var", genes)):
            table = file.create_group(name)
            table.attrs.update({"_index": "_index", "encoding-type": "dataframe"})
            table["_index"] = index
        file["obs/batch"] = ["b1", "b2"] * 20
        file["obs/depth"] = rng.uniform(5, 20, 40)


def test_new_cells_are_taken_by_the_names_of_their_genes(cli, tmp_path):
    write(tmp_path / "cells.h5ad", GENES)
    write(tmp_path / "other.h5ad", ["gene3", "unknown", *GENES[:3], "gene5", "gene4"])
    words = ("dataset=h5ad", "dataset.path=cells.h5ad", "dataset.fields=[batch]", "model.dispersion=gene_batch")
    called = cli("train", *words, *SHORT, "likelihood=zinb")
    assert called.code == 0, called.err
    for file in ("cells", "other"):
        called = cli("encode", "run=run", f"dataset.path={file}.h5ad", "id=obs_names")
        assert called.code == 0, called.err
    tables = [pd.read_csv(tmp_path / "run" / "encoded" / f"{file}.csv", index_col=0) for file in ("cells", "other")]
    assert list(tables[0].index) == [f"cell{i}" for i in range(40)]
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.slow
def test_a_decoder_is_exported_where_it_is_one_of_latents(cli, tmp_path):
    write(tmp_path / "cells.h5ad", GENES)
    words = ("dataset=h5ad", "dataset.path=cells.h5ad", "dataset.fields=[depth]")
    assert cli("train", *words, *SHORT).code == 0
    called = cli("export", "run=run")
    assert called.code
    assert "depend on the data themselves" in called.err
    assert cli("train", *words, *SHORT[:-1], "model.exposure=depth", "hydra.run.dir=second").code == 0
    called = cli("export", "run=second")
    assert called.code == 0, called.err
