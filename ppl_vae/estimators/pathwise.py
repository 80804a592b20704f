"""Pathwise: the gradient flows through the draw."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ppl_vae.estimators.implicit import has_implicit, implicit_draw
from ppl_vae.estimators.noise import explicit
from ppl_vae.estimators.place import Place


@dataclass(frozen=True)
class Pathwise:
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
        Auto-Encoding Variational Bayes (Kingma and Welling, 2014), https://arxiv.org/abs/1312.6114;
        Implicit Reparameterization Gradients (Figurnov et al., 2018), https://arxiv.org/abs/1805.08498
    """

    antithetic: bool = False
    common: bool = False

    score: ClassVar[bool] = False
    enumerates: ClassVar[bool] = False

    def draw(self, q: Any, place: Place | None = None) -> Tensor:
        """A draw that carries a gradient."""
        transport = explicit(q)
        if transport is None:
            if self.antithetic or self.common:
                raise ValueError(
                    f"Antithetic and common noise need an explicit z = g(ε; φ); {type(q).__name__} has none. "
                    "Use Pathwise() at this site."
                )
            if not q.has_rsample and not has_implicit(q):
                raise ValueError(
                    f"{type(q).__name__} has no reparameterized draws. Use ScoreFunction(), or Enumerate() or "
                    "Concrete() for a discrete site."
                )
            return q.rsample() if q.has_rsample else implicit_draw(q)
        noise, g = transport
        with torch.no_grad():
            eps = noise.sample()
            if place is not None and self.antithetic:
                eps = place.mirror(eps, noise)
            if place is not None and self.common:
                eps = place.share(eps, noise.event_dim)
        return g(eps)
