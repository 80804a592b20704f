"""Decoders of tables whose columns differ: a head for each."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ppl_vae.nn.features import DataSpec
from ppl_vae.nn.mlp import MLP, Activation, check_sizes


class ColumnHeads(nn.Module):
    r"""$\gamma_d = W_d\, g_d(z) + b_{d,y}$: of features that a network g gives a column, its head makes parameters.

    The component y acts on the heads alone (Nazabal et al. 2020).

    Args:
        spec: the dataset's spec, of a table.
        likelihood: tells how many parameters there are, which column each belongs to (`columns`), and where they start.
        features: size of z.
        components: how many values y takes.
        hidden: widths of the hidden layers of g.
        activation: after each of them.
        width: features of a column.
    """

    columns: Tensor

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any,
        features: int,
        components: int,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        width: int = 4,
    ) -> None:
        super().__init__()
        check_sizes(components=components, width=width)
        own = getattr(likelihood, "columns", None)  # else each parameter of an element, for all elements
        columns = torch.arange(prod(spec.shape)).repeat(likelihood.num_params) if own is None else own
        self.out_shape = getattr(likelihood, "params_shape", (likelihood.num_params, *spec.shape))
        self.inner = (prod(spec.shape), width)
        self.register_buffer("columns", columns.clone(), persistent=False)
        self.net = MLP(features, prod(self.inner), hidden, activation)
        self.weight = nn.Parameter(torch.randn(len(columns), width) / width**0.5)
        bias = getattr(likelihood, "initial_bias", lambda: None)()
        start = torch.zeros(len(columns)) if bias is None else bias.flatten().to(torch.get_default_dtype())
        self.by_component = nn.Parameter(start.repeat(components, 1))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Latents `(..., features)` and components `(...)` to the likelihood's parameters."""
        own = self.net(z).unflatten(-1, self.inner)[..., self.columns, :]
        params = (own * self.weight).sum(-1) + self.by_component[y]
        return params.unflatten(-1, self.out_shape)
