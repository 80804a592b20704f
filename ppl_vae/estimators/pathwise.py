"""Pathwise gradients flow through the draw; also without the score term, and doubly reparameterized."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from ppl_vae.distributions.unwrap import family
from ppl_vae.errors import ArgumentError
from ppl_vae.estimators.base import Estimator
from ppl_vae.estimators.implicit import has_implicit, implicit_draw
from ppl_vae.estimators.reparameterize import explicit

if TYPE_CHECKING:
    from ppl_vae.core.axes import Axes


@dataclass(frozen=True)
class Reparameterized(Estimator):
    """Draws z = g(ε; φ) that carry a gradient; what is below says which part of log q carries one, too.

    Args:
        antithetic: Draw particles in pairs ε, −ε (for noise that is symmetric about its mean). Each draw has the right
            law, and the mean over particles a smaller variance wherever f is close to linear.
        common: Give every datum of the batch the same ε. Each draw has the right law; data differ by data alone.
    """

    antithetic: bool = False
    common: bool = False

    def draw(self, q: Any, axes: "Axes | None" = None) -> Tensor:
        """A draw that carries a gradient."""
        transport = explicit(q)
        if transport is None:
            if self.antithetic or self.common:
                raise ArgumentError(
                    f"Antithetic and common noise need an explicit z = g(ε; φ); {family(q)} has none. "
                    "Use Pathwise() at this site."
                )
            if not q.has_rsample and not has_implicit(q):
                raise ArgumentError(
                    f"{family(q)} has no reparameterized draws. Use ScoreFunction(), or Enumerate() or "
                    "Concrete() for a discrete site."
                )
            return q() if q.has_rsample else implicit_draw(q)  # called: adapters of flows have no rsample of their own
        noise, g = transport
        with torch.no_grad():
            eps = noise.sample()
            if axes is not None and self.antithetic:
                eps = axes.mirror(eps, noise)
            if axes is not None and self.common:
                eps = axes.share(eps, noise.event_dim)
        return g(eps)


@final
@dataclass(frozen=True)
class Pathwise(Reparameterized):
    r"""Draw z = g(ε; φ) with ε free of parameters, and differentiate through g.

    $$\nabla_\phi \mathbb{E}_{q_\phi}[f(z)] = \mathbb{E}_{p(\epsilon)}[\nabla_z f(z)\, \nabla_\phi g(\epsilon; \phi)]$$

    The site keeps its name, its distribution and its log q; ε has no density of its own. Where g is not explicit, the
    draw is differentiated implicitly: by torch (Gamma, Beta, Dirichlet, Student-t), or through the distribution
    function (von Mises, mixtures).

    Args:
        antithetic: Draw particles in pairs ε, −ε (for noise that is symmetric about its mean). Each draw has the right
            law, and the mean over particles a smaller variance wherever f is close to linear.
        common: Give every datum of the batch the same ε. Each draw has the right law; data differ by data alone.

    References:
        Kingma and Welling (2014), Auto-Encoding Variational Bayes, https://arxiv.org/abs/1312.6114
        Figurnov, Mohamed and Mnih (2018), Implicit Reparameterization Gradients, https://arxiv.org/abs/1805.08498
    """


@final
@dataclass(frozen=True)
class StickingTheLanding(Reparameterized):
    r"""Pathwise draws, with log q evaluated at constant parameters.

    $$\nabla_\phi \mathbb{E}[\log p(x, z) - \log q_{\bar\phi}(z)],
    \qquad z = g(\epsilon; \phi),\ \bar\phi = \mathrm{stop}(\phi)$$

    The term left out, the score of q, has mean zero and a variance of its own; without it the gradient vanishes draw by
    draw where q is the exact posterior. For the ELBO with sampled KL. The whole guide is replayed on its own draws with
    all its parameters constant: constant parameters at one site only would bias guides whose sites depend on another.

    References:
        Roeder, Wu and Duvenaud (2017), Sticking the Landing: Simple, Lower-Variance Gradient Estimators for Variational
            Inference, https://arxiv.org/abs/1703.09194
    """


@final
@dataclass(frozen=True)
class DoublyReparameterized(Reparameterized):
    r"""Pathwise draws; the gradient that enters each latent is weighted by the square of its normalized weight.

    $$\nabla_\phi \mathbb{E}\Big[\log \tfrac1K \sum_k w_k\Big] = \mathbb{E}\Big[\sum_k \tilde w_k^2\,
    \frac{\partial \log w_k}{\partial z_k} \frac{\partial z_k}{\partial \phi}\Big],
    \qquad \tilde w_k = w_k / \textstyle\sum_j w_j$$

    The model's own parameters keep the weight w̃. The graph is cut at the latents, so the programs may share parameters.
    For importance-weighted bounds, with this estimator at every latent site.

    References:
        Tucker, Lawson, Gu and Maddison (2019), Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives,
            https://arxiv.org/abs/1810.04152
    """
