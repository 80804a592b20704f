"""Distributions that are not Pyro's own, those of torch and of zuko, made into ones that Pyro's programs can use."""

import copy
from typing import Any, Self

import pyro.distributions as dist
import torch
from pyro.contrib.zuko import ZukoToPyro
from pyro.distributions.torch_distribution import TorchDistribution, TorchDistributionMixin
from torch import Tensor
from torch.distributions import Distribution, constraints

from ppl_vae.errors import ArgumentError

_NO_SIZES = torch.Size()


def adapted(fn: Any) -> Any:
    """A distribution as Pyro takes it; what is Pyro's already comes back as it is.

    A distribution of torch becomes Pyro's class of the same name, so that closed forms, enumeration and estimators
    know it. Any other (a flow of zuko, say), with Pyro's wrapper `ZukoToPyro` or without, becomes an `Adapted`; the
    wrapper alone has neither `sample` nor `rsample` nor a support, so that `to_event` and `mask` of it cannot be drawn.

    Example:
        >>> adapted(torch.distributions.Normal(torch.zeros(2), 1.0)).to_event(1)
        Independent(Normal(loc: torch.Size([2]), scale: torch.Size([2])), 1)
    """
    if isinstance(fn, ZukoToPyro):
        return adapted(fn.dist)
    if isinstance(fn, TorchDistributionMixin):
        base = getattr(fn, "base_dist", None)
        # The masked and joined ones of Pyro hold what they were given; a base of torch's own is as good to them.
        inner = adapted(base) if isinstance(base, Distribution) and not _is_plain(base) else base
        return fn if inner is base else _with(fn, base_dist=inner)
    if not isinstance(fn, Distribution):
        return fn
    if _is_joined(fn):
        assert isinstance(fn, torch.distributions.Independent)
        return dist.Independent(adapted(fn.base_dist), fn.reinterpreted_batch_ndims)
    own = _pyro_class(type(fn))
    return Adapted(fn) if own is None else _with(fn, __class__=own)


def _is_plain(fn: Distribution) -> bool:
    return not isinstance(fn, TorchDistributionMixin) and type(fn).__module__.startswith("torch.")


def _is_joined(fn: Distribution) -> bool:
    """True for torch's `Independent`, and for what inherits its density (zuko's `DiagNormal`)."""
    joined = torch.distributions.Independent
    return isinstance(fn, joined) and type(fn).log_prob is joined.log_prob and type(fn).rsample is joined.rsample


def _pyro_class(kind: type) -> type | None:
    own = getattr(dist, kind.__name__, None)
    is_same = isinstance(own, type) and issubclass(own, kind) and kind.__module__.startswith("torch.distributions")
    return own if is_same else None


def _with(fn: Any, **changed: Any) -> Any:
    made = copy.copy(fn)
    for name, value in changed.items():
        setattr(made, name, value)
    return made


class Adapted(TorchDistribution):
    r"""Any object that is a `torch.distributions.Distribution`, with all that Pyro asks of one.

    A normalizing flow that can tell a draw's density as it draws (zuko's `rsample_and_log_prob`) is asked for both at
    once, $$\log q(f(\epsilon)) = \log p(\epsilon) - \log |\det J_f(\epsilon)|$$, and the density of that draw is kept:
    of many flows the way back is several times as long.

    The support of a flow z = f⁻¹(ε) is the domain of f, where its transform tells one; of a mixture it is that of its
    components.

    Args:
        base: the distribution.

    Raises:
        ArgumentError: it is no distribution.

    References:
        Rezende and Mohamed (2015), Variational Inference with Normalizing Flows, https://arxiv.org/abs/1505.05770
    """

    arg_constraints: Any = {}  # noqa: RUF012 - torch's own form

    def __init__(self, base: Any) -> None:
        if not isinstance(base, Distribution):
            raise ArgumentError(f"Got base={base!r:.60}, expected a distribution.")
        self.base = base
        self._drawn: tuple[Tensor, Tensor] | None = None
        if base.has_rsample:
            self.has_rsample = True
        if base.has_enumerate_support:
            self.has_enumerate_support = True
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def __repr__(self) -> str:
        return f"Adapted({type(self.base).__name__}, {tuple(self.batch_shape)}, {tuple(self.event_shape)})"

    @property
    def support(self) -> Any:
        """Where its values may lie.

        Raises:
            NotImplementedError: if that is not known.
        """
        found = _support(self.base)
        if found is None:
            raise NotImplementedError(f"{type(self.base).__name__} does not tell its support.")
        return found

    @property
    def mean(self) -> Tensor:
        """The mean, if the distribution knows it."""
        return self.base.mean

    @property
    def variance(self) -> Tensor:
        """The variance, if the distribution knows it."""
        return self.base.variance

    @property
    def mode(self) -> Tensor:
        """The mode, if the distribution knows it."""
        return self.base.mode

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All its values, if they can be listed."""
        return self.base.enumerate_support(expand=expand)

    def cdf(self, value: Tensor) -> Tensor:
        """The distribution function, if it has one."""
        return self.base.cdf(value)

    def sample(self, sample_shape: Any = _NO_SIZES) -> Tensor:
        """A draw without a gradient."""
        with torch.no_grad():
            return self.base.sample(torch.Size(sample_shape))

    def rsample(self, sample_shape: Any = _NO_SIZES) -> Tensor:
        """A draw with one.

        Raises:
            NotImplementedError: if the distribution has none.
        """
        if not self.base.has_rsample:
            raise NotImplementedError(f"{type(self.base).__name__} has no draws that carry a gradient.")
        together = getattr(self.base, "rsample_and_log_prob", None)
        if together is None or not torch.is_grad_enabled():  # a density without a gradient is none to keep
            return self.base.rsample(torch.Size(sample_shape))
        value, log_prob = together(torch.Size(sample_shape))
        self._drawn = value, log_prob
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        """The log-density."""
        if self._drawn is not None and self._drawn[0] is value:
            return self._drawn[1]
        return self.base.log_prob(value)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same with a larger batch shape."""
        batch_shape = torch.Size(batch_shape)
        return self if batch_shape == self.batch_shape else type(self)(self.base.expand(batch_shape))


def _support(base: Any) -> Any:
    try:
        return base.support
    except (NotImplementedError, AttributeError):
        pass
    domain = getattr(getattr(base, "transform", None), "domain", None)
    if domain is not None:
        missing = len(base.event_shape) - domain.event_dim
        return constraints.independent(domain, missing) if missing > 0 else domain
    inner = getattr(base, "base", None)
    return None if inner is None else _support(inner)
