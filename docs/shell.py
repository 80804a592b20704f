"""A command line for the pages: runs `ppl-vae …` in the page's own folder and shows what it answers."""

import os
import shlex
import subprocess
import sys
from pathlib import Path


def sh(*commands: str, errors: bool = False) -> None:
    """Print each command and its standard output; with `errors`, its standard error and exit code, too."""
    here = f"{Path.cwd()}{os.sep}"
    for command in commands:
        verb, *words = shlex.split(command)
        argv = (
            [sys.executable, "-m", "ppl_vae", *words]
            if verb == "ppl-vae"
            else [verb, *words]
        )
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode and not errors:
            raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr}")
        print(f"$ {command}")
        print(done.stdout.replace(here, "").rstrip(), end="\n" if done.stdout else "")
        if errors:
            print(done.stderr.replace(here, "").rstrip())
            print(f"exit code {done.returncode}")
