"""The common part of objectives that look at the aggregated posterior q(z) = (1/N) Σᵢ q(z | xᵢ).

They are the ELBO plus a term of a whole batch of codes. Particles are drawn one after the other, each with a term of
its own: the codes of one particle are a sample of q(z), and are read alike whatever the programs' plates.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppl_vae.core.run import terms
from ppl_vae.core.site import Site
from ppl_vae.core.terms import Terms
from ppl_vae.distributions.unwrap import family
from ppl_vae.errors import CheckError
from ppl_vae.objectives.base import Bound

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


def averaged(
    of: Callable[[Terms], Bound], vae: "VAE", batch: Any, particles: int, total: float | None, what: str
) -> Bound:
    """The mean of a bound over particles that are drawn one after the other."""
    bounds = []
    for _ in range(particles):
        t = terms(vae, batch, total=total)
        t.require_data_plate(what)
        bounds.append(of(t))
    return Bound(
        torch.stack([b.value for b in bounds]).mean(),
        torch.stack([b.surrogate for b in bounds]).mean(),
        {name: torch.stack([b.metrics[name] for b in bounds]).mean() for name in bounds[0].metrics},
    )


def plus(bound: Bound, term: Tensor, **found: Tensor) -> Bound:
    """A bound and a further term with a gradient."""
    metrics = bound.metrics | {name: value.detach() for name, value in found.items()}
    return Bound(bound.value + term.detach(), bound.surrogate + term, metrics)


def code_site(t: Terms, name: str | None) -> Site:
    """The local latent site whose codes are meant: the only one, or the one named.

    Raises:
        CheckError: There is none of that name, or there are several to choose from.
    """
    local = [n for n, site in t.latents.items() if site.is_local and not site.is_auxiliary]
    if name is None and len(local) == 1:
        name = local[0]
    if name not in local:
        got = "several latent sites to choose from" if name is None and local else f"site={name!r}"
        raise CheckError(f"Got {got}, expected one of the guide's local latent sites: site=… is one of {local}.")
    return t.guide[name]


def by_datum(site: Site, x: Tensor) -> Tensor:
    """A tensor of the shape of a site's draw, as the program sees it, as `(data, latent)`."""
    assert site.data_dim is not None
    axis = site.data_dim - getattr(site.fn, "event_dim", 0)
    x = x.expand(site.raw.shape).movedim(axis, 0)
    return x.reshape(x.shape[0], -1)


def codes(site: Site) -> Tensor:
    """The draws of a site, `(data, latent)`."""
    return by_datum(site, site.raw)


def moments(site: Site) -> tuple[Tensor, Tensor]:
    """Mean and variance of q(z | x) per datum, `(data, latent)` each.

    Raises:
        CheckError: The distribution does not know them.
    """
    try:
        mean, variance = site.fn.mean, site.fn.variance
    except (NotImplementedError, AttributeError):
        raise CheckError(
            f"Site {site.name!r} is drawn from {family(site.fn)}, whose mean and variance are not known. "
            "Use a distribution that has both, such as Normal(…).to_event(1)."
        ) from None
    return by_datum(site, mean), by_datum(site, variance)
