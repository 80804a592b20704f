"""How evaluation grows with the number of samples: time per sample, and peak memory."""

from collections.abc import Iterator

from benchmarks.race import Contender, Race, race


def run(rounds: int, clock: str, only: str | None = None) -> Iterator[Race]:
    """Time for 500, 5,000 and 50,000 samples of four data; then memory, told beside the (empty) times."""
    sizes = {f"{k:,} samples": {"setup": "mlp_512", "data": 4, "particles": k} for k in (500, 5_000, 50_000)}
    yield race(
        "Evaluation by number of samples",
        [Contender(name, "ppl_vae_evaluate", sizes[name]) for name in sizes],
        min(rounds, 3),
        unit="datum and sample",
        clock=clock,
    )
    memory = race("Peak memory of an evaluation", [Contender(n, "memory", sizes[n]) for n in sizes], 1)
    for name, told in memory.told.items():
        print(f"  peak memory, {name:<16} {told['bytes'] / 2**20:8.1f} MiB more than before")
    yield memory
