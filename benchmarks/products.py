"""Other matrix products beside torch's own: the ratios by which `ppl_vae.compile.kernels.choice` decides."""

from collections.abc import Iterator
from dataclasses import dataclass

from ppl_vae.compile.kernels import choice, products


@dataclass
class Ratios:
    """Seconds for each second of torch's, by size and product, a number per round."""

    ratios: dict[str, list[float]]

    def __str__(self) -> str:
        lines = [f"Matrix products, seconds for each second of torch's; {choice.GAIN} or less is taken"]
        lines += [f"  {name:<24} {min(of):6.3f} to {max(of):.3f}" for name, of in self.ratios.items()]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, object]:
        """Everything, for JSON."""
        return {"processor": choice.processor(), "ratios": self.ratios}


def run(rounds: int, clock: str, only: str | None = None) -> Iterator[Ratios]:
    """On one thread; wall time whatever the clock, since the shortest of many blocks counts."""
    ways = {"large, oneDNN": ("large", products.by_onednn)}
    if products.is_possible():
        ways["small, our own kernel"] = ("small", products.by_own)
    yield Ratios({name: [choice.ratio(size, way) for _ in range(rounds)] for name, (size, way) in ways.items()})
