"""Vector quantization: codes of whole numbers, each of which stands for a vector of a learned codebook (VQ-VAE)."""

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from ppl_vae.likelihoods.known import of_known
from ppl_vae.models.latent import MakesDecoder, likelihood_of
from ppl_vae.nn.codebook import Codebook
from ppl_vae.nn.codes import UniformCodes
from ppl_vae.nn.conv import PlacesDecoder, halved, image_shape
from ppl_vae.nn.features import DataSpec, arguments_of, has_missing
from ppl_vae.nn.mlp import Activation, Decoder, check_sizes


class OfCodebook(nn.Module):
    r"""$p(z)\, p(x \mid f(e_{z_1}, \dots, e_{z_P}))$ with P numbers of K vectors, for any network f.

    Args:
        spec: the dataset's spec.
        likelihood: p(x | parameters); None takes the one that fits the data.
        codebook: the vectors e.
        positions: P.
        decoder: from (spec, likelihood, features) to the module f, from all vectors `(..., P · dim)`.
    """

    def __init__(
        self, spec: DataSpec, likelihood: Any, codebook: Codebook, positions: int, decoder: MakesDecoder
    ) -> None:
        super().__init__()
        self.positions, self.dim = positions, codebook.dim
        self.data_fields = arguments_of(spec)
        self.likelihood = likelihood_of(spec, likelihood)
        self.missing = has_missing(spec)
        self.codebook = codebook
        self.prior = UniformCodes([codebook.codes] * positions)
        self.decoder = decoder(spec, self.likelihood, positions * codebook.dim)

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)` at site x; codes `(data, positions)` at z, their vectors at e, by a last axis."""
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", self.prior())
            e = pyro.sample("e", dist.Delta(self.codebook(z), event_dim=2))
            px = self.likelihood(self.decoder(e.flatten(-2)))
            pyro.sample("x", of_known(px, x) if self.missing else px, obs=x)


class VectorQuantized(OfCodebook):
    r"""$p(z)\, p(x \mid f(e_{z_1}, \dots, e_{z_P}))$ with P numbers of K vectors, uniform a priori; for `guide=vq`.

    All positions share one codebook, which moving averages move (`ppl_vae.nn.Codebook`), not the optimizer. The vectors
    are a site of their own, e, a function of z, through which the gradient goes straight to the encoder. The ELBO is

    $$\log p(x \mid z(x)) - P \log K \;\le\; \log p(x),$$

    as for `model=quantized`: the prior does not matter in training, fit a better one afterwards (`ppl-vae prior`).

    Args:
        spec: the dataset's spec.
        likelihood: p(x | parameters); None takes the one that fits the data.
        codes: K.
        positions: P.
        dim: size of a vector.
        hidden: widths of the decoder's hidden layers, from z to x.
        activation: after each of them.
        decay: of the moving averages, γ.
        restart: a code that is used less often than this share of 1 / K becomes one of the batch's encodings.

    References:
        van den Oord, Vinyals and Kavukcuoglu (2017), Neural Discrete Representation Learning,
            https://arxiv.org/abs/1711.00937
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        codes: int = 64,
        positions: int = 4,
        dim: int = 8,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        decay: float = 0.99,
        restart: float = 0.1,
    ) -> None:
        check_sizes(positions=positions)
        codebook = Codebook(codes, dim, decay, restart)
        super().__init__(spec, likelihood, codebook, positions, partial(Decoder, hidden=hidden, activation=activation))


class ConvVectorQuantized(OfCodebook):
    r"""The same for images, a code for each of the places that are left after halving the sides; for `guide=conv_vq`.

    Neither the way to a code nor the way back has a layer between all places: each code is of a patch of the image.
    There are as many bits as places, and more than can be summed over: fit a prior over them (`ppl-vae prior run=DIR
    prior=autoregressive`), and the ELBO is the log of a true joint density.

    Args:
        spec: the dataset's spec; its shape is (C, H, W) with any H and W.
        likelihood: p(x | parameters); None takes the one that fits the data.
        codes: K.
        dim: size of a vector.
        channels: of the input of each transposed convolution, from z to x; each doubles the sides.
        activation: after each layer.
        residual: add a residual block before each transposed convolution.
        decay: of the moving averages, γ.
        restart: a code that is used less often than this share of 1 / K becomes one of the batch's encodings.

    Raises:
        DataError: x is no image.

    References:
        van den Oord, Vinyals and Kavukcuoglu (2017), Neural Discrete Representation Learning,
            https://arxiv.org/abs/1711.00937
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        codes: int = 64,
        dim: int = 8,
        channels: Sequence[int] = (64, 32),
        activation: Activation = "relu",
        residual: bool = False,
        decay: float = 0.99,
        restart: float = 0.1,
    ) -> None:
        places = halved(image_shape(spec)[1:], len(channels))[-1]
        decoder = partial(PlacesDecoder, channels=channels, activation=activation, residual=residual)
        super().__init__(spec, likelihood, Codebook(codes, dim, decay, restart), prod(places), decoder)
