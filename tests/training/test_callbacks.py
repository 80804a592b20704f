"""A callback that answers True stops training, where an uninterrupted run is stopped, and a resumed one with it."""

import copy
import functools

import numpy as np
import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import ArgumentError, PplVaeError
from ppl_vae.sweeps.lockstep import fit_together
from ppl_vae.training.callbacks import TimeLimit, Until
from ppl_vae.training.checkpoint import Store
from tests.training.pairs import adam, dataset, identical, interrupt_at, pair, quiet, rows, train, weights


def at(epoch):
    """A plain function, which has no `start`."""
    return lambda row: row["epoch"] == epoch


class Worse:
    """Stops where the validation bound has fallen twice in all: what it has to know of the epochs before."""

    def __init__(self):
        self.falls, self.last = 0, -np.inf

    def start(self, rows):
        self.__init__()
        return any([self(row) for row in rows])  # noqa: C419 - all of them count

    def __call__(self, row):
        self.falls += row["validation/bound"] < self.last
        self.last = row["validation/bound"]
        return self.falls >= 2


def test_it_stops_after_the_epoch_at_which_it_says_so():
    history = train(pair(), None, callbacks=[at(3)])
    assert [row["epoch"] for row in history.rows] == [1, 2, 3]
    assert history.status == "stopped early"
    vae, other = pair(), pair()
    train(vae, None, callbacks=[at(3)])
    train(other, None, epochs=3)
    assert identical(weights(vae), weights(other))


@pytest.mark.parametrize("answer", [None, 1, "stop", [True], torch.tensor(True), False])
def test_nothing_but_true_stops(answer):
    assert len(train(pair(), None, epochs=2, callbacks=[lambda row: answer])) == 2


@pytest.mark.parametrize("answer", [True, np.True_])
def test_true_stops_and_all_are_called(answer):
    seen = []
    assert len(train(pair(), None, callbacks=[lambda row: answer, seen.append])) == 1
    assert len(seen) == 1


@pytest.mark.parametrize("make", [lambda: at(3), Worse, lambda: Until(-3.3)], ids=["function", "state", "until"])
@pytest.mark.parametrize("step", [2, 6, 8])
def test_a_resumed_run_stops_where_the_uninterrupted_one_does(make, step, tmp_path):
    fast = functools.partial(torch.optim.Adam, lr=0.2)
    vae, fresh = pair(), pair(seed=7)
    options = {"optimizer": fast, "epochs": 12}
    history = train(vae, tmp_path / "whole", callbacks=[make()], **options)
    assert 2 < len(history) < 12
    with pytest.raises(KeyboardInterrupt):
        train(pair(), tmp_path / "run", objective=interrupt_at(step), callbacks=[make()], **options)
    resumed = train(fresh, tmp_path / "run", resume=True, callbacks=[make()], **options)
    assert rows(resumed) == rows(history)
    assert identical(weights(fresh), weights(vae))


@pytest.mark.parametrize("make", [lambda: at(3), Worse], ids=["function", "state"])
def test_a_run_that_was_stopped_stays_so(make, tmp_path):
    options = {"optimizer": functools.partial(torch.optim.Adam, lr=0.2), "epochs": 12}
    history = train(pair(), tmp_path / "run", callbacks=[make()], **options)
    again = train(pair(seed=7), tmp_path / "run", resume=True, callbacks=[make()], **options)
    assert rows(again) == rows(history)
    assert again.status == "stopped early"


def test_a_run_killed_before_its_callback_was_asked_stops_at_once(tmp_path):
    """What the callback with `start` is told holds the last epoch, after which the state is saved first."""

    def killed(row):
        if row["epoch"] == 3:
            raise MemoryError("as if killed")

    with pytest.raises(MemoryError):
        train(pair(), tmp_path / "run", callbacks=[killed])
    assert Store(tmp_path / "run").load()["stopped"] is False

    class At(TimeLimit):
        def __call__(self, row):
            return row["epoch"] == 3

    assert len(train(pair(seed=7), tmp_path / "run", resume=True, callbacks=[At(1.0)])) == 3


def test_runs_in_lockstep_stop_one_by_one():
    given = {"data": dataset(), "optimizer": adam, "epochs": 4, "batch_size": 16}
    runs = [{"vae": pair(n), "seed": n, "callbacks": [at(epoch)], **given} for n, epoch in enumerate((2, 9, 3))]
    outcomes = fit_together(runs)
    assert [len(outcome.history) for outcome in outcomes] == [2, 4, 3]
    assert [outcome.history.status for outcome in outcomes] == ["stopped early", "finished", "stopped early"]


