"""`logger=…` from the command line: a run that is killed and gone on with has every epoch once in its tracker."""

import csv
import json
import os
from pathlib import Path

import pytest

from ppl_vae.__main__ import main
from ppl_vae.runs import loggers
from tests.cli.small import SMALL

RUN = (*(w for w in SMALL if "epochs" not in w), "trainer.compile=off", "trainer.epochs=4", "hydra.run.dir=run")


def gone_after(epoch, names):
    """Train in a process that is gone in the middle of telling its trackers of an epoch."""
    child = os.fork()
    if child == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            told = loggers.CSV.__call__

            def tell(self, row):
                if row["epoch"] == epoch:
                    os._exit(9)
                told(self, row)

            loggers.CSV.__call__ = tell
            main(["train", *RUN, f"logger=[{names}]"])
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.parametrize(("epoch", "names"), [(1, "csv,tensorboard"), (3, "tensorboard,csv"), (4, "csv,tensorboard")])
def test_a_killed_run_has_every_epoch_once(cli, tmp_path, epoch, names):
    """Killed between its trackers: one has been told of the epoch, the other has not."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    gone_after(epoch, names)
    called = cli("train", "resume=run")
    assert called.code == 0, called.err
    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 4
    with Path("run/metrics.csv").open() as file:
        assert [float(row["validation/elbo"]) for row in csv.DictReader(file)] == [r["validation/elbo"] for r in rows]
    found = accumulator.EventAccumulator("run/tensorboard", size_guidance={"scalars": 0})
    found.Reload()
    told = [(e.step, e.value) for e in found.Scalars("validation/elbo")]
    assert told == [(row["step"], pytest.approx(row["validation/elbo"], rel=1e-6)) for row in rows]
    (result,) = csv.DictReader(Path("run/result.csv").read_text().splitlines())
    assert (result["status"], float(result["test/nll"])) == ("finished", found_result()["test/nll"])


def found_result():
    return json.loads(Path("run/run.json").read_text())["result"]


@pytest.mark.slow
def test_a_tracker_that_a_run_is_given_later_has_all_of_it(cli):
    """`logger` may change on resume: the new one is told from the first epoch on; so may the number of epochs."""
    assert cli("train", *RUN, "logger=none").code == 0
    called = cli("train", "resume=run", "trainer.epochs=6", "logger=csv")
    assert called.code == 0, called.err
    with Path("run/metrics.csv").open() as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == [1, 2, 3, 4, 5, 6]
