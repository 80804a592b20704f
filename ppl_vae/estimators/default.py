"""Which estimator each site takes when the user names none."""

from typing import TYPE_CHECKING, Any

import pyro
import torch
from pyro import poutine

from ppl_vae.errors import CheckError
from ppl_vae.estimators.pathwise import Pathwise
from ppl_vae.estimators.score_function import ScoreFunction
from ppl_vae.layout import Layout, sample_sites

if TYPE_CHECKING:
    from ppl_vae.vae import VAE


def default_estimator(q: Any) -> Any:
    """Pathwise where the distribution has `rsample`, else the score function."""
    if getattr(q, "has_rsample", False):
        return Pathwise()
    return ScoreFunction()


def assign(vae: "VAE", batch: tuple[Any, ...], layout: Layout) -> dict[str, Any]:
    """The estimator of every latent site of the guide."""
    with torch.no_grad(), pyro.validation_enabled(False):
        guide = poutine.trace(vae.run_guide).get_trace(*batch)
    latents = {n: s for n, s in sample_sites(guide).items() if not s["is_observed"]}
    unknown = set(vae.estimators) - set(latents) - {"*"}
    if unknown:
        raise CheckError(
            f"estimators names {sorted(unknown)}, which the guide does not sample. "
            f"Its latent sites: {sorted(latents) or 'none'}."
        )
    rest = vae.estimators.get("*")
    return {
        name: vae.estimators.get(name, rest if rest is not None else default_estimator(site["fn"]))
        for name, site in latents.items()
    }
