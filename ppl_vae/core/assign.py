"""Which estimator each site takes when the user names none."""

from typing import TYPE_CHECKING, Any

import pyro
import torch

from ppl_vae.core.plates import PlateStructure, run_pair, sample_sites
from ppl_vae.errors import CheckError
from ppl_vae.estimators.enumerate import Enumerate
from ppl_vae.estimators.implicit import has_implicit
from ppl_vae.estimators.pathwise import Pathwise
from ppl_vae.estimators.reparameterize import is_finite, support_size
from ppl_vae.estimators.score_function import ScoreFunction

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


MOST_CONFIGURATIONS = 1024
"""Sites are enumerated by default as long as their supports have no more values together."""


def default_estimator(site: dict[str, Any], configurations: int = 1) -> Any:
    """Pathwise where draws can be differentiated, enumeration where the support is small, else the score function.

    Args:
        site: The node of a trace.
        configurations: The values that the sites enumerated before take together.
    """
    q = site["fn"]
    if getattr(q, "has_rsample", False) or has_implicit(q):
        return Pathwise()
    in_markov = site["infer"].get("_markov_scope") is not None
    if is_finite(q) and not in_markov and configurations * support_size(q) <= MOST_CONFIGURATIONS:
        return Enumerate()
    return ScoreFunction()


def assign(vae: "VAE", batch: tuple[Any, ...], layout: PlateStructure) -> tuple[dict[str, Any], bool]:
    """The estimator of every latent site of the guide, and whether any site of either program is enumerated."""
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
        estimator = vae.estimators.get(name, vae.estimators.get("*"))
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
    in_model = any(s["infer"].get("enumerate") or vae.estimators.get(n) is not None for n, s in only_model.items())
    return chosen, in_model or any(e.enumerates for e in chosen.values())
