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
    told = {"machine": _machine(), "cores": os.cpu_count(), **_accelerator()}
    return {**told, "load": os.getloadavg()[0], "versions": found}


def _accelerator() -> dict[str, str]:
    """The name of the GPU, where contenders run on one."""
    if os.environ.get("BENCH_DEVICE", "cpu") == "cpu":
        return {}
    import torch

    return {"accelerator": torch.cuda.get_device_name()}


def _versions(python: str) -> dict[str, str]:
    done = subprocess.run([python, "-c", _CODE], capture_output=True, text=True, check=True)
    result: dict[str, str] = json.loads(done.stdout)
    return result


def _machine() -> str:
    """The processor: its name, and what tells it from others of that name."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return platform.processor() or platform.machine()
    lines = dict(line.split(":", 1) for line in first.splitlines() if ":" in line)
    told = {key.strip(): value.strip() for key, value in lines.items()}
    name = told.get("model name") or platform.processor() or platform.machine()
    return f"{name}, family {told['cpu family']}, model {told['model']}" if "cpu family" in told else name
