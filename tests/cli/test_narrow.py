"""Narrow terminals: no number is broken inside its digits, no path inside a word, and no line is wider than its room.

Each command runs in a terminal of its own: 1000 columns, where nothing is broken, and 80, 60 and 40, where each number
and each path has to be one that stood there.
"""

import fcntl
import os
import pty
import re
import struct
import sys
import termios

import pytest

from ppl_vae.__main__ import main
from tests.cli.small import SMALL

WIDE, NARROW = 1000, (80, 60, 40)


@pytest.fixture
def terminal(tmp_path, monkeypatch):
    """`terminal(40, "check", …)`: the text that a command leaves on a screen so wide."""
    for variable in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(variable, raising=False)

    def call(width, *words):
        child, screen = pty.fork()
        if child == 0:
            status = 1
            try:
                os.environ["TERM"] = "xterm"
                fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 30, width, 0, 0))
                for number in (1, 2):
                    setattr(sys, ("__stdout__", "__stderr__")[number - 1], os.fdopen(number, "w", buffering=1))
                sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
                os.chdir(tmp_path)
                status = main([str(word) for word in words])
                sys.stdout.flush()
            finally:
                os._exit(status)
        said = b""
        while True:
            try:
                part = os.read(screen, 2**16)
            except OSError:  # so a terminal ends
                break
            if not part:
                break
            said += part
        os.close(screen)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return status, shown(said.decode())

    return call


def shown(said):
    """The lines as the screen keeps them: what is written over, as of a bar, is gone."""
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", said.replace("\r\n", "\n"))
    return [line.rpartition("\r")[2].rstrip() for line in plain.split("\n")]


def tokens(lines):
    """Numbers and paths; names of columns that had no room are no paths."""
    text = re.sub(r"no room for: [^(]*", "", "\n".join(lines))
    words = {word.strip(":,;()'\"") for word in text.split()}
    return {word for word in words if re.search(r"\d|/", word) and not re.search(r"\d:\d\d|━", word)}


def keeps_the_law(lines, wide, width):
    commands = "\n".join(line for line in lines if len(line) > width and "ppl-vae " not in line)
    assert [line for line in commands.splitlines() if " " in line.strip()] == []  # one word has no other place
    assert tokens(lines) - tokens(wide) == set()


ON_RUN = {
    "evaluate": ("num_particles=4",),
    "posterior": ("draws=3", "data=2", "figures=false"),
    "calibrate": ("simulations=20", "draws=5", "figures=false"),
    "check": (),
    "encode": (),
}


@pytest.mark.slow
@pytest.mark.parametrize("verb", ON_RUN)
def test_verbs_on_a_run(terminal, run_copy, verb):
    words = (verb, f"run={run_copy}", *ON_RUN[verb])
    code, wide = terminal(WIDE, *words)
    assert code == 0, wide
    for width in NARROW[1:]:
        code, lines = terminal(width, *words)
        assert code == 0
        keeps_the_law(lines, wide, width)


def test_errors(terminal, tmp_path):
    words = ("evaluate", f"run={tmp_path}/nothing/is/here")
    wide = terminal(WIDE, *words)[1]
    assert "there is no such folder" in wide[0]
    for width in NARROW:
        keeps_the_law(terminal(width, *words)[1], wide, width)


@pytest.mark.slow
def test_sweeps(terminal, tmp_path):
    words = ("train", "-m", *SMALL, "results.figures=false", "results.posterior=false", "model.latent_dim=1,2")
    code, wide = terminal(WIDE, *words, "hydra.sweep.dir=a")
    assert code == 0, wide
    for width in NARROW[2:]:
        code, lines = terminal(width, *words, f"hydra.sweep.dir={'b' * width}")
        assert code == 0
        assert [line for line in lines if len(line) > width and " " in line.strip() and "ppl-vae " not in line] == []
    for words in (("sweeps", "dir=."), ("compare", "sweep=a")):
        code, wide = terminal(WIDE, *words)
        assert code == 0, wide
        for width in NARROW:
            keeps_the_law(terminal(width, *words)[1], wide, width)


def test_help_of_all_verbs(terminal):
    wide = terminal(WIDE, "--help")[1]
    assert any("(onnx=true: as ONNX, too), DIR/export" in line for line in wide)
    for width in NARROW:
        keeps_the_law(terminal(width, "--help")[1], wide, width)


@pytest.mark.parametrize("verb", ["train", "evaluate", "new"])
def test_help_of_a_verb(terminal, verb):
    wide = terminal(WIDE, verb, "--help")[1]
    for width in NARROW:
        lines = terminal(width, verb, "--help")[1]
        assert tokens(lines) - tokens(wide) == set()
        said = [line.partition("# ")[2] for line in lines if len(line) > width and "# " in line]
        assert [words for words in said if " " in words] == []
