"""Verbs, flags, exit codes, and answers that need no torch."""

import subprocess
import sys

import pytest

WITHOUT_TORCH = {
    "overview": ["--help"],
    "version": ["--version"],
    "help": ["train", "--help"],
    "help of a verb on a run": ["evaluate", "--help"],
    "config": ["train", "--cfg", "job"],
    "config, overridden": ["train", "model.latent_dim=3", "--cfg", "job", "seed=2"],
    "info": ["train", "--info", "defaults"],
    "completion": ["-sc", "query=bash"],
    "a misspelt verb": ["trian"],
    "a misspelt key": ["train", "sede=1"],
}


@pytest.mark.parametrize("words", WITHOUT_TORCH.values(), ids=WITHOUT_TORCH)
def test_answers_without_torch(words, monkeypatch, tmp_path):
    monkeypatch.setenv("COMP_LINE", "ppl-vae train mod")
    code = (
        "import sys; from ppl_vae.__main__ import main\n"
        f"main({words!r})\n"
        "heavy = {'torch', 'pyro', 'numpy', 'sklearn', 'arviz', 'matplotlib', 'pandas'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


def test_help_is_quick(shell):
    """Under half a second of processor time, whatever else this machine does."""
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    called = shell("train", "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert called.code == 0
    assert "model: " in called.out
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 1.0


def test_overview_lists_the_verbs(cli):
    called = cli("--help")
    assert called.code == 0
    assert [line.split()[0] for line in called.out.splitlines() if line.startswith("  ")][:2] == ["train", "evaluate"]


@pytest.mark.parametrize("words", [["--help", "train"], ["-h", "train"], ["train", "--help"]])
def test_help_of_a_verb_wherever_the_flag_stands(cli, words):
    called = cli(*words)
    assert called.code == 0
    assert "model: " in called.out


def test_no_verb_is_a_usage_error(cli):
    called = cli()
    assert (called.code, called.out) == (2, "")
    assert "train" in called.err


ORDERS = {
    "flag last": ["train", "seed=3", "--cfg", "job"],
    "flag first": ["train", "--cfg", "job", "seed=3"],
    "flag between": ["train", "name=a", "-c", "job", "seed=3"],
    "flag before the verb": ["--cfg=job", "train", "seed=3"],
}


@pytest.mark.parametrize("words", ORDERS.values(), ids=ORDERS)
def test_flags_and_overrides_in_any_order(cli, words):
    called = cli(*words)
    assert called.code == 0, called.err
    assert "seed: 3" in called.out


USAGE = {
    "verb": (["trian"], "did you mean train?"),
    "flag": (["train", "--mutirun"], "--multirun"),
    "cfg": (["train", "--cfg", "jbo"], "did you mean job?"),
    "flag without value": (["train", "--config-dir"], "needs a value"),
    "key": (["train", "sede=1"], "did you mean seed"),
    "nested key": (["train", "trainer.epoch=3"], "did you mean epochs?"),
    "added key": (["train", "+trainer.epoch=3"], "did you mean epochs?"),
    "group": (["train", "modle=vae"], "did you mean model?"),
    "option": (["train", "model=vea"], "did you mean vae?"),
    "no option": (["train", "scheduler=null"], "did you mean none"),
    "key of a target": (["train", "model.latent_dmi=3"], "did you mean latent_dim?"),
    "added key of a target": (["train", "+model.latent_dmi=3"], "latent_dim"),
    "type": (["train", "trainer.epochs=a"], "trainer.epochs"),
    "type of a target": (["train", "model.latent_dim=a"], "expected an integer"),
    "value of a target": (["train", "dataset.binarization=dynamc"], "did you mean dynamic?"),
    "choice": (["train", "format=jsn"], "json"),
    "no value": (["train", "seed"], "key=value"),
    "sweep without -m": (["train", "seed=1,2"], "multirun"),
    "deleted key": (["train", "~model"], "model"),
    "missing key": (["evaluate"], "run=DIR"),
    "target that is no name": (["train", "model._target_=12"], "dotted name"),
    "module that is not there": (["train", "model._target_=my_model.VAE"], "my_model"),
    "misspelt target": (["train", "model._target_=ppl_vae.models.VEA"], "did you mean VAE?"),
    "dangerous target": (["train", "model._target_=os.system"], "may not"),
    "dangerous target by another name": (["train", "model._target_=torch.os.system"], "no class or function"),
    "no name": (["train", "name="], "name: got an empty text"),
    "Pyro's optimizers": (["train", "optimizer._target_=pyro.optim.Adam"], "expected one of torch.optim"),
    "no key": (["train", "=3"], "key=value"),
    "null": (["train", "trainer.epochs=null"], "got null"),
    "unknown interpolation": (["train", "model.latent_dim=${fooo}"], "fooo"),
    "resolve alone": (["train", "--resolve"], "--cfg"),
    "switch with a value": (["train", "--multirun=3"], "no value"),
    "info": (["train", "--info", "serchpath"], "did you mean searchpath?"),
    "flag without a verb": (["--verson"], "did you mean --version"),
    "empty resume": (["train", "resume="], "resume=DIR"),
    "empty run": (["evaluate", "run="], "run=DIR"),
    "empty sweep": (["compare", "sweep=''"], "sweep=DIR"),
    "folder of configs": (["train", "--config-dir", "nowhere"], "nowhere"),
}


@pytest.mark.parametrize(("words", "says"), USAGE.values(), ids=USAGE)
def test_usage_errors(cli, words, says):
    called = cli(*words)
    assert called.code == 2, called.err
    assert says in called.err
    assert "Traceback" not in called.err
    assert called.err.startswith("ppl-vae")
    assert called.out == ""
    assert called.left == []


@pytest.mark.parametrize("line", ["ppl-vae train trainer.ep", "python -m ppl_vae train model=vae trainer.ep"])
def test_completion_completes_keys(cli, monkeypatch, line):
    monkeypatch.setenv("COMP_LINE", line)
    assert cli("-sc", "query=bash").out.split() == ["trainer.epochs="]


COMPLETIONS = {
    "": "train evaluate",
    "ev": "evaluate",
    "train model=va": "model=vae",
    "evaluate split=": "split=train split=validation split=test",
    "train --mul": "--multirun",
}


@pytest.mark.parametrize(("typed", "expected"), COMPLETIONS.items(), ids=COMPLETIONS)
def test_completion_completes_verbs_and_options(cli, monkeypatch, typed, expected):
    monkeypatch.setenv("COMP_LINE", f"ppl-vae {typed}")
    called = cli("--shell-completion", "query=bash")
    assert called.code == 0
    assert set(expected.split()) <= set(called.out.split())


def test_completion_installs(cli):
    called = cli("-sc", "install=bash")
    assert called.code == 0
    assert "complete" in called.out
