"""The models and data that every contender gets: sizes by name. Needs NumPy alone, so that each environment has it."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Setup:
    """A variational autoencoder of binary images: 784-`hidden`-`latent`, Bernoulli pixels, Adam with lr 1e-3.

    Attributes:
        hidden: Width of the one hidden layer each way.
        latent: Size of z.
        batch: Data per step.
        batches: Steps per block; a block is what is timed at once.
        particles: Draws per datum; more than one is the importance-weighted bound.
        conv: Two convolutions each way (32 and 64 channels) in front of the hidden layer.
        sites: Sample sites that z is divided into.
    """

    hidden: int
    latent: int
    batch: int
    batches: int
    particles: int = 1
    conv: bool = False
    sites: int = 1

    @classmethod
    def of(cls, chosen: "str | dict[str, Any]") -> "Setup":
        """The setup of a name, or of its attributes."""
        return SETUPS[chosen] if isinstance(chosen, str) else cls(**chosen)

    def data(self) -> Any:
        """Random binary images with the ink of handwritten digits, float32 `(data, 784)`, the same everywhere."""
        generator = np.random.default_rng(0)
        ink = generator.beta(0.3, 1.5, size=784)
        found = np.empty((self.batch * self.batches, 784), np.float32)
        for rows in np.array_split(found, max(1, len(found) // 10_000)):  # a million take 3 GB, and no more
            rows[:] = generator.random(rows.shape) < ink
        return found


SETUPS = {
    "mlp_small": Setup(hidden=64, latent=8, batch=32, batches=300),
    "mlp": Setup(hidden=400, latent=20, batch=128, batches=60),
    "mlp_512": Setup(hidden=512, latent=20, batch=128, batches=40),
    "conv": Setup(hidden=256, latent=16, batch=64, batches=15, conv=True),
    "iwae": Setup(hidden=200, latent=50, batch=20, batches=20, particles=50),
}
