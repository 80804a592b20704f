"""For any distribution of a latent: a variational family over the same support."""

from collections.abc import Mapping
from math import prod
from typing import Any, Literal, get_args

import torch
from pyro.distributions import Delta
from torch.distributions import constraints

from ppl_vae.distributions.bijections import elementary, joint_support
from ppl_vae.distributions.unwrap import family as family_of
from ppl_vae.distributions.unwrap import innermost
from ppl_vae.errors import PplVaeError, one_of
from ppl_vae.guides.continuous import Circle, Continuous, Flow, FullRank
from ppl_vae.guides.discrete import Binary, Counts, Finite, OneHot, Poisson
from ppl_vae.guides.family import Family, Own

FamilyName = Literal["diagonal", "full_rank", "flow", "poisson"]
"""Those among which there is a choice. `diagonal` stands for whatever has one location and width per element."""

VECTORS: dict[str, type[Family]] = {"full_rank": FullRank, "flow": Flow}


def family_for(name: str, fn: Any, chosen: str | Mapping[str, str] = "diagonal", moving: bool = False) -> Family:
    """The variational family for one latent of a model.

    Args:
        name: of the site.
        fn: its distribution in the model.
        chosen: a name for all sites for which it is one, or names by site.
        moving: whether the largest count is another one in other runs.

    Raises:
        PplVaeError: no family is known for its support, or none of the name that was chosen for this very site.
    """
    by_site = not isinstance(chosen, str)
    choice = chosen if isinstance(chosen, str) else chosen.get(name, "diagonal")
    one_of("family", choice, get_args(FamilyName))
    family = _plain(name, fn, moving)
    if choice in VECTORS and type(family) is Continuous and prod(family.shape) > 1:
        return VECTORS[choice](fn)
    if choice == "poisson" and type(family) is Counts and support_of_element(fn) is constraints.nonnegative_integer:
        return Poisson(fn)
    if by_site and choice != "diagonal":
        what = "a continuous vector" if choice in VECTORS else "a count without an upper bound"
        raise PplVaeError(
            f"Got family {choice!r} for site {name!r}, which is {family.label} of shape {family.event_shape}: "
            f"{choice} is for {what}. Leave the site out of family=…."
        )
    return family


def formerly(fn: Any) -> Family | None:
    """The family that a latent's weights were of when they were saved by a version before this one, if another."""
    return Poisson(fn) if support_of_element(fn) is constraints.nonnegative_integer else None


def support_of_element(fn: Any) -> Any:
    """The support of one element of a latent."""
    return elementary(joint_support(fn))


def _plain(name: str, fn: Any, moving: bool) -> Family:
    base = innermost(fn)
    if isinstance(base, Delta):
        return Own(fn)
    if isinstance(base, torch.distributions.VonMises):
        return Circle(fn)
    if isinstance(base, torch.distributions.Bernoulli):
        return Binary(fn)
    if isinstance(base, torch.distributions.OneHotCategorical):
        return OneHot(fn)
    try:
        support = support_of_element(fn)
    except NotImplementedError:  # a distribution of another library may not tell it
        support = None
    if support is None:
        pass
    elif support.is_discrete:
        if not moving and (n := _finite(base)) is not None:
            return Finite(name, fn, n)
        bounded = isinstance(support, constraints.integer_interval) and bool(
            (torch.as_tensor(support.lower_bound) == 0).all()
        )
        if support is constraints.nonnegative_integer or bounded:
            return Counts(fn)
    else:
        try:
            return Continuous(fn)
        except NotImplementedError:
            pass
    raise PplVaeError(
        f"site {name!r}: no variational family is known for {family_of(fn)} with support "
        f"{type(support).__name__.lstrip('_') if support is not None else 'unknown'}. "
        "Write this site's guide by hand, or leave the site out and have the model sum over it."
    )


def _finite(base: Any) -> int | None:
    """Number of values 0 … n-1 of a distribution, if all its elements have the same ones."""
    if not base.has_enumerate_support or base.event_shape:
        return None
    try:
        values = base.enumerate_support(expand=False).flatten()
    except NotImplementedError:  # of binomials whose numbers of trials differ
        return None
    return len(values) if torch.equal(values.long(), torch.arange(len(values), device=values.device)) else None
