"""The semi-supervised VAE (M2): some data come with a class, most without."""

from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from ppl_vae.errors import DataError
from ppl_vae.likelihoods.known import of_known
from ppl_vae.models.latent import likelihood_of
from ppl_vae.nn.features import DataSpec, arguments_of, has_missing, one_hot
from ppl_vae.nn.mlp import MLP, Activation, Decoder, Encoder
from ppl_vae.nn.priors import StandardNormal


class SemiSupervised(nn.Module):
    r"""$p(x, y, z) = \mathrm{Uniform}(y)\, \mathrm{Normal}(z; 0, 1)\, p(x \mid f(z, y))$, y observed in some batches.

    A batch is (x,) or (x, y). In training labelled ones also train the classifier q(y | x), by the term α log q(y | x)
    at site `y_aux`, which is no part of the evidence; the classifier belongs to the model and `guide=semi_supervised`
    shares it.

    Args:
        spec: the dataset's spec; `num_classes` is the number of classes.
        likelihood: p(x | parameters); None takes the one that fits the data.
        latent_dim: size of z.
        hidden: widths of the decoder's hidden layers, from z to x; the classifier has them from x to y, reversed.
        activation: after each of them.
        alpha: weight of the classification term, for a labelled datum.

    Raises:
        DataError: the dataset has no classes.

    References:
        Kingma, Rezende, Mohamed and Welling (2014), Semi-Supervised Learning with Deep Generative Models,
            https://arxiv.org/abs/1406.5298
    """

    logits: Tensor

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        latent_dim: int = 8,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        alpha: float = 10.0,
    ) -> None:
        super().__init__()
        self.data_fields = arguments_of(spec)
        if not spec.num_classes:
            raise DataError("model=semi_supervised needs a dataset with classes, this one's spec has no num_classes.")
        self.latent_dim, self.classes, self.alpha = latent_dim, spec.num_classes, alpha
        self.likelihood = likelihood_of(spec, likelihood)
        self.missing = has_missing(spec)
        self.prior = StandardNormal(latent_dim)
        self.register_buffer("logits", torch.zeros(self.classes), persistent=False)
        self.decoder = Decoder(spec, self.likelihood, latent_dim + self.classes, hidden, activation)
        encoder = Encoder(spec, list(hidden)[::-1], activation)
        self.classifier = nn.Sequential(encoder, MLP(encoder.out_features, self.classes, []))

    def forward(self, x: Tensor, y: Tensor | None = None, *_: Any) -> None:
        """Data `(data, *shape)` at site x, codes `(data,)` at site y, latents `(data, latent_dim)` at site z."""
        with pyro.plate("data", x.shape[0]):
            if y is not None and self.training:
                with poutine.scale(scale=self.alpha):
                    pyro.sample("y_aux", dist.Categorical(logits=self.classifier(x)), obs=y)
            y = pyro.sample("y", dist.Categorical(logits=self.logits), obs=y)
            z = pyro.sample("z", self.prior())
            px = self.likelihood(self.decoder(z, one_hot(y, self.classes).to(z.dtype)))
            pyro.sample("x", of_known(px, x) if self.missing else px, obs=x)
