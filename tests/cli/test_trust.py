"""A run directory from elsewhere is data: whatever its config names, no code of it runs, and a refusal says why."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ppl_vae.config.schema import conf_dir
from ppl_vae.config.targets import unlisted
from ppl_vae.errors import PplVaeError, RunError
from ppl_vae.runs import saved, trust
from ppl_vae.runs.run import Run
from tests.cli import hostile
from tests.cli.small import DATA, SMALL, TRAINING
from tests.cli.test_train import MINE
from tests.forge import forge

GROUPS = {
    "vae": ("likelihood", "model", "guide", "estimator"),
    "data": ("dataset",),
    "objective": ("objective",),
}


def rewrite(run, config, **record):
    """Give a run another config, as whoever sends it would: no seal is theirs to make."""
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    if record:
        old = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**old, **record}))
    forge(run)


def config_of(run):
    return yaml.safe_load((run / "config.yaml").read_text())


@pytest.fixture
def sent(run_copy, tmp_path, monkeypatch):
    """A run that somebody sent, in a working directory full of what they sent beside it."""
    hostile.prepare(tmp_path)
    rewrite(run_copy, config_of(run_copy), user_modules=[str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    return run_copy


@pytest.fixture(autouse=True)
def no_code_runs(tmp_path):
    path = list(sys.path)
    yield
    assert not (tmp_path / hostile.MARK).exists()
    assert not {"evil", "hydra_plugins.evil"} & sys.modules.keys()
    assert sys.path == path


def opened(run, group):
    """Have the objects of a group made, whichever way leads to them."""
    if part := next((name for name, groups in GROUPS.items() if group in groups), None):
        return getattr(Run.load(run), part)
    from ppl_vae.cli.arguments import parse
    from ppl_vae.cli.resume import prepare

    return prepare(parse([f"resume={run}", "trainer.epochs=3"]))


@pytest.mark.parametrize("share", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_no_place_of_a_config_runs_what_a_stranger_names(sent, tmp_path, share):
    """Each hostile target at every place, and each way to put one below another at the places of every group."""
    config = config_of(sent)
    targets = hostile.targets(tmp_path)
    names = sorted(targets)
    places = [p for p in hostile.places(config) if p[0] not in ("provenance", "name", "seed")]
    count = 0
    for number, place in enumerate(places[::share]):
        several = [names[(number + k * 7) % len(names)] for k in range(3)]
        for name in several:
            for how, value in hostile.wrapped(targets[name]).items():
                if how != "itself" and count % 3:
                    count += 1
                    continue
                count += 1
                rewrite(sent, hostile.put(config, place, value))
                with pytest.raises(PplVaeError, match=re.escape(str(sent))):
                    opened(sent, place[0])
                assert not (tmp_path / hostile.MARK).exists(), (place, name, how)
    assert count > 2_000 // share


VERBS = ("posterior", "generate", "report", "calibrate", "gradients", "check", "export")


@pytest.mark.parametrize("verb", ["evaluate", *(pytest.param(v, marks=pytest.mark.slow) for v in VERBS)])
def test_no_verb_runs_what_a_stranger_names(cli, sent, tmp_path, verb):
    config = config_of(sent)
    for place, name in {
        ("model",): "torch.utils.collect_env.run",
        ("guide", "activation"): "yaml.unsafe_load",
        ("model", "hidden", 0): "logging.config.dictConfig",
        ("estimator",): "evil.run",
        ("likelihood", "value"): "torch.serialization.load",
    }.items():
        rewrite(sent, hostile.put(config, place, hostile.targets(tmp_path)[name]))
        called = cli(verb, "run=run")
        assert called.code == 1, (verb, place, called.err)
        assert name in called.err
        assert "trust=true" in called.err
        assert not (tmp_path / hostile.MARK).exists(), (verb, place)


@pytest.mark.slow
def test_what_names_only_what_is_listed_opens_without_a_word(cli, sent):
    assert Run.load(sent).saved.why
    for verb in ("evaluate", "generate", "report"):
        called = cli(verb, "run=run")
        assert (called.code, called.err) == (0, ""), verb
    assert Run.load(sent).objective is not None
    assert cli("train", "resume=run", "trainer.epochs=3").code == 0
    assert Run.load(sent).saved.why  # going on with it makes it no run of one's own


def test_every_option_of_ours_is_listed():
    """But for the trackers that send what they are told elsewhere."""
    for path in (p for group in conf_dir().iterdir() if group.is_dir() for p in group.glob("*.yaml")):
        group = path.parent.name
        if group in ("hydra", "hparams_search", "experiment"):
            continue
        found = [name for _, name in unlisted(yaml.safe_load(path.read_text()), group)]
        away = group == "logger" and path.stem in ("mlflow", "wandb", "trackio", "several")
        assert bool(found) == away, (path, found)


# --- the user's own -------------------------------------------------------------------------------------------

OWN = ("model._target_=my_models.Ladder", "guide._target_=my_models.guide", "model.latent_dim=2", "hydra.run.dir=own")


@pytest.fixture
def own(cli, tmp_path):
    """A run of the user's own classes, made here."""
    (tmp_path / "my_models.py").write_text(MINE.replace('raise RuntimeError("no good")', "pass").lstrip())
    called = cli("train", *DATA, *TRAINING, *OWN)
    assert called.code == 0, called.err
    yield tmp_path / "own"
    sys.modules.pop("my_models", None)


