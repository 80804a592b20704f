"""Command lines taken apart, and paths quoted for the user."""

import pytest

from ppl_vae.cli.arguments import parse, quoted, unquote
from ppl_vae.errors import UsageError

ORDERS = {
    "plain": (["a=1"], ["a=1"]),
    "flag last": (["a=1", "-m"], ["--multirun", "a=1"]),
    "flag between": (["a=1,2", "-m", "b=3"], ["--multirun", "a=1,2", "b=3"]),
    "value apart": (["a=1", "--cfg", "job"], ["--cfg=job", "a=1"]),
    "value attached": (["-c=job", "a=1"], ["--cfg=job", "a=1"]),
    "info alone": (["--info", "a=1"], ["--info=all", "a=1"]),
    "info of something": (["a=1", "-i", "config"], ["--info=config", "a=1"]),
}


@pytest.mark.parametrize(("words", "expected"), ORDERS.values(), ids=ORDERS)
def test_flags_come_first(words, expected):
    assert parse(words).argv() == expected


@pytest.mark.parametrize("word", ["--mutirun", "-x", "--experimental-rerun", "--info=al", "--package"])
def test_unknown_flags(word):
    with pytest.raises(UsageError, match=word.split("=")[0]):
        parse([word])


def test_the_last_value_counts():
    assert parse(["resume=a", "resume='b c'"]).value("resume") == "b c"
    assert parse(["x=1"]).value("resume") is None


@pytest.fixture
def strange(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("beta=4,(a)", "it's", "räum", "plain"):
        (tmp_path / name).mkdir()


QUOTED = {
    "exists": ("run=beta=4,(a)", "run='beta=4,(a)'"),
    "apostrophe": ("run=it's", r"run='it\'s'"),
    "letters of other languages": ("dataset.path=räum", "dataset.path='räum'"),
    "plain": ("run=plain", "run=plain"),
    "quoted already": ("run='a,b'", "run='a,b'"),
    "list": ("model.hidden=[1,2]", "model.hidden=[1,2]"),
    "sweep": ("seed=1,2", "seed=1,2"),
    "interpolation": ("name=${seed},x", "name=${seed},x"),
    "a new folder": ("hydra.run.dir=new/a=1", "hydra.run.dir='new/a=1'"),
    "function": ("seed=range(1,3)", "seed=range(1,3)"),
}


@pytest.mark.parametrize(("typed", "expected"), QUOTED.values(), ids=QUOTED)
def test_paths_are_quoted(strange, typed, expected):
    assert quoted(typed) == expected


def test_paths_of_a_sweep_are_quoted_one_by_one(strange):
    assert quoted("run=it's,plain", multirun=True) == r"run='it\'s',plain"


def test_unquote_undoes_quote():
    assert unquote(quoted("run='a'").split("=")[1]) == "a"
    assert unquote(r"'it\'s'") == "it's"


def test_several_trackers_are_one_option_that_takes_names():
    assert parse(["logger=[csv, mlflow]"]).overrides == ["logger=several", "logger.names=[csv,mlflow]"]
    assert parse(["logger=csv"]).overrides == ["logger=csv"]


@pytest.mark.parametrize("flags", [("-m", "--cfg=job"), ("--info", "-m"), ("--run", "--cfg", "job"), ("-r", "-m")])
def test_flags_that_ask_for_different_things(flags):
    with pytest.raises(UsageError, match="ask for different things"):
        parse(["seed=1", *flags])
    assert parse(["seed=1", "-m", "-m"]).multirun


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("x=" + "1" * 5000, "a number of 5000 digits"),
        ("hydra.verbose=nan", "names of loggers"),
        ("hydra.verbose=[{a:1}]", "names of loggers"),
    ],
)
def test_values_that_end_hydra_are_refused(word, told):
    with pytest.raises(UsageError, match=told):
        parse([word])


@pytest.mark.parametrize("value", ["true", "ppl_vae", "[torch,ppl_vae.cli]"])
def test_loggers_are_named(value):
    assert parse([f"hydra.verbose={value}"]).overrides == [f"hydra.verbose={value}"]
