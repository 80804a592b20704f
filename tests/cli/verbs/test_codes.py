"""`encode`, `reconstruct`, `impute`, `interpolate`: tables with the names of their rows, of old and new data."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import ppl_vae as pv
from ppl_vae.runs.run import Run

WORDS = (
    "dataset=csv", "dataset.exclude=[name]", "dataset.label=kind", "model.latent_dim=2", "model.hidden=[8]",
    "guide.hidden=[8]", "trainer.epochs=3", "trainer.batch_size=16", "trainer.compile=off", "results.figures=false",
    "results.posterior=false", "results.num_particles=2",
)  # fmt: skip


def frame(n=60, seed=0, holes=0.2):
    draw = np.random.default_rng(seed)
    z = draw.normal(size=n)
    x = 1e4 + np.outer(z, [3.0, -2.0, 1.0]) + 0.3 * draw.normal(size=(n, 3))
    x[draw.random((n, 3)) < holes] = np.nan
    made = pd.DataFrame(x, columns=["a", "b", "c"])
    made.insert(0, "name", [f"=row {i}" for i in range(n)])  # as a formula would begin
    made["kind"] = np.where(z > 0, "up", "down")
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codes")
    frame().to_csv(folder / "own.csv", index=False)
    # in a process of its own: Hydra's log handlers would keep the streams of this fixture, which are closed after it
    command = [sys.executable, "-m", "ppl_vae", "train", *WORDS, "dataset.path=own.csv", "hydra.run.dir=run"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def run(made, tmp_path):
    shutil.copy(made / "own.csv", tmp_path / "own.csv")
    return Path(shutil.copytree(made / "run", tmp_path / "run"))


def table(path, index=0):
    return pd.read_csv(path, index_col=index)


def test_codes_are_those_of_python_by_the_rows_of_the_file(cli, run):
    called = cli("encode", "run=run", "format=json")
    assert called.code == 0, called.err
    told = json.loads(called.out)
    assert told["sites"] == {"z": {"shape": [2], "is_exact": True}}
    found, opened = table(run / "encoded" / "test.csv"), Run.load(run)
    code = pv.encode(opened.vae, opened.data.test)["z"]
    assert found.columns.tolist() == ["z[0]", "z[1]", "z_scale[0]", "z_scale[1]"]
    assert np.allclose(found.to_numpy(), torch.cat([code.loc, code.scale], 1).numpy(), rtol=1e-6)
    assert found.index.tolist() == opened.data.test.indices.tolist()
    assert cli("encode", "run=run", "id=name", "split=train").code == 0
    names = table(run / "encoded" / "train.csv").index.str.removeprefix("'")
    assert names.tolist() == [f"=row {i}" for i in opened.data.train.indices.tolist()]


def test_new_data_are_scaled_as_the_training_data_were(cli, run):
    """Other rows, columns in another order, one more, no labels, and one row alone."""
    new = frame(7, seed=1, holes=0.0)
    new.insert(0, "more", 1.0)
    new[["c", "more", "a", "name", "b"]].to_csv("new.csv", index=False)
    called = cli("encode", "run=run", "dataset.path=new.csv", "id=name")
    assert called.code == 0, called.err
    opened = Run.load(run)
    location, scale = (torch.tensor(v, dtype=torch.float64) for v in (opened.spec.location, opened.spec.scale))
    x = (torch.tensor(new[["a", "b", "c"]].to_numpy()) - location) / scale
    expected = pv.encode(opened.vae, x.float())["z"].loc
    assert np.allclose(table(run / "encoded" / "new.csv").to_numpy()[:, :2], expected.numpy(), atol=1e-5)
    new[["a", "b", "c"]].iloc[:1].to_csv("one.csv", index=False)
    assert cli("encode", "run=run", "dataset.path=one.csv").code == 0
    assert np.allclose(table(run / "encoded" / "one.csv").to_numpy()[:, :2], expected[:1].numpy(), atol=1e-5)


def test_reconstructions_have_the_units_and_names_of_the_source(cli, run):
    assert cli("reconstruct", "run=run", "split=train", "id=name").code == 0
    found, own = table(run / "reconstructed" / "train.csv"), frame().set_index("name")
    assert found.columns.tolist() == ["a", "b", "c"]
    assert ((found - 1e4).abs().to_numpy() < 50).all()
    found.index = found.index.str.removeprefix("'")
    opened = Run.load(run)
    back = opened.spec.restore(pv.reconstruct(opened.vae, opened.data.train)).numpy()
    assert np.allclose(found.to_numpy(), back, rtol=1e-6)
    assert set(found.index) <= set(own.index)


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
def test_known_values_are_as_the_file_has_them_and_missing_ones_are_filled(cli, run, kind):
    called = cli("impute", "run=run", "split=train", "id=name", f"save={kind}", "draws=2", "num_particles=50")
    assert called.code == 0, called.err
    path, own = run / "imputed" / f"train.{kind}", frame().set_index("name")
    if kind == "npz":
        with np.load(path) as file:
            found = pd.DataFrame(file["x"], index=file["name"], columns=["a", "b", "c"])
    else:
        found = table(path) if kind == "csv" else pd.read_parquet(path)
    found.index = found.index.astype(str).str.removeprefix("'")
    before = own.loc[found.index, ["a", "b", "c"]]
    there = before.notna().to_numpy()
    assert (found.to_numpy()[there] == before.to_numpy()[there]).all()  # to the digit
    assert np.isfinite(found.to_numpy()).all()
    assert "values of" in called.out
    with np.load(run / "imputed" / "train_draws.npz") as file:
        assert file["x"].shape == (2, len(found), 3)
        assert (file["x"][:, there] == before.to_numpy()[there]).all()


def test_ways_lead_from_rows_to_rows(cli, run):
    called = cli("interpolate", "run=run", "split=train", "start=[0,1]", "end=[2,3]", "steps=3", "save=npz")
    assert called.code == 0, called.err
    with np.load(run / "interpolated.npz") as file:
        assert file["x"].shape == (2, 3, 3)
        opened = Run.load(run)
        codes = pv.encode(opened.vae, opened.data.train[:2])["z"].loc
        ends = opened.spec.restore(pv.decode(opened.vae, codes)).numpy()
        assert np.allclose(file["x"][:, 0], ends, rtol=1e-6)
        assert file["start"].tolist() == opened.data.train.indices[:2].tolist()


def test_a_whole_file_comes_back_as_it_was(cli, run):
    """In a batch of files one may be without gaps."""
    new = frame(5, seed=1, holes=0.0)
    new.to_csv("new.csv", index=False)
    called = cli("impute", "run=run", "dataset.path=new.csv", "num_particles=10")
    assert called.code == 0, called.err
    assert "nothing is missing in 5 data, which are as they were" in called.out
    assert (table(run / "imputed" / "new.csv").to_numpy() == new[["a", "b", "c"]].to_numpy()).all()
    called = cli("impute", "run=run", "dataset.path=new.csv", "num_particles=10", "format=json")
    assert json.loads(called.out)["missing"] == 0


LONG = ["9554173266933417", "", "9554173266933419", "-9554173266933421"]


@pytest.mark.parametrize("source", ["csv", "parquet"])
def test_known_values_have_all_their_digits(cli, source):
    """Of more than a float has, beside gaps, for which a column of whole numbers is read as one of floats."""
    own = frame(60, holes=0.0).drop(columns=["name", "kind"]).assign(a=(LONG * 15), b=[1.5, None, 2.5, None] * 15)
    own["c"] = whole = 9554173266933421 + (10**13 + 1) * np.arange(60)
    if source == "csv":
        own.to_csv("own.csv", index=False)
    else:
        own.assign(a=pd.array([int(a) if a else None for a in own["a"]], dtype="Int64")).to_parquet("own.parquet")
    small = [word for word in WORDS if not word.startswith("dataset")]
    called = cli("train", *small, f"dataset={source}", f"dataset.path=own.{source}", "hydra.run.dir=run")
    assert called.code == 0, called.err
    for words, name in (((), "test"), ((f"dataset.path=own.{source}",), "own")):
        called = cli("impute", "run=run", "num_particles=10", *words)
        assert called.code == 0, called.err
        found = pd.read_csv(f"run/imputed/{name}.csv", dtype=str, index_col=0, keep_default_na=False)
        for row, (a, b, c) in zip(found.index, found.to_numpy(), strict=True):
            expected = LONG[int(row) % 4]
            assert a == expected or (not expected and float(a)), row
            assert b == {0: "1.5", 2: "2.5"}.get(int(row) % 4, b), row
            assert c == str(whole[int(row)])
    assert cli("impute", "run=run", "num_particles=10", "save=parquet").code == 0
    found = pd.read_parquet("run/imputed/test.parquet")
    assert found["c"].tolist() == whole[found.index].tolist()
    assert found["a"].dtype.kind == found["b"].dtype.kind == "f"


@pytest.mark.parametrize("save", ["auto", "csv", "parquet"])
def test_ways_are_a_table_with_the_names_of_their_ends(cli, run, save):
    words = ("split=train", "start=[0,1]", "end=[2,3]", "steps=3")
    assert cli("interpolate", "run=run", *words, "save=npz").code == 0
    with np.load(run / "interpolated.npz") as file:
        expected = file["x"]
    opened = Run.load(run)
    numbers = opened.data.train.indices[:4].tolist()
    own = frame()["name"].iloc[numbers].tolist()
    by_name = (f"start=['{own[0]}','{own[1]}']", f"end=['{own[2]}','{own[3]}']", "id=name", "split=train", "steps=3")
    for given, names in ((words, numbers), (by_name, own)):
        called = cli("interpolate", "run=run", *given, f"save={save}", "format=json")
        assert called.code == 0, called.err
        path = run / f"interpolated.{'parquet' if save == 'parquet' else 'csv'}"
        assert json.loads(called.out)["interpolated"] == str(path)
        found = pd.read_parquet(path).reset_index() if save == "parquet" else pd.read_csv(path)
        assert found.columns.tolist() == ["way", "start", "end", "step", "a", "b", "c"]
        assert found["way"].tolist() == [0, 0, 0, 1, 1, 1]
        assert found["step"].tolist() == [0, 1, 2, 0, 1, 2]
        ends = (found[name].astype(str).str.removeprefix("'").tolist() for name in ("start", "end"))
        assert [*ends] == [[str(names[i]) for i in at for _ in range(3)] for at in ((0, 1), (2, 3))]
        assert np.allclose(found[["a", "b", "c"]].to_numpy(), expected.reshape(6, 3), rtol=1e-6)


def test_ways_lead_from_names_that_look_like_numbers(cli, run):
    """Where a column names rows, 2 is the row of that name, not the one at place 2."""
    frame(4, seed=1, holes=0.0).assign(name=["3", "2", "01", "2"]).to_csv("new.csv", index=False)
    words = ("interpolate", "run=run", "dataset.path=new.csv", "id=name", "steps=2")
    assert cli(*words, "start=[3]", "end=[01]").code == 0
    found = pd.read_csv(run / "interpolated.csv", dtype=str)
    assert found["start"].tolist() == ["3", "3"]
    assert found["end"].tolist() == ["01", "01"]
    for place, told in {
        "1": "'1' of name, which none of the data has, expected the name of one: 3, 2",
        "2": "which 2",
    }.items():
        called = cli(*words, "start=[3]", f"end=[{place}]")
        assert called.code == 1
        assert told in called.err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("interpolate", "run=run", "start=[abc]", "end=[1]"), 1, "names take id=, which gives them"),
        (("interpolate", "run=run", "start=[1.5]", "end=[1]"), 1, "expected some from 0 to"),
        (("encode", "run=run", "dataset.path=gone.csv"), 1, "does not exist"),
        (("encode", "run=run", "id=gone"), 1, "no such column"),
        (("encode", "run=run", "dataset.path=other.csv"), 1, "c"),
        (("encode", "run=run", "save=xlsx"), 2, "save"),
        (("encode", "run=run", "num_particles=1"), 1, "num_particles"),
        (("interpolate", "run=run", "start=[0]", "end=[99]"), 1, "expected some from 0 to"),
        (("interpolate", "run=run", "start=[0]", "end=[1,2]"), 2, "expected as many"),
        (("interpolate", "run=run", "path=straight"), 2, "linear or spherical"),
        (("reconstruct", "run=run", "dataset=digits"), 2, "dataset"),
    ],
)
def test_what_cannot_be_meant_is_refused(cli, run, words, code, told):
    frame().drop(columns="c").to_csv("other.csv", index=False)
    called = cli(*words)
    assert called.code == code, called.err
    assert told in called.err
    assert not (run / "encoded").exists() or not list((run / "encoded").iterdir())


def test_a_run_whose_data_come_from_no_file_says_so(cli, tmp_path):
    small = [word for word in WORDS if not word.startswith("dataset")]
    assert cli("train", *small, "dataset=ppca", "dataset.num_data=40", "hydra.run.dir=made").code == 0
    called = cli("encode", "run=made", "dataset.path=own.csv")
    assert called.code == 2
    assert "come from no file" in called.err


def test_rescaled_data_come_back_in_one_unit(cli):
    """Grey levels with holes, that a model sees in [0, 1]: known values and filled ones have the same unit."""
    levels = np.random.default_rng(0).integers(0, 256, (40, 6)).astype("float32")
    levels[::3, 2] = np.nan
    np.savez("grey.npz", x_train=levels)
    small = [word for word in WORDS if not word.startswith("dataset")]
    words = (
        "dataset=npz",
        "dataset.path=grey.npz",
        "dataset.support=integers",
        "dataset.levels=256",
        "hydra.run.dir=grey",
    )
    called = cli("train", *small, *words)
    assert called.code == 0, called.err
    called = cli("impute", "run=grey", "split=train", "num_particles=20")
    assert called.code == 0, called.err
    found = table(called.folder / "grey" / "imputed" / "train.csv").to_numpy()
    assert (found >= 0).all()
    assert (found <= 1).all()


def test_rows_of_a_file_without_a_header_and_of_arrow_have_names(cli):
    own = frame(holes=0.0).drop(columns="kind")
    own.to_csv("bare.csv", index=False, header=False)
    own.to_feather("own.arrow")
    small = [word for word in WORDS if not word.startswith("dataset")]
    for name, words in {
        "bare": ("dataset=csv", "dataset.path=bare.csv", "dataset.header=false", "dataset.exclude=[0]"),
        "feather": ("dataset=arrow", "dataset.path=own.arrow", "dataset.exclude=[name]"),
    }.items():
        called = cli("train", *small, *words, f"hydra.run.dir={name}")
        assert called.code == 0, called.err
        called = cli("encode", f"run={name}", "split=train", f"id={'0' if name == 'bare' else 'name'}")
        assert called.code == 0, called.err
        names = table(called.folder / name / "encoded" / "train.csv").index.str.removeprefix("'")
        assert set(names) < {f"=row {i}" for i in range(60)}


NAMES = {
    "zeros in front": ["001", "002", "010"],
    "blanks among numbers": ["1", "", "4"],
    "words for what is missing": ["NA", "null", "nan"],
    "fractions": ["1.0", "2.50", "1e3"],
    "more digits than a float has": ["9554173266933417", "9554173266933418", "9554173266933419"],
}


def rows_of(path, name):
    """The first column of a table as it stands there."""
    found = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert found.columns[0] == name
    return found[name].tolist()


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_names_of_rows_are_as_they_are_written(cli, run, names):
    frame(3, seed=1, holes=0.0).drop(columns="kind").assign(name=names).to_csv("new.csv", index=False)
    for verb, folder in {"encode": "encoded", "reconstruct": "reconstructed"}.items():
        called = cli(verb, "run=run", "dataset.path=new.csv", "id=name")
        assert called.code == 0, called.err
        assert rows_of(run / folder / "new.csv", "name") == names
    assert cli("encode", "run=run", "dataset.path=new.csv", "id=name", "save=parquet").code == 0
    assert pd.read_parquet(run / "encoded" / "new.parquet").index.tolist() == names
    assert cli("encode", "run=run", "dataset.path=new.csv", "id=name", "save=npz").code == 0
    with np.load(run / "encoded" / "new.npz") as file:
        assert file["name"].tolist() == names


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_names_of_rows_of_parquet_and_arrow_are_what_they_are(cli, kind):
    own = frame(20, holes=0.0).drop(columns=["name", "kind"])
    own["number"] = np.arange(20) + 2**60
    own["some"] = pd.array([None, *range(1, 20)], dtype="Int64")
    own["text"] = ["001", None, *map(str, range(18))]
    own["day"] = pd.date_range("2024-01-01", periods=20)
    save = own.to_parquet if kind == "parquet" else own.to_feather
    save("own")
    words = (f"dataset={kind}", "dataset.path=own", "dataset.columns=[a,b,c]", "hydra.run.dir=run")
    called = cli("train", *(word for word in WORDS if not word.startswith("dataset")), *words)
    assert called.code == 0, called.err
    told = {
        "number": [str(2**60 + i) for i in range(20)],
        "some": ["", *map(str, range(1, 20))],
        "text": ["001", "", *map(str, range(18))],
        "day": [f"2024-01-{i + 1:02d} 00:00:00" for i in range(20)],
    }
    for name, expected in told.items():
        called = cli("encode", "run=run", "dataset.path=own", f"id={name}")
        assert called.code == 0, called.err
        assert rows_of(called.folder / "run" / "encoded" / "own.csv", name) == expected
    assert cli("encode", "run=run", "dataset.path=own", "id=number", "save=parquet").code == 0
    assert pd.read_parquet("run/encoded/own.parquet").index.tolist() == own["number"].tolist()


def test_tables_of_other_files_do_not_take_each_others_place(cli, run):
    """Names with dots, and a file that is named as a part of the run's own data."""
    assert cli("encode", "run=run").code == 0
    own, new = (run / "encoded" / "test.csv").read_bytes(), frame(4, seed=1, holes=0.0)
    names = {"ids.v1.csv": "ids.v1", "ids.v2.csv": "ids.v2", "test.csv": "new_test", "ids.csv.gz": "ids"}
    for file in names:
        new.to_csv(file, index=False)
        for _ in range(2):  # the same again takes its own place
            called = cli("encode", "run=run", f"dataset.path={file}", "format=json")
            assert called.code == 0, called.err
        assert json.loads(called.out)["encoded"] == str(run / "encoded" / f"{names[file]}.csv")
    assert {path.stem for path in (run / "encoded").iterdir()} == {"test", *names.values()}
    assert (run / "encoded" / "test.csv").read_bytes() == own


