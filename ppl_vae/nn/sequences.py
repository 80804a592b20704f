"""Sequences of varying length: which steps there are, a gated transition, a recurrent network that reads backwards."""

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppl_vae.errors import ArgumentError
from ppl_vae.nn.heads import positive
from ppl_vae.nn.mlp import MLP, Activation, check_sizes

_STEPS = "_ppl_vae_steps"


def steps(lengths: Tensor, time: int) -> tuple[Any, ...]:
    """True for the steps that a datum has: `time` tensors of booleans, `(data,)`.

    They are kept on `lengths`: a model and a guide that ask with the same lengths get the same tensors, from which
    alone it can be seen that they mask alike where a step is recorded and values are not known.

    Args:
        lengths: number of steps of each datum, `(data,)`; a datum has none after them.
        time: number of steps.

    Raises:
        ArgumentError: lengths below 0 or above the number of steps, where that can be seen without waiting for a GPU.

    Example:
        >>> torch.stack(steps(torch.tensor([3, 1]), 3), 1)
        tensor([[ True,  True,  True],
                [ True, False, False]])
    """
    version = None if lengths.is_inference() else lengths._version  # values that were changed since count anew
    known: Any = getattr(lengths, _STEPS, None)
    if version is None or known is None or known[:2] != (time, version):
        if type(lengths) is Tensor and lengths.device.type == "cpu" and len(lengths):  # values are known, and at hand
            least, most = int(lengths.min()), int(lengths.max())
            if least < 0 or most > time:
                raise ArgumentError(
                    f"Got lengths from {least} to {most}, expected 0 to {time}, the steps that x has. Longer ones "
                    "take an x with more steps: like=(x, lengths)."
                )
        present = torch.arange(time, device=lengths.device) < lengths.unsqueeze(-1)
        known = (time, version, present.unbind(-1))
        if version is not None:
            setattr(lengths, _STEPS, known)
    found: tuple[Any, ...] = known[2]
    return found


class GatedTransition(nn.Module):
    r"""$p(z_t \mid z_{t-1}) = \mathrm{Normal}((1 - g) \odot (A z_{t-1} + b) + g \odot h, \sigma)$.

    It is linear or not, as the gate says: h and the gate g ∈ (0, 1) are networks of z_{t−1}, σ is one of h.

    Args:
        dim: size of z.
        hidden: widths of the hidden layers of h and of g.
        activation: after each of them.

    References:
        Krishnan, Shalit and Sontag (2017), Structured Inference Networks for Nonlinear State Space Models,
            https://arxiv.org/abs/1609.09869

    Example:
        >>> GatedTransition(3, [16])(torch.zeros(7, 5, 3)).batch_shape
        torch.Size([7, 5])
    """

    def __init__(self, dim: int, hidden: Sequence[int] = (32,), activation: Activation = "relu") -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim)
        with torch.no_grad():  # begins as a random walk
            self.linear.weight.copy_(torch.eye(dim))
            self.linear.bias.zero_()
        self.gate = MLP(dim, dim, hidden, activation)
        self.proposal = MLP(dim, dim, hidden, activation)
        self.scale = nn.Linear(dim, dim)

    def forward(self, z: Tensor) -> Any:
        """Latents `(..., dim)` of one step to the distribution of those of the next, over `(dim,)`."""
        gate, proposal = self.gate(z).sigmoid(), self.proposal(z)
        loc = (1 - gate) * self.linear(z) + gate * proposal
        return dist.Normal(loc, positive(self.scale(proposal.relu()))).to_event(1)


class BackwardGRU(nn.Module):
    """A GRU over each sequence from its end to its beginning: $h_t$ is a function of $x_t, …, x_T$.

    Args:
        features: size of x.
        width: size of h.

    Example:
        >>> h = BackwardGRU(2, 8)(torch.zeros(5, 3, 2), steps(torch.tensor([3, 3, 1, 2, 3]), 3))
        >>> len(h), h[0].shape
        (3, torch.Size([5, 8]))
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        check_sizes(features=features, width=width)
        self.cell = nn.GRUCell(features, width)
        self.last = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, present: Sequence[Any]) -> list[Tensor]:
        """Data `(data, time, features)`, and whether each datum has each step, to h by step, each `(data, width)`.

        A sequence is read from its own end: padding changes nothing.
        """
        h = self.last.expand(x.shape[0], -1)
        found = []
        for t in reversed(range(x.shape[1])):
            is_there = present[t].unsqueeze(-1)
            h = torch.where(is_there, self.cell(torch.where(is_there, x[:, t], 0.0), h), h)
            found.append(h)
        return found[::-1]
