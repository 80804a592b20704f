"""Tail-adaptive f-divergence: weights by rank, so that no particle takes all."""

from typing import TYPE_CHECKING, Any, final

from torch import Tensor

from ppl_vae.errors import ArgumentError, CheckError
from ppl_vae.estimators import Pathwise
from ppl_vae.objectives.base import Bound, Objective, describe, local_only, metrics, require
from ppl_vae.objectives.multisample import latent_surrogate, nested_terms

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


@final
class TailAdaptive(Objective):
    r"""The guide descends an f-divergence that adapts to the tail of its weights; the model gets the ELBO.

    $$\Delta_\phi = \mathbb{E}\Big[\sum_k \gamma_k \frac{\partial}{\partial z_k} \log \frac{p(x, z_k)}{q(z_k \mid x)}
    \frac{\partial z_k}{\partial \phi}\Big], \qquad \gamma_k \propto \Big(\frac1K \sum_j
    \mathbb{1}[w_j \ge w_k]\Big)^\beta$$

    Only the rank of a weight counts: with β = −1 the best particle of K has weight ∝ 1, the next 1/2, down to 1/K,
    however heavy the tail of the weights. So the guide covers modes as with α-divergences, at a variance that stays
    finite.

    Args:
        num_particles: K, draws per datum, at least 2.
        beta: The exponent β ≤ 0; 0 gives all particles the same weight: the ELBO with sticking-the-landing.

    Shapes:
        `objective(vae, batch, total=N)` gives 0-d tensors in nats per datum; the value is the ELBO.

    Raises:
        CheckError: The pair has no data plate, or global latents; a site is not pathwise.

    References:
        Wang, Liu and Liu (2018), Variational Inference with Tail-adaptive f-Divergence,
            https://arxiv.org/abs/1810.11943
    """

    legal = (Pathwise,)
    mean_over_data = True

    def __init__(self, num_particles: int = 5, beta: float = -1.0) -> None:
        super().__init__()
        if num_particles < 2:
            raise CheckError(f"TailAdaptive ranks particles: got num_particles={num_particles}, expected 2 or more.")
        if not beta <= 0:
            raise ArgumentError(f"Got {beta}, expected beta ≤ 0 (heavier weights count more).")
        self.num_particles, self.beta = num_particles, beta

    def forward(self, vae: "VAE", batch: Any, total: float | None = None) -> Bound:
        """The bound on one batch of a data set of `total` data."""
        t = nested_terms(vae, batch, self.num_particles, total, cut=True)
        require(t, self.legal, "TailAdaptive", "its gradient enters each latent and goes on through the draw")
        local_only(t, "TailAdaptive", "ranks the weights of each datum")
        log_p = t.sum(t.model, True, weighted=True)
        log_w = log_p - t.sum(t.leaf_guide, True, weighted=True)  # in the guide, of z alone
        scale = t.data_scale / t.total
        joint = t.sum(t.model, False, weighted=True).mean() / t.total  # observed sites outside of the plate
        value = scale * log_w.mean(0).sum() + joint
        weights = tail_weights(log_w.detach(), self.beta)
        surrogate = scale * log_p.mean(0).sum() + joint + scale * latent_surrogate(t, (weights * log_w).sum())
        return Bound(value.detach(), surrogate, metrics(t))

    def extra_repr(self) -> str:  # noqa: D102
        return describe(num_particles=self.num_particles, beta=self.beta)


def tail_weights(log_w: Tensor, beta: float = -1.0) -> Tensor:
    """γ, which sums to 1 over the particles, from log-weights `(particles, data)`.

    Example:
        >>> import torch
        >>> tail_weights(torch.tensor([[0.0], [100.0]])).squeeze()
        tensor([0.3333, 0.6667])
    """
    at_least = (log_w[:, None] >= log_w[None]).to(log_w.dtype).mean(0)  # (particles, data)
    weights = at_least**beta
    return weights / weights.sum(0)
