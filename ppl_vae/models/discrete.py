"""Discrete latents: binary or categorical codes."""

from collections.abc import Sequence
from math import prod
from typing import Any, Literal, get_args

import pyro.distributions as dist
import torch
from torch import Tensor

from ppl_vae.errors import one_of
from ppl_vae.models.latent import Latent
from ppl_vae.nn.features import DataSpec
from ppl_vae.nn.mlp import Activation, Decoder, start_at_scale

Code = Literal["bernoulli", "onehot"]


class Discrete(Latent):
    r"""$p(z)\, p(x \mid f(z))$ with `latent_dim` independent bits, or one-hot vectors over `classes`, uniform a priori.

    Train it by the score function, or by `estimator=concrete` on one-hot codes.

    Args:
        spec: the dataset's spec.
        likelihood: p(x | parameters); None takes the one that fits the data.
        latent_dim: number of discrete variables.
        code: `bernoulli`: bits, z is `(data, latent_dim)`; `onehot`: z is `(data, latent_dim, classes)`.
        classes: values of each one-hot variable.
        hidden: widths of the decoder's hidden layers, from z to x.
        activation: after each of them.

    References:
        Jang, Gu and Poole (2017), Categorical Reparameterization with Gumbel-Softmax, https://arxiv.org/abs/1611.01144
    """

    logits: Tensor

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        latent_dim: int = 16,
        code: Code = "onehot",
        classes: int = 10,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
    ) -> None:
        one_of("code", code, get_args(Code))
        shape = (latent_dim,) if code == "bernoulli" else (latent_dim, classes)

        def decoder(spec: DataSpec, likelihood: Any, _: int) -> Decoder:
            net = Decoder(spec, likelihood, prod(shape), hidden, activation)
            start_at_scale(net.net[0], mean=0.5 if code == "bernoulli" else 1 / classes)
            return net

        super().__init__(spec, likelihood, latent_dim, lambda _: self.uniform, decoder)
        self.code = code
        self.register_buffer("logits", torch.zeros(shape), persistent=False)

    def uniform(self) -> Any:
        """The prior over one datum's code."""
        return self.code_distribution(self.logits)

    def code_distribution(self, logits: Tensor) -> Any:
        """Logits `(..., latent_dim)` or `(..., latent_dim, classes)` to a distribution over one datum's code."""
        if self.code == "bernoulli":
            return dist.Bernoulli(logits=logits).to_event(1)
        return dist.OneHotCategorical(logits=logits).to_event(1)
