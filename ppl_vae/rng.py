"""Random number generators: seeded inside a fork, saved exactly, given back untouched."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from ppl_vae.errors import ArgumentError


def derive(seed: int, *purpose: int) -> int:
    """Give the seed of one of many independent streams; `purpose` tells them apart.

    Raises:
        ArgumentError: for a seed below 0.

    Example:
        >>> derive(0, 1) != derive(0, 2) != derive(1, 1)
        True
    """
    if seed < 0:
        raise ArgumentError(f"Got seed={seed}, expected a whole number of at least 0.")
    return int(np.random.SeedSequence([seed, *purpose]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def capture(device: torch.device) -> dict[str, Any]:
    """Give the state of torch's generators (CPU and `device`), NumPy's global one and Python's."""
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002 - what programs may use
    version, words, gauss_next = random.getstate()
    state = {
        "torch": torch.default_generator.get_state(),
        "numpy": {
            "keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
            "rest": (int(position), int(has_gauss), float(gauss)),
        },
        "python": {"version": version, "words": torch.tensor(words), "gauss": gauss_next},
    }
    if device.type != "cpu":
        state[device.type] = torch.get_device_module(device.type).get_rng_state(*_ordinal(device))
    return state


def restore(state: dict[str, Any], device: torch.device) -> None:
    """Put every generator into a state that `capture` gave."""
    torch.default_generator.set_state(state["torch"])
    keys = state["numpy"]["keys"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, *state["numpy"]["rest"]))  # noqa: NPY002
    python = state["python"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    if device.type in state:
        torch.get_device_module(device.type).set_rng_state(state[device.type], *_ordinal(device))


def seed_all(seed: int, device: torch.device) -> None:
    """Seed torch (CPU and `device`), NumPy and Python, each with a stream of its own."""
    torch.default_generator.manual_seed(derive(seed, 0))
    np.random.seed(derive(seed, 1) % 2**32)  # noqa: NPY002
    random.seed(derive(seed, 2))
    if device.type != "cpu":
        torch.get_device_module(device.type).manual_seed(derive(seed, 3))


@contextmanager
def forked(device: torch.device, seed: int | None = None) -> Iterator[None]:
    """Within, random numbers are drawn from `seed` (or go on); afterwards it is as if none had been drawn.

    Example:
        >>> before = torch.default_generator.get_state()
        >>> with forked(torch.device("cpu"), seed=0):
        ...     _ = torch.randn(3)
        >>> torch.equal(before, torch.default_generator.get_state())
        True
    """
    before = capture(device)
    try:
        if seed is not None:
            seed_all(seed, device)
        yield
    finally:
        restore(before, device)


def _ordinal(device: torch.device) -> tuple[torch.device, ...]:
    return (device,) if device.type == "cuda" else ()
