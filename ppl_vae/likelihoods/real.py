"""Likelihoods on the real line with a location and a scale: Normal, Laplace, Student-t."""

from collections.abc import Sequence
from typing import Any, Literal, final, get_args

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppl_vae.errors import PplVaeError, one_of
from ppl_vae.likelihoods.base import Likelihood
from ppl_vae.nn.features import DataSpec
from ppl_vae.nn.heads import inverse_softplus, positive

ScaleMode = Literal["network", "element", "shared", "fixed"]


class Scale(nn.Module):
    """A positive scale: predicted per datum by the network, learned per element, shared by all, or fixed.

    Args:
        shape: event shape of x.
        mode: `network`: each datum and element its own, from the decoder; `element`: one learned number
            per element; `shared`: one learned number; `fixed`: `value`, not learned.
        value: the scale, or where learning starts.

    Raises:
        PplVaeError: `value` is not positive.
    """

    raw: Tensor

    def __init__(self, shape: Sequence[int], mode: ScaleMode, value: float) -> None:
        super().__init__()
        if not 0 < value <= torch.finfo(torch.get_default_dtype()).max:
            raise PplVaeError(f"a scale is positive and finite, got value={value}.")
        one_of("scale", mode, get_args(ScaleMode))
        self.mode = mode
        self.start = inverse_softplus(float(value))
        if mode == "fixed":
            self.register_buffer("raw", torch.tensor(float(value)), persistent=False)
        elif mode != "network":
            self.raw = nn.Parameter(torch.full(tuple(shape) if mode == "element" else (), self.start))

    @property
    def num_params(self) -> int:
        """Decoder outputs per element that the scale needs."""
        return int(self.mode == "network")

    def forward(self, *raw: Tensor) -> Tensor:
        """Decoder output `(..., *shape)`, if the network gives the scale, to the scale."""
        if self.mode == "fixed":
            return self.raw
        return positive(raw[0] if raw else self.raw)


class LocationScale(Likelihood):
    """Shared by the location-scale likelihoods: the location is the network's output.

    Discrete data are refused: a density can grow without bound on the points they occupy.
    """

    accepts = ("real", "unit", "positive")

    def __init__(self, spec: DataSpec, scale: ScaleMode = "shared", value: float = 1.0) -> None:
        super().__init__(spec)
        self.scale = Scale(self.shape, scale, value)
        self.num_params = 1 + self.scale.num_params

    def family(self, loc: Tensor, scale: Tensor) -> Any:
        """The distribution of one element."""
        raise NotImplementedError

    def forward(self, params: Tensor) -> Any:
        """Locations, and scales if the network gives them, `(..., num_params, *shape)`, to a distribution."""
        loc, *raw = self.split(params)
        return self.family(loc, self.scale(*raw)).to_event(len(self.shape))

    def inverse_link(self, mean: Tensor) -> Tensor:
        """The mean itself, and the scale's start."""
        return torch.stack([mean, *[torch.full_like(mean, self.scale.start)] * self.scale.num_params])


@final
class Normal(LocationScale):
    r"""Independent normal elements.

    $$\log p(x \mid \mu, \sigma) = -\tfrac12 \sum_d \big((x_d - \mu_d)/\sigma_d\big)^2 + \log 2\pi\sigma_d^2$$

    With `scale=fixed` this is squared error, in nats and with its constant.

    Args:
        spec: the dataset's spec; support `real`, `unit` or `positive`.
        scale: `network` (per datum and element), `element`, `shared` (both learned) or `fixed`.
        value: the scale, or where learning starts.
    """

    def family(self, loc: Tensor, scale: Tensor) -> Any:
        """The distribution of one element."""
        return dist.Normal(loc, scale)


@final
class Laplace(LocationScale):
    r"""Independent Laplace elements: absolute error, $\log p = -|x - \mu|/b - \log 2b$.

    Args:
        spec: the dataset's spec; support `real`, `unit` or `positive`.
        scale: `network` (per datum and element), `element`, `shared` (both learned) or `fixed`.
        value: the scale, or where learning starts.
    """

    def family(self, loc: Tensor, scale: Tensor) -> Any:
        """The distribution of one element."""
        return dist.Laplace(loc, scale)


@final
class StudentT(LocationScale):
    r"""Independent Student-t elements, robust against outliers.

    Args:
        spec: the dataset's spec; support `real`, `unit` or `positive`.
        scale: `network` (per datum and element), `element`, `shared` (both learned) or `fixed`.
        value: the scale, or where learning starts.
        df: degrees of freedom, or where learning starts.
        learn_df: learn one number of degrees of freedom for all elements.

    References:
        Takahashi et al. (2018), Student-t Variational Autoencoder for Robust Density Estimation,
            https://www.ijcai.org/proceedings/2018/374
    """

    df: Tensor

    def __init__(
        self,
        spec: DataSpec,
        scale: ScaleMode = "shared",
        value: float = 1.0,
        df: float = 4.0,
        learn_df: bool = False,
    ) -> None:
        super().__init__(spec, scale, value)
        raw = torch.tensor(inverse_softplus(df))
        if learn_df:
            self.df = nn.Parameter(raw)
        else:
            self.register_buffer("df", raw, persistent=False)

    def family(self, loc: Tensor, scale: Tensor) -> Any:
        """The distribution of one element."""
        return dist.StudentT(positive(self.df), loc, scale)
