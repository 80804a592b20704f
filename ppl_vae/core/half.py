"""Numbers of half precision, which are added up and handed on in float32.

A bfloat16 has eight significant bits: a log-density of −100 nats is known to half a nat, and a sum of a thousand of
them, rounded at each step, stands still. So a log-density is widened as soon as an element has one, before anything
is summed: over the dimensions of a value, plates, sites, particles or data. What is left is the rounding of parameters,
draws and elements, each by a relative 2⁻⁹ (bfloat16) or 2⁻¹² (float16) at most.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Independent
from torch.distributions.utils import _sum_rightmost

HALF = (torch.float16, torch.bfloat16)


def widened(x: Tensor) -> Tensor:
    """A tensor of half precision as float32, any other as it is.

    >>> widened(torch.ones(1, dtype=torch.bfloat16)).dtype, widened(torch.ones(1, dtype=torch.float64)).dtype
    (torch.float32, torch.float64)
    """
    return x.float() if x.dtype in HALF else x


def wide_log_prob(fn: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
    """`fn.log_prob(value)`, of half precision in float32: the elements of an event are widened, then added up.

    >>> import pyro.distributions as dist
    >>> x = torch.full((4096,), 0.1, dtype=torch.bfloat16)
    >>> fn = dist.Normal(torch.zeros_like(x), torch.ones_like(x)).to_event(1)
    >>> wide_log_prob(fn, x).dtype, fn.log_prob(x).dtype
    (torch.float32, torch.bfloat16)
    """
    if isinstance(value, Tensor) and value.dtype in HALF and type(fn).log_prob is Independent.log_prob:
        elements = wide_log_prob(fn.base_dist, value, *args, **kwargs)
        return _sum_rightmost(elements, fn.reinterpreted_batch_ndims)
    found = fn.log_prob(value, *args, **kwargs)
    return widened(found) if isinstance(found, Tensor) else found


def array_of(value: Tensor) -> NDArray[Any]:
    """A tensor as an array. NumPy has no bfloat16, and adds up float16 in float16: both become float32.

    >>> array_of(torch.ones(2, dtype=torch.bfloat16)).dtype, array_of(torch.ones(2, dtype=torch.int64)).dtype
    (dtype('float32'), dtype('int64'))
    """
    return np.asarray(widened(value.detach()).cpu().numpy())
