"""An interrupted and resumed run ends as the uninterrupted one, bit for bit."""

import functools
import json
import random
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from safetensors.torch import load_file

import ppl_vae as pv
from ppl_vae.errors import PplVaeError, RunError
from ppl_vae.training import Store, load_weights, schedulers
from tests.training.pairs import adam, dataset, identical, interrupt_at, pair, quiet, rows, train, warm_up, weights

SCHEDULERS = {
    "none": None,
    "cosine": schedulers.cosine(warmup=3),
    "step": schedulers.step(every=2),
    "plateau": schedulers.plateau(patience=0),
    "burda": schedulers.burda(),
    "torch's own": functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.9),
    "torch's own, per step": schedulers.PerStep(
        functools.partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.02, total_steps=20)
    ),
}
OPTIMIZERS = {
    "adam": adam,
    "amsgrad": functools.partial(torch.optim.Adam, lr=0.01, amsgrad=True, fused=False),
    "adamw": functools.partial(torch.optim.AdamW, lr=0.01),
    "radam": functools.partial(torch.optim.RAdam, lr=0.01),
    "nadam": functools.partial(torch.optim.NAdam, lr=0.01),
    "sgd": functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9),
    "adagrad": functools.partial(torch.optim.Adagrad, lr=0.05),
    "rprop": functools.partial(torch.optim.Rprop, lr=0.01),
    "asgd": functools.partial(torch.optim.ASGD, lr=0.01),
    "adafactor": functools.partial(torch.optim.Adafactor, lr=0.01),
}


class Stop(Exception):
    """What a callback raises to end a run after an epoch."""


def stop_after(epoch: int, act=None):
    def callback(row):
        if row["epoch"] == epoch:
            if act is None:
                raise Stop
            act()

    return callback


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that was never interrupted."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    vae = pair(norm=True, dropout=True)
    history = train(vae, directory)
    return vae, history, directory


def assert_same(vae, history, directory, whole):
    expected_vae, expected_history, expected_directory = whole
    assert rows(history) == rows(expected_history)
    assert identical(weights(vae), weights(expected_vae))
    assert identical(load_file(directory / "model.safetensors"), load_file(expected_directory / "model.safetensors"))
    states = [Store(d).load() for d in (directory, expected_directory)]
    for state in states:
        state.pop("spent")
    from ppl_vae.runs.state import flatten

    (tensors, rest), (expected_tensors, expected_rest) = map(flatten, states)
    assert identical(tensors, expected_tensors)
    assert rest == expected_rest
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 5]


def test_a_signal_in_the_very_last_step_leaves_an_epoch_to_be_closed(whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(pair(norm=True, dropout=True), tmp_path / "run", objective=interrupt_at(20))
    vae = pair(norm=True, dropout=True)
    assert_same(vae, train(vae, tmp_path / "run", resume=True), tmp_path / "run", whole)


@pytest.mark.parametrize("epoch", [1, 3, 4])
def test_between_epochs(epoch, whole, tmp_path):
    with pytest.raises(Stop):
        train(pair(norm=True, dropout=True), tmp_path / "run", callbacks=[stop_after(epoch)])
    torch.manual_seed(99), random.seed(99), np.random.seed(99)  # noqa: NPY002 - another process would have others
    fresh = pair(seed=7, norm=True, dropout=True)
    history = train(fresh, tmp_path / "run", resume=True)
    assert_same(fresh, history, tmp_path / "run", whole)


@pytest.mark.parametrize("step", [1, 2, 6, 8, 9])  # the first, inside, the last of an epoch of four, the next
def test_in_the_middle_of_an_epoch(step, whole, tmp_path):
    with pytest.raises(KeyboardInterrupt) as interrupt:
        train(pair(norm=True, dropout=True), tmp_path / "run", objective=interrupt_at(step))
    assert interrupt.value.history.status == "interrupted"
    assert len(interrupt.value.history) == (step - 1) // 4 if step % 4 else step // 4
    assert (tmp_path / "run" / "model.safetensors").exists()
    fresh = pair(seed=7, norm=True, dropout=True)
    assert_same(fresh, train(fresh, tmp_path / "run", resume=True), tmp_path / "run", whole)


def test_interrupted_again_and_again(whole, tmp_path):
    vae = pair(norm=True, dropout=True)
    for resume in (False, True, True, True, True, True):
        with pytest.raises(KeyboardInterrupt):
            train(vae, tmp_path / "run", objective=interrupt_at(3), resume=resume)
        vae = pair(seed=8, norm=True, dropout=True)
    assert_same(vae, train(vae, tmp_path / "run", resume=True), tmp_path / "run", whole)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers(name, tmp_path):
    expected = train(pair(), tmp_path / "whole", scheduler=SCHEDULERS[name])
    for step in (6, 8):
        with pytest.raises(KeyboardInterrupt):
            train(pair(), tmp_path / f"run{step}", scheduler=SCHEDULERS[name], objective=interrupt_at(step))
        assert rows(train(pair(5), tmp_path / f"run{step}", scheduler=SCHEDULERS[name], resume=True)) == rows(expected)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name, tmp_path):
    vae, again = pair(), pair(5)
    expected = train(vae, tmp_path / "whole", optimizer=OPTIMIZERS[name], groups={"guide": {"lr": 0.003}})
    options = {"optimizer": OPTIMIZERS[name], "groups": {"guide": {"lr": 0.003}}}
    with pytest.raises(KeyboardInterrupt):
        train(pair(), tmp_path / "run", objective=interrupt_at(6), **options)
    assert rows(train(again, tmp_path / "run", resume=True, **options)) == rows(expected)
    assert identical(weights(vae), weights(again))


