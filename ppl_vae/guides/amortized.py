"""Amortized guides with one latent site: an encoder, and a head for its distribution."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import pyro
from torch import Tensor, nn

from ppl_vae.core.call import made, require_call
from ppl_vae.errors import ArgumentError
from ppl_vae.kinds import shown
from ppl_vae.nn.beside import Beside
from ppl_vae.nn.codes import Rounding
from ppl_vae.nn.conv import ConvEncoder
from ppl_vae.nn.features import Covariates, DataSpec, arguments_of
from ppl_vae.nn.formerly import present_names
from ppl_vae.nn.heads import Code, DiagonalNormal, Dirichlet, Flow, FlowName, FullRankNormal, Gamma, Point
from ppl_vae.nn.mlp import Activation, Encoder

MakesEncoder = Callable[[DataSpec], Any]
"""From the spec to a module from x to features, whose size is its `out_features`."""


class Amortized(nn.Module):
    r"""$q(z \mid x)$ = head(encoder(x)), one network for all data: $\mathrm{Normal}(z; \mu(x), \sigma(x))$ by default.

    Args:
        spec: the dataset's spec.
        model: gives the size of z (`model.latent_dim`).
        hidden: widths of the encoder's hidden layers, from x to z.
        activation: after each of them.
        head: from (features, dim) to a module from features `(..., features)` to a distribution over z `(dim,)`.
        encoder: from spec to a module from x to features, whose size is its `out_features`; None takes a fully
            connected one, to which alone `hidden` and `activation` apply.

    References:
        Kingma and Welling (2014), Auto-Encoding Variational Bayes, https://arxiv.org/abs/1312.6114

    Example:
        >>> from types import SimpleNamespace
        >>> from ppl_vae.datasets.spec import Spec
        >>> from ppl_vae.nn.heads import FullRankNormal
        >>> guide = Amortized(Spec((784,), "binary"), SimpleNamespace(latent_dim=2), head=FullRankNormal)
        >>> pyro.poutine.trace(guide).get_trace(guide.encoder.net[0].weight.new_zeros(5, 784)).nodes["z"]["fn"]
        MultivariateNormal(loc: torch.Size([5, 2]), scale_tril: torch.Size([5, 2, 2]))
    """

    def __init__(
        self,
        spec: DataSpec,
        model: Any,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        head: Callable[[int, int], Callable[[Tensor], Any]] = DiagonalNormal,
        encoder: MakesEncoder | None = None,
    ) -> None:
        super().__init__()
        require_call("head", head, in_features=0, latent_dim=0)
        self.encoder = Encoder(spec, hidden, activation) if encoder is None else made("encoder", encoder, spec=spec)
        if not isinstance(getattr(self.encoder, "out_features", None), int):
            raise ArgumentError(
                f"Got encoder={shown(encoder)}, which makes {shown(self.encoder)} without out_features, expected "
                "a module that says how many features it gives."
            )
        self.z = head(self.encoder.out_features, model.latent_dim)

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`; latents `(data, latent_dim)` at site z."""
        self.sample(x)

    def sample(self, x: Tensor, *given: Tensor) -> None:
        """The program; the encoder is told what is given, features `(data, features)`, after x."""
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", self.z(self.encoder(x, *given)))

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        present_names(self, state, prefix)
        super()._load_from_state_dict(state, prefix, *args)


class Deterministic(Amortized):
    r"""$q(z \mid x) = \delta(z - \mu(x))$, the encoder of `model=autoencoder`.

    Args as of `Amortized`.
    """

    FORMERLY: ClassVar = {"loc": "z.linear"}  # its state dicts had this name once

    def __init__(
        self,
        spec: DataSpec,
        model: Any,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        encoder: MakesEncoder | None = None,
    ) -> None:
        super().__init__(spec, model, hidden, activation, Point, encoder)


class DirichletAmortized(Amortized):
    r"""$q(z \mid x) = \mathrm{Dirichlet}(a(x))$, reparameterized implicitly.

    Args as of `Amortized`.

    References:
        Figurnov, Mohamed and Mnih (2018), Implicit Reparameterization Gradients, https://arxiv.org/abs/1805.08498
    """

    def __init__(
        self,
        spec: DataSpec,
        model: Any,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        encoder: MakesEncoder | None = None,
    ) -> None:
        super().__init__(spec, model, hidden, activation, Dirichlet, encoder)


class GammaAmortized(Amortized):
    r"""$q(z \mid x) = \mathrm{Gamma}(z; a(x), b(x))$, reparameterized implicitly.

    Args as of `Amortized`.

    References:
        Figurnov, Mohamed and Mnih (2018), Implicit Reparameterization Gradients, https://arxiv.org/abs/1805.08498
    """

    def __init__(
        self,
        spec: DataSpec,
        model: Any,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        encoder: MakesEncoder | None = None,
    ) -> None:
        super().__init__(spec, model, hidden, activation, Gamma, encoder)


