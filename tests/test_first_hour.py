"""Pages are followed to the letter: what runs, what is a file, what is left out, what is said of a failing block."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "docs" / "_ext"))
try:
    from blocks import blocks, commands, file_name
finally:
    sys.path.pop(0)

PAGES = ["README.md", "docs/getting-started.md", "docs/own-pair.md"]


def follow(directory: Path, **pages: str) -> subprocess.CompletedProcess[str]:
    """What the script says of some pages, with this Python as the reader's."""
    clone = directory / "clone"
    clone.mkdir()
    for name, text in pages.items():
        (clone / f"{name}.md").write_text(textwrap.dedent(text), encoding="utf-8")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    script = Path(__file__).with_name("first_hour.py")
    return subprocess.run(
        [sys.executable, script, *(f"{name}.md" for name in pages)],
        cwd=clone,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_blocks_share_shell_interpreter_and_directory(tmp_path: Path) -> None:
    done = follow(
        tmp_path,
        first="""
            ```console
            : make train   # so this page begins in the clone
            test -f first.md
            export COLOUR="deep blue"
            mkdir -p work && cd work
            ```
            ```python
            # mine.py
            answer = 42
            ```
            ```python
            import os
            from mine import answer
            ```
            ```python
            assert (answer, os.environ["COLOUR"]) == (42, "deep blue")
            open("made", "w").close()
            ```
            ```console
            test -f made && test "$(basename "$PWD")" = work
            ```
            """,
        second="""
            ```console
            test "$COLOUR" = "deep blue"    # goes on with the shell
            test -z "$(ls)"    # in an empty directory
            ```
            """,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "clone" / "work" / "made").exists()


@pytest.mark.parametrize(
    ("language", "code"),
    [("console", "true\nfalse\ntrue"), ("python", "1 / 0"), ("python", "import sys; sys.exit()"), ("python", "1 +")],
)
def test_a_failing_block_is_named_and_the_rest_still_runs(tmp_path: Path, language: str, code: str) -> None:
    page = f"Text.\n\n```{language}\n{code}\n```\n\n```console\necho went on\n```\n"
    done = follow(tmp_path, page=page)
    assert done.returncode == 1
    assert f"FAILED: page.md:4\n{code}\n" in done.stderr
    assert "went on\n" in done.stdout


def test_what_is_left_out_is_marked_and_said(tmp_path: Path) -> None:
    page = """
        <!-- not run: it takes
        a week -->

        ```console
        exit 1
        ```

        <!-- not run in the documentation build: it takes a minute -->
        ```console
        echo here
        ```
        """
    done = follow(tmp_path, page=page)
    assert done.returncode == 0, done.stderr
    assert "left out, as the page says: page.md:6: it takes a week" in done.stdout
    assert "here\n" in done.stdout
    built = blocks(tmp_path / "clone" / "page.md", building=True)
    assert [block.skipped for block in built] == ["it takes a week", "it takes a minute"]


def test_a_mark_holds_for_the_next_block_alone(tmp_path: Path) -> None:
    for between in ("", "\n", "Words between.\n\n", "```text\nno code of ours\n```\n"):
        page = tmp_path / "page.md"
        page.write_text(f"<!-- not run: no -->\n{between}```console\na\n```\n\n```console\nb\n```\n", encoding="utf-8")
        first, second = blocks(page)
        assert first.skipped == ("no" if not between.strip() else None), between
        assert second.skipped is None


def test_fences_inside_fences_and_other_languages_are_no_blocks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "````markdown\n```python\n1 / 0\n```\n````\n```text\nx\n```\n```{include} a.md\n```\n", encoding="utf-8"
    )
    assert blocks(page) == []


def test_commands_keep_their_continuations() -> None:
    assert commands("a \\\n  b\n\n# a remark\nc; d  # e\n") == ["a \\\n  b", "c; d  # e"]
    assert file_name("# my_models.py\nx = 1\n") == "my_models.py"
    assert file_name("# see my_models.py\nx = 1\n") is None
    assert file_name("# ../up.py\nx = 1\n") is None


def test_the_first_pages_leave_nothing_out(repository: Path) -> None:
    found = [block for page in PAGES for block in blocks(repository / page)]
    assert {"python", "console"} == {block.language for block in found}
    assert not [f"{block.page}:{block.line}" for block in found if block.skipped]
    script = (repository / "tests" / "first_hour.sh").read_text(encoding="utf-8")
    assert f"tests/first_hour.py {' '.join(PAGES)}\n" in script
    suite = [block for block in found if "make test\n" in block.text or "make test " in block.text]
    assert len(suite) == 1, "the suite would run more than once"


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_every_set_up_takes_pinned_wheels_and_holds_what_builds(repository: Path, tmp_path: Path) -> None:
    """No verb installs by another door, and what is built without isolation finds its backends there."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(repository / name, tmp_path)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "requirements.txt").touch()
    (tmp_path / ".ci").mkdir()
    verbs = ["train", "test", "docs", "bench", "test-arviz", "resolve", "wheel"]
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    planned = subprocess.run(
        ["make", "--dry-run", "NEWER=python3", "find_python=python3", *verbs],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = planned.stdout.replace("\\\n", " ").splitlines()
    installs = [line for line in lines if " install " in line and "apt-get" not in line]
    assert len(installs) >= 7
    for line in installs:
        assert "-c constraints.txt" in line, line
        assert "--only-binary=:all: --no-binary=antlr4-python3-runtime" in line, line
    unisolated = [i for i, line in enumerate(installs) if "--no-build-isolation" in line]
    assert unisolated[0] == 1
    assert installs[0].split("-c constraints.txt")[1].split() == ["hatchling", "setuptools"]


@pytest.mark.slow
def test_tests_are_found_in_an_empty_home(tmp_path):
    """ArviZ announces its successor at the first import of a day, and keeps the day in the home: tests need neither."""
    told = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--collect-only",
            "-q",
            "-p",
            "no:cacheprovider",
            "tests/cli/verbs/test_fields.py",
        ],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert told.returncode == 0, told.stdout[-2000:]
    assert (tmp_path / "cache" / "arviz" / "daily_warning").is_file()
