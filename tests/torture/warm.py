"""What every attack begins from: a process that has all imported, and a few real runs made by it."""

import contextlib
import importlib
import os
import pkgutil
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.torture.child import Seen, Watch, in_child

DATA = ("dataset=ppca", "dataset.num_data=40", "dataset.columns=3")
TINY = (
    *DATA,
    "model.latent_dim=2",
    "model.hidden=[4]",
    "guide.hidden=[4]",
    "trainer.batch_size=16",
    "trainer.epochs=2",
    "trainer.compile=off",
    "results.num_particles=4",
    "results.draws=10",
    "engine.threads=1",
)
PLAIN = ("results.figures=false", "results.posterior=false")


def warm() -> None:
    """Import all that a verb may import, so that a forked process begins at once; nothing is run."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    import ppl_vae

    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in pkgutil.walk_packages(ppl_vae.__path__, "ppl_vae."):
            if not module.name.endswith("__main__"):
                with contextlib.suppress(ImportError):  # what belongs to an extra
                    importlib.import_module(module.name)
        for name in ("matplotlib.pyplot", "matplotlib.backends.backend_agg", "arviz", "h5netcdf", "sklearn.datasets",
                     "scipy.stats", "rich.table", "torch.export", "torch._dynamo", "torch.utils.collect_env", "hydra.main"):  # fmt: skip
            importlib.import_module(name)


def command(*words: Any) -> Callable[[], int]:
    """One command line as a task."""

    def task() -> int:
        from ppl_vae.cli import main

        return main([str(word) for word in words])

    return task


def homes(folder: Path) -> dict[str, str | None]:
    """The variables of a user whose home, and whatever stands for it, is in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    kept = {name: str(folder / name.lower()) for name in ("XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    return {
        "HOME": str(folder),
        **kept,
        "XDG_CACHE_HOME": None,
        "TMPDIR": str(temporary),
        "HYDRA_FULL_ERROR": None,
        "MLFLOW_TRACKING_URI": None,
        "WORLD_SIZE": None,
        "PYTEST_CURRENT_TEST": None,
        "MPLCONFIGDIR": os.environ.get("MPLCONFIGDIR") or str(Path.home() / ".config" / "matplotlib"),
    }


def made(folder: Path, home: Path, *words: str, good: Sequence[int] = (0,)) -> Seen:
    """Do one command in a folder, which has to succeed."""
    folder.mkdir(parents=True, exist_ok=True)
    watch = Watch(folder, writable=(folder, home), environment=homes(home), seconds=900)
    seen = in_child(command(*words), watch)
    if seen.ended or seen.value not in good:
        raise RuntimeError(f"ppl-vae {' '.join(words)} ended with {seen.value} {seen.ended}:\n{seen.err[-2000:]}")
    return seen


def run(folder: Path, home: Path, *words: str, name: str = "run") -> Path:
    """Train one tiny run, FOLDER/NAME, as the user of HOME."""
    made(folder, home, "train", *TINY, *words, f"hydra.run.dir={name}")
    return folder / name


def sweep(folder: Path, home: Path, *words: str, name: str = "sweep") -> Path:
    """Train one tiny sweep, FOLDER/NAME, as the user of HOME."""
    made(folder, home, "train", *TINY, *PLAIN, "-m", "seed=0,1", *words, f"hydra.sweep.dir={name}")
    return folder / name


def copied(source: Path, target: Path) -> Path:
    """A copy with its links as links."""
    return Path(shutil.copytree(source, target, symlinks=True))
