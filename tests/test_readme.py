"""What the README shows runs as it is printed."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest


def blocks(repository: Path, language: str) -> list[str]:
    text = (repository / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_python_blocks_run(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In order, in one namespace, and with nothing left on disk."""
    monkeypatch.chdir(tmp_path)
    found = blocks(repository, "python")
    assert found
    namespace: dict[str, object] = {"__name__": "__main__"}
    for number, source in enumerate(found):
        exec(compile(source, f"README.md, block {number}", "exec"), namespace)
    assert capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_first_block_names_the_two_commands(repository: Path) -> None:
    first = blocks(repository, "console")[0].splitlines()
    assert [line.split("#")[0].strip() for line in first] == ["make train", "make test"]


def test_links_to_files_lead_somewhere(repository: Path) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (repository / target).exists(), target


@pytest.mark.slow
def test_commands_run(repository: Path, tmp_path: Path) -> None:
    """Every `ppl-vae …` line of the README, one after the other."""
    lines = [line for block in blocks(repository, "console") for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("ppl-vae")]
    assert commands
    for words in commands:
        done = subprocess.run(
            [sys.executable, "-m", "ppl_vae", *words[1:]],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
