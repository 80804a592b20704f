"""`-m`: each job equals the same run made alone; a failing one stops no other; no folder but the sweep's."""

import json
import signal
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from ppl_vae.runs.run import Run
from tests.cli.small import DATA, SMALL, TRAINING


def rows(directory):
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def equal(a, b):
    mine, other = load_file(a / "model.safetensors"), load_file(b / "model.safetensors")
    return mine.keys() == other.keys() and all(torch.equal(mine[k], other[k]) for k in mine) and rows(a) == rows(b)


def test_each_job_equals_the_run_made_alone_in_a_fresh_process(cli, shell, tmp_path):
    called = cli("train", *SMALL, "-m", "model.latent_dim=1,2", "seed=0,1", "hydra.sweep.dir=sweep", "format=json")
    assert called.code == 0, called.err
    assert [record["job"] for record in called.json] == [0, 1, 2, 3]
    assert sorted(p.name for p in (tmp_path / "sweep").iterdir()) == ["0", "1", "2", "3", "multirun.yaml", "sweep.json"]
    alone = shell("train", *SMALL, "model.latent_dim=2", "seed=1", "hydra.run.dir=alone")
    assert alone.code == 0, alone.err
    assert equal(tmp_path / "sweep" / "3", tmp_path / "alone")
    assert not equal(tmp_path / "sweep" / "2", tmp_path / "alone")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["alone", "sweep"]


CARELESS = """
import random, torch, pyro, pyro.distributions as dist
calls = 0
torch.manual_seed(0)
def model(x, setting: int = 0):
    global calls
    calls += 1
    pyro.enable_validation(False)
    if setting:
        pyro.get_param_store()
    shift = pyro.param("shift", lambda: torch.randn(3) * (1 + setting))
    with pyro.plate("data", x.shape[0]):
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z + shift + min(calls, 100) * 1e-3, 1.0).to_event(1), obs=x)
def guide(x):
    with pyro.plate("data", x.shape[0]):
        pyro.sample("z", dist.Normal(x / 2, 0.5).to_event(1))
"""


def test_what_users_code_leaves_behind_does_not_reach_the_next_job(cli, tmp_path):
    (tmp_path / "careless.py").write_text(CARELESS)
    words = (*DATA, *TRAINING, "model._target_=careless.model", "guide._target_=careless.guide")
    called = cli("train", *words, "-m", "model.setting=0,1,0", "hydra.sweep.dir=sweep")
    assert called.code == 0, called.err
    assert equal(tmp_path / "sweep" / "0", tmp_path / "sweep" / "2")
    assert not equal(tmp_path / "sweep" / "0", tmp_path / "sweep" / "1")


def test_a_failing_job_stops_no_other(cli, tmp_path):
    called = cli("train", *SMALL, "-m", "optimizer.lr=-1,1e-3,nan,1e-2", "hydra.sweep.dir=sweep", "format=json")
    assert called.code == 1
    assert "2 of 4 failed" in called.err
    assert "Traceback" not in called.err
    assert "Error executing" not in called.err
    assert [r["status"] for r in called.json] == ["failed", "finished", "failed", "finished"]
    assert "optimizer.lr" in called.json[2]["error"]
    assert Run(tmp_path / "sweep" / "0").status == "failed"
    assert "learning rate" in Run(tmp_path / "sweep" / "0").record["error"]
    assert Run(tmp_path / "sweep" / "1").status == "finished"
    (compared,) = cli("compare", "sweep=sweep", "format=json").json
    assert [(r["status"], repr(r["epochs"])) for r in compared["runs"]][1:3] == [("finished", "2"), ("refused", "None")]
    assert ",2,2" in (tmp_path / "sweep" / "comparison.csv").read_text()


def test_batches_of_jobs_go_on_after_a_failure(cli, tmp_path):
    called = cli("train", *SMALL, "-m", "optimizer.lr=-1,1e-3", "hydra.sweep.dir=s", "hydra.sweeper.max_batch_size=1")
    assert "1 of 2 failed" in called.err
    assert Run(tmp_path / "s" / "1").status == "finished"


