"""Progress on standard error, and nothing on standard output."""

import io
import re
import sys
import types

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


@pytest.fixture
def notebook(monkeypatch):
    """The part of IPython that a notebook's kernel has there; the views that were shown, each replacing the last."""
    shown = []

    class Handle:
        def update(self, view):
            shown[-1].append(view)

    def display(view, display_id):
        assert display_id is True
        shown.append([view])
        return Handle()

    shell = types.SimpleNamespace(kernel=object())
    module = types.ModuleType("IPython")
    module.get_ipython = lambda: shell
    module.display = types.ModuleType("IPython.display")
    module.display.display = display
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", module.display)
    return types.SimpleNamespace(shown=shown, shell=shell)


@pytest.mark.parametrize("progress", [None, True])
def test_one_line_below_the_cell_of_a_notebook(notebook, capsys, monkeypatch, progress):
    from ppl_vae.training.progress import Cell

    monkeypatch.setattr(Cell, "seconds", 0.0)
    history = run(progress=progress)
    assert capsys.readouterr() == ("", "")
    (views,) = notebook.shown
    assert all("<progress" in view._repr_html_() for view in views[:-1])
    assert len(views) >= 10
    words = r"epoch 3/4, bound -\d+\.\d\d, validation -\d+\.\d\d, 1[0-2]/16 steps, 0:00:0\d left, [\d,.]+/s"
    assert any(re.fullmatch(words, repr(view)) for view in views)
    last = views[-1]
    assert "<progress" not in last._repr_html_()
    assert repr(last).startswith("4 epochs in ")
    assert f"validation bound {history.kept['validation/bound']:.3f} of epoch {history.best_epoch}" in repr(last)
    assert rows(history) == rows(run(progress=False))


def test_a_line_of_a_notebook_that_an_error_ends_stays_where_it_was(notebook):
    def fail(row):
        raise ValueError("theirs")

    with pytest.raises(ValueError, match="theirs"):
        run(progress=None, callbacks=[fail])
    assert "<progress" not in notebook.shown[0][-1]._repr_html_()
    assert repr(notebook.shown[0][-1]).startswith("epoch ")


def test_warnings_stand_below_the_line_of_a_notebook(notebook):
    from ppl_vae.training.progress import Cell
    from ppl_vae.training.progress import notebook as place

    with Cell(place(), steps=10, epochs=2) as cell:
        cell.note("warning: <b>this</b>")
        cell.step(5, 1, -3.25)
    html = notebook.shown[0][-1]._repr_html_()
    assert "warning: &lt;b&gt;this&lt;/b&gt;" in html
    assert "5/10 steps" in html


def test_silence_in_a_notebook(notebook):
    run(progress=False)
    assert notebook.shown == []


def test_a_shell_of_ipython_in_a_terminal_is_no_notebook(notebook, capsys):
    del notebook.shell.kernel
    run(progress=None)
    assert notebook.shown == []
    assert capsys.readouterr().err.startswith("epoch 1/4")
