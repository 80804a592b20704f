"""Doubly reparameterized gradients: pathwise draws for importance-weighted bounds whose signal does not die with K."""

from dataclasses import dataclass

from ppl_vae.estimators.pathwise import Pathwise


@dataclass(frozen=True)
class DoublyReparameterized(Pathwise):
    r"""Pathwise draws; the gradient that enters each latent is weighted by the square of its normalized weight.

    $$\nabla_\phi \mathbb{E}\Big[\log \tfrac1K \sum_k w_k\Big] = \mathbb{E}\Big[\sum_k \tilde w_k^2\,
    \frac{\partial \log w_k}{\partial z_k} \frac{\partial z_k}{\partial \phi}\Big],
    \qquad \tilde w_k = w_k / \textstyle\sum_j w_j$$

    The model's own parameters keep the weight w̃. The graph is cut at the latents, so the programs may share parameters.
    For importance-weighted bounds, with this estimator at every latent site.

    References:
        Doubly Reparameterized Gradient Estimators (Tucker et al., 2019), https://arxiv.org/abs/1810.04152
    """
