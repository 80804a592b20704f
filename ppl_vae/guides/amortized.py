"""Amortized guides with one latent site: an encoder, and a head for its distribution."""

from collections.abc import Sequence
from typing import Any, Literal

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from ppl_vae.nn.conv import ConvEncoder
from ppl_vae.nn.features import DataSpec, Labels
from ppl_vae.nn.flows import Autoregressive, Coupling
from ppl_vae.nn.heads import DiagonalNormal, Dirichlet, FullRankNormal, Gamma
from ppl_vae.nn.mlp import Activation, Encoder


class Amortized(nn.Module):
    r"""$q(z \mid x) = \mathrm{Normal}(z; \mu(x), \sigma(x))$, one network for all data.

    Args:
        spec: the dataset's spec.
        model: gives the size of z (`model.latent_dim`).
        hidden: widths of the encoder's hidden layers, from x to z.
        activation: after each of them.

    Reference:
        Kingma and Welling (2014), Auto-Encoding Variational Bayes, https://arxiv.org/abs/1312.6114
    """

    def __init__(
        self, spec: DataSpec, model: Any, hidden: Sequence[int] = (256,), activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.encoder = Encoder(spec, hidden, activation)
        self.z = DiagonalNormal(self.encoder.out_features, model.latent_dim)

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`; latents `(data, latent_dim)` at site z."""
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", self.z(self.encoder(x)))


class Deterministic(nn.Module):
    r"""$q(z \mid x) = \delta(z - \mu(x))$, the encoder of `model=autoencoder`.

    Args:
        spec: the dataset's spec.
        model: gives the size of z (`model.latent_dim`).
        hidden: widths of the encoder's hidden layers, from x to z.
        activation: after each of them.
    """

    def __init__(
        self, spec: DataSpec, model: Any, hidden: Sequence[int] = (256,), activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.encoder = Encoder(spec, hidden, activation)
        self.loc = nn.Linear(self.encoder.out_features, model.latent_dim)

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`; codes `(data, latent_dim)` at site z."""
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Delta(self.loc(self.encoder(x)), event_dim=1))


class DirichletAmortized(nn.Module):
    r"""$q(z \mid x) = \mathrm{Dirichlet}(a(x))$, reparameterized implicitly.

    Args:
        spec: the dataset's spec.
        model: gives the size of z (`model.latent_dim`).
        hidden: widths of the encoder's hidden layers, from x to z.
        activation: after each of them.

    Reference:
        Figurnov, Mohamed and Mnih (2018), Implicit Reparameterization Gradients, https://arxiv.org/abs/1805.08498
    """

    def __init__(
        self, spec: DataSpec, model: Any, hidden: Sequence[int] = (256,), activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.encoder = Encoder(spec, hidden, activation)
        self.z = Dirichlet(self.encoder.out_features, model.latent_dim)

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`; latents on the simplex `(data, latent_dim)` at site z."""
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", self.z(self.encoder(x)))


class GammaAmortized(nn.Module):
    r"""$q(z \mid x) = \mathrm{Gamma}(z; a(x), b(x))$, reparameterized implicitly.

    Args:
        spec: the dataset's spec.
        model: gives the size of z (`model.latent_dim`).
        hidden: widths of the encoder's hidden layers, from x to z.
        activation: after each of them.

    Reference:
        Figurnov, Mohamed and Mnih (2018), Implicit Reparameterization Gradients, https://arxiv.org/abs/1805.08498
    """

    def __init__(
        self, spec: DataSpec, model: Any, hidden: Sequence[int] = (256,), activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.encoder = Encoder(spec, hidden, activation)
        self.z = Gamma(self.encoder.out_features, model.latent_dim)

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`; positive latents `(data, latent_dim)` at site z."""
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", self.z(self.encoder(x)))


class FullRank(nn.Module):
    r"""$q(z \mid x) = \mathrm{Normal}(z; \mu(x), L(x) L(x)^\top)$ with a triangular L.

    Args:
        spec: the dataset's spec.
        model: gives the size of z (`model.latent_dim`).
        hidden: widths of the encoder's hidden layers, from x to z.
        activation: after each of them.
    """

    def __init__(
        self, spec: DataSpec, model: Any, hidden: Sequence[int] = (256,), activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.encoder = Encoder(spec, hidden, activation)
        self.z = FullRankNormal(self.encoder.out_features, model.latent_dim)

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`; latents `(data, latent_dim)` at site z."""
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", self.z(self.encoder(x)))


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


class ConvAmortized(nn.Module):
    r"""$q(z \mid x) = \mathrm{Normal}(z; \mu(x), \sigma(x))$ with convolutions in μ and σ.

    Args:
        spec: the dataset's spec; x is (C, H, W).
        model: gives the size of z (`model.latent_dim`).
        channels: of each convolution, from x to z.
        hidden: widths of the fully connected layers that follow.
        activation: after each layer.
        residual: add a residual block after each convolution.

    Raises:
        DataError: x is no image.
    """

    def __init__(
        self,
        spec: DataSpec,
        model: Any,
        channels: Sequence[int] = (32, 64),
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = ConvEncoder(spec, channels, hidden, activation, residual)
        self.z = DiagonalNormal(self.encoder.out_features, model.latent_dim)

    def forward(self, x: Tensor, *_: Any) -> None:
        """Images `(data, C, H, W)`; latents `(data, latent_dim)` at site z."""
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", self.z(self.encoder(x)))


FlowName = Literal["iaf", "coupling"]


class FlowAmortized(nn.Module):
    r"""$z = f_T \circ \dots \circ f_1(\mu(x) + \sigma(x)\,\epsilon)$ with flows $f_t(\cdot; h(x))$.

    `iaf` draws in one pass; the density at a point that it has not drawn itself takes `latent_dim` passes.
    `coupling` takes one pass for both.

    Args:
        spec: the dataset's spec.
        model: gives the size of z (`model.latent_dim`).
        hidden: widths of the encoder's hidden layers, from x to z.
        activation: after each of them.
        flow: `iaf` (inverse autoregressive) or `coupling` (affine).
        layers: number of flows; neighbours run through z in opposite order.
        flow_hidden: widths of the hidden layers of each flow's network.

    Reference:
        Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow,
        https://arxiv.org/abs/1606.04934
    """

    def __init__(
        self,
        spec: DataSpec,
        model: Any,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        flow: FlowName = "iaf",
        layers: int = 2,
        flow_hidden: Sequence[int] = (64,),
    ) -> None:
        super().__init__()
        self.encoder = Encoder(spec, hidden, activation)
        dim, features = model.latent_dim, self.encoder.out_features
        self.base = DiagonalNormal(features, dim)
        self.flows = nn.ModuleList(
            Autoregressive(dim, features, flow_hidden, reverse=t % 2 == 1)
            if flow == "iaf"
            else Coupling(dim, features, flow_hidden, flip=t % 2 == 1)
            for t in range(layers)
        )

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`; latents `(data, latent_dim)` at site z."""
        h = self.encoder(x)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.TransformedDistribution(self.base(h), [flow(h) for flow in self.flows]))


class ConditionalAmortized(nn.Module):
    r"""$q(z \mid x, y) = \mathrm{Normal}(z; \mu(x, y), \sigma(x, y))$.

    Args:
        spec: the dataset's spec, with x and y.
        model: gives the size of z (`model.latent_dim`).
        hidden: widths of the encoder's hidden layers, from x to z.
        activation: after each of them.

    Raises:
        DataError: batches hold x alone.
    """

    def __init__(
        self, spec: DataSpec, model: Any, hidden: Sequence[int] = (256,), activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.labels = Labels(spec)
        self.encoder = Encoder(spec, hidden, activation, extra=self.labels.out_features)
        self.z = DiagonalNormal(self.encoder.out_features, model.latent_dim)

    def forward(self, x: Tensor, y: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`, labels `(data, …)`; latents `(data, latent_dim)` at site z."""
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", self.z(self.encoder(x, self.labels(y))))


class VampPosterior(nn.Module):
    r"""$q(z \mid x)$ of `model=vamp`, by the very networks of which its prior is made.

    Args:
        model: gives the networks (`model.encoder`, `model.z`).
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.z = model.z

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`; latents `(data, latent_dim)` at site z."""
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", self.z(self.encoder(x)))
