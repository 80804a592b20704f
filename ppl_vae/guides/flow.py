"""Guides whose normal is bent by a normalizing flow."""

from collections.abc import Sequence
from typing import Any, Literal

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from ppl_vae.conditionals.flows import Autoregressive, Coupling
from ppl_vae.conditionals.heads import DiagonalNormal
from ppl_vae.conditionals.mlp import Activation, Encoder
from ppl_vae.conditionals.spec import DataSpec

FlowName = Literal["iaf", "coupling"]


class FlowAmortized(nn.Module):
    r"""$z = f_T \circ \dots \circ f_1(\mu(x) + \sigma(x)\,\epsilon)$ with flows $f_t(\cdot; h(x))$.

    `iaf` draws in one pass; the density at a point that it has not drawn itself takes `latent_dim` passes.
    `coupling` takes one pass for both.

    Args:
        spec: the dataset's spec.
        model: gives the size of z (`model.latent_dim`).
        hidden: widths of the encoder's hidden layers, from x to z.
        activation: after each of them.
        flow: `iaf` (inverse autoregressive) or `coupling` (affine).
        layers: number of flows; neighbours run through z in opposite order.
        flow_hidden: widths of the hidden layers of each flow's network.

    Reference:
        Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow,
        https://arxiv.org/abs/1606.04934
    """

    def __init__(
        self,
        spec: DataSpec,
        model: Any,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        flow: FlowName = "iaf",
        layers: int = 2,
        flow_hidden: Sequence[int] = (64,),
    ) -> None:
        super().__init__()
        self.encoder = Encoder(spec, hidden, activation)
        dim, features = model.latent_dim, self.encoder.out_features
        self.base = DiagonalNormal(features, dim)
        self.flows = nn.ModuleList(
            Autoregressive(dim, features, flow_hidden, reverse=t % 2 == 1)
            if flow == "iaf"
            else Coupling(dim, features, flow_hidden, flip=t % 2 == 1)
            for t in range(layers)
        )

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`; latents `(data, latent_dim)` at site z."""
        h = self.encoder(x)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.TransformedDistribution(self.base(h), [flow(h) for flow in self.flows]))