class FullRank(Amortized):
    r"""$q(z \mid x) = \mathrm{Normal}(z; \mu(x), L(x) L(x)^\top)$ with a triangular L.

    Args as of `Amortized`.
    """

    def __init__(
        self,
        spec: DataSpec,
        model: Any,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        encoder: MakesEncoder | None = None,
    ) -> None:
        super().__init__(spec, model, hidden, activation, FullRankNormal, encoder)


class DiscreteAmortized(Amortized):
    r"""$q(z \mid x)$: independent bits or one-hot vectors, with logits from an encoder.

    Args:
        spec: the dataset's spec.
        model: gives the code's shape and kind (`model.logits`, `model.code_distribution`).
        hidden: widths of the encoder's hidden layers, from x to z.
        activation: after each of them.
        encoder: as of `Amortized`.
    """

    FORMERLY: ClassVar = {"logits": "z.linear"}

    def __init__(
        self,
        spec: DataSpec,
        model: Any,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        encoder: MakesEncoder | None = None,
    ) -> None:
        def head(features: int, _: int) -> Code:
            return Code(features, model.logits.shape, model.code_distribution)

        super().__init__(spec, model, hidden, activation, head, encoder)


class QuantizedAmortized(Amortized):
    r"""$q(z \mid x)$ with all its mass on one code, the nearest to what an encoder gives; trained straight through.

    Args:
        spec: the dataset's spec.
        model: gives the number of values of each element (`model.levels`).
        hidden: widths of the encoder's hidden layers, from x to z.
        activation: after each of them.
        encoder: as of `Amortized`.

    References:
        Mentzer, Minnen, Agustsson and Tschannen (2024), Finite Scalar Quantization: VQ-VAE Made Simple,
            https://arxiv.org/abs/2309.15505
    """

    def __init__(
        self,
        spec: DataSpec,
        model: Any,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        encoder: MakesEncoder | None = None,
    ) -> None:
        super().__init__(spec, model, hidden, activation, lambda h, _: Rounding(h, model.levels), encoder)


class ConvAmortized(Amortized):
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
        encoder = partial(ConvEncoder, channels=channels, hidden=hidden, activation=activation, residual=residual)
        super().__init__(spec, model, encoder=encoder)


class FlowAmortized(Amortized):
    r"""$z = f_T \circ \dots \circ f_1(\mu(x) + \sigma(x)\,\epsilon)$ with flows $f_t(\cdot; h(x))$.

    `iaf` draws in one pass; the density at a point that it has not drawn itself takes `latent_dim` passes.
    `coupling` takes one pass for both.

    Args:
        spec: the dataset's spec.
        model: gives the size of z (`model.latent_dim`).
        hidden: widths of the encoder's hidden layers, from x to z.
        activation: after each of them.
        encoder: as of `Amortized`.
        flow: `iaf` (inverse autoregressive) or `coupling` (affine).
        layers: number of flows; neighbours run through z in opposite order.
        flow_hidden: widths of the hidden layers of each flow's network.

    References:
        Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow,
            https://arxiv.org/abs/1606.04934
    """

    FORMERLY: ClassVar = {"base": "z.base", "flows": "z.flows"}

    def __init__(
        self,
        spec: DataSpec,
        model: Any,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        flow: FlowName = "iaf",
        layers: int = 2,
        flow_hidden: Sequence[int] = (64,),
        encoder: MakesEncoder | None = None,
    ) -> None:
        head = partial(Flow, flow=flow, layers=layers, hidden=flow_hidden)
        super().__init__(spec, model, hidden, activation, head, encoder)


class ConditionalAmortized(Amortized):
    r"""$q(z \mid x, y) = \mathrm{Normal}(z; \mu(x, y), \sigma(x, y))$; y is all that follows x in a batch.

    Args:
        spec: the dataset's spec, with x and further fields.
        model: gives the size of z (`model.latent_dim`).
        hidden: widths of the encoder's hidden layers, from x to z.
        activation: after each of them.
        encoder: as of `Amortized`, of x alone; its features and y go through layers of `hidden` then.

    Raises:
        DataError: batches hold x alone.
    """

    def __init__(
        self,
        spec: DataSpec,
        model: Any,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        encoder: MakesEncoder | None = None,
    ) -> None:
        covariates = Covariates(spec)
        extra = covariates.out_features
        own = partial(Encoder, hidden=hidden, activation=activation, extra=extra)

        def told(spec: DataSpec) -> Beside:
            assert encoder is not None
            return Beside(made("encoder", encoder, spec=spec), extra, hidden, activation)

        super().__init__(spec, model, encoder=own if encoder is None else told)
        self.covariates, self.data_fields = covariates, arguments_of(spec)

    def forward(self, x: Tensor, *covariates: Tensor) -> None:
        """Data `(data, *shape)`, covariates `(data, …)`; latents `(data, latent_dim)` at site z."""
        self.sample(x, self.covariates(*covariates))


class VampPosterior(Amortized):
    r"""$q(z \mid x)$ of `model=vamp`, by the very networks of which its prior is made.

    Args:
        model: gives the networks (`model.encoder`, `model.z`).
    """

    def __init__(self, model: Any) -> None:
        nn.Module.__init__(self)  # its parts are the model's own, not new ones
        self.encoder, self.z = model.encoder, model.z
