"""The exponential moving average of the weights: what a run validates with and keeps, where that is asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ppl_vae.errors import RunError


class Average:
    r"""$\bar\theta_t = \sum_{i \le t} d^{t-i} \theta_i / \sum_{i \le t} d^{t-i}$ of the weights after each step.

    By θ̄ ← θ̄ + (1 − d)/(1 − dᵗ) (θ − θ̄), so that the first step's weights take the place of the initial ones, which are
    no part of the average: it is of use in short runs, too. Parameters of the pair alone are averaged, not its buffers
    (running averages of batch norm), which stay as the programs leave them. It is held in float32 at least.

    Args:
        vae: the pair.
        trained: its parameters that are trained, and perhaps others.
        decay: d, of which 1/(1 − d) is the number of steps that count.

    References:
        Polyak and Juditsky (1992), Acceleration of Stochastic Approximation by Averaging,
            https://doi.org/10.1137/0330046
        Kingma and Ba (2015), Adam: A Method for Stochastic Optimization, https://arxiv.org/abs/1412.6980, section 7.2

    Example:
        >>> line = nn.Linear(1, 1, bias=False)
        >>> average = Average(line, list(line.parameters()), decay=0.5)
        >>> for step, value in enumerate([1.0, 4.0], start=1):
        ...     _ = line.weight.data.fill_(value)
        ...     average.update(step)
        >>> average.weights()["weight"].item()  # (0.5 · 1 + 1 · 4) / 1.5
        3.0
    """

    def __init__(self, vae: nn.Module, trained: Collection[Tensor], decay: float) -> None:
        ids = {id(p) for p in trained}
        self.vae, self.decay = vae, decay
        self.parameters: list[Tensor] = [p for p in vae.parameters() if id(p) in ids]
        self.means = [_wide(p.detach()).clone() for p in self.parameters]

    def update(self, step: int) -> None:
        """Take the weights after step number `step`, counted from 1, into the average."""
        weight = (1 - self.decay) / (1 - self.decay**step)
        with torch.no_grad():
            torch._foreach_lerp_(self.means, [_wide(p) for p in self.parameters], weight)

    def take(self) -> dict[str, Tensor]:
        """The averages by the names of `state_dict()`; shared parameters have several."""
        means = dict(zip(map(id, self.parameters), self.means, strict=True))
        held = self.vae.state_dict(keep_vars=True)
        return {name: means[id(tensor)] for name, tensor in held.items() if id(tensor) in means}

    def put(self, taken: Mapping[str, Tensor] | None, source: str) -> None:
        """Go back, or on, to what `take` gave.

        Raises:
            RunError: it is not of this pair.
        """
        own = self.take()
        if taken is None or taken.keys() != own.keys() or any(taken[n].shape != own[n].shape for n in own):
            raise RunError(
                f"Got averaged weights in {source} that are not those of this pair, expected those of its ema."
            )
        for name, mean in own.items():
            mean.copy_(taken[name])

    def weights(self) -> dict[str, Any]:
        """The pair's `state_dict()` with averages in the places of what is averaged."""
        found = self.vae.state_dict()
        for name, mean in self.take().items():
            found[name] = mean.to(found[name].dtype)
        return found

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within, the pair holds the averages, in the same memory; afterwards its own weights, whatever was done."""
        own = [p.detach().clone() for p in self.parameters]
        with torch.no_grad():
            for parameter, mean in zip(self.parameters, self.means, strict=True):
                parameter.copy_(mean)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(self.parameters, own, strict=True):
                    parameter.copy_(value)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
