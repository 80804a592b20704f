"""`hydra/launcher=…`: ready options, their plugins' keys, threads, and what is said where a plugin is missing."""

import importlib.util
import os
import random
import re

import pytest
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from ppl_vae.cli import launchers
from ppl_vae.cli.launchers import HERE, PLUGINS, THREADS, launched, workers
from ppl_vae.config.schema import about, conf_dir
from ppl_vae.errors import PplVaeError
from ppl_vae.sweeps.sweep import Sweep
from tests.cli.small import SMALL

OPTIONS = sorted(PLUGINS)


def needs(option):
    module = f"hydra_plugins.{PLUGINS[option][0].replace('-', '_')}"
    if importlib.util.find_spec("hydra_plugins") is None or importlib.util.find_spec(module) is None:
        pytest.skip(f"{PLUGINS[option][0]} is not installed")


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_is_ours_over_all_keys_of_its_plugin(cli, option):
    needs(option)
    called = cli("train", f"hydra/launcher={option}", "--cfg", "hydra", "-p", "hydra.launcher")
    assert (called.code, called.err) == (0, "")
    whole = OmegaConf.to_container(OmegaConf.create(called.out))
    ours = OmegaConf.to_container(OmegaConf.load(conf_dir() / "hydra" / "launcher" / f"{option}.yaml"))
    theirs = OmegaConf.to_container(ConfigStore.instance().repo["hydra"]["launcher"][f"{option}.yaml"].node)
    assert whole.keys() == ours.keys() | theirs.keys()
    assert ours["_target_"] == theirs["_target_"]
    for key, value in whole.items():
        expected = ours.get(key, theirs.get(key))
        assert (value.items() >= expected.items()) if isinstance(expected, dict) else value == expected


def test_types_are_those_of_the_plugin(cli):
    needs("joblib")
    called = cli("train", "-m", "seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=many")
    assert called.code == 2
    assert "n_jobs" in called.err
    assert "many" in called.err
    called = cli("train", "-m", "seed=0,1", "hydra/launcher=joblib", "hydra.launcher.njobs=2")
    assert called.code == 2
    assert "did you mean n_jobs" in called.err
    assert called.left == []


@pytest.mark.parametrize("option", OPTIONS)
def test_what_is_not_installed_is_told_with_its_command(cli, monkeypatch, option):
    assert cli("train", "--cfg", "job").code == 0  # Hydra has looked for its plugins
    store = ConfigStore.instance().repo["hydra"]["launcher"]
    monkeypatch.delitem(store, f"{option}.yaml", raising=False)
    called = cli("train", *SMALL, "-m", "seed=0,1", f"hydra/launcher={option}", "hydra.launcher.n_jobs=2")
    assert called.code == 1
    package, extra = PLUGINS[option]
    assert f"hydra/launcher={option} needs {package}" in called.err
    assert f"pip install 'ppl-vae[{extra}]'" in called.err
    assert called.err.count("\n") == 1
    assert called.left == []


def test_the_command_that_is_told_brings_the_package(repository):
    text = (repository / "pyproject.toml").read_text(encoding="utf-8")
    for option, (package, extra) in PLUGINS.items():
        (packages,) = re.findall(rf"^{extra} = \[([^]]*)\]", text, re.MULTILINE)
        assert f'"{package}' in packages
        assert f"pip install 'ppl-vae[{extra}]'" in about(conf_dir() / "hydra" / "launcher" / f"{option}.yaml")


def test_every_ready_option_is_a_plugins_or_runs_here(cli):
    assert {p.stem for p in (conf_dir() / "hydra" / "launcher").glob("*.yaml")} == {*OPTIONS, "batched"}
    called = cli("train", "hydra/launcher=job")
    assert called.code == 2
    assert "did you mean joblib?" in called.err
    assert all(option in called.err for option in (*OPTIONS, "basic", "batched"))


def test_as_many_workers_as_there_are_cores_for(monkeypatch):
    for cores in range(1, 9):
        monkeypatch.setattr("joblib.cpu_count", lambda n=cores: n)
        for threads in (None, *range(1, 12)):
            n = workers(threads)
            assert n >= 1
            assert n == 1 or n * (threads or 1) <= cores
            assert (n + 1) * (threads or 1) > cores


CLUSTER = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"
LOCAL = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"


def config(target, threads=None):
    choices = {"hydra/launcher": "some"}
    node = {"launcher": {"_target_": target}, "runtime": {"choices": choices}}
    return OmegaConf.create({"hydra": node, "engine": {"threads": threads}})


