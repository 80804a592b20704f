"""What a result depends on: the machine and the versions of what ran on it."""

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.race import PYTHON

_CODE = """
import importlib.metadata as m, json, platform
names = ["torch", "pyro-ppl", "ppl-vae", "numpyro", "jax", "pythae", "numpy"]
found = {}
for name in names:
    try: found[name] = m.version(name)
    except m.PackageNotFoundError: pass
print(json.dumps({"python": platform.python_version(), **found}))
"""


def conditions() -> dict[str, Any]:
    """Machine, load and versions."""
    found = {name: _versions(python) for name, python in PYTHON.items() if Path(python).exists()}
    return {"machine": _machine(), "cores": os.cpu_count(), "load": os.getloadavg()[0], "versions": found}


def _versions(python: str) -> dict[str, str]:
    done = subprocess.run([python, "-c", _CODE], capture_output=True, text=True, check=True)
    result: dict[str, str] = json.loads(done.stdout)
    return result


def _machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
