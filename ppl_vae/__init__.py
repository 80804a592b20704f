"""Variational autoencoders as Pyro model/guide pairs.

Names are imported when they are first used, so that the command line answers without loading torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ppl_vae.version import __version__

if TYPE_CHECKING:
    from ppl_vae import conditionals, datasets, diagnostics, estimators, guides, models, objectives, schedules, training
    from ppl_vae.terms import Site, Terms, prepare, terms
    from ppl_vae.training import History, fit
    from ppl_vae.vae import VAE

_HOMES = {
    "History": "ppl_vae.training",
    "fit": "ppl_vae.training",
    "VAE": "ppl_vae.vae",
    "Site": "ppl_vae.sites",
    "Terms": "ppl_vae.terms",
    "prepare": "ppl_vae.terms",
    "terms": "ppl_vae.terms",
}
_ROOMS = frozenset(
    {"conditionals", "datasets", "diagnostics", "estimators", "guides", "models", "objectives", "schedules", "training"}
)

__all__ = [
    "VAE",
    "History",
    "Site",
    "Terms",
    "__version__",
    "conditionals",
    "datasets",
    "diagnostics",
    "estimators",
    "fit",
    "guides",
    "models",
    "objectives",
    "prepare",
    "schedules",
    "terms",
    "training",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        value = importlib.import_module(f"ppl_vae.{name}")
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'ppl_vae' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
