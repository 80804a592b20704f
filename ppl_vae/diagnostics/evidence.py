"""Importance-sampling estimates of the evidence, accumulated over particles in bounded memory."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.diagnostics.pareto import pareto_k_from_tail, tail_length


@dataclass(frozen=True)
class Evidence:
    """Estimates per datum; every tensor is `(data,)`, in nats where it has a unit.

    Attributes:
        elbo: mean of the log-weights.
        elbo_se: its standard error over particles.
        log_evidence: log of the mean weight; biased downward by about `log_evidence_se`² / 2.
        log_evidence_se: its standard error over particles, by the delta method.
        ess: effective number of particles, (Σ w)² / Σ w², between 1 and K.
        pareto_k: tail shape of the weights; above 0.7 neither estimate nor guide should be trusted.
        num_particles: K.
    """

    elbo: Tensor
    elbo_se: Tensor
    log_evidence: Tensor
    log_evidence_se: Tensor
    ess: Tensor
    pareto_k: Tensor
    num_particles: int


class StreamingEvidence:
    r"""Collect log-weights in chunks of particles and estimate log p(x) = log E_q[w], w = p(x, z) / q(z | x).

    With S₁ = Σ w and S₂ = Σ w² over K particles, both kept as logarithms,

        log p̂ = log(S₁ / K),   ESS = S₁² / S₂,   se(log p̂)² = (1/ESS − 1/K) · K/(K − 1),

    the last by the delta method: se(log p̂) = se(p̂) / p̂. How the particles are cut into chunks does not
    matter beyond rounding; of the weights, a few times the M + 1 largest are remembered, for k̂.

    Args:
        num_particles: K, the number of particles to come.

    Reference:
        Burda, Grosse, Salakhutdinov (2016), Importance weighted autoencoders, ICLR.

    >>> stream = StreamingEvidence(num_particles=4)
    >>> stream.update(torch.tensor([[0.0], [1.0]]).log())      # a chunk: (particles, data)
    >>> stream.update(torch.tensor([[2.0], [1.0]]).log())
    >>> round(float(stream.result().log_evidence.exp()), 6)
    1.0
    """

    def __init__(self, num_particles: int) -> None:
        self.num_particles = num_particles
        self._seen = 0
        self._keep = tail_length(num_particles) + 1

    def update(self, log_weights: Tensor) -> None:
        """Take a chunk of log-weights, `(particles, data)`, unweighted and unscaled."""
        lw = log_weights.detach().double()
        chunk, n = lw.shape[0], self._seen
        mean = lw.mean(0)
        square = (lw - mean).square().sum(0)
        if n == 0:
            self._log_sum, self._log_sum_sq = lw.logsumexp(0), (2 * lw).logsumexp(0)
            self._mean, self._square = mean, square
            self._top = lw
        else:
            self._log_sum = torch.logaddexp(self._log_sum, lw.logsumexp(0))
            self._log_sum_sq = torch.logaddexp(self._log_sum_sq, (2 * lw).logsumexp(0))
            delta = mean - self._mean
            self._mean = self._mean + delta * chunk / (n + chunk)
            self._square = self._square + square + delta.square() * n * chunk / (n + chunk)
            self._top = torch.cat([self._top, lw])
        if self._top.shape[0] > 4 * self._keep:  # not at each chunk: sorting costs more than keeping
            self._top = self._top.topk(self._keep, dim=0).values
        self._seen = n + chunk

    def result(self) -> Evidence:
        """Return the estimates from all chunks seen."""
        K = self._seen
        if self.num_particles != K:
            raise ValueError(f"Expected {self.num_particles} particles, got {K}: k̂ needs to know how many.")
        tail = self._top.topk(min(self._keep, self._top.shape[0]), dim=0).values
        log_ess = 2 * self._log_sum - self._log_sum_sq
        nan = torch.full_like(self._mean, torch.nan)
        relative = ((-log_ess).exp() - 1 / K).clamp(min=0) * K / max(K - 1, 1)
        return Evidence(
            elbo=self._mean,
            elbo_se=(self._square / ((K - 1) * K)).sqrt() if K > 1 else nan,
            log_evidence=self._log_sum - math.log(K),
            log_evidence_se=relative.sqrt() if K > 1 else nan,
            ess=log_ess.exp(),
            pareto_k=torch.from_numpy(pareto_k_from_tail(tail.cpu().numpy())),
            num_particles=K,
        )