def forget():
    sys.modules.pop("my_models", None)


def test_a_run_of_ones_own_classes_opens_moved_and_copied_and_goes_on(cli, own, tmp_path, monkeypatch):
    assert not Run.load(own).saved.why
    (tmp_path / "elsewhere").mkdir()
    shutil.move(own, tmp_path / "elsewhere" / "moved")
    shutil.copytree(tmp_path / "elsewhere" / "moved", tmp_path / "elsewhere" / "copied")
    monkeypatch.chdir(tmp_path / "elsewhere")
    for name in ("moved", "copied"):
        forget()
        called = cli("evaluate", f"run={tmp_path}/elsewhere/{name}", "num_particles=4")
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert (called.code, "trust" in called.err) == (0, False), called.err
    forget()
    (tmp_path / "third").mkdir()
    monkeypatch.chdir(tmp_path / "third")
    called = cli("train", "resume=../elsewhere/copied", "trainer.epochs=3")
    assert called.code == 0, called.err
    assert not Run.load("../elsewhere/copied").saved.why


def harmed(run, how):
    forge(run)
    text = (run / "config.yaml").read_text()
    changes = {
        "by hand": text.replace("latent_dim: 2", "latent_dim: 3"),
        "seal away": text.partition("\n# made here")[0] + "\n",
        "another seal": text.replace('"1:', '"1:0'),
        "no seal": text.replace('"seal"', '"sael"'),
        "other folders": text.replace(str(run.parent), "/tmp"),
        "another target": text.replace("my_models.guide", "my_models.Broken"),
        "torn": text[:-5],
        "after the seal": text + "trainer: {}\n",
        "seal of another": text.replace("my_models.Ladder", "evil.Ladder"),
        "a list for a seal": text.partition("\n# made here")[0] + "\n# made here: [1]\n",
    }
    assert changes[how] != text
    (run / "config.yaml").write_text(changes[how])


HARM = ["by hand", "seal away", "another seal", "no seal", "other folders", "another target", "torn", "after the seal"]
HARM += ["seal of another", "a list for a seal"]


def test_a_run_that_was_changed_or_made_by_another_asks(cli, own, tmp_path, monkeypatch):
    text = (own / "config.yaml").read_text()
    forget()
    for how in HARM:
        (own / "config.yaml").write_text(text)
        harmed(own, how)
        with pytest.raises(RunError, match=r"(my_models|evil)\.\w+ \((model|guide)\).*trust=true"):
            _ = Run.load(own).vae
        assert "my_models" not in sys.modules, how
    (own / "config.yaml").write_text(text)
    with monkeypatch.context() as patch:  # another user, or another machine
        patch.setenv("XDG_STATE_HOME", str(tmp_path / "theirs"))
        called = cli("evaluate", "run=own")
        assert called.code == 1
        for word in ("my_models.Ladder (model)", "my_models.guide (guide)", "trust=true", "Run.load(…, trust=True)"):
            assert word in called.err
        assert not (tmp_path / "theirs").exists()  # reading makes no key
        called = cli("train", "resume=own", "trainer.epochs=3")
        assert (called.code, "trust=true" in called.err) == (1, True)
        assert "my_models" not in sys.modules
        assert cli("evaluate", "run=own", "num_particles=4", "trust=true").code == 0
        assert Run.load(own, trust=True).vae is not None
        forget()
        assert cli("train", "resume=own", "trainer.epochs=3", "trust=true").code == 0
        assert not Run.load(own).saved.why  # it is theirs now
    assert cli("evaluate", "run=own").code == 1


