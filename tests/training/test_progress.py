"""Progress on standard error, and nothing on standard output."""

import io
import re
import sys

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppl_vae as pv
from tests.training.pairs import dataset, pair, quiet, rows


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(**options):
    return quiet(pair(), dataset(), epochs=4, batch_size=16, **options)


def test_lines_where_there_is_no_terminal(capsys):
    run(progress=None)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert [line.split("  ")[0] for line in lines] == [f"epoch {e}/4" for e in (1, 2, 3, 4)]
    assert "validation bound -" in lines[0]


def test_about_a_hundred_lines_of_many_epochs(capsys):
    quiet(pair(), dataset(train=4, validation=0), epochs=350, progress=None)
    lines = capsys.readouterr().err.splitlines()
    assert 80 <= len(lines) <= 110
    assert lines[0].startswith("epoch   1/350")
    assert lines[-1].startswith("epoch 350/350")


def test_silence(capsys):
    run(progress=False)
    assert capsys.readouterr() == ("", "")


def test_a_bar_in_a_terminal(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    stdout = sys.stdout
    history = run(progress=None)
    assert sys.stdout is stdout
    text = terminal.getvalue()
    for word in ("epoch 4/4", "16/16 steps", "/s", "bound", "validation"):
        assert word in text
    assert capsys.readouterr().out == ""
    assert rows(history) == rows(run())


def test_a_bar_fits_a_narrow_terminal_and_what_is_printed_stands_above_it(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")

    def alarm(row):
        print(f"alarm {row['epoch']}", file=sys.stderr)

    run(progress=None, callbacks=[alarm])
    text = terminal.getvalue()
    assert "…" not in text
    assert "alarm 4" in [re.sub(r"\x1b\[[\d;?]*\w", "", line).strip() for line in re.split(r"[\r\n]", text)]
    assert sys.stderr is terminal


def test_bars_may_be_nested(monkeypatch):
    from rich.console import Console
    from rich.progress import Progress

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(console=Console(stderr=True)) as outer:
        task = outer.add_task("theirs", total=2)
        for _ in range(2):
            run(progress=None)
            outer.advance(task)
    assert "theirs" in terminal.getvalue()


def test_the_terminal_is_given_back_after_an_error(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")

    def fail(row):
        raise ValueError("theirs")

    with pytest.raises(ValueError, match="theirs"):
        run(progress=None, callbacks=[fail])
    text = terminal.getvalue()
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")  # the cursor is shown again


def test_what_the_linter_finds_is_told_before_the_first_epoch(capsys):
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def blind(x):
        loc = pyro.param("loc", torch.tensor(0.5))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(loc, 1.0))

    history = pv.fit(pv.VAE(model, blind), torch.randn(20), epochs=1)
    assert [finding.kind for finding in history.warnings] == ["guide ignores the data"]
    assert capsys.readouterr().err.startswith("warning: guide ignores the data, at site 'z' of the guide")
