"""The guide of `model=counts`: of counts on a logarithmic scale, and of covariates if they are wanted."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from ppl_vae.guides.amortized import Amortized
from ppl_vae.nn.features import DataSpec
from ppl_vae.nn.heads import positive
from ppl_vae.nn.mlp import Activation, Encoder


class CountsAmortized(Amortized):
    r"""$q(z \mid x, s) = \mathrm{Normal}(z; \mu, \sigma)$ of $\log(1 + x)$, and covariates s if they are wanted.

    Where the model's library size is latent, $q(\log\ell \mid x)$ is a normal of its own network, about the logarithm
    of the sum of the counts.

    Args:
        spec: the dataset's spec.
        model: gives the size of z, covariates and whether ℓ is latent (`model.latent_dim`, `.covariates`, `.library`).
        hidden: widths of the encoder's hidden layers, from x to z.
        activation: after each of them.
        encode_covariates: whether the encoder sees the covariates, too.

    References:
        Lopez et al. (2018), Deep generative modeling for single-cell transcriptomics,
            https://doi.org/10.1038/s41592-018-0229-2
    """

    def __init__(
        self,
        spec: DataSpec,
        model: Any,
        hidden: Sequence[int] = (128,),
        activation: Activation = "relu",
        encode_covariates: bool = False,
    ) -> None:
        covariates = model.covariates if encode_covariates else None
        extra = 0 if covariates is None else covariates.out_features
        super().__init__(spec, model, encoder=partial(Encoder, hidden=hidden, activation=activation, extra=extra))
        self.covariates = covariates
        library = Encoder(spec, hidden, activation) if model.library == "latent" else None
        self.log_library = None if library is None else nn.Sequential(library, nn.Linear(library.out_features, 2))

    def forward(self, x: Tensor, *given: Tensor) -> None:
        """Counts `(data, genes)`, what is given `(data, …)`; latents `(data, latent_dim)` at site z."""
        self.sample(x, *(() if self.covariates is None else (self.covariates(*given),)))

    def sample(self, x: Tensor, *given: Tensor) -> None:
        """The program; the encoder is told what is given, features `(data, features)`, after x."""
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", self.z(self.encoder(x, *given)))
            if self.log_library is not None:
                loc, raw = self.log_library(x).chunk(2, -1)
                total = x.sum(-1, keepdim=True).clamp(min=1).to(loc.dtype).log()
                pyro.sample("log_library", dist.Normal(total + loc, positive(raw)).to_event(1))
