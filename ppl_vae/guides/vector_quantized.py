"""The guide of vector-quantized codes."""

from collections.abc import Sequence
from typing import Any

import pyro
from torch import Tensor, nn

from ppl_vae.distributions.vector_quantized import Nearest, StraightThrough
from ppl_vae.errors import ArgumentError
from ppl_vae.nn.features import DataSpec
from ppl_vae.nn.mlp import Activation, Encoder


class VectorQuantizedAmortized(nn.Module):
    r"""$q(z \mid x)$ with all its mass on the vectors nearest to what an encoder gives; trained straight through.

    In training −β‖stop(e) − h(x)‖² is added to what is maximized, and to no reported bound; the model's codebook moves.
    For objective=elbo: others refuse it in words.

    Args:
        spec: the dataset's spec.
        model: gives codebook and sizes (`model.codebook`, `model.positions`, `model.dim`), as `model=vq`.
        hidden: widths of the encoder's hidden layers, from x to z.
        activation: after each of them.
        commitment: β.

    References:
        van den Oord, Vinyals and Kavukcuoglu (2017), Neural Discrete Representation Learning,
            https://arxiv.org/abs/1711.00937
    """

    def __init__(
        self,
        spec: DataSpec,
        model: Any,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        commitment: float = 0.25,
    ) -> None:
        super().__init__()
        if not 0 <= commitment < float("inf"):
            raise ArgumentError(f"Got commitment={commitment}, expected a number of at least 0.")
        self.codebook, self.commitment = model.codebook, commitment
        self.shape = (model.positions, model.dim)
        self.encoder = Encoder(spec, hidden, activation)
        self.h = nn.Linear(self.encoder.out_features, model.positions * model.dim)

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`; codes `(data, positions)` at site z, their vectors `(data, positions, dim)` at e."""
        with pyro.plate("data", x.shape[0]):
            h = self.h(self.encoder(x)).unflatten(-1, self.shape)
            z = pyro.sample("z", Nearest(h, self.codebook.table))
            pyro.sample("e", StraightThrough(h, z, self.codebook, self.commitment))
