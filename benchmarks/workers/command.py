"""A command, from its start to its end."""

import subprocess

from benchmarks.stand import begin, serve

arguments = begin()


def block() -> None:
    """Run it."""
    subprocess.run(arguments["command"], check=True, capture_output=True)


serve(block, 1)
