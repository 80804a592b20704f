"""The hardest data are those with the least evidence, and stand beside their own reconstructions."""

from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import ppl_vae as pv
from ppl_vae.datasets import Split
from ppl_vae.reports.hardest import hardest, hardest_rows


def test_the_worst_come_first():
    nan = float("nan")
    table = pd.DataFrame({"nll": [3.0, nan, 9.0, 1.0], "elbo": [0.0, -50.0, 0.0, 0.0]})
    assert hardest_rows(table, 3) == [2, 0, 3]
    assert hardest_rows(table.assign(nll=nan), 1) == [1]
    assert hardest_rows(pd.DataFrame({"log_likelihood": [-1.0, -9.0]})) == [1, 0]
    assert hardest_rows(pd.DataFrame({"label": [1]})) == []


@pytest.fixture(scope="module")
def images():
    torch.manual_seed(0)
    data = pv.datasets.load("digits")
    vae = pv.VAE(model := pv.models.VAE(data.spec, latent_dim=2, hidden=[8]), pv.guides.Amortized(data.spec, model))
    return vae, data


def test_pictures_are_those_of_the_data(images):
    vae, data = images
    split = data.test[:20]
    table = pd.DataFrame({"nll": np.arange(20.0)}, index=split.indices.numpy())
    found = hardest(vae, split, table, data.spec, count=3)
    assert [hard.place for hard in found] == [19, 18, 17]
    shown = np.asarray(Image.open(BytesIO(found[0].data)).convert("L"))
    assert shown.shape == (8, 8)
    ink = split.batch()[0][19, 0].numpy() > 0.5  # ink is dark
    assert (shown[ink] < 64).all()
    assert (shown[~ink] > 192).all()
    assert Image.open(BytesIO(found[0].rebuilt)).size == (8, 8)
    assert found[0].rebuilt != found[1].rebuilt or found[0].data == found[1].data


def test_a_table_of_other_data_gives_none(images):
    vae, data = images
    assert hardest(vae, data.test[:5], pd.DataFrame({"nll": [1.0]})) == []


def test_rows_of_a_table_tell_what_is_furthest_off():
    torch.manual_seed(0)
    x = torch.randn(30, 4)
    x[7, 2] = 40.0
    data = pv.datasets.from_arrays(x.numpy(), seed=0)
    vae = pv.VAE(model := pv.models.VAE(data.spec, latent_dim=2, hidden=[4]), pv.guides.Amortized(data.spec, model))
    split = Split((x,), torch.arange(30))
    table = pd.DataFrame({"nll": np.where(np.arange(30) == 7, 99.0, 1.0)})
    (found,) = hardest(vae, split, table, data.spec, count=1)
    assert found.place == 7
    assert not found.data
    assert "feature 2: 40, rebuilt" in found.words
    assert len(found.words.split("; ")) == 3


def test_categories_are_told_by_their_names(tmp_path):
    rows = [f"{i % 7},{('red', 'green', 'blue')[i % 3]}" for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["age,kind", *rows]) + "\n")
    torch.manual_seed(0)
    data = pv.datasets.load("csv", path=tmp_path / "t.csv")
    model = pv.models.Tabular(data.spec, latent_dim=2)
    vae = pv.VAE(model, pv.guides.MixtureAmortized(data.spec, model))
    split = data.test
    found = hardest(vae, split, pd.DataFrame({"nll": np.arange(float(len(split)))}), data.spec, count=len(split))
    told = [part for hard in found for part in hard.words.split("; ") if part.startswith("kind: ")]
    assert told
    assert all(part.split()[1].strip(",") in ("red", "green", "blue") for part in told)
    assert all(part.split()[1].strip(",") != part.split()[-1] for part in told)  # the same is not off


def test_colours_are_those_of_the_data():
    torch.manual_seed(0)
    x = torch.rand(30, 3, 4, 5)
    data = pv.datasets.from_arrays(x.numpy(), seed=0)
    model = pv.models.VAE(data.spec, latent_dim=2, hidden=[4])
    split = data.train[:2]
    found = hardest(
        pv.VAE(model, pv.guides.Amortized(data.spec, model)), split, pd.DataFrame({"nll": [1.0, 2.0]}), data.spec
    )
    shown = np.asarray(Image.open(BytesIO(found[0].data)).convert("RGB")) / 255
    assert np.abs(shown - split.batch()[0][1].permute(1, 2, 0).numpy()).max() < 0.01
    assert Image.open(BytesIO(found[0].rebuilt)).size == (5, 4)


def test_steps_of_a_sequence_tell_what_is_furthest_off_until_it_ends():
    torch.manual_seed(0)
    rows = [torch.randn(length, 2).numpy() for length in (5, 3, 4) * 10]
    rows[7][1, 1] = 40.0  # of three steps
    data = pv.datasets.from_arrays(rows, validation=0, test=0)
    vae = pv.VAE(model := pv.models.StateSpace(data.spec, latent_dim=2), pv.guides.Recurrent(data.spec, model))
    split = data.train
    (place,) = (split.batch()[0] == 40.0).any(dim=-1).any(dim=-1).nonzero()[0].tolist()
    table = pd.DataFrame({"nll": np.where(np.arange(len(split)) == place, 99.0, 1.0)})
    (found,) = hardest(vae, split, table, data.spec, count=1)
    told = found.words.split("; ")
    assert told[0].startswith("feature 1 at step 1: 40, rebuilt")
    assert len(told) == 3
    assert all(int(part.partition(":")[0][-1]) < 3 for part in told)