def test_workers_begin_with_their_threads_and_the_environment_is_given_back(monkeypatch):
    """For any variables that are set before and any `engine.threads`."""
    draw = random.Random(0)
    for _ in range(50):
        before = {name: draw.choice((None, "1", "3")) for name in THREADS}
        threads, target = draw.choice((None, 1, 2, 5)), draw.choice((CLUSTER, LOCAL, *HERE))
        for name, value in before.items():
            monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
        seen = {}

        def launch(jobs, initial_job_idx, seen=seen):
            seen.update({name: os.environ.get(name) for name in THREADS})
            if len(jobs) == 3:
                raise PplVaeError("refused")
            return jobs

        jobs = [["a"]] * draw.choice((1, 3))
        try:
            launched(launch, jobs, 0, config(target, threads))
        except PplVaeError:
            assert len(jobs) == 3
        expected = {n: str(threads) if threads else value or "1" for n, value in before.items()}
        assert seen == (before if target in HERE else expected)
        assert {name: os.environ.get(name) for name in THREADS} == before


def test_a_machine_is_given_as_many_jobs_at_once_as_it_has_cores_for(monkeypatch):
    for cores, threads, count, first in ((2, None, 5, 0), (4, 2, 5, 7), (1, 8, 3, 0), (8, None, 3, 2)):
        monkeypatch.setattr("joblib.cpu_count", lambda n=cores: n)
        for target in (LOCAL, CLUSTER):
            batches = []

            def launch(jobs, initial_job_idx, batches=batches):
                batches.append((initial_job_idx, len(jobs)))
                return list(range(initial_job_idx, initial_job_idx + len(jobs)))

            done = launched(launch, [["a"]] * count, first, config(target, threads))
            assert done == list(range(first, first + count))
            assert max(n for _, n in batches) <= (workers(threads) if target == LOCAL else count)
            assert len(batches) == (-(-count // workers(threads)) if target == LOCAL else 1)


def test_a_launcher_that_gives_up_is_told_in_one_message():
    def launch(jobs, initial_job_idx):
        raise RuntimeError("\nA worker was terminated.\nMore of it")

    with pytest.raises(PplVaeError, match=r"hydra/launcher=some gave up \(RuntimeError: A worker was terminated.\)"):
        launched(launch, [["a"]], 0, config(CLUSTER))
    assert launchers.is_here(config(HERE[0]))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_failing_jobs_at_any_place_stop_no_other_and_are_counted(cli, forks, tmp_path):
    """By chance which of the jobs fail: those that do are counted, all others are there, and objects tell both."""
    import ppl_vae.cli.verbs.train
    import ppl_vae.training  # noqa: F401 - once, and not in every process

    draw = random.Random(1)
    quick = (*(w for w in SMALL if "epochs" not in w), "trainer.epochs=1", "trainer.compile=off")
    for case in range(3):
        fails = [draw.random() < 0.4 for _ in range(draw.randint(2, 5))]
        rates = ",".join("-1" if failing else f"{k + 1}e-3" for k, failing in enumerate(fails))
        called = cli(
            "train", *quick, "-m", f"optimizer.lr={rates},1e-2", f"hydra.sweep.dir={case}", forks, "format=json"
        )
        fails.append(False)
        assert called.code == (1 if any(fails) else 0), fails
        assert (f"{sum(fails)} of {len(fails)} failed" in called.err) == any(fails), fails
        assert [r["job"] for r in called.json] == list(range(len(fails)))
        assert [r["status"] for r in called.json] == ["failed" if f else "finished" for f in fails]
        assert [job.state for job in Sweep.load(str(case)).jobs] == ["refused" if f else "finished" for f in fails]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_a_job_whose_process_is_begun_again_goes_on_with_its_run(cli, forks, monkeypatch):
    """A cluster queues a job again: the second process finds the first one's run, and no other job's."""
    import ppl_vae.cli.verbs.train
    import ppl_vae.training  # noqa: F401

    words = (*SMALL, "trainer.compile=off", "-m", "seed=0", "optimizer.lr=1e-3,1e-2", "hydra.sweep.dir=sweep")
    twice = launchers.launched

    def queued_again(launch, jobs, first, config):
        return [*twice(launch, jobs, first, config), *twice(launch, jobs, first, config)]

    monkeypatch.setattr(launchers, "launched", queued_again)
    called = cli("train", *words, forks)
    assert called.code == 0, called.err
    assert Sweep.load("sweep").counts == {"finished": 2}
    assert [len(run.metrics) for run in Sweep.load("sweep").runs] == [2, 2]
    cli("train", *words[:-1], "hydra.sweep.dir=one", "hydra.sweep.subdir=same", forks)
    assert Sweep.load("one").counts == {"finished": 1, "missing": 1}  # two jobs in one folder are one
