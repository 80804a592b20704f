"""Which estimator each site takes when the user names none, and which sites are summed out."""

from typing import TYPE_CHECKING, Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.inspect import get_dependencies

from ppl_vae.core.plates import PlateStructure, run_pair, sample_sites
from ppl_vae.core.prepared import Prepared
from ppl_vae.distributions.unwrap import elements, is_detached
from ppl_vae.errors import CheckError
from ppl_vae.estimators.enumerate import Enumerate
from ppl_vae.estimators.implicit import Implicit, has_implicit
from ppl_vae.estimators.pathwise import Pathwise, Reparameterized
from ppl_vae.estimators.reparameterize import is_finite, support_size
from ppl_vae.estimators.score_function import ScoreFunction

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


MOST_CONFIGURATIONS = 1024
"""Sites are enumerated by default as long as their supports have no more values together."""


def default_estimator(site: dict[str, Any], configurations: int = 1) -> Any:
    """Pathwise where draws can be differentiated, enumeration where the support is small, else the score function.

    Draws of a distribution whose `has_rsample_(False)` was called are not differentiated: that is the user's word.

    Args:
        site: The node of a trace.
        configurations: The values that the sites enumerated before take together.
    """
    q = site["fn"]
    if not is_detached(q) and (getattr(q, "has_rsample", False) or has_implicit(q)):
        return Pathwise()
    in_markov = site["infer"].get("_markov_scope") is not None
    if is_finite(q) and not in_markov and configurations * support_size(q) <= MOST_CONFIGURATIONS:
        return Enumerate()
    return ScoreFunction()


def assign(vae: "VAE", batch: tuple[Any, ...], plates: PlateStructure) -> Prepared:
    """The estimator of every latent site of the guide, and the sites that are summed out."""
    with torch.no_grad(), pyro.validation_enabled(False):
        guide, model = (sample_sites(trace) for trace in run_pair(vae, batch))
    latents = {n: s for n, s in guide.items() if not s["is_observed"]}
    only_model = {n: s for n, s in model.items() if n not in guide and not s["is_observed"]}
    observed = {n for n, s in (*model.items(), *guide.items()) if s["is_observed"]}  # latent in other batches, perhaps
    unknown = set(vae.estimators) - {"*"} - set(latents) - set(only_model) - observed
    if unknown:
        raise CheckError(
            f"estimators names {sorted(unknown)}, which the guide does not sample. "
            f"Its latent sites: {sorted(latents) or 'none'}."
        )
    chosen: dict[str, Any] = {}
    configurations = 1
    for name, site in latents.items():
        detached = is_detached(site["fn"])
        estimator = vae.estimators.get(name, None if detached else vae.estimators.get("*"))
        if detached and isinstance(estimator, (Reparameterized, Implicit)):
            raise CheckError(
                f"{type(estimator).__name__} at site {name!r} differentiates its draws, and has_rsample_(False) of its "
                "distribution forbids that. Leave out one of the two."
            )
        if estimator is None:
            asked = site["infer"].get("enumerate")
            estimator = Enumerate() if asked else default_estimator(site, configurations)
        if estimator.enumerates:
            if not is_finite(site["fn"], limit=10**6):
                raise CheckError(
                    f"Enumerate at site {name!r}: {type(site['fn']).__name__} has no finite support to be listed. "
                    "Use ScoreFunction, or Pathwise for a continuous site."
                )
            configurations *= support_size(site["fn"])
        chosen[name] = estimator
    marginal = {
        n
        for n, s in only_model.items()
        if s["infer"].get("enumerate") or getattr(vae.estimators.get(n), "enumerates", False)
    }
    summed = frozenset(n for n, e in chosen.items() if e.enumerates)
    lonely = {n for n, s in latents.items() if s["infer"].get("is_auxiliary") and n not in model}
    unpaired = frozenset(lonely - _carried(vae, batch, latents)) if lonely else frozenset()
    return Prepared(plates, chosen, marginal=frozenset(marginal), summed=summed, unpaired=unpaired)


def _carried(vae: "VAE", batch: tuple[Any, ...], latents: dict[str, Any]) -> set[str]:
    """The sites of a guide that a Delta depends on, as the latents of an autoguide depend on its auxiliary site.

    Found by following values; where the guide cannot be followed, every site before a Delta counts.
    """
    try:
        known: Any = get_dependencies(vae.run_guide, batch)["prior_dependencies"]
    except Exception:  # any operation may refuse the tensors that carry provenance
        known = {}
    carried: set[str] = set()
    names = list(latents)
    for i, name in enumerate(names):
        if isinstance(elements(latents[name]["fn"]), dist.Delta):
            carried |= set(known.get(name, names[:i]))
    return carried
