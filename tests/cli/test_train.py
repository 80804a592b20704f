"""`ppl-vae train`: the run directory, refusals that leave nothing, failures that tell where."""

import json
import shlex
import shutil
import signal
import sys
import textwrap
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from ppl_vae.cli.assemble import GIVEN
from ppl_vae.cli.hydra import Job
from ppl_vae.config.keys import GROUPS
from ppl_vae.config.schema import conf_dir
from ppl_vae.config.targets import check
from ppl_vae.runs.recorder import read_text
from ppl_vae.runs.run import Run
from ppl_vae.runs.tables import read_csv
from tests.cli.small import DATA, NETWORKS, SMALL, TRAINING

FILES = {"config.yaml", "run.json", "recipe.json", "reference.safetensors", "metrics.jsonl", "model.safetensors"}
FILES |= {"checkpoints/last.safetensors", "checkpoints/previous.safetensors", "manifest.json"} | {
    f"evaluation/test/{name}" for name in ("summary.json", "table.csv", "units.csv")
}


def weights(directory):
    return load_file(directory / "model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def without_seconds(directory):
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def test_a_run_and_nothing_else_is_left(train):
    called = train()
    assert called.code == 0, called.err
    (run,) = Path("outputs").glob("*/*")
    assert {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()} - {".lock"} == FILES
    assert run.parent.name == "vae_ppca"
    assert [p.name for p in called.folder.iterdir()] == ["outputs"]
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["seed"] == 0
    assert record["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize("validation", [0, 20])
def test_the_weights_of_the_last_epoch_are_called_the_best_only_where_something_was_compared(train, validation):
    called = train(f"dataset.validation={validation}")
    assert called.code == 0, called.err
    assert ("best validation weights" in called.out) is (validation > 0)
    assert ("(best " in called.out) is (validation > 0)
    assert ("last weights" in called.out) is (validation == 0)


def test_the_end_names_the_run_and_the_next_command(train):
    called = train("hydra.run.dir=my run")
    assert called.code == 0, called.err
    assert f"run directory: {called.folder}/my run" in called.out
    (line,) = [line for line in called.out.splitlines() if line.startswith("next: ")]
    assert shlex.split(line)[1:] == ["ppl-vae", "evaluate", f"run='{called.folder}/my run'"]


def test_json_is_one_object_and_nothing_else(train):
    called = train("format=json")
    (record,) = called.json
    assert record["status"] == "finished"
    assert isinstance(record["validation/bound"], float)
    assert Path(record["run"]).is_dir()


def test_a_guide_that_reads_other_sizes_than_the_model_has(cli):
    called = cli("train", *DATA, *TRAINING, "model=hierarchical")
    assert called.code == 1
    assert "does not go with model ppl_vae.models.Hierarchical" in called.err
    assert "Take guide=ladder or top_down, guide=derived" in called.err
    assert called.left == []


def test_two_starts_in_one_second_have_folders_of_their_own(train):
    assert train().code == train().code == 0
    assert len(list(Path("outputs").glob("*/*"))) == 2


def test_equal_commands_give_equal_runs(train):
    train("hydra.run.dir=a")
    torch.rand(3)
    train("hydra.run.dir=b")
    assert same(weights(Path("a")), weights(Path("b")))
    assert without_seconds(Path("a")) == without_seconds(Path("b"))


def test_the_seed_changes_the_run_and_not_the_split(train):
    train("hydra.run.dir=a")
    train("hydra.run.dir=b", "seed=1")
    assert not same(weights(Path("a")), weights(Path("b")))
    assert torch.equal(Run.load("a").data.test.batch()[0], Run.load("b").data.test.batch()[0])


REFUSED = {
    "epochs": (["trainer.epochs=-1"], 1, "epochs"),
    "batch size": (["trainer.batch_size=0"], 1, "batch_size"),
    "learning rate": (["optimizer.lr=nan"], 1, "optimizer.lr"),
    "negative learning rate": (["optimizer.lr=-1"], 1, "Invalid learning rate"),
    "seed": (["seed=-1"], 1, "seed"),
    "device": (["engine.device=cuda:99"], 1, "engine.device"),
    "unknown device": (["engine.device=gpu"], 1, "engine.device"),
    "particles": (["results.num_particles=0"], 1, "results.num_particles"),
    "missing file": (["dataset=npz", "dataset.path=nowhere.npz"], 1, "nowhere.npz"),
    "likelihood that does not fit": (["likelihood=bernoulli"], 1, "support"),
    "compile": (["trainer.compile=fast"], 1, "compile"),
    "size": (["model.latent_dim=0"], 1, "model.latent_dim: got 0"),
    "sizes": (["guide.hidden=[4,0]"], 1, "guide.hidden: got [4, 0]"),
    "guide of another model": (["guide=gmvae"], 1, "guide=derived"),
    "Pyro's own objective": (["objective._target_=pyro.infer.Trace_ELBO"], 1, "objective=elbo"),
    "logger that is not installed": (["logger=trackio"], 1, "pip install trackio"),
    "no such run": (["resume=nowhere"], 1, "no such folder"),
    "resume of no sweep": (["resume=nowhere", "-m"], 1, "resume=nowhere: there is no such folder"),
    "unwritable": (["hydra.run.dir=/proc/run"], 1, "choose a folder that can be written"),
}


@pytest.mark.parametrize(("words", "code", "says"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_is_one_message_and_leaves_nothing(cli, words, code, says):
    base = [] if "resume" in words[0] else SMALL if words[0] != "dataset=npz" else (*NETWORKS, *TRAINING)
    called = cli("train", *base, *words)
    assert called.code == code, called.err
    assert says in called.err
    assert "Traceback" not in called.err
    assert called.err.count("ppl-vae train:") == 1
    assert called.out == ""
    assert called.left == []


@pytest.mark.parametrize("name", ["corrupt.npz", "nan.npz", "empty.npz"])
def test_bad_data_is_refused_before_anything_is_written(cli, tmp_path, name):
    import numpy as np

    path = tmp_path / name
    if name == "corrupt.npz":
        path.write_bytes(b"PK not a zip")
    else:
        np.savez(path, train=np.full((0 if name == "empty.npz" else 20, 3), np.nan))
    called = cli("train", *NETWORKS, *TRAINING, "dataset=npz", f"dataset.path={name}")
    assert called.code == 1, called.err
    assert "Traceback" not in called.err
    assert called.left == [name]


def test_an_existing_run_is_refused_and_untouched(train, run_copy):
    before = {p: p.read_bytes() for p in run_copy.rglob("*") if p.is_file()}
    called = train("hydra.run.dir=run")
    assert called.code == 1
    assert "holds a run already" in called.err
    assert "resume=" in called.err
    assert {p: p.read_bytes() for p in run_copy.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("words", [["hydra.run.dir=sweep"], ["-m", "seed=0,1", "hydra.sweep.dir=sweep/0"]])
def test_runs_are_not_mixed(train, tmp_path, run_copy, words):
    (tmp_path / "sweep").mkdir()
    run_copy.rename(tmp_path / "sweep" / "0")
    before = sorted(tmp_path.rglob("*"))
    called = train(*words)
    assert called.code == 1, called.err
    assert "choose another" in called.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("word", ["hydra.run.dir=", "hydra.run.dir=."])
def test_the_working_directory_is_no_run_directory(train, tmp_path, word):
    (tmp_path / "notes.txt").write_text("keep")
    called = train(word)
    assert called.code == 1
    assert "expected a new folder" in called.err
    assert called.left == ["notes.txt"]


def test_a_folder_of_the_users_is_kept_when_the_run_is_refused(train, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    assert train("hydra.run.dir=mine", "optimizer.lr=-1").code == 1
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]


# --- users' own code ------------------------------------------------------------------------------------------

MINE = """
import pyro, torch
import pyro.distributions as dist
from torch import nn

print("imported")

class Ladder(nn.Module):
    def __init__(self, spec, depth: int = 1, latent_dim: int = 2):
        super().__init__()
        self.latent_dim, self.size = latent_dim, spec.size
        steps = [nn.Linear(latent_dim, latent_dim) for _ in range(depth)]
        self.net = nn.Sequential(*steps, nn.Linear(latent_dim, spec.size))
    def forward(self, x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(self.latent_dim), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.net(z), 1.0).to_event(1), obs=x)

def guide(x, scale: float = 0.5):
    weight = pyro.param("weight", lambda: torch.zeros(3, 2))
    with pyro.plate("data", x.shape[0]):
        pyro.sample("z", dist.Normal(x @ weight, scale).to_event(1))

class Broken(Ladder):
    def forward(self, x):
        raise RuntimeError("no good")
"""
OWN = ("model._target_=my_models.Ladder", "guide._target_=my_models.guide")


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "my_models.py").write_text(textwrap.dedent(MINE))
    yield
    sys.modules.pop("my_models", None)


def test_users_code_from_the_working_directory(cli, mine, tmp_path, monkeypatch):
    called = cli(
        "train",
        *DATA,
        *TRAINING,
        *OWN,
        "model.depth=2",
        "model.latent_dim=2",
        "guide.scale=0.7",
        "hydra.run.dir=run",
        "format=json",
    )
    assert called.code == 0, called.err
    assert "imported" in called.err
    assert len(called.json) == 1
    config = Run.load("run").plain_config
    assert config["model"] == {"_target_": "my_models.Ladder", "latent_dim": 2, "depth": 2}
    assert config["guide"] == {"_target_": "my_models.guide", "scale": 0.7}
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    sys.modules.pop("my_models")
    assert cli("evaluate", "run=../run", "num_particles=4").code == 0


def test_code_that_has_gone_is_asked_for(cli, mine, tmp_path):
    assert cli("train", *DATA, *TRAINING, *OWN, "model.latent_dim=2", "hydra.run.dir=run").code == 0
    (tmp_path / "my_models.py").unlink()
    sys.modules.pop("my_models")
    called = cli("evaluate", "run=run")
    assert called.code == 1
    assert f"was in {tmp_path} when it was trained" in called.err


OWN_USAGE = {
    "typed key": (["model.dept=2"], "did you mean depth?"),
    "wrong type": (["model.depth=a"], "expected an integer"),
    "guide key": (["guide.scal=1"], "did you mean scale?"),
}


@pytest.mark.parametrize(("words", "says"), OWN_USAGE.values(), ids=OWN_USAGE)
def test_keys_of_users_targets_are_checked(cli, mine, words, says):
    called = cli("train", *DATA, *TRAINING, *OWN, *words)
    assert called.code == 2, called.err
    assert says in called.err
    assert [p for p in called.left if "__pycache__" not in p] == ["my_models.py"]


BROKEN = (*DATA, *TRAINING, "model._target_=my_models.Broken", "guide._target_=my_models.guide", "hydra.run.dir=run")


def test_users_code_that_exits_is_a_failed_job(cli, mine, tmp_path):
    (tmp_path / "my_models.py").write_text("import sys\ndef guide(x):\n    sys.exit(3)\n")
    called = cli("train", *DATA, *TRAINING, "guide._target_=my_models.guide", "hydra.run.dir=run")
    assert called.code == 1
    assert "my_models.py, line 3" in called.err
    assert Run.load("run").status == "failed"


def test_a_module_without_a_constructor_takes_nothing(cli, mine, tmp_path):
    (tmp_path / "my_models.py").write_text("import torch\nclass Guide(torch.nn.Module):\n    pass\n")
    called = cli("train", *SMALL, "guide._target_=my_models.Guide")
    assert called.code == 2
    assert "guide.hidden: my_models.Guide has no such parameter; it takes none" in called.err


def test_a_config_of_the_users_that_is_no_yaml(train, tmp_path):
    (tmp_path / "myconf" / "model").mkdir(parents=True)
    (tmp_path / "myconf" / "model" / "torn.yaml").write_text("a: [1\n")
    called = train("--config-dir", "myconf", "model=torn")
    assert called.code == 2
    assert "torn.yaml" in called.err


def test_an_error_in_users_code_names_file_and_line(cli, mine):
    called = cli("train", *BROKEN)
    assert called.code == 1
    line = 1 + MINE.splitlines().index('        raise RuntimeError("no good")')
    assert f"my_models.py, line {line}" in called.err
    assert "RuntimeError: no good" in called.err
    assert "Traceback" not in called.err
    assert "Traceback" in Path("run/error.txt").read_text()
    assert Run.load("run").status == "failed"


def test_the_traceback_is_given_when_asked_for(cli, mine, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    called = cli("train", *BROKEN)
    assert "Traceback" in called.err


def test_a_module_that_cannot_be_imported(train, tmp_path):
    (tmp_path / "bad_models.py").write_text("def model(x:\n    pass\n")
    called = train("model._target_=bad_models.model")
    assert called.code == 1
    assert "bad_models.py, line 1" in called.err


@pytest.mark.parametrize("way", ["flag", "searchpath"])
def test_own_configs(cli, mine, tmp_path, way):
    (tmp_path / "myconf" / "model").mkdir(parents=True)
    (tmp_path / "myconf" / "model" / "ladder.yaml").write_text("_target_: my_models.Ladder\ndepth: 3\nlatent_dim: 2\n")
    where = {"flag": ["--config-dir", "myconf"], "searchpath": [f"hydra.searchpath=[file://{tmp_path}/myconf]"]}[way]
    called = cli(
        "train", *DATA, *TRAINING, *where, "model=ladder", "guide._target_=my_models.guide", "hydra.run.dir=run"
    )
    assert called.code == 0, called.err
    assert Run.load("run").config.model.depth == 3
    assert cli("train", *where, "model=lader").err.count("did you mean ladder?") == 1


# --- interrupted and resumed ----------------------------------------------------------------------------------

LONG = (*[w for w in SMALL if "epochs" not in w], "hydra.run.dir=run")


def wait_for(path, process, seconds=60):
    end = time.monotonic() + seconds
    while not path.exists() or not path.read_text():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="ctrl-c"),
        pytest.param(signal.SIGTERM, 143, id="sigterm", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_goes_on_to_the_same_end(shell, cli, tmp_path, number, code):
    process = shell.start("train", *LONG, "trainer.epochs=100000")
    try:
        wait_for(tmp_path / "run" / "metrics.jsonl", process)
        assert cli("train", "resume=run").code == 1  # another process has it
        assert Run.load("run").status == "running"
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert "resume=" in err
    run = Run.load("run")
    assert run.status == "interrupted"
    epochs = len(run.metrics) + 2
    assert cli("evaluate", "run=run", "num_particles=4").code == 0  # usable as it is
    resumed = cli("train", "resume=run", f"trainer.epochs={epochs}")
    assert resumed.code == 0, resumed.err
    whole = cli("train", *LONG[:-1], "hydra.run.dir=whole", f"trainer.epochs={epochs}")
    assert whole.code == 0, whole.err
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))
    assert without_seconds(tmp_path / "run") == without_seconds(tmp_path / "whole")
    assert Run.load("run").status == "finished"


def test_a_killed_run_reads_as_interrupted(shell, tmp_path):
    process = shell.start("train", *LONG, "trainer.epochs=100000")
    wait_for(tmp_path / "run" / "metrics.jsonl", process)
    process.kill()
    process.communicate()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "running"
    assert Run.load(tmp_path / "run").status == "interrupted"


def test_a_finished_run_says_so(cli, run_copy):
    called = cli("train", "resume=run")
    assert called.code == 0
    assert "finished" in called.err
    (record,) = cli("train", "resume=run", "format=json").json
    assert record["status"] == "finished"


def test_epochs_of_a_finished_run_have_to_be_a_number(cli, run_copy):
    called = cli("train", "resume=run", "trainer.epochs=a")
    assert called.code == 2
    assert "expected an integer" in called.err


def test_a_run_without_its_checkpoint_starts_again_and_says_so(cli, run_copy):
    shutil.rmtree(run_copy / "checkpoints")
    called = cli("train", "resume=run", "trainer.epochs=3")
    assert called.code == 0, called.err
    assert "starts again from epoch 1" in called.err
    assert len(Run.load("run").metrics) == 3


def test_config_of_a_finished_run(cli, run_copy):
    assert "num_data: 60" in cli("train", "resume=run", "--cfg", "job").out


def test_a_resume_that_cannot_begin_leaves_the_run_as_it_was(cli, run_copy):
    config = read_text(run_copy / "config.yaml")
    (run_copy / "config.yaml").write_text(config.replace("num_data: 60", "num_data: 0"))
    before = {p: p.read_bytes() for p in run_copy.rglob("*") if p.is_file()}
    called = cli("train", "resume=run", "trainer.epochs=3")
    assert called.code == 1
    assert {p: p.read_bytes() for p in run_copy.rglob("*") if p.is_file()} == before


def test_runs_of_other_verbs_cannot_be_resumed(cli):
    assert cli("gradients", *DATA, *NETWORKS, "samples=10", "figures=false", "hydra.run.dir=run").code == 0
    called = cli("train", "resume=run")
    assert called.code == 1
    assert "a run of ppl-vae gradients" in called.err


def test_latest_to_resume_is_named_so(cli):
    assert "resume=latest" in cli("train", "resume=latest").err


def test_more_epochs_for_a_finished_run(cli, run_copy):
    called = cli("train", "resume=run", "trainer.epochs=4")
    assert called.code == 0, called.err
    assert len(Run.load("run").metrics) == 4
    assert Run.load("run").config.trainer.epochs == 4


@pytest.mark.parametrize("word", ["seed=2", "model.latent_dim=3", "model=conv", "+x=1", "trainer.batch_size=2"])
def test_other_keys_cannot_change_on_resume(cli, run_copy, word):
    called = cli("train", "resume=run", word)
    assert called.code == 2
    assert "trainer.epochs" in called.err


def test_config_of_a_resumed_run(cli, run_copy):
    called = cli("train", "resume=run", "trainer.epochs=5", "--cfg", "job")
    assert "num_data: 60" in called.out
    assert "epochs: 5" in called.out


# --- the configs there are --------------------------------------------------------------------------------------

EXPERIMENTS = sorted(p.stem for p in (conf_dir() / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes_to_what_its_targets_take(cli, name):
    called = cli("train", f"experiment={name}", "--cfg", "job")
    assert called.code == 0, called.err
    config = OmegaConf.to_container(OmegaConf.create(called.out))
    assert config["name"] == name
    for group in GROUPS:
        if config.get(group):
            open_ = [k for k, v in config[group].items() if v == "???"]
            check(
                group, {k: v for k, v in config[group].items() if k not in open_}, given=(*GIVEN.get(group, ()), *open_)
            )


def test_a_tracker_gets_every_epoch(train, monkeypatch):
    calls = []
    module = ModuleType("trackio")
    module.init = lambda **k: calls.append("init")
    module.log = lambda row, step: calls.append(step)
    module.finish = lambda: calls.append("finish")
    monkeypatch.setitem(sys.modules, "trackio", module)
    called = train("logger=trackio", "hydra.run.dir=run")
    assert called.code == 0, called.err
    assert calls == ["init", 3, 6, 6, "finish"]  # the last is the final result
    assert Run.load("run").config.logger._target_ == "ppl_vae.runs.loggers.Trackio"


def test_a_start_that_is_interrupted_leaves_nothing(train, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ppl_vae.config.build.build_dataset", interrupted)
    called = train()
    assert called.code == 130
    assert called.left == []


def test_a_picture_that_fails_fails_no_run(train, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no picture")

    monkeypatch.setattr("ppl_vae.plots.of_pair.gallery", broken)
    called = train("results.figures=true", "hydra.run.dir=run")
    assert called.code == 0
    assert "no figures: RuntimeError: no picture" in called.err
    assert Run.load("run").status == "finished"


def test_one_picture_that_fails_leaves_the_others(train, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no picture")

    monkeypatch.setattr("ppl_vae.plots.latent_map", broken)
    called = train("results.figures=true", "hydra.run.dir=run")
    assert called.code == 0
    assert "ppl-vae train: no latent map: RuntimeError: no picture" in called.err
    assert {p.stem for p in Path("run/figures").iterdir()} >= {"learning_curves", "traversals", "kl_per_unit"}


def test_it_goes_on_talking_after_its_last_epoch(train):
    called = train("results.figures=true", "results.posterior=true", "results.draws=4", "results.data=3")
    said = called.err.splitlines()
    after = said[said.index(next(line for line in said if line.startswith("epoch 2/2"))) + 1 :]
    assert after == [
        "evaluating 12 test data, 8 particles each (results.num_particles) …",
        "drawing figures …",
        "drawing the posterior of 3 data, 4 draws each (results.draws) …",
    ]


def test_a_number_of_data_is_a_whole_number(train):
    called = train("dataset.validation=20", "dataset.test=7", "hydra.run.dir=run")
    assert called.code == 0, called.err
    data = Run.load("run").data
    assert (len(data.validation), len(data.test)) == (20, 7)


def test_a_relative_path_after_a_change_of_directory(train, cli, tmp_path, run_copy):
    chdir = "hydra.job.chdir=true"
    called = cli("train", "dataset=npz", "dataset.path=x.npz", chdir, "hydra.run.dir=new")
    assert called.code == 2
    assert f"dataset.path='{tmp_path}/x.npz'" in called.err
    assert called.left == sorted(str(p.relative_to(tmp_path)) for p in [run_copy, *run_copy.rglob("*")])
    assert train(chdir, "hydra.run.dir=new").code == 0
    called = cli("evaluate", "-m", "run=run", chdir, "num_particles=4")
    assert called.code == 2
    assert "give the whole path" in called.err
    assert cli("evaluate", "-m", f"run={run_copy}", chdir, "num_particles=4").code == 0


def test_figures_and_posterior_where_the_config_says_so(train):
    called = train(
        "results.figures=true", "results.posterior=true", "results.draws=4", "results.data=3", "hydra.run.dir=run"
    )
    assert called.code == 0, called.err
    assert Path("run/figures/learning_curves.png").exists()
    drawn = Run.load("run").posterior()
    assert drawn["posterior"].sizes["draw"] == 4
    table = read_csv(Path("run/posterior.csv"))
    np.testing.assert_allclose(table["mean"], drawn["posterior"]["z"].mean(("chain", "draw")).values.ravel(), atol=6e-4)
    assert table.index.tolist() == [
        f"z[{datum}, {unit}]" for datum in drawn["posterior"]["datum"].values for unit in (0, 1)
    ]


def test_a_sweeper_gets_the_validation_loss(cli, monkeypatch):
    """What Hydra's sweepers read is the value that the job returns: minus the validation ELBO."""
    values = []
    run = Job.run

    def spying(self, cfg):
        values.append(run(self, cfg))
        return values[-1]

    monkeypatch.setattr(Job, "run", spying)
    called = cli("train", *SMALL, "-m", "seed=0,1", "hydra.sweep.dir=s", "format=json")
    assert values == [-record["validation/elbo"] for record in called.json]
