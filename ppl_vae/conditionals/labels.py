"""Labels as numbers that a network can take."""

from math import prod

import torch
from torch import Tensor, nn

from ppl_vae.conditionals.spec import DataSpec
from ppl_vae.errors import DataError


class Labels(nn.Module):
    """The second tensor of a batch as features: class codes one-hot, anything else flattened.

    Args:
        spec: the dataset's spec, with a second field.

    Raises:
        DataError: batches hold x alone.
    """

    one: Tensor

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        if len(spec.fields) < 2:
            raise DataError(
                "this model needs batches (x, y), this dataset's batches hold x alone. "
                "Load it with its labels: dataset.with_labels=true."
            )
        y = spec.fields[1]
        self.classes = 0 if "float" in y.dtype or tuple(y.shape) else int(spec.num_classes or 0)
        self.event_dim = len(y.shape)
        self.out_features = self.classes or prod(y.shape)
        self.register_buffer("one", torch.ones(()), persistent=False)

    def forward(self, y: Tensor) -> Tensor:
        """Labels `(..., *shape)` to features `(..., out_features)`."""
        if self.classes:
            return one_hot(y, self.classes).to(self.one.dtype)
        y = y.to(self.one.dtype)
        return y.flatten(-self.event_dim) if self.event_dim else y.unsqueeze(-1)


def one_hot(y: Tensor, classes: int) -> Tensor:
    """Codes `(...)` to `(..., classes)`, all false where a code is outside 0 … classes-1.

    Example:
        >>> import torch
        >>> one_hot(torch.tensor([2, -1]), 3)
        tensor([[False, False,  True],
                [False, False, False]])
    """
    return y.unsqueeze(-1) == torch.arange(classes, device=y.device)