@pytest.mark.slow
def test_a_config_that_trusts_itself_is_not_believed(cli, sent, tmp_path):
    config = config_of(sent)
    for key in ("trust", "resume"):
        rewrite(sent, {**hostile.put(config, ("model",), {"_target_": "evil.Run"}), key: True})
        called = cli("train", "resume=run", "trainer.epochs=3")
        assert called.code == 1, called.err
        assert "evil.Run" in called.err
        rewrite(sent, {**config, key: "true"})
        assert cli("train", "resume=run", "trainer.epochs=3").code == 0


def test_a_stranger_names_no_file_of_mine(cli, sent, tmp_path):
    """Data are read from where the user says, not from where a run says."""
    (tmp_path / "secret.csv").write_text("a,b,c\n" + "1,2,3\n" * 50)
    config = config_of(sent)
    for node in (
        {"_target_": "ppl_vae.datasets.csv", "path": str(tmp_path / "secret.csv")},
        {"_target_": "ppl_vae.datasets.mnist", "path": str(tmp_path)},
        {"_target_": "ppl_vae.datasets.npy", "path": "x.npy", "labels": "secret.csv"},
    ):
        rewrite(sent, {**config, "dataset": node})
        called = cli("evaluate", "run=run", "num_particles=4")
        assert called.code == 1
        assert "dataset." in called.err
        assert "a place of files" in called.err
        assert "trust=true" in called.err
        assert cli("generate", "run=run", "n=3", "figures=false").code == 0  # which needs no data
    assert cli("report", "run=run").code == 0
    rewrite(sent, {**config, "dataset": {"_target_": "ppl_vae.datasets.csv", "path": str(tmp_path / "secret.csv")}})
    called = cli("evaluate", "run=run", "num_particles=4", "trust=true")
    assert "secret.csv: " in called.err  # it is read: its columns are constant
    assert "trust" not in called.err


def test_references_are_not_followed(cli, sent, monkeypatch):
    monkeypatch.setenv("SECRET", "s3cr3t")
    config = config_of(sent)
    for key in ("name", "model.activation", "spec.support", "trainer.compile", "engine.device"):
        place = tuple(key.split("."))
        for text in ("${oc.env:SECRET}", "a ${oc.decode:'1'}", "${hydra:runtime.cwd}", "${seed}", "\\${oc.env:SECRET}"):
            rewrite(sent, hostile.put(config, place, text))
            with pytest.raises(RunError, match=re.escape(key)):
                _ = Run.load(sent).config
    for words in (["report", "run=run"], ["train", "resume=run", "trainer.epochs=3"]):
        called = cli(*words)
        assert called.code == 1
        assert "engine.device holds ${" in called.err
        assert "s3cr3t" not in called.err + called.out
    assert not (sent / "report.html").exists()


# --- folders --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_working_directory_gives_no_module_that_is_not_asked_for(shell, tmp_path):
    """Neither in place of what is installed, nor of what others look for and is not, nor as Hydra's plugins."""
    hostile.prepare(tmp_path)
    called = shell("train", *SMALL, "hydra.run.dir=run", "results.figures=true")
    assert called.code == 0, called.err
    assert not (tmp_path / hostile.MARK).exists()
    assert (tmp_path / "run" / "figures").is_dir()


@pytest.mark.slow
def test_a_module_of_ones_own_is_found_behind_all_others(shell, tmp_path):
    (tmp_path / "my_models.py").write_text(MINE.lstrip())
    called = shell("train", *DATA, *TRAINING, *OWN)
    assert called.code == 0, called.err
    (tmp_path / "torch.py").write_text("raise SystemExit('not torch')\n")
    (tmp_path / "pandas.py").write_text("class Model: pass\n")
    assert shell("evaluate", "run=own", "num_particles=4").code == 0
    called = shell("train", *DATA, *TRAINING, "model._target_=pandas.Model")
    assert called.code == 2
    assert "is hidden by the installed pandas" in called.err


def test_a_folder_of_a_run_is_none_of_modules(own):
    (own / "my_models.py").write_text("raise SystemExit\n")
    config = config_of(own)
    rewrite(own, config, user_modules=[str(own)])
    with Run.load(own, trust=True).user_code():
        assert str(own) not in sys.path


