"""Models with one normal latent: fully connected, convolutional, autoregressive; sparse positive; deterministic."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from ppl_vae.distributions.improper import Flat
from ppl_vae.models.latent import Latent, MakesDecoder, MakesPrior
from ppl_vae.nn.autoregressive import AutoregressiveDecoder
from ppl_vae.nn.conv import ConvDecoder
from ppl_vae.nn.features import DataSpec, require_whole
from ppl_vae.nn.mlp import Activation, Decoder
from ppl_vae.nn.priors import GammaPrior, StandardNormal


class VAE(Latent):
    r"""$p(x, z) = p(z)\, p(x \mid f(z))$ with a fully connected f.

    Args:
        spec: the dataset's spec.
        likelihood: p(x | parameters); None takes the one that fits the data.
        latent_dim: size of z.
        hidden: widths of the decoder's hidden layers, from z to x.
        activation: after each of them.
        decoder: f, as of `Latent`; None takes the fully connected one, to which alone `hidden` and `activation` apply.
        prior: p(z), as of `Latent`.

    References:
        Kingma and Welling (2014), Auto-Encoding Variational Bayes, https://arxiv.org/abs/1312.6114
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        latent_dim: int = 8,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        prior: MakesPrior = StandardNormal,
        decoder: MakesDecoder | None = None,
    ) -> None:
        decoder = decoder or partial(Decoder, hidden=hidden, activation=activation)
        super().__init__(spec, likelihood, latent_dim, prior, decoder)


class Autoencoder(Latent):
    r"""$p(x \mid f(z))$ with a flat prior on z: with `guide=deterministic`, the bound is the reconstruction alone.

    It learns codes, not a distribution over them: generating from it is refused, until a prior is fitted to them
    (`ppl-vae prior run=DIR`, `pv.fit_prior`).

    Args:
        spec: the dataset's spec.
        likelihood: p(x | parameters); None takes the one that fits the data.
        latent_dim: size of z.
        hidden: widths of the decoder's hidden layers, from z to x.
        activation: after each of them.
        decoder: f, as of `Latent`; None takes the fully connected one, to which alone `hidden` and `activation` apply.

    References:
        Hinton and Salakhutdinov (2006), Reducing the Dimensionality of Data with Neural Networks,
            https://doi.org/10.1126/science.1127647
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        latent_dim: int = 8,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        decoder: MakesDecoder | None = None,
    ) -> None:
        decoder = decoder or partial(Decoder, hidden=hidden, activation=activation)
        super().__init__(spec, likelihood, latent_dim, lambda dim: partial(Flat, dim), decoder)


class ConvVAE(Latent):
    r"""$p(x, z) = p(z)\, p(x \mid f(z))$ with transposed convolutions in f, for images of any size.

    Args:
        spec: the dataset's spec; x is (C, H, W).
        likelihood: p(x | parameters); None takes the one that fits the data.
        latent_dim: size of z.
        channels: of the input of each transposed convolution, from z to x.
        hidden: widths of the fully connected layers before them.
        activation: after each layer.
        residual: add a residual block before each transposed convolution.
        prior: p(z), as of `Latent`.

    Raises:
        DataError: x is no image.
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        latent_dim: int = 16,
        channels: Sequence[int] = (64, 32),
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        residual: bool = False,
        prior: MakesPrior = StandardNormal,
    ) -> None:
        decoder = partial(ConvDecoder, channels=channels, hidden=hidden, activation=activation, residual=residual)
        super().__init__(spec, likelihood, latent_dim, prior, decoder)


class GammaVAE(Latent):
    r"""$p(x, z) = \mathrm{Gamma}(z; a, b)\, p(x \mid f(z))$ with independent components.

    Args:
        spec: the dataset's spec.
        likelihood: p(x | parameters); None takes the one that fits the data.
        latent_dim: size of z.
        hidden: widths of the decoder's hidden layers, from z to x.
        activation: after each of them.
        decoder: f, as of `Latent`; None takes the fully connected one, to which alone `hidden` and `activation` apply.
        concentration: a of the prior; below 1 most components are near 0.
        rate: b of the prior.
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        latent_dim: int = 8,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        concentration: float = 1.0,
        rate: float = 1.0,
        decoder: MakesDecoder | None = None,
    ) -> None:
        prior = partial(GammaPrior, concentration=concentration, rate=rate)
        decoder = decoder or partial(Decoder, hidden=hidden, activation=activation)
        super().__init__(spec, likelihood, latent_dim, prior, decoder)


class AutoregressiveVAE(Latent):
    r"""$p(x, z) = p(z) \prod_d p(x_d \mid x_{<d}, z)$: strong enough to do without z, so watch its KL.

    Args:
        spec: the dataset's spec.
        likelihood: of one element of x; None takes the one that fits the data.
        latent_dim: size of z.
        hidden: widths of the masked network's hidden layers.
        prior: p(z), as of `Latent`.

    References:
        Chen et al. (2017), Variational Lossy Autoencoder, https://arxiv.org/abs/1611.02731
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        latent_dim: int = 8,
        hidden: Sequence[int] = (256,),
        prior: MakesPrior = StandardNormal,
    ) -> None:
        require_whole(spec, "model=autoregressive, whose elements depend on those before them")
        decoder = partial(AutoregressiveDecoder, hidden=hidden)
        super().__init__(spec, likelihood, latent_dim, prior, decoder)
