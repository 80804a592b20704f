"""Whatever tensors a batch has, as one feature vector per datum."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppl_vae.errors import PplVaeError
from ppl_vae.nn.features import DataSpec, Features, covariate
from ppl_vae.nn.mlp import MLP, Activation


class BatchEncoder(nn.Module):
    """The tensors of a batch that share the data axis, flattened and joined, to features.

    With a spec, x is rescaled by its support and the codes of categories become one-hot. Other arguments are ignored.

    Args:
        batch: an example.
        spec: the dataset's spec, if there is one.
        hidden: widths of the hidden layers.
        activation: after each of them.
    """

    one: Tensor

    def __init__(
        self, batch: tuple[Any, ...], spec: DataSpec | None, hidden: Sequence[int], activation: Activation
    ) -> None:
        super().__init__()
        self.used = tuple(i for i, _ in data_tensors(batch))
        self.x = None if spec is None else Features(spec)
        fields = {} if spec is None else {str(i): covariate(spec, i) for i in self.used if 0 < i < len(spec.fields)}
        self.fields = nn.ModuleDict(fields)
        self.register_buffer("one", torch.ones((), dtype=torch.get_default_dtype()), persistent=False)
        self.net = MLP(self._join(batch).shape[-1], None, hidden, activation)

    def _join(self, batch: tuple[Any, ...]) -> Tensor:
        parts = []
        for i in self.used:
            t = batch[i] if i < len(batch) else None
            if not isinstance(t, Tensor):
                raise PplVaeError(
                    f"the derived guide was built from a batch whose argument {i} is a tensor, "
                    f"now it is {type(t).__name__}. Pass Derived(encoder=…), a module that takes both kinds of batch."
                )
            if i == 0 and self.x is not None:
                parts.append(self.x(t))
            elif str(i) in self.fields:
                parts.append(self.fields[str(i)](t))
            else:
                parts.append(t.to(self.one.dtype).reshape(t.shape[0], -1))
        return torch.cat(parts, -1)

    def forward(self, *batch: Any) -> Tensor:
        """A batch to features `(data, features)`."""
        return self.net(self._join(batch))


class FirstOf(nn.Module):
    """A module of x alone, called with the whole batch.

    Args:
        net: takes x.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        """The net's value at x."""
        return self.net(x)


def data_tensors(batch: tuple[Any, ...]) -> list[tuple[int, Tensor]]:
    """Positions and values of the tensors that have the first one's leading size."""
    tensors = [(i, t) for i, t in enumerate(batch) if isinstance(t, Tensor) and t.ndim > 0]
    return [(i, t) for i, t in tensors if t.shape[0] == tensors[0][1].shape[0]]
