"""Mixed precision: the products of networks in bfloat16, all else in the pair's own float32."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ppl_vae.errors import CheckError

PRECISIONS = ("full", "bf16-mixed")

PRODUCTS: frozenset[Callable[..., Any]] = frozenset(
    {
        F.linear,
        F.bilinear,
        F.conv1d,
        F.conv2d,
        F.conv3d,
        F.conv_transpose1d,
        F.conv_transpose2d,
        F.conv_transpose3d,
        F.scaled_dot_product_attention,
    }
)
"""What is computed in bfloat16: the functions by which torch's layers multiply by their weights."""


class Mixed(TorchFunctionMode):
    """Within, products of networks take float32 tensors, multiply in bfloat16, and give float32.

    `torch.autocast` would leave their results in bfloat16, whose eight bits a log-density does not survive: a sum of
    −100 nats is known to half a nat. So distributions, draws, log-densities, sums and the bound stay as they are.

    Example:
        >>> layer, x = torch.nn.Linear(2, 2), torch.ones(1, 2)
        >>> with Mixed():
        ...     y = layer(x)
        >>> y.dtype, torch.equal(y, layer(x)), torch.allclose(y, layer(x), atol=0.02)
        (torch.float32, False, True)
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function, a product in bfloat16."""
        if func not in PRODUCTS:
            return func(*args, **(kwargs or {}))
        result = func(*map(_coarse, args), **{name: _coarse(value) for name, value in (kwargs or {}).items()})
        return result.to(torch.float32) if result.dtype == torch.bfloat16 else result


def _coarse(value: Any) -> Any:
    is_float = isinstance(value, Tensor) and value.dtype == torch.float32
    return value.to(torch.bfloat16) if is_float else value


def require_float32(vae: nn.Module, precision: str) -> None:
    """Refuse mixed precision for a pair that is not of float32.

    Raises:
        CheckError: naming what it is of.
    """
    others = {str(p.dtype).removeprefix("torch.") for p in vae.parameters() if p.dtype != torch.float32}
    if others:
        raise CheckError(
            f"Got precision={precision!r} and parameters of {', '.join(sorted(others))}, expected float32 ones, which "
            "are rounded for products alone. Make the pair float32 (vae.float()), or take precision='full'."
        )


def computing(precision: str) -> AbstractContextManager[Any]:
    """Within, programs compute in one of `PRECISIONS`."""
    return Mixed() if precision == "bf16-mixed" else contextlib.nullcontext()
