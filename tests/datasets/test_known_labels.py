"""Labels that are missing for some data: from arrays and files to batches of two structures; odd ones in words."""

import numpy as np
import pandas as pd
import pytest
import torch

import ppl_vae as pv
from ppl_vae.datasets.known_labels import encode_known
from ppl_vae.errors import DataError

X = np.arange(80, dtype=np.float32).reshape(20, 4) / 100
WORDS = ["cat", None, "dog", None, None] * 4


@pytest.mark.parametrize(
    ("labels", "codes", "names"),
    [
        (["cat", None, "dog", ""], [0, -1, 1, -1], ("cat", "dog")),
        (np.array(["b", "", "a"]), [1, -1, 0], ("a", "b")),
        ([1.0, float("nan"), 0.0], [1, -1, 0], None),
        (np.array([2, None, 0], dtype=object), [2, -1, 0], None),
        (torch.tensor([1, -1, 0]), [1, -1, 0], None),
        (pd.array([1, pd.NA, 0], dtype="Int64"), [1, -1, 0], None),
        (pd.Categorical(["x", None, "y"]), [0, -1, 1], ("x", "y")),
        ([-1.0, float("nan"), 1.0], [0, -1, 1], ("-1", "1")),
        (np.array([True, None, False], dtype=object), [1, -1, 0], None),
    ],
    ids=str,
)
def test_what_is_missing(labels, codes, names):
    (found,), classes, number = encode_known([labels])
    assert (found.tolist(), classes, number) == (codes, names, max(codes) + 1)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([None, None], "none of which has a label"),
        (["a", None, "a"], "one class alone"),
        (np.array([1, -1, 1]), "write classes −1 and 1 as 0 and 1"),
        ([0.5, float("nan"), 1.2], "no whole numbers and no text"),
    ],
    ids=str,
)
def test_refuses(labels, message):
    with pytest.raises(DataError, match=message):
        encode_known([labels])


def test_batches_have_the_labels_that_there_are():
    data = pv.datasets.from_arrays(X, labels=WORDS, labelled="known", validation=4)
    without, with_labels = data.train.parts
    assert len(without.tensors) == 1
    assert without.labels is None
    x, y = with_labels.batch()
    rows = (x[:, 0] * 100 / 4).round().long().tolist()
    assert [WORDS[row] for row in rows] == [data.spec.class_names[code] for code in y.tolist()]
    assert len(without) + len(with_labels) == 16
    assert data.validation.labels is None or bool((data.validation.labels >= 0).all())
    for labels, message in ((["a", "b"] * 10, "all of the 20 training"), ([None] * 20, "none of which")):
        with pytest.raises(DataError, match=message):
            pv.datasets.from_arrays(X, labels=labels, labelled="known")
    with pytest.raises(DataError, match="none of which has a label"):
        pv.datasets.from_arrays(X, labelled="known")


@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow", "npz", "unread"])
def test_files(kind, tmp_path):
    frame = pd.DataFrame(X, columns=list("abcd")).assign(kind=WORDS)
    path = tmp_path / f"table.{'parquet' if kind == 'unread' else kind}"
    options = {"label": "kind"}
    if kind == "csv":
        frame.to_csv(path, index=False)
    elif kind in ("parquet", "unread"):
        frame.to_parquet(path)
        options |= {"mmap": True} if kind == "unread" else {}
    elif kind == "arrow":
        frame.to_feather(path)
    else:
        np.savez(path, x=X, y=np.array([word or "" for word in WORDS]))
        options = {}
    read = getattr(pv.datasets, "parquet" if kind == "unread" else kind)
    if kind != "npz":
        with pytest.raises(DataError, match=r"Got 12 missing values .* labelled=known"):
            read(path, **options)
    data = read(path, validation=2, test=2, labelled="known", **options)
    assert [len(part.tensors) for part in data.train.parts] == [1, 2]
    assert sum(map(len, data.train.parts)) == 16
    assert data.spec.class_names == ("cat", "dog")
    model = pv.models.SemiSupervised(data.spec, latent_dim=2, hidden=[8])
    vae = pv.VAE(model, pv.guides.SemiSupervisedAmortized(data.spec, model, hidden=[8]))
    history = pv.fit(vae, data, epochs=1, batch_size=8, progress=False)
    assert np.isfinite(history.rows[-1]["train/elbo"])