def test_time_counts_what_processes_before_have_spent():
    limit = TimeLimit(minutes=1.0)
    assert limit.start([{"seconds": 20.0}]) is False
    assert limit({"seconds": 10.0}) is False  # 30 s, and 40 with the next
    assert limit({"seconds": 20.0}) is True  # 50 s: 70 with the next
    assert limit.start([]) is False  # another run
    assert limit({"seconds": 20.0}) is False
    assert limit.start([{"seconds": 20.0}, {"seconds": 25.0}]) is True


def test_time_is_of_the_clock():
    """An epoch takes more than a microsecond on every machine: one is made."""
    assert len(train(pair(), None, callbacks=[TimeLimit(minutes=1e-6 / 60)])) == 1
    assert len(train(pair(), None, epochs=2, callbacks=[TimeLimit(minutes=1e6)])) == 2


def test_until_a_column_is_reached():
    history = train(pair(), None, epochs=8)
    values = history["train/elbo"]
    least = sorted(values)[4]
    stopped = train(pair(), None, epochs=8, callbacks=[Until(least, "train/elbo")])
    assert len(stopped) == next(n for n, value in enumerate(values, 1) if value >= least) < 8


def test_a_column_that_is_not_there():
    with pytest.raises(ArgumentError, match="Did you mean 'validation/bound'"):
        train(pair(), None, callbacks=[Until(-1.0, "validation/bond")])
    with pytest.raises(ArgumentError, match="expected one of the rows"):
        quiet(pair(), dataset(validation=0), epochs=1, callbacks=[Until(-1.0)])


@pytest.mark.parametrize("minutes", [0, -1.0, float("inf"), float("nan"), "3", True])
def test_what_is_no_time(minutes):
    with pytest.raises(ArgumentError, match="Got minutes"):
        TimeLimit(minutes)


class Plain(torch.optim.Adam):
    """Adam, stepped as any optimizer is."""


def loads(optimizer, vae):
    state = copy.deepcopy(optimizer.state_dict())
    state["param_groups"][0]["lr"] = 0.1
    optimizer.load_state_dict(state)


def clears(optimizer, vae):
    optimizer.state.clear()


def thaws(optimizer, vae):
    vae.model.decoder[0].bias.requires_grad_(True)
    optimizer.add_param_group({"params": [vae.model.decoder[0].bias], "lr": 0.2})


def hooks(optimizer, vae):
    optimizer.register_step_pre_hook(lambda own, *_: own.param_groups[0].update(lr=0.1))


def changing(change, kind, directory=None, **options):
    """A run in which the optimizer is changed after the second epoch; its rows and weights."""
    vae, made = pair(), []
    vae.model.decoder[0].bias.requires_grad_(False)

    def optimizer(parameters, **fused):
        made.append(kind(parameters, lr=0.01, fused=True))
        return made[-1]

    def callback(row):
        if row["epoch"] == 2:
            change(made[-1], vae)

    history = train(vae, directory, optimizer=optimizer, callbacks=[callback], **options)
    return rows(history), weights(vae)


@pytest.mark.parametrize("change", [loads, clears, thaws, hooks])
@pytest.mark.parametrize("options", [{}, {"compile": "export"}, {"nonfinite": "skip"}])
def test_what_callbacks_do_to_the_optimizer_counts_from_then_on(change, options):
    expected = changing(change, Plain, grad_clip=0.1)
    rows_found, found = changing(change, torch.optim.Adam, grad_clip=0.1, **options)
    assert [row["train/bound"] for row in rows_found] == [row["train/bound"] for row in expected[0]]
    assert identical(found, expected[1])
    assert not identical(changing(lambda *_: None, torch.optim.Adam, grad_clip=0.1)[1], found)


@pytest.mark.parametrize("change", [loads, clears])
def test_a_run_whose_optimizer_was_changed_is_resumed_exactly(change, tmp_path):
    whole = changing(change, torch.optim.Adam, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        changing(change, torch.optim.Adam, tmp_path / "run", objective=interrupt_at(10))  # in the third epoch of four
    resumed = changing(change, torch.optim.Adam, tmp_path / "run", resume=True)
    assert resumed[0] == whole[0]
    assert identical(resumed[1], whole[1])


def test_a_pair_that_a_callback_converts_is_refused_by_name():
    vae = pair()
    with pytest.raises(PplVaeError, match=r"Got 'model.decoder.0.weight' as \(4, 2\) of torch.float64 on cpu"):
        train(vae, None, callbacks=[lambda row: vae.double()])


def test_it_is_said_who_stopped(capsys):
    pv.fit(pair(), dataset(), epochs=3, batch_size=16, progress=None, callbacks=[Until(-100.0)])
    assert "stopped after epoch 1 by Until" in capsys.readouterr().err
