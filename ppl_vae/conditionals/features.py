"""Data as numbers of order one, for the first layer of an encoder."""

from math import prod

import torch
from torch import Tensor, nn

from ppl_vae.conditionals.spec import DataSpec


class Rescale(nn.Module):
    """Data of any support as floats of order one: x/(levels-1), log(1+x) for counts, else x itself.

    Args:
        spec: the dataset's spec.
    """

    one: Tensor

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.log = spec.support in ("counts", "positive")
        self.top = float(spec.levels - 1) if spec.support == "integers" and spec.levels else 1.0
        self.register_buffer("one", torch.ones(()), persistent=False)  # carries dtype

    def forward(self, x: Tensor) -> Tensor:
        """Data `(..., *shape)` to floats of that shape."""
        x = x.to(self.one.dtype)
        return x.log1p() if self.log else x / self.top


class Features(nn.Module):
    """Rescaled data with its event axes flattened into one.

    Args:
        spec: the dataset's spec.
    """

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.rescale = Rescale(spec)
        self.event_dim = len(spec.shape)
        self.out_features = prod(spec.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Data `(..., *shape)` to `(..., prod(shape))`."""
        x = self.rescale(x)
        return x.flatten(-self.event_dim) if self.event_dim else x.unsqueeze(-1)
