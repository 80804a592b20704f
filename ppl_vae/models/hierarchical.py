"""Several stochastic layers."""

from collections.abc import Sequence
from typing import Any

import pyro
from torch import Tensor, nn

from ppl_vae.errors import PplVaeError
from ppl_vae.likelihoods.known import of_known
from ppl_vae.models.latent import MakesPrior, likelihood_of, prior_of
from ppl_vae.nn.features import DataSpec, arguments_of, has_missing
from ppl_vae.nn.heads import DiagonalNormal
from ppl_vae.nn.mlp import MLP, Activation, Decoder, check_sizes
from ppl_vae.nn.priors import StandardNormal


class Hierarchical(nn.Module):
    r"""$p(x, z_1, …, z_L) = p(z_L) \prod_{l<L} p(z_l \mid z_{l+1})\, p(x \mid z_1)$, all latents normal.

    Args:
        spec: the dataset's spec.
        likelihood: p(x | parameters); None takes the one that fits the data.
        latent_dim: sizes of z1 (next to x), z2, …
        hidden: widths of the networks between x and z1, z1 and z2, …; as many as `latent_dim`.
        depth: number of hidden layers in each of them.
        activation: after each hidden layer.
        prior: p of the last latent, as of `Latent`.

    References:
        Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders, https://arxiv.org/abs/1509.00519
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        latent_dim: Sequence[int] = (16, 8),
        hidden: Sequence[int] = (256, 128),
        depth: int = 1,
        activation: Activation = "relu",
        prior: MakesPrior = StandardNormal,
    ) -> None:
        super().__init__()
        self.data_fields = arguments_of(spec)
        check_lengths(latent_dim, hidden)
        check_sizes(depth=depth)
        self.latent_dim = tuple(latent_dim)
        self.likelihood = likelihood_of(spec, likelihood)
        self.missing = has_missing(spec)
        self.prior = prior_of(prior, latent_dim[-1])
        self.layers = nn.ModuleList(
            nn.Sequential(MLP(above, None, [width] * depth, activation), DiagonalNormal(width, dim))
            for dim, above, width in zip(latent_dim, latent_dim[1:], hidden[1:], strict=False)
        )
        self.decoder = Decoder(spec, self.likelihood, latent_dim[0], [hidden[0]] * depth, activation)

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`, observed at site x; latents `(data, latent_dim[l])` at sites z1, z2 and so on."""
        top = len(self.latent_dim)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample(f"z{top}", self.prior())
            for level in range(top - 1, 0, -1):
                z = pyro.sample(f"z{level}", self.layers[level - 1](z))
            px = self.likelihood(self.decoder(z))
            pyro.sample("x", of_known(px, x) if self.missing else px, obs=x)


def check_lengths(latent_dim: Sequence[int], hidden: Sequence[int]) -> None:
    """One width per latent, and both are lists.

    Raises:
        PplVaeError: otherwise.
    """
    if not isinstance(latent_dim, Sequence):
        raise PplVaeError(
            f"Got latent_dim={latent_dim}, expected a list of sizes, one per stochastic layer: model=hierarchical."
        )
    if len(latent_dim) != len(hidden) or not latent_dim:
        raise PplVaeError(
            f"latent_dim {list(latent_dim)} has {len(latent_dim)} entries, hidden {list(hidden)} has {len(hidden)}: "
            "give one width per stochastic layer, as in latent_dim=[16,8] hidden=[256,128]."
        )
