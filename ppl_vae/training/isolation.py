"""The caller's process, left by training as it was found."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from torch import nn

from ppl_vae import rng

_TRAINING = threading.RLock()


@contextmanager
def isolate_globals(device: torch.device) -> Iterator[None]:
    """Put generators, default dtype, threads and validation flags back as they were; one thread at a time.

    A process has one of each: two runs that took their steps in turns would draw each other's noise.
    """
    with _TRAINING, _put_back(device):
        yield


@contextmanager
def _put_back(device: torch.device) -> Iterator[None]:
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    try:
        with (
            rng.forked(device),
            pyro.settings.context(**pyro.settings.get()),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            yield
    finally:
        torch.set_default_dtype(dtype)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def stop_validating() -> None:
    """Run distributions and handlers without checking their arguments; `isolate_globals` undoes it."""
    pyro.settings.set(
        validate_distributions_pyro=False,
        validate_distributions_torch=False,
        validate_infer=False,
        validate_poutine=False,
    )


@contextmanager
def modes_kept(*modules: Any) -> Iterator[None]:
    """Put every submodule back into the mode, training or evaluation, that it was in."""
    before = {m: m.training for module in modules if isinstance(module, nn.Module) for m in module.modules()}
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


@contextmanager
def evaluating(device: torch.device, seed: int, *modules: Any) -> Iterator[None]:
    """Evaluation mode, no gradients, random numbers from `seed`; afterwards as if nothing had been run."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(modes_kept(*modules))
        stack.enter_context(rng.forked(device, seed))
        stack.enter_context(torch.no_grad())
        for module in modules:
            if isinstance(module, nn.Module):
                module.eval()
        yield
