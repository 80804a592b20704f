"""The guide of the semi-supervised VAE."""

from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from ppl_vae.nn.features import DataSpec, one_hot
from ppl_vae.nn.heads import DiagonalNormal
from ppl_vae.nn.mlp import Activation, Encoder


class SemiSupervisedAmortized(nn.Module):
    r"""$q(y \mid x)\, q(z \mid x, y)$; where y is given, the second factor alone.

    Args:
        spec: the dataset's spec.
        model: gives the sizes and the classifier (`model.latent_dim`, `model.classes`, `model.classifier`).
        hidden: widths of the encoder's hidden layers, from x to z.
        activation: after each of them.
    """

    def __init__(
        self, spec: DataSpec, model: Any, hidden: Sequence[int] = (256,), activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.classifier, self.classes = model.classifier, model.classes
        self.encoder = Encoder(spec, hidden, activation, extra=self.classes)
        self.z = DiagonalNormal(self.encoder.out_features, model.latent_dim)

    def forward(self, x: Tensor, y: Tensor | None = None, *_: Any) -> None:
        """Data `(data, *shape)`, codes `(data,)` if known; codes at y if unknown, latents `(data, latent_dim)` at z."""
        with pyro.plate("data", x.shape[0]):
            logits = self.classifier(x)
            if y is None:
                y = pyro.sample("y", dist.Categorical(logits=logits))
            pyro.sample("z", self.z(self.encoder(x, one_hot(y, self.classes).to(logits.dtype))))
