"""Topic models of word counts, with a Dirichlet latent."""

from typing import Any, Literal, get_args

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppl_vae.distributions.multinomial import Multinomial
from ppl_vae.errors import DataError, one_of
from ppl_vae.nn.features import DataSpec, arguments_of, instead_of_counts, require_whole

Mixing = Literal["product", "mixture"]


class Topics(nn.Module):
    r"""$z \sim \mathrm{Dirichlet}(\alpha)$, $x \sim \mathrm{Multinomial}(n, \mathrm{softmax}(z^\top\beta + b))$.

    `product` mixes topics in the exponent (ProdLDA); `mixture` mixes their probabilities, π = zᵀ softmax(β) (LDA).
    The length n of a document is given, not modelled.

    Args:
        spec: the dataset's spec; x is a vector of counts.
        latent_dim: number of topics.
        alpha: the prior's concentration; below 1 a document has few topics.
        mixing: `product` or `mixture`.

    Raises:
        DataError: x is not a vector of counts.

    References:
        Srivastava and Sutton (2017), Autoencoding Variational Inference for Topic Models,
            https://arxiv.org/abs/1703.01488
    """

    concentration: Tensor

    def __init__(self, spec: DataSpec, latent_dim: int = 20, alpha: float = 0.5, mixing: Mixing = "product") -> None:
        super().__init__()
        self.data_fields = arguments_of(spec)
        one_of("mixing", mixing, get_args(Mixing))
        if spec.support not in ("counts", "integers") or len(spec.shape) != 1:
            raise DataError(
                f"model=topics is for vectors of counts, this dataset's x has support {spec.support!r} and "
                f"shape {spec.shape}. {instead_of_counts(spec)}"
            )
        require_whole(spec, "model=topics, which needs the number of all words")
        self.latent_dim, self.mixing = latent_dim, mixing
        words = spec.shape[0]
        self.register_buffer("concentration", torch.full((latent_dim,), alpha), persistent=False)
        self.beta = nn.Parameter(torch.randn(latent_dim, words))
        start = torch.zeros(words) if spec.mean is None else spec.mean.float().clamp(min=1e-3).log()
        self.bias = nn.Parameter(start)

    def word_logits(self, z: Tensor) -> Tensor:
        """Topic weights `(..., latent_dim)` to logits over words `(..., words)`."""
        if self.mixing == "product":
            return z @ self.beta + self.bias
        return (z @ (self.beta + self.bias).softmax(-1)).log()

    def forward(self, x: Tensor, *_: Any) -> None:
        """Counts `(data, words)`, observed at site x; topic weights `(data, latent_dim)` at site z."""
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Dirichlet(self.concentration))
            pyro.sample("x", Multinomial(self.word_logits(z), x.sum(-1)), obs=x)
