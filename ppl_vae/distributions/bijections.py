"""The way from the real numbers onto the support of a distribution, whatever it was built of."""

from typing import Any

from pyro.distributions.torch_distribution import ExpandedDistribution, MaskedDistribution
from torch.distributions import Independent, TransformedDistribution, biject_to, constraints
from torch.distributions.constraints import MixtureSameFamilyConstraint
from torch.distributions.transforms import ComposeTransform, IndependentTransform

REAL = (constraints.real, constraints.real_vector)


def bijection(fn: Any) -> Any:
    """From the unconstrained space onto the support of a distribution, as it is in the present run.

    torch says of a transformed distribution that its support is the codomain of the last transform. Of
    `TransformedDistribution(Beta(2, 2), [AffineTransform(0, 5)])` that is the real line, in truth it is (0, 5): there
    the way goes over the support of the base.

    Raises:
        NotImplementedError: torch has none, or a transform cannot be undone.

    Example:
        >>> import pyro.distributions as dist, torch
        >>> scaled = dist.TransformedDistribution(dist.Beta(2.0, 2.0), [dist.transforms.AffineTransform(0.0, 5.0)])
        >>> bijection(scaled)(torch.tensor([0.0, 100.0]))
        tensor([2.5000, 5.0000])
    """
    if isinstance(fn, MaskedDistribution | ExpandedDistribution):
        return bijection(fn.base_dist)
    if isinstance(fn, Independent):
        base, n = bijection(fn.base_dist), fn.reinterpreted_batch_ndims
        return IndependentTransform(base, n) if n else base
    if isinstance(fn, TransformedDistribution) and not _codomain_is_support(fn):
        if not all(t.bijective for t in fn.transforms):
            raise NotImplementedError
        return ComposeTransform([bijection(fn.base_dist), *fn.transforms])
    return biject_to(joint_support(fn))


def joint_support(fn: Any) -> Any:
    """The support as torch's bijections know it: that of a mixture is that of its components."""

    def plain(support: Any) -> Any:
        if isinstance(support, constraints.independent):
            return constraints.independent(plain(support.base_constraint), support.reinterpreted_batch_ndims)
        if isinstance(support, MixtureSameFamilyConstraint):
            return plain(support.base_constraint)
        return support

    return plain(fn.support)


def elementary(support: Any) -> Any:
    """The support of one element, of independent ones."""
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def upper_bound(fn: Any) -> Any:
    """The largest value of one element: a number, a tensor of them, or None where there is none.

    Example:
        >>> import pyro.distributions as dist, torch
        >>> upper_bound(dist.Binomial(torch.tensor(4.0), torch.tensor(0.5)))
        tensor(4.)
    """
    return getattr(elementary(joint_support(fn)), "upper_bound", None)


def is_real(fn: Any) -> bool:
    """True if every real number, or vector, is in the support."""
    return stated_support(fn) in REAL


def stated_support(fn: Any) -> Any:
    """The support of one element, as its distribution says; None where that is not the whole truth."""
    return elementary(joint_support(fn)) if _sound(fn) else None


def _sound(fn: Any) -> bool:
    while isinstance(fn, MaskedDistribution | ExpandedDistribution | Independent):
        fn = fn.base_dist
    return not isinstance(fn, TransformedDistribution) or _codomain_is_support(fn)


def _codomain_is_support(fn: Any) -> bool:
    if type(fn).support is not TransformedDistribution.support:
        return True  # the class says it itself
    if not fn.transforms:
        return _sound(fn.base_dist)
    return is_real(fn.base_dist) and all(elementary(t.codomain) in REAL for t in fn.transforms[:-1])
