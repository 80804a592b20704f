"""One step of training on each setup: ppl_vae in its three modes, Pyro, PyTorch by hand, NumPyro."""

import os
from collections.abc import Iterator

from benchmarks.race import Contender, Race, race
from benchmarks.setups import SETUPS


def contenders(setup: str) -> list[Contender]:
    """Who trains on a setup; NumPyro has no convolutions of its own."""
    chosen = {"setup": setup}
    result = [
        Contender("ppl_vae, inductor", "ppl_vae_fit", chosen | {"compile": "inductor"}),
        Contender("ppl_vae, export", "ppl_vae_fit", chosen | {"compile": "export"}),
        Contender("ppl_vae, eager", "ppl_vae_fit", chosen | {"compile": "off"}),
        Contender("Pyro, SVI.step", "pyro_svi", chosen),
        Contender("PyTorch by hand, fused Adam", "handwritten", chosen | {"compile": False}),
        Contender("PyTorch by hand, fused Adam, torch.compile", "handwritten", chosen | {"compile": True}),
    ]
    if os.environ.get("BENCH_DEVICE", "cpu") != "cpu":
        graphs = chosen | {"compile": True, "mode": "reduce-overhead"}
        result.append(Contender("the same with CUDA graphs (reduce-overhead)", "handwritten", graphs))
    if not SETUPS[setup].conv:
        result += [
            Contender("NumPyro, jitted update", "numpyro_svi", chosen | {"scan": False}, "peers"),
            Contender("NumPyro, one scan over all batches", "numpyro_svi", chosen | {"scan": True}, "peers"),
        ]
    return result


def run(rounds: int, clock: str, only: str | None = None) -> Iterator[Race]:
    """Race on each setup."""
    for setup in ("mlp_small", "mlp", "conv", "iwae"):
        if only in (None, setup):
            s = SETUPS[setup]
            size = "convolutions" if s.conv else f"784-{s.hidden}-{s.latent}"
            title = f"A step of {setup}: {size}, batch {s.batch}" + f", {s.particles} particles" * (s.particles > 1)
            yield race(title, contenders(setup), rounds, clock=clock)