@pytest.mark.parametrize("kind", ["torch", "numpy", "python"])
def test_every_generator_goes_on(kind, tmp_path):
    """Programs may draw from any of them."""
    draw = {"torch": lambda: float(torch.rand(())), "numpy": np.random.rand, "python": random.random}[kind]

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(draw(), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        a = pyro.param("a", torch.tensor(0.1))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(a * x, 1.0))

    options = {"data": torch.linspace(-1, 1, 40), "objective": pv.objectives.ELBO()}
    expected = rows(train(pv.VAE(model, guide), tmp_path / "whole", **options))
    with pytest.raises(Stop):
        train(pv.VAE(model, guide), tmp_path / "run", callbacks=[stop_after(2)], **options)
    assert rows(train(pv.VAE(model, guide), tmp_path / "run", resume=True, **options)) == expected


@pytest.mark.parametrize("kind", ["average", "neural"])
def test_estimators_with_state_go_on(kind, tmp_path):
    baselines = {
        "average": pv.estimators.DecayingAverage,
        "neural": lambda: pv.estimators.Neural(torch.nn.Linear(1, 1), inputs=lambda x: x[:, None]),
    }

    def discrete():
        def model(x):
            with pyro.plate("data", x.shape[0]):
                z = pyro.sample("z", dist.Bernoulli(0.5))
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

        def guide(x):
            a = pyro.param("a", torch.tensor(0.1))
            with pyro.plate("data", x.shape[0]):
                pyro.sample("z", dist.Bernoulli(logits=a * x))

        torch.manual_seed(0)
        return pv.VAE(model, guide, estimators={"z": pv.estimators.ScoreFunction(baselines[kind]())})

    options = {"data": torch.linspace(-1, 1, 40), "objective": pv.objectives.ELBO()}
    expected = rows(train(discrete(), tmp_path / "whole", **options))
    with pytest.raises(Stop):
        train(discrete(), tmp_path / "run", callbacks=[stop_after(2)], **options)
    assert rows(train(discrete(), tmp_path / "run", resume=True, **options)) == expected


def test_more_epochs_may_be_asked_for(whole, tmp_path):
    train(pair(norm=True, dropout=True), tmp_path / "run", epochs=2)
    vae = pair(seed=7, norm=True, dropout=True)
    assert_same(vae, train(vae, tmp_path / "run", resume=True), tmp_path / "run", whole)


def test_a_finished_run_stays_as_it_is(whole):
    vae, history, directory = whole
    before = weights(vae)
    again = train(vae, directory, resume=True)
    assert again.rows == history.rows
    assert identical(before, weights(vae))


def test_an_early_stop_stays_one(tmp_path):
    options = {"optimizer": functools.partial(torch.optim.SGD, lr=3.0), "early_stopping": 2, "epochs": 60}
    first = train(pair(), tmp_path / "run", **options)
    assert first.status == "stopped early"
    assert rows(train(pair(), tmp_path / "run", resume=True, **options)) == rows(first)


