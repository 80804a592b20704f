"""The estimator of each site of a pair, and the sites that are summed out."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import pyro.distributions as dist
from pyro.poutine import Trace

from ppl_vae.core.plates import PlateStructure, follow, sample_sites
from ppl_vae.core.prepared import Prepared
from ppl_vae.distributions.unwrap import elements, innermost, is_detached, support_of
from ppl_vae.errors import CheckError
from ppl_vae.estimators.default import resolve
from ppl_vae.estimators.implicit import Implicit, has_implicit
from ppl_vae.estimators.pathwise import Reparameterized
from ppl_vae.estimators.reparameterize import is_finite, support_size

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


def assign(
    vae: "VAE", batch: tuple[Any, ...], plates: PlateStructure, guide_trace: Trace, model_trace: Trace
) -> Prepared:
    """The estimator of every latent site of the guide, and the sites that are summed out.

    Raises:
        CheckError: An estimator is named for no site, or for one that it does not fit.
    """
    guide, model = sample_sites(guide_trace), sample_sites(model_trace)
    latents = {n: s for n, s in guide.items() if not s["is_observed"]}
    only_model = {n: s for n, s in model.items() if n not in guide and not s["is_observed"]}
    observed = {n for n, s in (*model.items(), *guide.items()) if s["is_observed"]}  # latent in other batches, perhaps
    unknown = set(vae.estimators) - {"*"} - set(latents) - set(only_model) - observed
    if unknown:
        raise CheckError(
            f"estimators names {sorted(unknown)}, which the guide does not sample. "
            f"Its latent sites: {sorted(latents) or 'none'}."
        )
    for name, site in only_model.items():
        if site["infer"].get("enumerate") == "sequential" or site["infer"].get("num_samples"):
            raise CheckError(
                f"Site {name!r}, which only the model has, is summed out exactly, and asks for "
                f"{ {k: site['infer'][k] for k in ('enumerate', 'num_samples') if k in site['infer']} }. Use "
                "infer={'enumerate': 'parallel'}, or draw the site in the guide."
            )
    marginal = {
        n
        for n, s in only_model.items()
        if s["infer"].get("enumerate") or getattr(vae.estimators.get(n), "enumerates", False)
    }
    escaping = {**plates.escaping, **_summed_with(frozenset(marginal), latents.keys(), plates, model)}
    chosen: dict[str, Any] = {}
    configurations = 1
    for name, site in latents.items():
        estimator = resolve(name, site, vae.estimators, configurations, name in escaping)
        if is_detached(site["fn"]) and isinstance(estimator, (Reparameterized, Implicit)):
            raise CheckError(
                f"{type(estimator).__name__} at site {name!r} differentiates its draws, and has_rsample_(False) of its "
                "distribution forbids that. Leave out one of the two."
            )
        if not _can_be_differentiated(site["fn"], estimator):
            raise CheckError(
                f"{type(estimator).__name__} at site {name!r} differentiates its draws, and the distribution "
                f"function of {type(innermost(site['fn'])).__name__} has no derivative in its parameters here. "
                "Use Pathwise where the distribution has rsample, else ScoreFunction."
            )
        if estimator.enumerates:
            if not is_finite(site["fn"], limit=10**6):
                raise CheckError(
                    f"Enumerate at site {name!r}: {type(site['fn']).__name__} has no finite support to be listed. "
                    "Use ScoreFunction, or Pathwise for a continuous site."
                )
            if name in escaping:
                raise CheckError(
                    f"Enumerate at site {name!r}, on which {escaping[name]!r} depends outside of its plate: "
                    f"each of its elements would be summed by itself. Put {escaping[name]!r} into the plate, or "
                    "use ScoreFunction."
                )
            configurations *= support_size(site["fn"])
        chosen[name] = estimator
    summed = frozenset(n for n, e in chosen.items() if e.enumerates)
    lonely = {n for n, s in latents.items() if s["infer"].get("is_auxiliary") and n not in model and not _is_point(s)}
    unpaired = frozenset(lonely - _carried(vae, batch, latents)) if lonely else frozenset()
    return Prepared(
        plates, chosen, dict(vae.estimators), marginal=frozenset(marginal), summed=summed, unpaired=unpaired
    )


def _summed_with(
    marginal: frozenset[str], drawn: Collection[str], plates: PlateStructure, model: dict[str, Any]
) -> dict[str, str]:
    """Latent sites that share a factor with a site which is summed out of the model outside one of their plates.

    The sum is over a product of all their elements, so that these cannot be enumerated one by one.
    """
    found: dict[str, str] = {}
    if not marginal:
        return found
    around = {n: {f.name for f in s["cond_indep_stack"] if f.vectorized} for n, s in model.items()}
    common = set.intersection(*(around[name] for name in marginal))
    for name in model:
        parents = plates.parents.get(name, frozenset())
        if parents & marginal or name in marginal:
            for latent in {name, *parents} & set(drawn) & around.keys():
                if around[latent] - common:
                    found[latent] = min(marginal)
    return found


def _can_be_differentiated(fn: Any, estimator: Any) -> bool:
    """True unless draws of a continuous distribution are to be differentiated through what has no derivative."""
    explicit = isinstance(estimator, Reparameterized) and getattr(fn, "has_rsample", False)
    if explicit or not isinstance(estimator, (Reparameterized, Implicit)):
        return True
    return getattr(support_of(fn), "is_discrete", False) or has_implicit(fn)


def _is_point(site: dict[str, Any]) -> bool:
    """A Delta without a density of its own takes nothing from a bound, and needs no reverse."""
    fn = elements(site["fn"])
    return isinstance(fn, dist.Delta) and not bool(fn.log_density.any())


def _carried(vae: "VAE", batch: tuple[Any, ...], latents: dict[str, Any]) -> set[str]:
    """The sites of a guide that a Delta depends on, as the latents of an autoguide depend on its auxiliary site.

    Found by following values; where the guide cannot be followed, every site before a Delta counts.
    """
    try:
        known = follow(vae.run_guide, batch)
    except Exception:  # any operation may refuse the tensors that carry provenance
        known = {}
    carried: set[str] = set()
    names = list(latents)
    for i, name in enumerate(names):
        if isinstance(elements(latents[name]["fn"]), dist.Delta):
            carried |= set(known.get(name, names[:i]))
    return carried
