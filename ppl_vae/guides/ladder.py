"""Guides of a hierarchical model: from x upwards, in the model's own order, or merged with the model itself."""

from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppl_vae.distributions.unwrap import family, innermost
from ppl_vae.errors import PplVaeError
from ppl_vae.models.hierarchical import check_lengths
from ppl_vae.nn.features import DataSpec, Features
from ppl_vae.nn.heads import DiagonalNormal, positive
from ppl_vae.nn.mlp import MLP, Activation, join


class BottomUp(nn.Module):
    r"""$q(z_1, …, z_L \mid x) = q(z_1 \mid x) \prod_{l>1} q(z_l \mid z_{l-1})$, all normal.

    Args:
        spec: the dataset's spec.
        model: gives the sizes of z1, z2, … (`model.latent_dim`).
        hidden: widths of the networks between x and z1, z1 and z2, …
        depth: number of hidden layers in each of them.
        activation: after each hidden layer.

    References:
        Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders, https://arxiv.org/abs/1509.00519
    """

    def __init__(
        self,
        spec: DataSpec,
        model: Any,
        hidden: Sequence[int] = (256, 128),
        depth: int = 1,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.x = Features(spec)
        below = [self.x.out_features, *model.latent_dim]
        self.layers = nn.ModuleList(
            nn.Sequential(MLP(features, None, [width] * depth, activation), DiagonalNormal(width, dim))
            for features, width, dim in zip(below, hidden, model.latent_dim, strict=False)
        )

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`; latents `(data, latent_dim[l])` at sites z1, z2 and so on."""
        h = self.x(x)
        with pyro.plate("data", x.shape[0]):
            for level, layer in enumerate(self.layers, start=1):
                h = pyro.sample(f"z{level}", layer(h))


class TopDown(nn.Module):
    r"""$q(z_1, …, z_L \mid x) = q(z_L \mid d_L) \prod_{l<L} q(z_l \mid d_l, z_{l+1})$, all normal.

    First a deterministic pass upwards gives $d_1(x), d_2(d_1), …$; then latents are drawn in the model's order, as
    in a ladder VAE, so that each knows its parents in the model: the KL of each layer is analytic. Nothing is shared
    with the model, as it is in `Ladder`.

    Args:
        spec: the dataset's spec.
        model: gives the sizes of z1, z2, … (`model.latent_dim`).
        hidden: sizes of d1, d2, …, and widths of the networks that give them.
        depth: number of hidden layers in each of them.
        activation: after each hidden layer.

    References:
        Sønderby et al. (2016), Ladder Variational Autoencoders, https://arxiv.org/abs/1602.02282
    """

    def __init__(
        self,
        spec: DataSpec,
        model: Any,
        hidden: Sequence[int] = (256, 128),
        depth: int = 1,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.x = Features(spec)
        self.up = nn.ModuleList(
            MLP(features, None, [width] * depth, activation)
            for features, width in zip([self.x.out_features, *hidden], hidden, strict=False)
        )
        above = [*model.latent_dim[1:], 0]
        self.down = nn.ModuleList(
            nn.Sequential(MLP(width + parent, None, [width], activation), DiagonalNormal(width, dim))
            for width, parent, dim in zip(hidden, above, model.latent_dim, strict=True)
        )

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`; latents `(data, latent_dim[l])` at sites z1, z2 and so on, top first."""
        d = [self.x(x)]
        for net in self.up:
            d.append(net(d[-1]))
        with pyro.plate("data", x.shape[0]):
            parents: list[Tensor] = []
            for level in range(len(self.down), 0, -1):
                parents = [pyro.sample(f"z{level}", self.down[level - 1](join(d[level], *parents)))]


class Ladder(nn.Module):
    r"""$q(z_l \mid z_{l+1}, x) \propto p(z_l \mid z_{l+1})\, \exp(\eta_l(x) z_l - \tfrac12 \lambda_l(x) z_l^2)$.

    A deterministic pass upwards gives $d_1(x), d_2(d_1), …$, and each of them what x says of its latent, a normal
    factor. Downwards it is merged with the model's own conditional $\mathrm{Normal}(\mu_p, \sigma_p)$, whose networks
    the guide shares; precisions add up:

    $$\sigma_l^{-2} = \lambda_l + \sigma_p^{-2}, \qquad \mu_l = \sigma_l^2 (\eta_l + \sigma_p^{-2} \mu_p).$$

    The top is merged with its prior in the same way. A posterior whose likelihood is normal has this form. The factor
    is given as η and λ, not as the mean η/λ and the deviation λ^(−1/2) of the paper: there a latent that is little
    used, of which λ is small, stops hearing of x, and training is slow to take it up again.

    Args:
        spec: the dataset's spec.
        model: gives the sizes of z1, z2, … (`model.latent_dim`) and their conditionals (`model.layers`, `model.prior`).
        hidden: sizes of d1, d2, …, and widths of the networks that give them.
        depth: number of hidden layers in each of them.
        activation: after each hidden layer.

    Raises:
        PplVaeError: `hidden` has not one width per latent, or the model's prior is no normal.

    References:
        Sønderby et al. (2016), Ladder Variational Autoencoders, https://arxiv.org/abs/1602.02282
    """

    def __init__(
        self,
        spec: DataSpec,
        model: Any,
        hidden: Sequence[int] = (256, 128),
        depth: int = 1,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        check_lengths(model.latent_dim, hidden)
        if not isinstance(innermost(model.prior()), torch.distributions.Normal):
            raise PplVaeError(
                f"Got a model whose last latent has the prior {family(model.prior())}, expected independent normals, "
                "with which what x says is merged: prior=standard; or take guide=top_down, which goes with any prior."
            )
        self.x = Features(spec)
        self.prior, self.down = model.prior, model.layers  # the model's own
        self.up = nn.ModuleList()
        features = self.x.out_features
        for width in hidden:
            self.up.append(MLP(features, None, [width] * depth, activation))
            features = width if depth else features
        widths = hidden if depth else [features] * len(hidden)
        self.factor = nn.ModuleList(
            nn.Linear(width, 2 * dim) for width, dim in zip(widths, model.latent_dim, strict=True)
        )

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`; latents `(data, latent_dim[l])` at sites z1, z2 and so on, top first."""
        d = [self.x(x)]
        for net in self.up:
            d.append(net(d[-1]))
        p = self.prior()
        with pyro.plate("data", x.shape[0]):
            for level in range(len(self.up), 0, -1):
                eta, raw = self.factor[level - 1](d[level]).chunk(2, -1)
                z = pyro.sample(f"z{level}", merged(p, eta, positive(raw)))
                p = self.down[level - 2](z) if level > 1 else p


def merged(p: Any, eta: Tensor, precision: Tensor) -> Any:
    r"""The normal that is proportional to $p(z) \exp(\eta z - \lambda z^2 / 2)$.

    Args:
        p: independent normals over `(dim,)`.
        eta: η, `(..., dim)`; of a normal factor it is its mean times its precision.
        precision: λ, positive, `(..., dim)`.

    Example:
        >>> import torch
        >>> q = merged(dist.Normal(torch.zeros(1), 1.0).to_event(1), torch.tensor([2.0]), torch.ones(1))
        >>> round(q.mean.item(), 4), round(q.variance.item(), 4)
        (1.0, 0.5)
    """
    own = p.base_dist.scale**-2
    total = own + precision
    return dist.Normal((own * p.base_dist.loc + eta) / total, total**-0.5).to_event(1)
