"""Do what pages tell a reader to do: `first_hour.py PAGE…`, run by first_hour.sh from the root of a fresh clone.

Commands run in one shell per page, code in one interpreter per page, the `python` of that shell. A page that sets up an
environment begins in the clone; any other goes on with the environment of the page before, in an empty directory.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "docs" / "_ext"))
from blocks import Block, blocks, file_name

SET_UP = "make train"

# A prompt that is told blocks, a line each: what they print goes to standard error, how they ended to standard output.
PROMPT = """
import json, os, sys, traceback
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
names = {"__name__": "__main__"}
for line in sys.stdin:
    text, where = json.loads(line)
    try:
        exec(compile(text, where, "exec"), names)
        print("done", file=answers, flush=True)
    except BaseException:
        traceback.print_exc()
        print("failed", file=answers, flush=True)
"""


class Reader:
    """A reader at a page: the environment and directory of their shell, and their interpreter once it is open."""

    def __init__(self, environment: dict[str, str], directory: Path) -> None:
        self.environment, self.directory = environment, directory
        self.python: subprocess.Popen[str] | None = None

    def follow(self, block: Block) -> bool:
        """Do what a block says; whether that went well."""
        if block.language == "console":
            return self.console(block)
        name = file_name(block.text)
        if name:
            (self.directory / name).write_text(block.text, encoding="utf-8")
            return True
        return self.code(block)

    def console(self, block: Block) -> bool:
        """Run commands, and keep what they changed: where the shell is, and what is in its environment."""
        with tempfile.TemporaryDirectory() as folder:
            after = Path(folder) / "after"
            script = f'{block.text}\npwd > "{after}.directory"\nenv -0 > "{after}.environment"\n'
            done = subprocess.run(
                ["bash", "-e", "-c", script],
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                check=False,
            )
            if done.returncode:
                print(f"exit code {done.returncode}", flush=True)
                return False
            self.directory = Path(Path(f"{after}.directory").read_text(encoding="utf-8").rstrip("\n"))
            pairs = Path(f"{after}.environment").read_text(encoding="utf-8").split("\0")
            self.environment = dict(pair.split("=", 1) for pair in pairs if pair)
        return True

    def code(self, block: Block) -> bool:
        """Run code in the page's interpreter."""
        if self.python is None or self.python.poll() is not None:
            self.python = subprocess.Popen(
                ["python", "-c", PROMPT],
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self.python.stdin is not None
        assert self.python.stdout is not None
        print(json.dumps([block.text, f"{block.page}:{block.line}"]), file=self.python.stdin, flush=True)
        return self.python.stdout.readline() == "done\n"

    def leave(self) -> None:
        """Close the interpreter."""
        if self.python is not None and self.python.stdin:
            self.python.stdin.close()
            self.python.wait()


def main(pages: list[str]) -> None:
    """Follow all pages, to the end whatever fails on the way; then say what did."""
    failed: list[str] = []
    left_out: list[str] = []
    environment = dict(os.environ)
    with tempfile.TemporaryDirectory() as scratch:
        for number, page in enumerate(pages):
            found = blocks(Path(page))
            sets_up = any(SET_UP in block.text for block in found)
            elsewhere = Path(scratch) / str(number)
            elsewhere.mkdir()
            reader = Reader(dict(os.environ) if sets_up else environment, Path.cwd() if sets_up else elsewhere)
            for block in found:
                where = f"{page}:{block.line}"
                if block.skipped:
                    left_out.append(f"{where}: {block.skipped}")
                    continue
                print(f"=== {where} in {reader.directory}\n{block.text}---", flush=True)
                began = time.monotonic()
                well = reader.follow(block)
                print(f"--- {where} {'done' if well else 'FAILED'} after {time.monotonic() - began:.0f} s", flush=True)
                if not well:
                    failed.append(f"{where}\n{block.text}")
            reader.leave()
            environment = reader.environment
    for line in left_out:
        print(f"left out, as the page says: {line}")
    if failed:
        sys.exit("FAILED: " + "\nFAILED: ".join(failed))
    print("Each block of these pages works:", ", ".join(pages))


if __name__ == "__main__":
    main(sys.argv[1:])
