"""`sweep.json`: what was asked for comes back as it was, whoever chose the jobs."""

import json
from dataclasses import replace

import pytest
from omegaconf import OmegaConf

from ppl_vae.errors import RunError
from ppl_vae.sweeps.plan import PLAN, Plan, PlannedJob, planned


def hydra(*task, params=None, sweeper="hydra._internal.core_plugins.basic_sweeper.BasicSweeper", **sweep):
    """The part `hydra` of a sweep's config, as Hydra composes it."""
    return OmegaConf.create(
        {
            "hydra": {
                "sweeper": {"_target_": sweeper, "max_batch_size": None, "params": params},
                "sweep": {"dir": "sweep", "subdir": "${hydra.job.num}", **sweep},
                "overrides": {"task": list(task), "hydra": ["hydra.sweep.dir=sweep", "hydra.launcher.n_jobs=2"]},
                "runtime": {"choices": {"model": "vae", "logger": "none", "hydra/output": "train"}, "cwd": "/data/a"},
                "job": {"name": "train"},
            }
        }
    )


def test_jobs_are_those_of_hydras_own_sweeper_with_their_choices():
    plan = Plan.of_hydra(hydra("model=vae,vamp", "trainer.epochs=2", "seed=range(2)", params={"optimizer.lr": "1e-3"}))
    assert [job.number for job in plan.jobs] == [0, 1, 2, 3]
    assert plan.jobs[3].overrides == ("optimizer.lr=0.001", "model=vamp", "trainer.epochs=2", "seed=1")
    assert plan.own(plan.jobs[3]) == ("model=vamp", "seed=1")
    assert [job.choices["model"] for job in plan.jobs] == ["vae", "vae", "vamp", "vamp"]
    assert plan.jobs[0].choices["logger"] == "none"
    assert "hydra/output" not in plan.jobs[0].choices
    assert plan.hydra == ("hydra.launcher.n_jobs=2",)
    assert plan.complete


def test_a_single_job_is_set_apart_by_what_was_not_typed_as_it_is():
    plan = Plan.of_hydra(hydra("seed=3", "trainer.epochs=2", params={"optimizer.lr": "1e-3"}))
    assert plan.own(plan.jobs[0]) == ("optimizer.lr=0.001",)


def test_the_jobs_of_another_sweeper_are_not_known_and_the_plan_grows():
    plan = Plan.of_hydra(hydra("model.latent_dim=interval(1,9)", sweeper="hydra_plugins.optuna.OptunaSweeper"))
    assert (plan.jobs, plan.complete) == ((), False)
    plan = plan.grown(planned([["seed=0"], ["seed=1"]], {})).grown(planned([["seed=2"]], {}, first=2))
    assert [(job.number, job.overrides) for job in plan.jobs] == [(n, (f"seed={n}",)) for n in range(3)]


def test_what_is_written_comes_back(tmp_path):
    plan = replace(Plan.of_hydra(hydra("seed=0,1")), started="2026-11-26T00:00:00.000+00:00", versions={"torch": "2"})
    plan.write(tmp_path)
    assert Plan.read(tmp_path) == plan
    assert json.loads((tmp_path / PLAN).read_text())["jobs"][1]["overrides"] == ["seed=1"]


def test_no_plan_is_none_and_a_damaged_one_is_told(tmp_path):
    assert Plan.read(tmp_path) is None
    for text in ("{", "[]", '{"jobs": 3}', '{"jobs": [{"number": 0}]}'):
        (tmp_path / PLAN).write_text(text)
        with pytest.raises(RunError, match=r"sweep.json.*expected (the plan of a sweep|what ppl_vae wrote)"):
            Plan.read(tmp_path)


def test_a_sweep_of_before_there_were_plans_is_read_from_hydras_note(tmp_path):
    OmegaConf.save(hydra("seed=0,1", "model.latent_dim=2"), tmp_path / "multirun.yaml")
    plan = Plan.read(tmp_path)
    assert [job.overrides for job in plan.jobs] == [
        ("seed=0", "model.latent_dim=2"),
        ("seed=1", "model.latent_dim=2"),
    ]


@pytest.mark.parametrize("text", ["", "hydra: 3", "a: [", "hydra:\n  sweeper: null"])
def test_a_torn_or_strange_note_is_no_plan(tmp_path, text):
    (tmp_path / "multirun.yaml").write_text(text)
    assert Plan.read(tmp_path) is None


def test_the_folder_of_a_job_is_known_where_hydra_only_numbers_it():
    assert Plan().folder(3) == "3"
    assert Plan(subdir="${hydra.job.override_dirname}").folder(3) is None


def test_a_later_version_may_add_to_a_plan(tmp_path):
    Plan(jobs=(PlannedJob(0, ("seed=0",)),)).write(tmp_path)
    found = json.loads((tmp_path / PLAN).read_text())
    (tmp_path / PLAN).write_text(json.dumps({**found, "later": 1}))
    assert Plan.read(tmp_path).jobs[0].overrides == ("seed=0",)


def test_a_job_is_told_by_its_keys_without_the_signs_that_let_them_be_added():
    """`++` is put before a key that another target takes, whatever was typed."""
    plan = Plan(planned([["++model.scale=1", "seed=0"], ["++model.scale=2", "seed=0"]], {}))
    assert [plan.own(job) for job in plan.jobs] == [("model.scale=1",), ("model.scale=2",)]
