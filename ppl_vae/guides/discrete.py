"""The guide of discrete codes."""

from collections.abc import Sequence
from typing import Any

import pyro
from torch import Tensor, nn

from ppl_vae.conditionals.mlp import Activation, Encoder
from ppl_vae.conditionals.spec import DataSpec


class DiscreteAmortized(nn.Module):
    r"""$q(z \mid x)$: independent bits or one-hot vectors, with logits from an encoder.

    Args:
        spec: the dataset's spec.
        model: gives the code's shape and kind (`model.logits`, `model.code_distribution`).
        hidden: widths of the encoder's hidden layers, from x to z.
        activation: after each of them.
    """

    def __init__(
        self, spec: DataSpec, model: Any, hidden: Sequence[int] = (256,), activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.encoder = Encoder(spec, hidden, activation)
        self.shape = tuple(model.logits.shape)
        self.code_distribution = model.code_distribution
        self.logits = nn.Linear(self.encoder.out_features, model.logits.numel())

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`; codes `(data, latent_dim[, classes])` at site z."""
        with pyro.plate("data", x.shape[0]):
            logits = self.logits(self.encoder(x)).unflatten(-1, self.shape)
            pyro.sample("z", self.code_distribution(logits))
