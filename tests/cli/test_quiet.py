"""`quiet=true`: standard output is the paths of what was made, standard error holds what went wrong alone."""

import dataclasses
from pathlib import Path

import pytest

from ppl_vae.cli.progress import bar, is_quiet, quietly, say, warn
from ppl_vae.config.verbs import SCHEMAS
from tests.cli.small import SMALL

ON_RUN = {
    "evaluate": ("num_particles=4",),
    "posterior": ("draws=3", "data=2", "figures=false"),
    "generate": ("n=3", "figures=false"),
    "calibrate": ("simulations=20", "draws=5", "figures=false"),
    "encode": (),
    "reconstruct": ("num_particles=2",),
    "interpolate": ("figures=false",),
    "gradients": ("samples=10", "figures=false"),
    "report": (),
    "prior": ("hydra.run.dir=fitted", "prior=normal"),
}


def test_every_verb_has_the_key():
    assert {
        verb for verb, keys in SCHEMAS.items() if "quiet" not in {f.name for f in dataclasses.fields(keys)}
    } == set()


@pytest.mark.slow
@pytest.mark.parametrize("verb", ON_RUN)
def test_a_verb_on_a_run_prints_the_path_of_what_it_made(cli, run_copy, verb):
    called = cli(verb, f"run={run_copy}", *ON_RUN[verb], "quiet=true")
    assert (called.code, called.err) == (0, "")
    assert called.out.splitlines() != []
    assert [line for line in called.out.splitlines() if not Path(line).exists()] == []


def test_a_check_that_finds_nothing_prints_nothing(cli, run_copy):
    assert (called := cli("check", f"run={run_copy}", "quiet=true")).code == 0
    assert (called.out, called.err) == ("", "")


def test_the_run_directory_is_what_train_prints(train, cli):
    called = train("quiet=true", "hydra.run.dir=here")
    assert (called.code, called.out, called.err) == (0, f"{called.folder / 'here'}\n", "")
    assert "quiet" not in (called.folder / "here" / "config.yaml").read_text()
    again = cli("train", "resume=here", "quiet=true")
    assert (again.code, again.out, again.err) == (0, f"{called.folder / 'here'}\n", "")
    longer = cli("train", "resume=here", "trainer.epochs=3", "quiet=true")
    assert (longer.code, longer.out, longer.err) == (0, f"{called.folder / 'here'}\n", "")


def test_objects_stay_where_json_is_asked_for(cli, run_copy):
    called = cli("evaluate", f"run={run_copy}", "num_particles=4", "quiet=true", "format=json")
    assert called.json[0]["num_particles"] == 4
    assert called.err == ""


def test_errors_are_said(cli):
    called = cli("evaluate", "run=nowhere", "quiet=true")
    assert (called.code, called.out) == (1, "")
    assert called.err.startswith("ppl-vae evaluate: run=nowhere: there is no such folder")


@pytest.mark.slow
def test_a_sweep_prints_the_runs_and_compare_the_best(cli):
    words = ("results.figures=false", "results.posterior=false", "hydra.sweep.dir=sweep", "quiet=true")
    called = cli("train", "-m", *SMALL, *words, "seed=0,1")
    runs = [str(called.folder / "sweep" / job) for job in "01"]
    assert (called.code, called.out.splitlines(), called.err) == (0, runs, "")
    assert cli("train", "-m", "resume=sweep", "quiet=true").out.splitlines() == runs
    compared = cli("compare", "sweep=sweep", "quiet=true")
    assert compared.code == 0
    assert compared.out.strip() in runs
    assert cli("sweeps", "dir=.", "quiet=true").out == f"{called.folder / 'sweep'}\n"


@pytest.mark.slow
def test_a_sweep_in_one_process_prints_each_job_once(cli):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    words = ("results.figures=false", "results.posterior=false", "hydra/launcher=joblib", "hydra.launcher.n_jobs=1")
    called = cli("train", "-m", *SMALL, *words, "seed=0,1", "format=json")
    assert [record["job"] for record in called.json] == [0, 1]


def test_warnings_are_said_and_nothing_else(capsys):
    with quietly(True):
        say("said")
        warn("warned")
        assert is_quiet()
        with bar("bar") as progress, quietly(False):
            assert progress is None
            say("said, too")
    say("loud")
    assert capsys.readouterr().err == "warned\nloud\n"


def test_a_warning_of_training_is_said(cli, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import pyro, pyro.distributions as dist, torch\n"
        "def model(x):\n"
        "    with pyro.plate('data', x.shape[0]):\n"
        "        z = pyro.sample('z', dist.Normal(0.0, 1.0))\n"
        "        pyro.sample('x', dist.Normal(z[..., None, None, None], 1.0).expand(x.shape).to_event(3), obs=x)\n"
        "def blind(x):\n"
        "    loc = pyro.param('loc', torch.tensor(0.5))\n"
        "    with pyro.plate('data', x.shape[0]):\n"
        "        pyro.sample('z', dist.Normal(loc, 1.0))\n"
    )
    words = ("model._target_=mine.model", "guide._target_=mine.blind", "dataset.binarization=none", "likelihood=normal")
    rest = ("trainer.epochs=1", "results.figures=false", "results.posterior=false", "results.num_particles=2")
    called = cli("train", *words, *rest, "hydra.run.dir=blind", "quiet=true")
    assert (called.code, called.out) == (0, f"{tmp_path / 'blind'}\n"), called.err
    assert called.err.startswith("warning: guide ignores the data")
    assert len(called.err.splitlines()) == 1
