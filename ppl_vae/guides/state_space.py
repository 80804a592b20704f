"""The recurrent guide of a deep Markov model."""

from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from ppl_vae.nn.features import DataSpec, Rescale
from ppl_vae.nn.heads import DiagonalNormal
from ppl_vae.nn.sequences import BackwardGRU, steps


class Recurrent(nn.Module):
    r"""$q(z \mid x) = \prod_t q(z_t \mid z_{t-1}, h_t)$ with $h_t$ a GRU's word on $x_t, \dots, x_T$, read backwards.

    It has the form of the posterior, in which z_t depends on the past by z_{t−1} alone.

    Args:
        spec: the dataset's spec; x is a sequence `(time, features)`.
        model: gives the size of z_t (`model.latent_dim`).
        width: size of h_t.

    References:
        Krishnan, Shalit and Sontag (2017), Structured Inference Networks for Nonlinear State Space Models,
            https://arxiv.org/abs/1609.09869
    """

    def __init__(self, spec: DataSpec, model: Any, width: int = 64) -> None:
        super().__init__()
        self.rescale = Rescale(spec)
        self.backward_net = BackwardGRU(spec.shape[-1], width)
        self.first = nn.Parameter(torch.zeros(model.latent_dim))
        self.combine = nn.Linear(model.latent_dim, width)
        self.z = DiagonalNormal(width + model.latent_dim, model.latent_dim)

    def forward(self, x: Tensor, lengths: Tensor, *_: Any) -> None:
        """Data `(data, time, features)` of `lengths` `(data,)`; latents `(data, latent_dim)` at z_0, z_1 and so on."""
        present = steps(lengths, x.shape[1])
        with pyro.plate("data", x.shape[0]):
            z: Tensor = self.first
            for t, h in enumerate(self.backward_net(self.rescale(x), present)):
                with poutine.mask(mask=present[t]):
                    z = pyro.sample(f"z_{t}", self.given(z, h))

    def given(self, z: Tensor, h: Tensor) -> Any:
        """q(z_t | z_{t−1}, h_t): the two are averaged as features, and z_{t−1} is seen as it is, too."""
        features = (self.combine(z).tanh() + h) / 2
        lead = features.shape[:-1]
        return self.z(torch.cat([features, z.expand(*lead, z.shape[-1])], -1))
