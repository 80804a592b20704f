"""Vector quantization: codes of whole numbers, each of which stands for a vector of a learned codebook (VQ-VAE)."""

from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from ppl_vae.likelihoods.auto import likelihood_for
from ppl_vae.likelihoods.known import of_known
from ppl_vae.nn.codebook import Codebook
from ppl_vae.nn.codes import UniformCodes
from ppl_vae.nn.features import DataSpec, has_missing
from ppl_vae.nn.mlp import Activation, Decoder, check_sizes


class VectorQuantized(nn.Module):
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
        super().__init__()
        check_sizes(positions=positions, dim=dim)
        self.positions, self.dim = positions, dim
        self.likelihood = likelihood_for(spec) if likelihood is None else likelihood
        self.missing = has_missing(spec)
        self.codebook = Codebook(codes, dim, decay, restart)
        self.prior = UniformCodes([codes] * positions)
        self.decoder = Decoder(spec, self.likelihood, positions * dim, hidden, activation)

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)` at site x; codes `(data, positions)` at z, their vectors at e, by a last axis."""
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", self.prior())
            e = pyro.sample("e", dist.Delta(self.codebook(z), event_dim=2))
            px = self.likelihood(self.decoder(e.flatten(-2)))
            pyro.sample("x", of_known(px, x) if self.missing else px, obs=x)
