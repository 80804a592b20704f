"""Whole epochs of training, a 784-512-20 VAE, batch 128: `fit` against pythae's trainer."""

from collections.abc import Iterator

from benchmarks.race import Contender, Race, race


def run(rounds: int, clock: str, only: str | None = None) -> Iterator[Race]:
    """Race on one setup; the time is of an epoch by its number of steps."""
    chosen = {"setup": "mlp_512"}
    yield race(
        "An epoch by its steps, 784-512-20, batch 128",
        [
            Contender("ppl_vae, export", "ppl_vae_fit", chosen | {"compile": "export"}),
            Contender("ppl_vae, inductor", "ppl_vae_fit", chosen | {"compile": "inductor"}),
            Contender("ppl_vae, eager", "ppl_vae_fit", chosen | {"compile": "off"}),
            Contender("pythae, BaseTrainer", "pythae_trainer", chosen, "peers"),
        ],
        rounds,
        clock=clock,
    )