def test_resuming_a_run_without_a_checkpoint_begins_it(tmp_path):
    (tmp_path / "run").mkdir()
    assert rows(train(pair(), tmp_path / "run", resume=True)) == rows(train(pair(), tmp_path / "other"))


CHANGES = {
    "seed": ({"seed": 4}, "seed 4 .* expected 3"),
    "batch size": ({"batch_size": 8}, "batch_size 8 .* expected 16"),
    "number of data": ({"data": dataset(train=30)}, "train data .* 30 data, which were 50"),
    "values of data": ({"data": dataset("dynamic", flip=(0, 3))}, "train data .* SHA-256"),
    "validation data": ({"data": dataset("dynamic", flip=(55, 3))}, "validation data .* SHA-256"),
    "no validation data": ({"data": dataset("dynamic").train}, "validation data .* 0 data, which were 20"),
    "binarization": ({"data": dataset("threshold")}, "train data .* uint8"),
    "optimizer": ({"optimizer": torch.optim.SGD}, "optimizer SGD .* expected Adam"),
    "learning rate": ({"optimizer": functools.partial(torch.optim.Adam, lr=0.5)}, r"optimizer.groups.lr 0.5 .* 0.01"),
    "a group's learning rate": ({"groups": {"guide": {"lr": 0.3}}}, "optimizer.groups"),
    "scheduler": ({"scheduler": pv.training.schedulers.cosine()}, "scheduler Schedule .* expected None"),
    "objective": ({"objective": pv.objectives.IWAE(3)}, "objective IWAE .* expected ELBO"),
    "K": ({"objective": pv.objectives.ELBO(3, beta=warm_up())}, "objective.num_particles 3 .* expected 1"),
    "β": ({"objective": pv.objectives.ELBO(beta=pv.schedules.linear(0.1, 1.0, over=16))}, "objective.beta.* 16"),
    "clipping": ({"grad_clip": 1.0}, "grad_clip 1.0 .* expected None"),
    "weights to keep": ({"keep": "best"}, "keep best .* expected last"),
    "compile": ({"compile": "off"}, "compile off .* expected auto"),
    "average of weights": ({"ema": 0.9}, "ema 0.9 .* expected None"),
}


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    directory = tmp_path_factory.mktemp("short") / "run"
    train(pair(), directory, epochs=1)
    return directory


@pytest.mark.parametrize(("change", "says"), CHANGES.values(), ids=CHANGES)
def test_what_may_not_change_is_refused_and_nothing_is_written(change, says, short):
    before = {p: p.read_bytes() for p in short.rglob("*") if p.is_file()}
    with pytest.raises(RunError, match=says):
        train(pair(), short, resume=True, **change)
    assert before == {p: p.read_bytes() for p in short.rglob("*") if p.is_file()}


def test_another_pair_is_refused(short):
    with pytest.raises(RunError, match=r"model.decoder.1 BatchNorm1d .* expected Tanh"):
        train(pair(norm=True), short, resume=True)


def test_another_estimator_is_refused(short):
    vae = pv.VAE(pair().model, pair().guide, estimators={"z": pv.estimators.StickingTheLanding()})
    with pytest.raises(RunError, match=r"estimators\.z StickingTheLanding .* expected nothing"):
        train(vae, short, resume=True)


