"""Parameters that are not finite: whatever else is found follows from them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ppl_vae.core.faults import not_finite
from ppl_vae.linter.report import Finding

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


def find(vae: "VAE") -> Iterator[Finding]:
    """Parameters that hold NaN or infinite values."""
    for name, told in not_finite(vae):
        yield Finding(
            "parameter not finite",
            f"The parameter {name!r} holds {told}.",
            f"parameter {name!r}",
            "Everything that is computed from it is NaN or infinite, from the first step on.",
            "Begin with finite weights: look at how it is initialized, or load other ones.",
        )
