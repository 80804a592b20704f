"""How time and peak memory grow: with data, particles, latent sites and units in training, samples in evaluation."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from benchmarks.race import Contender, Peak, Race, peak, race
from benchmarks.setups import SETUPS, Setup

SMALL = SETUPS["mlp_small"]
DATA = {f"{32 * n:,} data": replace(SMALL, batches=n) for n in (30, 300, 3_000, 10_000)}
PARTICLES = {f"{k:,} particles": replace(SMALL, batches=max(2, 60 // k), particles=k) for k in (1, 10, 100, 1_000)}
SITES = {f"{n} latent sites": replace(SMALL, batches=60, latent=64, sites=n) for n in (1, 4, 16, 64)}
SIZES = {f"{n:,} latent units": replace(SMALL, batches=30, latent=n) for n in (8, 100, 1_000, 10_000)}
MILLION = {"1,000,000 data": replace(SMALL, batches=31_250)}
"""For its memory alone: six epochs of it by each contender take half an hour."""

GROWING = {"data": DATA, "particles": PARTICLES, "latent sites": SITES, "latent units": SIZES}
SAMPLES = {f"{k:,} samples": {"setup": "mlp_512", "data": 4, "particles": k} for k in (500, 5_000, 50_000)}


def run(rounds: int, clock: str, only: str | None = None) -> Iterator[Race | Peak]:
    """Times per step, and per datum and sample; then peak memory."""
    rounds = min(rounds, 3)
    for title, setups in GROWING.items():
        if only in (None, title):
            contenders = [c for name, setup in setups.items() for c in _steps(name, setup)]
            yield race(f"A step by number of {title}, 784-64", contenders, rounds, clock=clock)
    if only in (None, "samples"):
        contenders = [Contender(name, "ppl_vae_evaluate", chosen) for name, chosen in SAMPLES.items()]
        yield race("Evaluation by number of samples", contenders, rounds, unit="datum and sample", clock=clock)
    if only in (None, "memory"):
        every = {name: setup for setups in GROWING.values() for name, setup in setups.items()}
        training = {n: {"setup": asdict(setup), "compile": "export"} for n, setup in (every | MILLION).items()}
        chosen: dict[str, dict[str, Any]] = training | SAMPLES
        yield peak("Peak memory beyond that of a small run", [Contender(n, "memory", chosen[n]) for n in chosen])


def _steps(name: str, setup: Setup) -> list[Contender]:
    chosen = {"setup": asdict(setup)}
    modes = [Contender(f"{name}, {mode}", "ppl_vae_fit", chosen | {"compile": mode}) for mode in ("inductor", "export")]
    return [*modes, Contender(f"{name}, Pyro", "pyro_svi", chosen)]