def test_a_recipe_holds_no_time_and_is_the_same_in_every_process(short, tmp_path, repository):
    script = f"""
        import sys
        sys.path.insert(0, {str(repository)!r})
        from tests.training.pairs import pair, train
        train(pair(), {str(tmp_path / "run")!r}, epochs=1)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)
    timeless = ("recipe.json", "reference.safetensors", "model.safetensors", "checkpoints/last.safetensors")
    assert [(short / name).read_bytes() == (tmp_path / "run" / name).read_bytes() for name in timeless] == [True] * 4


def test_a_directory_with_a_run_is_refused(tmp_path):
    train(pair(), tmp_path / "run", epochs=1)
    with pytest.raises(RunError, match="resume=True"):
        train(pair(), tmp_path / "run")


def test_a_directory_that_is_none_is_refused(tmp_path):
    with pytest.raises(RunError, match="no folder"):
        train(pair(), tmp_path / "nowhere", resume=True)


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign"])
def test_damaged_state_is_refused_where_the_one_before_it_is_damaged_too(damage, tmp_path):
    train(pair(), tmp_path / "run", epochs=1)
    store = Store(tmp_path / "run")
    for path in (store.last, store.previous):
        content = path.read_bytes()
        path.write_bytes({"truncated": content[:-10], "empty": b"", "foreign": b"PK" + content}[damage])
    with pytest.raises(RunError, match=r"last\.safetensors.*of no use either.*previous\.safetensors"):
        train(pair(), tmp_path / "run", resume=True)


def test_weights_on_disk_are_the_best(tmp_path):
    history = train(pair(), tmp_path / "run", keep="best", optimizer=functools.partial(torch.optim.SGD, lr=3.0))
    fresh = pair(9)
    load_weights(tmp_path / "run" / "model.safetensors", fresh)
    assert quiet(fresh, dataset("dynamic"), epochs=0, batch_size=16)["validation/bound"] == [
        pytest.approx(history.best["validation/bound"])
    ]
    with pytest.raises(RunError, match="not those of this VAE"):
        load_weights(tmp_path / "run" / "model.safetensors", pair(norm=True))


def test_no_temporary_files_are_left(whole):
    _, _, directory = whole
    names = sorted(p.relative_to(directory).as_posix() for p in directory.rglob("*"))
    assert names == [
        ".lock", "checkpoints", "checkpoints/last.safetensors", "checkpoints/previous.safetensors", "manifest.json",
        "metrics.jsonl", "model.safetensors", "recipe.json", "reference.safetensors", "run.json",
    ]  # fmt: skip


def test_sigterm_with_pythons_own_handler_ends_the_process_with_its_state_saved(tmp_path, repository):
    script = f"""
        import signal, sys
        sys.path.insert(0, {str(repository)!r})
        from tests.training.pairs import interrupt_at, pair, train
        train(pair(), {str(tmp_path / "run")!r}, objective=interrupt_at(6, signal.SIGTERM))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGTERM, done.stderr
    again = train(pair(4), tmp_path / "run", resume=True)
    assert rows(again) == rows(train(pair(), tmp_path / "whole"))


def test_handlers_of_the_caller_are_used_and_put_back(tmp_path):
    class Terminated(KeyboardInterrupt):
        pass

    def handler(number, frame):
        raise Terminated

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(Terminated) as error:
            train(pair(), tmp_path / "run", objective=interrupt_at(6, signal.SIGTERM))
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)
    assert error.value.history.status == "interrupted"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_a_directory_an_interrupted_pair_is_usable():
    vae = pair()
    with pytest.raises(KeyboardInterrupt):
        quiet(vae, dataset(), interrupt_at(9), batch_size=16)
    assert all(torch.isfinite(p).all() for p in vae.parameters())


def test_resume_wants_a_directory():
    with pytest.raises(PplVaeError, match="directory"):
        quiet(pair(), dataset(), resume=True)


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path):
    """A run killed between a line of metrics and its checkpoint writes that line again."""
    with pytest.raises(Stop):
        train(pair(), tmp_path / "run", callbacks=[stop_after(2)])
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "step": 12, "train/bound": 0.0}\n{"epo')
    assert rows(train(pair(), tmp_path / "run", resume=True)) == rows(train(pair(), tmp_path / "whole"))
    (tmp_path / "run" / "metrics.jsonl").write_text("")
    with pytest.raises(RunError, match=r"metrics\.jsonl that is not what was written"):
        train(pair(), tmp_path / "run", resume=True)


@pytest.mark.parametrize("step", [1, 6, 8, 20])
def test_a_long_epoch_is_saved_in_between(step, whole, tmp_path, monkeypatch):
    """A process that is killed at any step goes on from that step, to the same bits."""
    from ppl_vae.training import loop

    real = Store.save_last

    def killed(self, state):
        if state["step"] > step or (state["step"] == step and state["position"] == 0):
            raise Stop
        real(self, state)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "LOST", 0.0)
        patch.setattr(Store, "save_last", killed)
        with pytest.raises(Stop):
            train(pair(norm=True, dropout=True), tmp_path / "run")
    assert Store(tmp_path / "run").load()["step"] == step
    vae = pair(norm=True, dropout=True)
    assert_same(vae, train(vae, tmp_path / "run", resume=True), tmp_path / "run", whole)
