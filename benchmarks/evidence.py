"""Evidence by 5,000 importance samples a datum with a 20-512-784 decoder."""

import os
from collections.abc import Iterator

from benchmarks.race import Contender, Race, race


def run(rounds: int, clock: str, only: str | None = None) -> Iterator[Race]:
    """ppl_vae's whole evaluation against the evidence alone."""
    chosen = {"setup": "mlp_512", "data": 100, "particles": 5000}
    many = chosen | {"data": 500}  # enough to pay for compiling, which every evaluation does anew, or finds in a cache
    few = chosen | {"data": 10}  # it goes through the data one by one: its time a datum does not depend on how many
    if os.environ.get("BENCH_DEVICE", "cpu") != "cpu":
        yield race(
            "Evidence by 5,000 samples, 20-512-784 decoder",
            [
                Contender("ppl_vae, evaluate", "ppl_vae_evaluate", many),
                Contender("PyTorch by hand, 50 samples at a time", "handwritten_nll", many),
                Contender("PyTorch by hand, 500 samples at a time", "handwritten_nll", many | {"chunk": 500}),
            ],
            rounds,
            unit="datum and sample",
            clock=clock,
        )
        return
    yield race(
        "Evidence by 5,000 samples, 20-512-784 decoder",
        [
            Contender("ppl_vae, evaluate", "ppl_vae_evaluate", many),
            Contender("ppl_vae, evaluate, 100 data", "ppl_vae_evaluate", chosen),
            Contender("pythae, get_nll(batch_size=100)", "pythae_nll", few | {"batch": 100}, "peers"),
            Contender("pythae, get_nll(batch_size=5000)", "pythae_nll", few | {"batch": 5000}, "peers"),
            Contender("PyTorch by hand, vectorized", "handwritten_nll", chosen),
        ],
        rounds,
        unit="datum and sample",
        clock=clock,
    )
