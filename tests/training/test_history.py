"""Rows of metrics."""

import functools
import json
import math

import pytest
import torch
from safetensors.torch import load_file

import ppl_vae as pv
from ppl_vae.errors import RunError
from ppl_vae.training.history import History, epochs_since_best
from tests.training.pairs import dataset, pair, quiet

KEYS = {
    "epoch", "step", "train/bound", "train/elbo", "train/log_likelihood", "train/kl/z", "validation/bound",
    "validation/elbo", "validation/log_likelihood", "validation/kl/z", "lr", "beta", "grad_norm", "seconds",
}  # fmt: skip


def test_rows_have_every_figure(tmp_path):
    history = quiet(pair(), dataset(), epochs=3, directory=tmp_path)
    assert all(row.keys() == KEYS for row in history)
    assert [int(row["epoch"]) for row in history] == [1, 2, 3]
    written = History.from_jsonl((tmp_path / "metrics.jsonl").read_text())
    assert written.rows == history.rows
    frame = history.to_frame()
    assert list(frame.columns) == history.columns
    assert frame["epoch"].tolist() == [1, 2, 3]


def test_json_is_strict_and_comes_back():
    history = History([{"epoch": 1, "validation/bound": -math.inf, "lr": 0.1}, {"epoch": 2, "validation/bound": -3.5}])
    lines = [json.loads(line) for line in history.to_jsonl().splitlines()]
    assert lines == [{"epoch": 1, "validation/bound": None, "lr": 0.1}, {"epoch": 2, "validation/bound": -3.5}]
    back = History.from_jsonl(history.to_jsonl())
    assert math.isnan(back["validation/bound"][0])
    assert back["lr"][0] == 0.1
    assert math.isnan(back["lr"][1])


def test_a_torn_last_line_is_ignored_and_a_torn_other_is_not():
    text = '{"epoch": 1}\n{"epoch": 2}\n{"epo'
    assert [row["epoch"] for row in History.from_jsonl(text)] == [1, 2]
    with pytest.raises(RunError, match="line 1"):
        History.from_jsonl('{"epo\n{"epoch": 2}\n')


def test_best():
    history = History(
        [{"epoch": e, "validation/bound": b} for e, b in enumerate([-5.0, -3.0, -3.0, math.nan, -4.0], 1)]
    )
    assert history.best_epoch == 2
    assert epochs_since_best(history.rows) == 3
    assert History([{"epoch": 1, "train/bound": -1.0}, {"epoch": 2, "train/bound": -2.0}]).best_epoch == 2
    assert History().best is None


def test_the_loss_is_minus_the_unweighted_elbo_of_the_weights_that_are_kept():
    """Not minus the objective's own bound, by which the epoch is chosen."""
    rows = [
        {"epoch": e, "validation/bound": bound, "validation/elbo": elbo, "train/elbo": -20.0, "train/bound": -1.0}
        for e, bound, elbo in ((1, -9.0, -10.0), (2, -3.0, -30.0), (3, -4.0, -40.0))
    ]
    history = History(rows)
    assert (history.best_epoch, history.loss, history.result["validation/elbo"]) == (2, 30.0, -30.0)
    last = History(rows, keep="last")
    assert (last.best_epoch, last.loss, last.result["validation/elbo"]) == (2, 40.0, -40.0)
    assert History([{"epoch": 1, "train/elbo": -7.0, "train/bound": -1.0}]).loss == 7.0
    assert math.isnan(History().loss)
    assert math.isnan(History([{"epoch": 1, "validation/bound": -1.0}]).loss)


def test_what_is_returned_is_the_elbo_whatever_the_objective():
    """β = 0.1 flatters its own bound; a function of the user's own tells no ELBO at all, and is taken one."""

    def twice(vae, batch, total=None):
        bound = pv.objectives.ELBO()(vae, batch, total=total)
        return pv.objectives.Bound(value=2 * bound.value, surrogate=2 * bound.surrogate)

    for objective in (pv.objectives.ELBO(beta=0.1, kl="sampled"), twice):
        vae = pair()
        history = quiet(vae, dataset(), objective, epochs=2, keep="best")
        again = quiet(vae, dataset(), pv.objectives.ELBO(), epochs=0)  # the same noise
        assert history.loss == pytest.approx(-again["validation/elbo"][0], abs=1e-4)
        assert abs(history.loss + history.kept["validation/bound"]) > 0.01, (
            "the bound itself, so that nothing is tested"
        )


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_weights_on_the_disk_are_those_that_are_kept(tmp_path, keep):
    vae = pair()
    wild = functools.partial(torch.optim.SGD, lr=3.0)
    history = quiet(vae, dataset(), optimizer=wild, epochs=6, keep=keep, directory=tmp_path, seed=1)
    saved = load_file(tmp_path / "model.safetensors")
    assert history.best_epoch < 6
    assert all(torch.equal(saved[k], v) for k, v in vae.state_dict().items())
    assert json.loads((tmp_path / "run.json").read_text())["result"]["validation/elbo"] == -history.loss


def test_an_unknown_column_names_the_known_ones():
    with pytest.raises(KeyError, match=r"validation/bounds.*train/bound"):
        History([{"epoch": 1, "train/bound": -1.0}])["validation/bounds"]


def test_repr_is_short():
    assert repr(History()) == "History(no epochs, running)"
    text = repr(
        History([{"epoch": e, "train/bound": -e / 3, "seconds": 0.1} for e in range(1, 101)], status="finished")
    )
    lines = text.splitlines()
    assert lines[0] == "History(100 epochs, finished)"  # none is best without validation data
    assert lines[1].split() == ["epoch", "train/bound", "seconds"]
    assert len(lines) == 2 + 3 + 1 + 4
    assert len({len(line) for line in lines[1:]}) == 1


def test_an_epoch_is_best_where_there_are_validation_data():
    rows = [{"epoch": 1, "validation/bound": -1.0}, {"epoch": 2, "validation/bound": -2.0}]
    assert repr(History(rows)).splitlines()[0] == "History(2 epochs, running, best epoch 1)"
    assert History(rows).is_validated
    assert not History([{"epoch": 1, "train/bound": -1.0, "validation/bound": float("nan")}]).is_validated
