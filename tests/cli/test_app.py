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
    "a misspelt run": ["evaluate", "run=nowhere"],
    "a misspelt run of a pair": ["gradients", "run=nowhere"],
    "a misspelt sweep": ["compare", "sweep=nowhere"],
    "a misspelt folder of sweeps": ["sweeps", "dir=nowhere"],
    "a misspelt run to resume": ["train", "resume=nowhere"],
    "a target replaced": ["train", "model._target_=mine.Model", "--cfg", "job"],
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
    """At most six times the processor time of importing Hydra: its own composing is half of it, torch far more."""
    import resource

    def seconds(run):
        """The least of three: beside other work the same instructions take longer."""
        found = []
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            run()
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            found.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
        return min(found)

    def helped():
        called = shell("train", "--help")
        assert called.code == 0
        assert "model: " in called.out

    bare = seconds(lambda: subprocess.run([sys.executable, "-c", "import hydra"], check=True))
    assert seconds(helped) < 6 * bare


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
    "a package that is not there": (["train", "--cfg", "job", "-p", "trainr"], "ppl-vae train --cfg job prints all"),
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
    "empty folder of sweeps": (["sweeps", "dir="], "dir=DIR"),
    "folder of configs": (["train", "--config-dir", "nowhere"], "nowhere"),
    "a number as an option": (["train", "dataset=0"], "dataset=0: no such option; expected one of: arrow, bars, csv"),
    "another number": (["train", "model=-inf"], "no such option"),
    "several options": (["train", "model=[vae,conv]"], "got several options, expected one"),
    "several trainers": (["train", "trainer=[default,debug]"], "-m trainer=A,B"),
    "keys as an option": (["train", "model={latent_dim:3}"], "model.KEY=VALUE"),
    "an experiment with a plus": (["train", "+experiment=fashion_mnist"], "type experiment=fashion_mnist"),
    "a group with a plus": (["train", "+model=conv"], "type model=conv"),
    "deleting a number": (["train", "~trainer=-1"], "~trainer=-1: no such option; expected one of: debug, default"),
    "an element too many": (["train", "model.hidden.3=5"], "give the whole list: model.hidden=["),
    "an element too many, in brackets": (["train", "model.hidden[3]=5"], "key=value"),
    "an element of a number": (["train", "model.latent_dim.0=5"], "model.latent_dim"),
    "home of nobody": (["evaluate", "run=~nosuchuser/x"], "there is no home of ~nosuchuser"),
    "home of nobody, of data": (["train", "dataset=npz", "dataset.path=~nosuchuser/x.npz"], "no home of ~nosuchuser"),
    "home of nobody, in quotes": (["evaluate", "run='~nosuchuser/x'"], "there is no home of ~nosuchuser"),
    "home of nobody, of a sweep": (["compare", "sweep=~nosuchuser/x"], "there is no home of ~nosuchuser"),
    "options of parameters": (["train", "trainer.groups=1"], "{guide:{lr:1e-4}}"),
    "options of one prefix": (["train", "trainer.groups={guide:1}"], "{guide:{lr:1e-4}}"),
    "statistics": (["evaluate", "run=x", "statistics=[a]"], "{ink:my_module.ink}"),
    "an optimizer as a schedule": (["train", "scheduler._target_=torch.optim.SGD"], "scheduler.params is needed"),
    "what Hydra asserts": (["train", "++seed._x={a:{b:1}}"], "seed"),
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


@pytest.mark.parametrize("typed", [["experiment=bare"], ["hparams_search=bare"]])
def test_an_overlay_without_its_package_line(cli, tmp_path, typed):
    """Hydra reads its keys as `experiment.model…`."""
    group = typed[0].split("=")[0]
    (tmp_path / "myconf" / group).mkdir(parents=True)
    (tmp_path / "myconf" / group / "bare.yaml").write_text("model:\n  latent_dim: 3\n")
    called = cli("train", "--config-dir", "myconf", *typed, "--cfg", "job")
    assert (called.code, called.out) == (2, "")
    assert f"begin {tmp_path}/myconf/{group}/bare.yaml with the line `# @package _global_`" in called.err
    (tmp_path / "myconf" / group / "bare.yaml").write_text("# @package _global_\nmodel:\n  latent_dim: 3\n")
    assert "latent_dim: 3" in cli("train", "--config-dir", "myconf", *typed, "--cfg", "job").out


def test_several_experiments_lie_one_over_the_other(cli, tmp_path):
    (tmp_path / "myconf" / "experiment").mkdir(parents=True)
    for name, text in {"a": "seed: 1\nname: a\n", "b": "seed: 2\n"}.items():
        (tmp_path / "myconf" / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\n{text}")
    called = cli("train", "--config-dir", "myconf", "experiment=[a,b]", "--cfg", "job")
    assert called.code == 0, called.err
    assert "name: a\nseed: 2" in called.out


def test_what_asks_says_all_or_nothing(cli):
    called = cli("train", "--info", "~model=conv")
    assert (called.code, called.out) == (2, "")


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
