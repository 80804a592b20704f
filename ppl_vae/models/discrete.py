"""Discrete latents: binary or categorical codes."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppl_vae.errors import one_of
from ppl_vae.likelihoods.auto import likelihood_for
from ppl_vae.nn.features import DataSpec
from ppl_vae.nn.mlp import Activation, Decoder

Code = Literal["bernoulli", "onehot"]


class Discrete(nn.Module):
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
        super().__init__()
        one_of("code", code, get_args(Code))
        self.latent_dim, self.code = latent_dim, code
        shape = (latent_dim,) if code == "bernoulli" else (latent_dim, classes)
        self.likelihood = likelihood or likelihood_for(spec)
        self.register_buffer("logits", torch.zeros(shape), persistent=False)
        self.decoder = Decoder(spec, self.likelihood, self.logits.numel(), hidden, activation)

    def code_distribution(self, logits: Tensor) -> Any:
        """Logits `(..., latent_dim)` or `(..., latent_dim, classes)` to a distribution over one datum's code."""
        if self.code == "bernoulli":
            return dist.Bernoulli(logits=logits).to_event(1)
        return dist.OneHotCategorical(logits=logits).to_event(1)

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`, observed at site x; codes `(data, latent_dim[, classes])` at site z."""
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", self.code_distribution(self.logits))
            z = z if self.code == "bernoulli" else z.flatten(-2)
            pyro.sample("x", self.likelihood(self.decoder(z)), obs=x)
