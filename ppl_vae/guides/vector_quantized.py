"""The guide of vector-quantized codes."""

from collections.abc import Sequence
from math import prod
from typing import Any

import pyro
from torch import Tensor, nn

from ppl_vae.distributions.vector_quantized import Nearest, StraightThrough
from ppl_vae.errors import ArgumentError
from ppl_vae.nn.conv import PlacesEncoder, halved, image_shape
from ppl_vae.nn.features import DataSpec
from ppl_vae.nn.mlp import Activation, Encoder


class ToCodebook(nn.Module):
    r"""$q(z \mid x)$ with all its mass on the vectors nearest to what an encoder gives; trained straight through.

    Args:
        model: gives codebook and sizes (`model.codebook`, `model.positions`, `model.dim`).
        encoder: of x.
        h: from what it gives to all vectors of a datum.
        commitment: β.
    """

    def __init__(self, model: Any, encoder: nn.Module, h: nn.Module, commitment: float) -> None:
        super().__init__()
        if not 0 <= commitment < float("inf"):
            raise ArgumentError(f"Got commitment={commitment}, expected a number of at least 0.")
        self.codebook, self.commitment = model.codebook, commitment
        self.shape = (model.positions, model.dim)
        self.encoder, self.h = encoder, h

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`; codes `(data, positions)` at site z, their vectors `(data, positions, dim)` at e."""
        with pyro.plate("data", x.shape[0]):
            h = self.h(self.encoder(x)).reshape(x.shape[0], *self.shape)
            z = pyro.sample("z", Nearest(h, self.codebook.table))
            pyro.sample("e", StraightThrough(h, z, self.codebook, self.commitment))


class VectorQuantizedAmortized(ToCodebook):
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
        encoder = Encoder(spec, hidden, activation)
        h = nn.Linear(encoder.out_features, model.positions * model.dim)
        super().__init__(model, encoder, h, commitment)


class ConvVectorQuantizedAmortized(ToCodebook):
    r"""The same for images, each place by convolutions; see `ppl_vae.models.ConvVectorQuantized`.

    Args:
        spec: the dataset's spec.
        model: gives codebook and sizes, as `model=conv_vq`.
        channels: of each convolution, from x to z; each halves the sides, as many as the model doubles.
        activation: after each layer.
        residual: add a residual block after each convolution.
        commitment: β.

    Raises:
        DataError: x is no image.
        ArgumentError: the model has another number of places.
    """

    def __init__(
        self,
        spec: DataSpec,
        model: Any,
        channels: Sequence[int] = (32, 64),
        activation: Activation = "relu",
        residual: bool = False,
        commitment: float = 0.25,
    ) -> None:
        places = prod(halved(image_shape(spec)[1:], len(channels))[-1])
        if places != model.positions:
            raise ArgumentError(
                f"Got channels={list(channels)}, which leave {places} places, for a model of {model.positions} "
                "positions: take as many channels as model.channels has, and model=conv_vq."
            )
        encoder = PlacesEncoder(spec, channels, activation, residual)
        super().__init__(model, encoder, nn.Linear(encoder.out_features, model.dim), commitment)
