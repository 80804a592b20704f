"""Likelihoods of data of which some values are missing."""

from typing import Any

from torch import Tensor

from ppl_vae.distributions.unwrap import factors
from ppl_vae.errors import DataError


def of_known(px: Any, x: Tensor) -> Any:
    r"""$p(x_o \mid z)$ of the values that are there: missing ones (NaN) are masked, element by element.

    Args:
        px: independent elements.
        x: the data that are observed, `(data, *shape)`.

    Raises:
        DataError: the elements have one density together, of which no part can be masked.

    Example:
        >>> import torch, pyro.distributions as dist
        >>> x = torch.tensor([[0.0, torch.nan]])
        >>> round(of_known(dist.Normal(torch.zeros(1, 2), 1.0).to_event(1), x).log_prob(x.nan_to_num()).item(), 3)
        -0.919
    """
    return masked(px, ~x.isnan())


def masked(px: Any, is_there: Tensor) -> Any:
    """A distribution of independent elements, of which only those that are there have a density.

    Args:
        px: independent elements.
        is_there: booleans that broadcast with `(data, *shape)`.

    Raises:
        DataError: the elements have one density together, of which no part can be masked.
    """
    elements = factors(px)
    if elements.event_dim:
        raise DataError(
            f"Got a likelihood whose elements have one density together ({type(elements).__name__}), of which missing "
            "values cannot be left out; expected independent elements. Fill in the missing values, or take another "
            "likelihood."
        )
    return elements.mask(is_there).to_event(px.event_dim)