def test_arrays_of_an_npz_name_its_rows(cli):
    own = frame(40, holes=0.0)
    arrays = {"x": own[["a", "b", "c"]].to_numpy(), "who": own["name"].to_numpy(str), "grid": np.zeros((40, 2))}
    np.savez("own.npz", x_test=arrays["x"][:5], who_test=np.array([f"t{i}" for i in range(5)]), few=[1, 2], **arrays)
    small = [word for word in WORDS if not word.startswith("dataset")]
    called = cli("train", *small, "dataset=npz", "dataset.path=own.npz", "hydra.run.dir=run")
    assert called.code == 0, called.err
    for words, expected in {
        ("split=train",): own["name"].iloc[Run.load("run").data.train.indices.tolist()].map(lambda n: f"'{n}").tolist(),
        ("split=test",): [f"t{i}" for i in range(5)],
    }.items():
        called = cli("encode", "run=run", "id=who", *words)
        assert called.code == 0, called.err
        assert rows_of(called.folder / "run" / "encoded" / f"{words[0][6:]}.csv", "who") == expected
    for name, told in {
        "whom": "no such array, expected one of x_test, who_test, few, x, who, grid: perhaps 'who'?",
        "grid": "array of shape (40, 2)",
        "few": "got 2 names in",
    }.items():
        called = cli("encode", "run=run", f"id={name}")
        assert called.code == 1
        assert told in called.err


def test_an_array_of_a_new_npz_names_its_rows(cli):
    x = frame(40, holes=0.0)[["a", "b", "c"]].to_numpy()
    np.savez("own.npz", x=x)
    np.savez("new.npz", x=x[:2], who=["007", "NA"])
    small = [word for word in WORDS if not word.startswith("dataset")]
    assert cli("train", *small, "dataset=npz", "dataset.path=own.npz", "hydra.run.dir=run").code == 0
    called = cli("encode", "run=run", "dataset.path=new.npz", "id=who")
    assert called.code == 0, called.err
    assert rows_of(called.folder / "run" / "encoded" / "new.csv", "who") == ["007", "NA"]
