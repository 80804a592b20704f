"""What is read of a sweep's folder: with a plan, of before there were plans, torn, empty."""

import json

import pytest

from ppl_vae.sweeps.compare import compare
from ppl_vae.sweeps.gather import as_number, gather
from ppl_vae.sweeps.plan import Plan, planned
from ppl_vae.sweeps.sweep import Sweep

SUMMARY = {
    "nll": 2.5,
    "elbo": -3.0,
    "num_particles": 10,
    "n": 2,
    "seed": 0,
    "reason": None,
    "kl_per_unit": {"z": [1.0]},
}


def write(folder, *, config="", status="finished", result=None, summary=None, rows=(), error=None, part="test"):
    folder.mkdir(parents=True)
    record = {"status": status, "result": result, "error": error, "verb": "train"}
    (folder / "run.json").write_text(json.dumps(record))
    if config:
        (folder / "config.yaml").write_text(config)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"epo')
    if summary:
        (folder / "evaluation" / part).mkdir(parents=True)
        (folder / "evaluation" / part / "summary.json").write_text(json.dumps(summary))
        (folder / "evaluation" / part / "table.csv").write_text("datum,elbo,nll\n0,-3.5,2.0\n1,-2.5,3.0\n")


def old(folder):
    """A sweep of before there were plans: folders 0, 1, 2."""
    for i, beta in enumerate((0.1, 1.0)):
        write(
            folder / str(i),
            config=f"seed: 0\nname: n{i}\nobjective: {{_target_: a.ELBO, beta: {beta}}}\nspec: {{a: {i}}}",
            result={"validation/elbo": -10.0 - i, "epochs": 2},
            summary=SUMMARY,
            rows=[{"epoch": e, "validation/elbo": -12.0 + e, "seconds": 2.0 - e / 2} for e in (1, 2)],
        )
    write(folder / "2", status="failed", error="no data", result=None)
    return Sweep(folder)


def test_a_sweep_of_before_there_were_plans(tmp_path):
    found = gather(old(tmp_path / "s"))
    assert found.keys.to_dict("list") == {"objective.beta": [0.1, 1.0, None]}
    assert found.states["state"].tolist() == ["finished", "finished", "failed"]
    assert found.states["reason"].tolist() == [None, None, "no data"]
    assert found.figures["seconds"].tolist()[:2] == [2.5, 2.5]
    assert found.figures["test/nll"].tolist()[:2] == [2.5, 2.5]
    assert found.curves[0]["validation/elbo"].tolist() == [-11.0, -10.0]
    assert sorted(found.tables) == [0, 1]
    assert len(set(found.data.values())) == 1
    assert compare(found).groups["objective.beta"].tolist() == [0.1, 1.0]


def test_a_plan_names_keys_and_missing_jobs(tmp_path):
    folder = tmp_path / "s"
    overrides = [
        ("objective=elbo", "optimizer.lr=1e-3"),
        ("objective=iwae", "optimizer.lr=1e-3"),
        ("objective=iwae", "seed=7"),
    ]
    Plan(jobs=planned(overrides, {"objective": "elbo"})).write(_made(folder))
    write(
        folder / "0", config="seed: 0\noptimizer: {lr: 0.001}\nobjective: {_target_: a.b, k: 1}\n", result={"epochs": 1}
    )
    found = gather(Sweep(folder))
    assert found.keys["objective"].tolist() == ["elbo", "iwae", "iwae"]
    assert found.keys["optimizer.lr"].tolist() == [0.001, 0.001, None]
    assert found.states["state"].tolist() == ["finished", "missing", "missing"]


def _made(folder):
    folder.mkdir()
    return folder


def test_the_validation_elbo_of_training_stays_what_runs_are_ranked_by(tmp_path):
    """`evaluate split=validation` has another noise, and another number of particles."""
    folder = tmp_path / "s"
    write(
        folder / "0",
        result={"validation/elbo": -10.0, "test/nll": 9.0},
        summary={**SUMMARY, "elbo": -12.0},
        part="validation",
    )
    found = gather(Sweep(folder))
    assert found.figures["validation/elbo"].tolist() == [-10.0]
    assert found.figures["validation/nll"].tolist() == [2.5]
    assert found.figures["test/nll"].tolist() == [9.0]


def test_what_is_torn_is_left_out_and_its_job_is_not(tmp_path):
    sweep = old(tmp_path / "s")
    (tmp_path / "s" / "0" / "evaluation" / "test" / "summary.json").write_text('{"nll": ')
    (tmp_path / "s" / "0" / "evaluation" / "test" / "table.csv").write_text("")
    (tmp_path / "s" / "1" / "config.yaml").write_text("seed: [")
    found = gather(sweep)
    assert len(found.states) == 3
    assert 0 not in found.tables


@pytest.mark.parametrize("damage", ["gone", "empty"])
def test_a_config_that_is_gone_or_empty_is_told(tmp_path, damage):
    sweep = old(tmp_path / "s")
    folder = tmp_path / "s" / "1"
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "config": ["0" * 64]}))  # it has one
    if damage == "gone":
        (folder / "config.yaml").unlink()
    else:
        (folder / "config.yaml").write_text("")
    assert any(str(folder / "config.yaml") in told for told in gather(sweep).damaged)


def test_a_run_whose_record_is_gone_is_told(tmp_path):
    sweep = old(tmp_path / "s")
    (tmp_path / "s" / "1" / "manifest.json").write_text("{}")
    (tmp_path / "s" / "1" / "run.json").unlink()
    assert any(str(tmp_path / "s" / "1" / "run.json") in told for told in gather(sweep).damaged)


@pytest.mark.parametrize(("text", "value"), [("3", 3), ("1e-3", 0.001), ("vae", "vae"), ("[1,2]", "[1,2]")])
def test_typed_values(text, value):
    assert as_number(text) == value


def test_a_job_that_failed_before_its_evaluation_misses_no_table(tmp_path):
    sweep = old(tmp_path / "s")
    assert not gather(sweep).damaged
    (tmp_path / "s" / "0" / "evaluation" / "test" / "table.csv").unlink()
    (told,) = gather(sweep).damaged  # this one had a table
    assert "table.csv" in told


def test_a_number_that_no_float_holds_is_left_out_and_told(tmp_path):
    huge = 10**400
    write(tmp_path / "0", result={"validation/elbo": huge}, summary=SUMMARY | {"nll": huge})
    write(tmp_path / "1", result={"validation/elbo": -1.0}, summary=SUMMARY)
    found = gather(Sweep(tmp_path))
    assert found.figures["test/nll"].isna().tolist() == [True, False]
    assert found.figures["validation/elbo"].isna().tolist() == [True, False]
    told = " ".join(found.damaged)
    assert "nll in evaluation/test/summary.json" in told
    assert "validation/elbo in run.json" in told