def test_a_sweep_over_a_choice_in_its_name_keeps_one_folder(cli):
    called = cli("train", *SMALL, "-m", "scheduler=constant,cosine", "name=${hydra:runtime.choices.scheduler}")
    assert called.code == 0, called.err
    (sweep,) = Path("outputs").glob("*/*")
    assert sorted(p.name for p in sweep.iterdir()) == ["0", "1", "multirun.yaml", "sweep.json"]


def test_folders_of_jobs_may_be_named_after_what_was_typed(cli, tmp_path):
    name = "${hydra.job.override_dirname}"
    words = ("-m", "seed=0,1", "hydra.sweep.dir=s w=1,(2)", f"hydra.sweep.subdir={name}")
    called = cli("train", *words, "hydra.job.config.override_dirname.exclude_keys=[dataset,dataset.path,format]",
                 "dataset=npz", "dataset.path=x.npz", "format=json")  # fmt: skip
    assert called.code == 1  # there is no such file
    names = [p.name for p in (tmp_path / "s w=1,(2)").iterdir()]
    assert sorted(names) == ["multirun.yaml", "seed=0", "seed=1", "sweep.json"]


def test_a_sweep_that_cannot_be_composed_leaves_nothing(cli):
    called = cli("train", *SMALL, "-m", "model=vae,vea")
    assert called.code == 2
    assert "did you mean vae?" in called.err
    assert called.left == []


def test_usage_errors_of_all_jobs_are_a_usage_error(cli):
    called = cli("train", *SMALL, "-m", "model.latent_dim=a,b", "hydra.sweep.dir=sweep")
    assert called.code == 2
    assert "2 of 2 failed" in called.err


def test_a_sweep_given_as_a_run_is_answered_with_what_to_type(cli, tmp_path):
    assert cli("train", *SMALL, "-m", "seed=0,1", "hydra.sweep.dir=sweep").code == 0
    called = cli("evaluate", "run=sweep")
    assert called.code == 1
    assert f"run={tmp_path}/sweep/0" in called.err
    assert "compare sweep=" in called.err
    called = cli("evaluate", "-m", "run=sweep/0,sweep/1", "num_particles=4", "format=json")
    assert called.code == 0, called.err
    assert [Path(r["run"]).name for r in called.json] == ["0", "1"]
    assert [p.name for p in tmp_path.iterdir()] == ["sweep"]
    compared = cli("compare", "sweep=sweep", "format=json")
    assert compared.code == 0, compared.err
    (record,) = compared.json
    assert {r["seed"] for r in record["runs"]} == {0, 1}
    assert all(isinstance(r["test/nll"], float) for r in record["runs"])
    table = cli("compare", "sweep=sweep")
    assert "best: " in table.out
    assert (tmp_path / "sweep" / "comparison.csv").read_text().startswith("run,status,seed")
    assert "<table" in (tmp_path / "sweep" / "comparison.html").read_text()


def test_the_example_grid(cli, tmp_path):
    called = cli("train", "hparams_search=grid", *SMALL[:3], *SMALL[4:], "hydra.sweep.dir=sweep", "trainer.epochs=1")
    assert called.code == 0, called.err
    assert len(list((tmp_path / "sweep").glob("*/run.json"))) == 4


def test_a_sweep_that_is_stopped_before_its_first_job_leaves_nothing(cli, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ppl_vae.config.build.build_dataset", interrupted)
    called = cli("train", *SMALL, "-m", "seed=0,1", "hydra.sweep.dir=sweep")
    assert called.code == 130
    assert called.left == []


def test_a_sweep_stops_at_ctrl_c(shell, tmp_path):
    words = [w for w in SMALL if "epochs" not in w]
    process = shell.start("train", *words, "-m", "seed=0,1", "trainer.epochs=100000", "hydra.sweep.dir=sweep")
    try:
        metrics = tmp_path / "sweep" / "0" / "metrics.jsonl"
        while not metrics.exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert Run(tmp_path / "sweep" / "0").status == "interrupted"
    assert not (tmp_path / "sweep" / "1").exists()