@pytest.mark.parametrize("linked", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_git_is_not_run(cli, tmp_path, linked):
    """In a folder whose repository runs what it likes, by all the ways that git has."""
    git = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    home = tmp_path / "home" if linked else tmp_path
    for words in (["init", "-q", str(home)], ["-C", str(home), *author, "commit", "-q", "--allow-empty", "-m", "a"]):
        subprocess.run(["git", *words], check=True, env=git)
    if linked:
        subprocess.run(["git", "-C", str(home), "worktree", "add", "-q", str(tmp_path / "tree")], check=True, env=git)
        (tmp_path / ".git").write_text((tmp_path / "tree" / ".git").read_text())
    words = ["git", "-C", str(home), "rev-parse", "HEAD"]
    commit = subprocess.run(words, check=True, env=git, capture_output=True, text=True).stdout.strip()
    config = hostile.HOSTILE_REPOSITORY.format(mark=tmp_path / hostile.MARK, folder=tmp_path)
    (home / ".git" / "config").write_text(config)
    (tmp_path / ".gitattributes").write_text("* filter=evil diff=evil\n")
    (tmp_path / "hooks").mkdir()
    for hook in ("fsmonitor-watchman", "post-index-change", "pre-auto-gc"):
        (tmp_path / "hooks" / hook).write_text(f"#!/bin/sh\ntouch {tmp_path / hostile.MARK}\n")
        (tmp_path / "hooks" / hook).chmod(0o755)
    assert cli("train", *SMALL, "hydra.run.dir=run").code == 0
    assert Run.load("run").record["git"] == {"commit": commit}


# --- sweeps ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sweep_of_elsewhere_is_compared_and_not_gone_on_with(cli, tmp_path, monkeypatch):
    called = cli("train", "-m", *SMALL, "seed=0,1", "hydra.sweep.dir=sweep")
    assert called.code == 0, called.err
    assert cli("train", "-m", "resume=sweep").code == 0
    hostile.prepare(tmp_path)
    plan = json.loads(Path("sweep/sweep.json").read_text())
    for job in plan["jobs"]:
        job["overrides"] += ["+model._target_=evil.Run"]
    plan["hydra"] += ["hydra.launcher._target_=evil.run"]
    Path("sweep/sweep.json").write_text(json.dumps(plan))
    forge("sweep")
    Path("sweep/1/run.json").unlink()
    called = cli("train", "-m", "resume=sweep")
    assert called.code == 1
    assert "trust=true" in called.err
    assert cli("compare", "sweep=sweep").code == 0
    assert cli("sweeps", "dir=.").code == 0
    with monkeypatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path / "theirs"))
        assert cli("train", "-m", "resume=sweep").code == 1


# --- the key --------------------------------------------------------------------------------------------------


def test_the_key_is_made_once_and_for_its_user_alone(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert cli("train", *SMALL, "hydra.run.dir=a").code == 0
    key = tmp_path / "state" / "ppl_vae" / "key"
    content = key.read_bytes()
    assert len(content) == 32
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [p.name for p in key.parent.iterdir()] == ["key"]
    assert cli("train", *SMALL, "hydra.run.dir=b").code == 0
    assert key.read_bytes() == content
    assert saved.read(tmp_path / "a", {}).why == saved.read(tmp_path / "b", {}).why == ""
    assert (tmp_path / "a" / "config.yaml").read_bytes() == (tmp_path / "b" / "config.yaml").read_bytes()
    assert content.hex() not in (tmp_path / "a" / "config.yaml").read_text()


def _harm_key(key, how):
    key.parent.mkdir(parents=True)
    if how == "a folder":
        key.mkdir()
    elif how == "a link":
        (key.parent / "other").write_bytes(bytes(32))
        (key.parent / "other").chmod(0o600)
        key.symlink_to("other")
    elif how == "a pipe":
        os.mkfifo(key, 0o600)
    else:
        key.write_bytes(bytes(31 if how == "short" else 32))
        key.chmod(0o644 if how == "for all to read" else 0o600)


KEYS = ["a folder", "a link", "short", "for all to read"]


@pytest.mark.parametrize("how", ["a pipe", *(pytest.param(how, marks=pytest.mark.slow) for how in KEYS)])
def test_a_key_that_is_not_the_users_alone_is_told_and_hinders_no_training(cli, tmp_path, monkeypatch, how):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    _harm_key(tmp_path / "state" / "ppl_vae" / "key", how)
    with pytest.warns(UserWarning, match=r"key .*nobody can tell later that this run was made here"):
        assert cli("train", *SMALL, "hydra.run.dir=run").code == 0
    assert saved.read(tmp_path / "run", {}).why
    assert cli("evaluate", "run=run", "num_particles=4").code == 0


def test_no_state_directory_is_told_and_hinders_no_training(cli, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="cannot be made"):
        assert cli("train", *SMALL, "hydra.run.dir=run").code == 0
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert trust.state_directory(os.environ) == tmp_path / "home" / ".local" / "state"


def test_many_processes_make_one_key(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    code = "from ppl_vae.runs.trust import key; print(key(make=True).hex())"
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({process.communicate()[0] for process in started}) == 1
