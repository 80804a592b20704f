"""A stored run of every schema opens, is evaluated to its own figures and goes on; one of a later schema is refused.

`fixtures/schema_1` was made by `ppl-vae train trainer.epochs=2 dataset=digits dataset.binarization=none
likelihood=normal model.hidden=[16] guide.hidden=[16] model.latent_dim=2 trainer.compile=off trainer.nonfinite=skip
results.posterior=false results.figures=false results.num_particles=8 hydra.run.dir=run` in an empty folder; with each
new schema one is added, made as the first runs of it were: `schema_2` by the same with `encoder=mlp encoder.hidden=[16]
decoder=mlp decoder.hidden=[16] prior=mixture prior.components=3`. `prior_named` was made by the last version of schema
1 with `model.prior=mixture`. What older ones hold is told, and tested in its details, in `test_saved_runs.py`.
"""

import json
import os
import shutil
from pathlib import Path

import pytest

import ppl_vae as pv
from ppl_vae.__main__ import main
from ppl_vae.errors import RunError
from ppl_vae.runs.run import Run
from ppl_vae.runs.schema import MIGRATIONS, SCHEMA, in_present_form, schema_of
from tests.forge import forge
from tests.training.pairs import dataset, pair, quiet

FIXTURES = Path(__file__).parent / "fixtures"
STORED = sorted(path.name for path in FIXTURES.iterdir() if (path / "run.json").exists())


def record_of(folder):
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


@pytest.fixture
def stored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda name: Path(shutil.copytree(FIXTURES / name, tmp_path / name))


def test_every_schema_has_a_stored_run_which_names_no_machine():
    schemas = {record_of(FIXTURES / name).get("schema", 0) for name in STORED}
    assert schemas == set(range(SCHEMA + 1))
    for name in STORED:
        for text in ("config.yaml", "run.json", "recipe.json"):
            path = FIXTURES / name / text
            told = path.read_text(encoding="utf-8") if path.exists() else ""
            assert not any(os.sep + word + os.sep in told for word in ("home", "root", "tmp", "work"))
        assert sum(path.stat().st_size for path in (FIXTURES / name).rglob("*") if path.is_file()) < 100_000


@pytest.mark.parametrize(
    "name", [n if n == f"schema_{SCHEMA}" else pytest.param(n, marks=pytest.mark.slow) for n in STORED]
)
def test_it_opens_is_evaluated_to_its_own_figures_and_goes_on(name, stored, capsys):
    run = stored(name)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert Run.load(run).status == "finished"
    assert not Run.load(run).vae.training
    assert {path: path.read_bytes() for path in before} == before  # opening changes nothing
    assert main(["evaluate", f"run={run}", "num_particles=8", "format=json"]) == 0
    found, then = json.loads(capsys.readouterr().out), Run.load(run).result
    assert found["elbo"] == pytest.approx(then["test/elbo"], rel=1e-5)  # another processor may round elsewise
    assert main(["train", f"resume={run}", "trainer.epochs=3", "format=json"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 3
    assert record_of(run)["schema"] == SCHEMA


@pytest.mark.parametrize(
    ("schema", "words"),
    [(SCHEMA + 1, "later version"), ("1", "damaged"), (-1, "damaged"), (True, "damaged")],
)
def test_another_schema_is_refused_in_words_and_nothing_is_written(schema, words, stored, capsys):
    run = stored("schema_1")
    record = record_of(run)
    (run / "run.json").write_text(json.dumps({**record, "schema": schema}), encoding="utf-8")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != ".lock"}
    for line in (["evaluate", f"run={run}"], ["train", f"resume={run}"]):
        assert main(line) == 1, line
        said = capsys.readouterr().err
        assert words in said
        assert "Traceback" not in said
    with pytest.raises(RunError, match=words):
        Run.load(run).status  # noqa: B018
    assert {path: path.read_bytes() for path in before} == before


def test_a_later_run_of_fit_is_refused(tmp_path):
    quiet(pair(), dataset(), epochs=1, directory=tmp_path)
    record = record_of(tmp_path)
    assert record["schema"] == SCHEMA
    (tmp_path / "run.json").write_text(json.dumps({**record, "schema": SCHEMA + 1}), encoding="utf-8")
    forge(tmp_path)
    with pytest.raises(RunError, match=r"later version of ppl_vae .* reads up to schema"):
        quiet(pair(), dataset(), epochs=2, directory=tmp_path, resume=True)
    with pytest.raises(RunError, match="later version"):
        _ = pv.Run.load(tmp_path, vae=pair()).status


def test_migrations_are_applied_in_order_from_the_schema_of_the_run_on(monkeypatch):
    told = [lambda config, n=n: {**config, "seen": [*config.get("seen", []), n]} for n in range(3)]
    monkeypatch.setattr("ppl_vae.runs.schema.MIGRATIONS", tuple(told))
    monkeypatch.setattr("ppl_vae.runs.schema.SCHEMA", 3)
    for schema, seen in ((None, [0, 1, 2]), (1, [1, 2]), (2, [2]), (3, None)):
        record = {} if schema is None else {"schema": schema}
        assert in_present_form({}, record, Path("run.json")).get("seen") == seen


def test_a_migration_may_be_applied_again_and_changes_no_config_of_today():
    import yaml

    today = yaml.safe_load((FIXTURES / f"schema_{SCHEMA}" / "config.yaml").read_text(encoding="utf-8"))
    for migration in MIGRATIONS:
        assert migration(today) == today
    for name in STORED:
        old = yaml.safe_load((FIXTURES / name / "config.yaml").read_text(encoding="utf-8"))
        once = in_present_form(old, {}, Path("run.json"))
        assert in_present_form(once, {}, Path("run.json")) == once
    assert schema_of({}, Path("run.json")) == 0
