"""The state of a process that a job must not inherit from the one before it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ppl_vae.cli.worker import take_device

if TYPE_CHECKING:
    import torch

_first: dict[str, object] = {}
_modules: dict[str, Path] = {}


def reset_process(
    seed: int, device: str = "auto", threads: int | None = None, worker: int | None = None
) -> torch.device:
    """Put a process into the state a new one has: each job of a sweep equals the same run made alone.

    Pyro's parameter store, its validation flag, torch's default dtype, threads, determinism and gradient mode, every
    seed, and users' own modules, which are imported anew.

    Args:
        seed: of all random numbers.
        device: its name, or `auto`.
        threads: how many torch uses; None: as many as in the beginning.
        worker: the number of the process among those that a launcher started.
    """
    import random

    import numpy as np
    import pyro
    import torch
    from torch.distributions import Distribution

    if not _first:
        _first["threads"] = torch.get_num_threads()
        _first["validation"] = Distribution._validate_args
    pyro.clear_param_store()
    pyro.enable_validation(bool(_first["validation"]))
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    if torch.get_deterministic_debug_mode():  # asked first: setting it imports torch's compiler
        torch.use_deterministic_algorithms(False)
    torch.set_grad_enabled(True)
    torch.set_num_threads(threads or int(str(_first["threads"])))
    chosen = take_device(device, worker)
    torch.manual_seed(seed)  # as a program would: the same classes built after it there start from the same weights
    np.random.seed(seed % 2**32)  # noqa: NPY002 - what programs may use
    random.seed(seed)
    return chosen


def forget_user_modules(folder: Path) -> None:
    """Forget modules imported from the working directory by an earlier job: their globals may have changed."""
    for name, file in _modules.items():
        if file.is_relative_to(folder):
            sys.modules.pop(name, None)


def remember_user_modules(before: set[str], folder: Path) -> None:
    """Note what a job imported from the working directory."""
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).is_relative_to(folder):
            _modules[name] = Path(file)
