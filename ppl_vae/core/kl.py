"""KL(q ‖ p) of single sites: analytic where that is known and legal, else by sampling."""

from typing import TYPE_CHECKING, Any

import pyro.distributions as dist
from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.distributions import kl_divergence

from ppl_vae.core.enumeration import expect_global, expect_local, squeezed

if TYPE_CHECKING:
    from ppl_vae.core.site import Site
    from ppl_vae.core.terms import Terms


def site_kl(t: "Terms") -> dict[str, Tensor]:
    r"""KL(q ‖ p) of each latent site of the guide, in nats.

    $$\mathrm{KL}(q \,\|\, p) = \mathbb{E}_{q(z_s \mid \cdot)}[\log q(z_s \mid \cdot) - \log p(z_s \mid \cdot)]$$

    `(particles, data)` for a local site, `(particles,)` for a global one. Auxiliary sites of the guide, and those that
    they serve, have no KL of their own; the group is given as `"auxiliary"`.
    """
    result: dict[str, Tensor] = {}
    squeeze = {True: lambda kl: squeezed(expect_local(kl, t), 2), False: lambda kl: expect_global(kl, t)}
    auxiliary = any(site.is_auxiliary for site in t.latents.values())
    for name, q in t.latents.items():
        p = t.model.get(name)
        if p is None or (auxiliary and isinstance(q.fn, dist.Delta)):
            key, value = "auxiliary", squeeze[q.is_local](q.term() if p is None else q.term() - p.term())
            known = result.get(key)
            if known is not None and known.dim() != value.dim():
                known, value = _per_batch(known), _per_batch(value)
            result[key] = value if known is None else known + value
        else:
            exact = analytic_kl(t, name)
            result[name] = squeeze[q.is_local](q.term() - p.term() if exact is None else exact)
    return result


def _per_batch(x: Tensor) -> Tensor:
    return x.sum(-1) if x.dim() > 1 else x


def analytic_kl(t: "Terms", name: str) -> Tensor | None:
    """The closed form of a site's KL, or None where there is none or where it may not be used.

    It may be used for a site whose parents in the model are drawn before it in the guide: then they are given when the
    expectation over the site is taken. (If z₂ is a parent of z₁ in the model, and the guide draws z₁ first, then
    log p(z₁ | z₂) depends on z₁ through z₂ too.)
    """
    q, p = t.guide[name], t.model.get(name)
    if p is None or p.is_observed or q.is_auxiliary or isinstance(q.fn, dist.Delta):
        return None  # a Delta's log_density is no part of torch's KL
    if not same(q.mask, p.mask):
        return None  # log p − log q is then no KL
    before = list(t.guide)
    before = before[: before.index(name)]
    if not t.layout.parents.get(name, frozenset()) <= set(before):
        return None
    try:
        value = kl_divergence(q.fn, p.fn)
    except NotImplementedError:
        return None
    value = q.reduce(scale_and_mask(value, 1.0, q.mask))
    return value * q.inner_scale if _scaled(q) else value


def _scaled(site: "Site") -> bool:
    scale: Any = site.inner_scale
    return not (isinstance(scale, (int, float)) and scale == 1)


def same(a: Any, b: Any) -> bool:
    """Whether two masks, or two scales, are equal."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a is b or (a.shape == b.shape and bool((a == b).all()))
    return not isinstance(a, Tensor) and not isinstance(b, Tensor) and a == b
