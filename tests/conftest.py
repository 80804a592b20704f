"""What every test gets: one thread, fixed seeds, an empty directory to run in, a guard over global state."""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch loads its thread pool; subprocesses inherit it
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="ppl_vae-state-")  # a key of the tests' own, not the user's

import numpy as np
import pytest

try:
    import pyro
    import torch

    torch.set_num_threads(1)
except ImportError:  # the modules that need no torch are also tested where there is none
    torch = pyro = None

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it in the background; Ctrl-C is tested
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[1]
STARTED = time.monotonic()


def pytest_unconfigure() -> None:
    """Take the tests' own state directory away."""
    shutil.rmtree(os.environ["XDG_STATE_HOME"], ignore_errors=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip slow tests once the time given to them is over, so that a run in a time box still closes."""
    seconds = float(os.environ.get("PPL_VAE_TEST_SECONDS", "inf"))
    if item.get_closest_marker("slow") and time.monotonic() - STARTED > seconds:
        pytest.skip(f"no time left: PPL_VAE_TEST_SECONDS={seconds:g}")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout: tests run elsewhere, and name files of the project from here."""
    return REPOSITORY


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Every test starts from the same random state, in any order and on any worker."""
    np.random.seed(0)  # noqa: NPY002 - Pyro and scikit-learn draw from the legacy generator
    if pyro is not None:
        pyro.set_rng_seed(0)


@pytest.fixture(autouse=True)
def working_directory(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run in an empty directory, and fail a test that litters it; write into `tmp_path` instead."""
    directory = tmp_path_factory.mktemp("cwd")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        yield directory
    left = sorted(path.name for path in directory.iterdir())
    assert not left, f"the test wrote {left} into the working directory: pass a path, or chdir to tmp_path"


def _pyro_params() -> list[str]:
    return sorted(pyro.get_param_store().keys())


def _open_figures() -> list[int]:
    return sys.modules["matplotlib.pyplot"].get_fignums() if "matplotlib.pyplot" in sys.modules else []


def _hydra_is_running() -> bool:
    module = sys.modules.get("hydra.core.global_hydra")
    return module is not None and module.GlobalHydra.instance().is_initialized()


# Set by pytest for each test, by scikit-learn when first imported, by torch when an optimizer is first made.
NOT_OURS = ("PYTEST_", "KMP_", "TORCHINDUCTOR_")

GLOBAL_STATE: dict[str, Callable[[], Any]] = {
    "sys.path": lambda: list(sys.path),
    "sys.argv": lambda: list(sys.argv),
    "environment": lambda: {k: v for k, v in os.environ.items() if not k.startswith(NOT_OURS)},
    "open matplotlib figures": _open_figures,
    "an initialized Hydra": _hydra_is_running,
}
if torch is not None:
    GLOBAL_STATE |= {
        "Pyro's parameter store": _pyro_params,
        "Pyro's settings": lambda: pyro.settings.get(),
        "Pyro's handler stack": lambda: list(pyro.poutine.runtime._PYRO_STACK),
        "validation of distributions": lambda: torch.distributions.Distribution._validate_args,
        "default dtype": torch.get_default_dtype,
        "default device": torch.get_default_device,
        "gradient mode": torch.is_grad_enabled,
        "number of threads": torch.get_num_threads,
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled,
        "anomaly mode": torch.is_anomaly_enabled,
    }


def _read_state() -> dict[str, Any]:
    return {name: read() for name, read in GLOBAL_STATE.items()}


def _restore(name: str, value: Any) -> None:
    """Put back what would make the tests after this one fail as well."""
    if name == "Pyro's parameter store":
        pyro.clear_param_store()
    elif name == "Pyro's settings":
        pyro.settings.set(**value)
    elif name == "default dtype":
        torch.set_default_dtype(value)
    elif name == "open matplotlib figures":
        sys.modules["matplotlib.pyplot"].close("all")
    elif name == "validation of distributions":
        torch.distributions.Distribution.set_default_validate_args(value)


@pytest.fixture(autouse=True)
def no_global_change(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that leaves torch's, Pyro's or the process's global state other than it was."""
    before = _read_state()
    yield
    monkeypatch.undo()  # what that fixture takes back is no change
    after = _read_state()
    changed = [name for name in before if before[name] != after[name]]
    for name in changed:
        _restore(name, before[name])
    assert not changed, "the test left another global state behind: " + "; ".join(
        f"{name} {_difference(before[name], after[name])}" for name in changed
    )


def _difference(before: Any, after: Any) -> str:
    if isinstance(before, dict):
        keys = sorted({k for k in {*before, *after} if before.get(k) != after.get(k)})
        before, after = ({k: state.get(k) for k in keys} for state in (before, after))
    return f"was {before!r}, is {after!r}"
