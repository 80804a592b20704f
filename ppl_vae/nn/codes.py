"""Parts for codes, vectors of a few whole numbers each: priors over them, the way to one and back to numbers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppl_vae.distributions.codes import Codes, Rounded, check_levels
from ppl_vae.nn.features import one_hot
from ppl_vae.nn.flows import MADE, start_at_identity
from ppl_vae.nn.mlp import Decoder, check_sizes


class UniformCodes(nn.Module):
    r"""All codes are as probable, $p(z) = \prod_d 1 / L_d$.

    Args:
        levels: L, the number of values of each element.
    """

    logits: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.levels = check_levels(levels)
        self.register_buffer("logits", torch.zeros(len(self.levels), max(self.levels)), persistent=False)

    def forward(self) -> Any:
        """The distribution over `(dim,)`."""
        return Codes(self.levels, self.logits)


class CategoricalCodes(nn.Module):
    r"""Independent elements, $p(z) = \prod_d \mathrm{Categorical}(z_d; \pi_d)$.

    Args:
        levels: the number of values of each element.
    """

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.levels = check_levels(levels)
        self.logits = nn.Parameter(torch.zeros(len(self.levels), max(self.levels)))

    def forward(self) -> Any:
        """The distribution over `(dim,)`."""
        return Codes(self.levels, self.logits)


class AutoregressiveCodes(nn.Module):
    r"""Each element given those before it, $p(z) = \prod_d p(z_d \mid z_{<d})$, from a masked network.

    Args:
        levels: the number of values of each element.
        hidden: widths of the network's hidden layers.
        ordered: the network sees how large a value is; otherwise which it is, as of the vectors of a codebook.

    References:
        Germain, Gregor, Murray and Larochelle (2015), MADE: Masked Autoencoder for Distribution Estimation,
            https://arxiv.org/abs/1502.03509
    """

    middle: Tensor

    def __init__(self, levels: Sequence[int], hidden: Sequence[int] = (128, 128), ordered: bool = True) -> None:
        super().__init__()
        self.levels, self.values, self.ordered = check_levels(levels), max(levels), ordered
        inputs = 1 if ordered else self.values
        self.net = MADE(len(self.levels), hidden=hidden, outputs=self.values, inputs=inputs)
        start_at_identity(self.net.layers)  # nearly uniform
        self.register_buffer("middle", _middle(self.levels), persistent=False)

    def logits(self, z: Tensor) -> Tensor:
        """Codes `(..., dim)` to the logits of each element's values, `(..., dim, values)`."""
        seen = z / self.middle - 1 if self.ordered else one_hot(z, self.values).to(self.middle.dtype).flatten(-2)
        return self.net(seen).unflatten(-1, (self.values, len(self.levels))).mT

    def forward(self) -> Any:
        """The distribution over `(dim,)`."""
        return Codes(self.levels, self.logits)


class Rounding(nn.Module):
    r"""The code nearest to what is linear in h; see `ppl_vae.distributions.Rounded`.

    Args:
        features: size of h.
        levels: the number of values of each element.
    """

    def __init__(self, features: int, levels: Sequence[int]) -> None:
        super().__init__()
        self.levels = check_levels(levels)
        check_sizes(features=features)
        self.linear = nn.Linear(features, len(self.levels))

    def forward(self, h: Tensor) -> Any:
        """Features `(..., features)` to a distribution over `(dim,)`."""
        return Rounded(self.linear(h), self.levels)


class CodeDecoder(Decoder):
    """A decoder of codes: their values, evenly from −1 to 1, to the likelihood's parameters.

    Args:
        levels: the number of values of each element.
        args: those of `Decoder`.
        options: those of `Decoder`.
    """

    middle: Tensor

    def __init__(self, levels: Sequence[int], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register_buffer("middle", _middle(check_levels(levels)), persistent=False)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Codes `(..., dim)`, and more features, to the likelihood's parameters."""
        return super().forward(inputs[0] / self.middle - 1, *inputs[1:])


def _middle(levels: Sequence[int]) -> Tensor:
    return (torch.tensor(levels, dtype=torch.get_default_dtype()) - 1) / 2
