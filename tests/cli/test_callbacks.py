"""`callbacks=…`: ready-made ones and the user's own, one or several, recorded, refused where a stranger names them."""

import json
import sys

import pytest
import yaml

from ppl_vae.cli.resume import prepare
from ppl_vae.config.targets import plan
from ppl_vae.errors import RunError, UsageError
from ppl_vae.runs.run import Run
from tests.forge import forge

MINE = """
import sys

class Patience:
    def __init__(self, epochs: int = 2, vae=None, data=None, directory=None):
        self.epochs, self.given = epochs, (vae, data, directory)

    def __call__(self, row):
        print("GOT", [type(part).__name__ for part in self.given], file=sys.stderr)
        return row["epoch"] >= self.epochs

def say(row, word: str, times: int = 1):
    print("SAID", word * times, row["epoch"], file=sys.stderr)

class Silent:
    pass
"""


@pytest.fixture(autouse=True)
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    yield
    sys.modules.pop("mine", None)


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_ready_made_one(train, tmp_path):
    called = train("callbacks=until", "callbacks.least=-1e6", "hydra.run.dir=run")
    assert called.code == 0, called.err
    assert "stopped after epoch 1 by Until" in called.err
    assert len(rows(tmp_path / "run")) == 1
    saved = Run.load("run").config.callbacks
    assert dict(saved) == {
        "_target_": "ppl_vae.training.callbacks.Until",
        "least": -1e6,
        "column": "validation/bound",
    }


def test_several_of_ones_own(train, tmp_path):
    words = ["callbacks.one._target_=mine.Patience", "callbacks.one.epochs=3"]
    words += ["callbacks.two._target_=mine.say", "callbacks.two.word=hm"]
    called = train(*words, "hydra.run.dir=run", "trainer.epochs=5")
    assert called.code == 0, called.err
    assert (
        called.err.count("GOT ['VAE', 'Dataset', ") == called.err.count("SAID hm") == len(rows(tmp_path / "run")) == 3
    )
    assert dict(Run.load("run").config.callbacks.two) == {"_target_": "mine.say", "word": "hm"}


def test_a_ready_made_one_under_a_name(train, tmp_path):
    words = ["+callbacks@callbacks.a=time_limit", "+callbacks@callbacks.b=until", "callbacks.b.least=-1e6"]
    called = train(*words, "hydra.run.dir=run")
    assert called.code == 0, called.err
    assert len(rows(tmp_path / "run")) == 1
    assert Run.load("run").config.callbacks.a.minutes == 60


def test_a_run_that_goes_on_has_them_again(train, cli, tmp_path):
    """It failed after the first epoch; it goes on with its own callbacks, which stop it after two."""
    words = ["callbacks.a._target_=mine.Patience", "callbacks.b._target_=mine.say", "callbacks.b.word=${oc.env:WORD,x}"]
    (tmp_path / "mine.py").write_text(MINE.replace('"SAID"', 'undefined if row["epoch"] == 1 else "SAID"'))
    assert train(*words, "hydra.run.dir=run", "trainer.epochs=5").code == 1
    (tmp_path / "mine.py").write_text(MINE)
    sys.modules.pop("mine", None)
    called = cli("train", "resume=run")
    assert called.code == 0, called.err
    assert "SAID x 2" in called.err
    assert [row["epoch"] for row in rows(tmp_path / "run")] == [1, 2]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["callbacks._target_=mine.say"], "callbacks.word is needed by mine.say"),
        (["callbacks.x._target_=mine.Silent"], "callbacks.x._target_: got a Silent, expected what is called with"),
        (["callbacks=until"], "callbacks.least"),
        (["callbacks=never"], "expected one of: time_limit, until"),
        (["callbacks.p._target_=mine.Patience", "callbacks.p.epoch=3"], "did you mean epochs"),
        (["callbacks=time_limit", "callbacks.minutes=0"], "Got minutes=0"),
        (["callbacks=[time_limit,until]"], "got several options"),
    ],
)
def test_what_cannot_be_called_back_leaves_nothing_behind(train, tmp_path, words, says):
    called = train(*words, "hydra.run.dir=run")
    assert called.code in (1, 2)
    assert says in called.err
    assert not (tmp_path / "run").exists()


def test_a_strangers_run_may_name_ours_alone(train, tmp_path):
    from ppl_vae.cli.arguments import parse

    assert train("callbacks=until", "callbacks.least=0.0", "hydra.run.dir=run").code == 0
    run = tmp_path / "run"
    config = yaml.safe_load((run / "config.yaml").read_text())
    for node, is_refused in (
        ({"_target_": "mine.Patience"}, True),
        (
            {"a": {"_target_": "ppl_vae.training.callbacks.TimeLimit", "minutes": 1.0}, "b": {"_target_": "mine.say"}},
            True,
        ),
        ({"a": {"_target_": "ppl_vae.training.callbacks.TimeLimit", "minutes": 1.0}}, False),
    ):
        (run / "config.yaml").write_text(yaml.safe_dump(config | {"callbacks": node}))
        forge(run)
        if is_refused:
            with pytest.raises(RunError, match=r"mine\..*trust=true"):
                prepare(parse(["resume=run", "trainer.epochs=3"]))
        else:
            assert prepare(parse(["resume=run", "trainer.epochs=3"]))
    assert "mine" not in sys.modules


def test_a_function_is_bound_and_a_class_is_made():
    def note(row, word: str = "x"):
        return word

    class Note:
        def __init__(self, word: str = "x"):
            self.word = word

    sys.modules["mine"] = type(sys)("mine")
    sys.modules["mine"].note, sys.modules["mine"].Note = note, Note
    bound = plan("callbacks.a", {"_target_": "mine.note", "word": "y"}, trusted=True).make({})
    assert bound({"epoch": 1}) == "y"
    assert plan("callbacks", {"_target_": "mine.Note", "word": "y"}, trusted=True).make({}).word == "y"
    with pytest.raises(UsageError, match=r"callbacks\.a\.words"):
        plan("callbacks.a", {"_target_": "mine.note", "words": "y"}, trusted=True)
