"""Recurrent encoders and decoders: a gated unit over rows of images, steps of sequences or elements of vectors."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppl_vae.nn.features import DataSpec, Rescale
from ppl_vae.nn.mlp import MLP, Activation, check_sizes, join
from ppl_vae.nn.tokens import Tokens


class RecurrentEncoder(nn.Module):
    r"""Data to features: the last state of a GRU, $h_t = \mathrm{GRU}(x_t, h_{t-1})$.

    Args:
        spec: the dataset's spec; x is an image (a step is a row), a sequence (time, features) or a vector.
        width: size of h.
        hidden: widths of the fully connected layers that follow.
        activation: after each of them.

    Raises:
        DataError: x has another number of axes.

    References:
        Cho et al. (2014), Learning Phrase Representations using RNN Encoder-Decoder, https://arxiv.org/abs/1406.1078

    Example:
        >>> from ppl_vae.datasets.spec import Spec
        >>> RecurrentEncoder(Spec((1, 8, 8), "binary"), width=16)(torch.zeros(3, 5, 1, 8, 8)).shape
        torch.Size([3, 5, 16])
    """

    def __init__(
        self, spec: DataSpec, width: int = 128, hidden: Sequence[int] = (), activation: Activation = "relu"
    ) -> None:
        super().__init__()
        check_sizes(width=width)
        self.tokens, self.rescale = Tokens(spec, _row(spec)), Rescale(spec)
        self.cell = nn.GRUCell(self.tokens.width, width)
        self.net = MLP(width, hidden=hidden, activation=activation)
        self.out_features = self.net.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Data `(..., *shape)` to `(..., out_features)`."""
        lead = x.shape[: x.dim() - len(self.tokens.shape)]
        steps = self.tokens.cut(self.rescale(x))
        h = steps.new_zeros(steps.shape[0], self.cell.hidden_size)
        for t in range(self.tokens.count):
            h = self.cell(steps[:, t], h)
        return self.net(h).reshape(*lead, self.out_features)


class RecurrentDecoder(nn.Module):
    r"""Features to the parameters of a likelihood, step by step: $s_t = \mathrm{GRU}(h, s_{t-1})$, linear in $s_t$.

    The steps are not told what was drawn at those before them: x is independent given z, as with other decoders.

    Args:
        spec: the dataset's spec; x is an image (a step is a row), a sequence (time, features) or a vector.
        likelihood: tells how many parameters an element has and where they start.
        features: size of the input's last axis, e.g. the latent dimension.
        width: size of s.

    Raises:
        DataError: x has another number of axes.
    """

    def __init__(self, spec: DataSpec, likelihood: Any, features: int, width: int = 128) -> None:
        super().__init__()
        check_sizes(features=features, width=width)
        self.tokens, self.num_params = Tokens(spec, _row(spec)), likelihood.num_params
        self.start = nn.Linear(features, width)
        self.cell = nn.GRUCell(features, width)
        self.out = nn.Linear(width, self.num_params * self.tokens.width)
        self.bias = start_of(spec, likelihood)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Inputs `(..., features)`, joined, to `(..., num_params, *shape)`."""
        joined = join(*inputs)
        h = joined.reshape(-1, joined.shape[-1])
        state, states = self.start(h).tanh(), []
        for _ in range(self.tokens.count):
            state = self.cell(h, state)
            states.append(state)
        steps = self.out(torch.stack(states, 1)).unflatten(-1, (self.num_params, self.tokens.width))
        return self.tokens.join(steps.transpose(1, 2)).reshape(*joined.shape[:-1], *self.bias.shape) + self.bias


def start_of(spec: DataSpec, likelihood: Any) -> nn.Parameter:
    """A bias `(num_params, *shape)` of what a decoder gives, at the likelihood's `initial_bias` where it has one."""
    start = getattr(likelihood, "initial_bias", lambda: None)()
    zeros = torch.zeros(likelihood.num_params, *spec.shape)
    return nn.Parameter(zeros if start is None else start.to(zeros.dtype).reshape(zeros.shape))


def _row(spec: DataSpec) -> tuple[int, int]:
    return (1, spec.shape[-1]) if len(spec.shape) else (1, 1)
