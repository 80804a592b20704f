"""Sticking the landing: the pathwise gradient without the score of q."""

from dataclasses import dataclass

from ppl_vae.estimators.pathwise import Pathwise


@dataclass(frozen=True)
class StickingTheLanding(Pathwise):
    r"""Pathwise draws, with log q evaluated at constant parameters.

    $$\nabla_\phi \mathbb{E}[\log p(x, z) - \log q_{\bar\phi}(z)],
    \qquad z = g(\epsilon; \phi),\ \bar\phi = \mathrm{stop}(\phi)$$

    The term left out, the score of q, has mean zero and a variance of its own; without it the gradient vanishes draw by
    draw where q is the exact posterior. For the ELBO with sampled KL. The whole guide is replayed on its own draws with
    all its parameters constant: constant parameters at one site only would bias guides whose sites depend on another.

    References:
        Sticking the Landing (Roeder, Wu and Duvenaud, 2017), https://arxiv.org/abs/1703.09194
    """
