"""Transformers as encoders and decoders: attention among patches of images, steps of sequences, elements of vectors."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppl_vae.errors import PplVaeError
from ppl_vae.nn.features import DataSpec, Rescale
from ppl_vae.nn.mlp import MLP, check_layers, check_sizes, join
from ppl_vae.nn.recurrent import start_of
from ppl_vae.nn.tokens import Tokens


class Block(nn.Module):
    r"""$h + \mathrm{attention}(\mathrm{norm}(h))$, then $h + \mathrm{MLP}(\mathrm{norm}(h))$, of equal shape.

    Args:
        width: size of a token.
        heads: number of attention heads, which divides it.

    References:
        Vaswani et al. (2017), Attention Is All You Need, https://arxiv.org/abs/1706.03762

    Example:
        >>> Block(8, heads=2)(torch.zeros(5, 3, 8)).shape
        torch.Size([5, 3, 8])
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        check_sizes(width=width, heads=heads)
        if width % heads:
            raise PplVaeError(f"heads: got {heads}, expected a number that divides width={width}")
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_all = nn.Linear(width, 3 * width)
        self.back = nn.Linear(width, width)
        self.net = MLP(width, width, [2 * width], "gelu")

    def forward(self, h: Tensor) -> Tensor:
        """Tokens `(n, tokens, width)`, shape kept."""
        parts = self.to_all(self.first(h)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)  # (n, heads, tokens, width / heads)
        weights = (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1)
        h = h + self.back((weights @ value).transpose(1, 2).flatten(2))
        return h + self.net(self.second(h))


class TransformerEncoder(nn.Module):
    """Data to features: tokens and their places, blocks of attention, and the mean over tokens.

    Args:
        spec: the dataset's spec; x is an image, a sequence (time, features) or a vector.
        width: size of a token inside.
        layers: number of blocks.
        heads: of attention in each, a divisor of `width`.
        patch: height and width of the patches of an image, which divide its own.

    Raises:
        DataError: x has another number of axes.

    References:
        Dosovitskiy et al. (2021), An Image is Worth 16x16 Words, https://arxiv.org/abs/2010.11929

    Example:
        >>> from ppl_vae.datasets.spec import Spec
        >>> TransformerEncoder(Spec((1, 8, 8), "binary"), width=16)(torch.zeros(3, 5, 1, 8, 8)).shape
        torch.Size([3, 5, 16])
    """

    def __init__(
        self, spec: DataSpec, width: int = 64, layers: int = 2, heads: int = 4, patch: Sequence[int] = (4, 4)
    ) -> None:
        super().__init__()
        check_layers(layers)
        self.tokens, self.rescale = Tokens(spec, patch), Rescale(spec)
        self.embed = nn.Linear(self.tokens.width, width)
        self.places = nn.Parameter(0.1 * torch.randn(self.tokens.count, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)), nn.LayerNorm(width))
        self.out_features = width

    def forward(self, x: Tensor) -> Tensor:
        """Data `(..., *shape)` to `(..., out_features)`."""
        lead = x.shape[: x.dim() - len(self.tokens.shape)]
        h = self.blocks(self.embed(self.tokens.cut(self.rescale(x))) + self.places)
        return h.mean(1).reshape(*lead, self.out_features)


class TransformerDecoder(nn.Module):
    """Features to the parameters of a likelihood: a token for each place, linear in h, blocks of attention among them.

    Args:
        spec: the dataset's spec; x is an image, a sequence (time, features) or a vector.
        likelihood: tells how many parameters an element has and where they start.
        features: size of the input's last axis, e.g. the latent dimension.
        width: size of a token inside.
        layers: number of blocks.
        heads: of attention in each, a divisor of `width`.
        patch: height and width of the patches of an image, which divide its own.

    Raises:
        DataError: x has another number of axes.
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any,
        features: int,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        patch: Sequence[int] = (4, 4),
    ) -> None:
        super().__init__()
        check_sizes(features=features, width=width)
        check_layers(layers)
        self.tokens, self.num_params = Tokens(spec, patch), likelihood.num_params
        self.embed = nn.Linear(features, self.tokens.count * width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)), nn.LayerNorm(width))
        self.out = nn.Linear(width, self.num_params * self.tokens.width)
        self.bias = start_of(spec, likelihood)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Inputs `(..., features)`, joined, to `(..., num_params, *shape)`."""
        joined = join(*inputs)
        tokens = self.embed(joined.reshape(-1, joined.shape[-1])).unflatten(-1, (self.tokens.count, -1))
        out = self.out(self.blocks(tokens)).unflatten(-1, (self.num_params, self.tokens.width))
        return self.tokens.join(out.transpose(1, 2)).reshape(*joined.shape[:-1], *self.bias.shape) + self.bias
