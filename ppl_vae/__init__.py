"""Variational autoencoders as Pyro model/guide pairs.

Names are imported when they are first used, so that the command line answers without loading torch.
"""

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

from ppl_vae.version import __version__

if TYPE_CHECKING:
    from ppl_vae import (
        conditionals,
        datasets,
        diagnostics,
        errors,
        estimators,
        guides,
        models,
        objectives,
        reports,
        schedules,
        training,
    )
    from ppl_vae.check import check
    from ppl_vae.citation import citation
    from ppl_vae.diagnostics import Evaluation, evaluate
    from ppl_vae.diagnostics.gradients import GradientReport, gradients
    from ppl_vae.draws import posterior
    from ppl_vae.generate import generate
    from ppl_vae.refinement import refine
    from ppl_vae.runs import Run
    from ppl_vae.sites import Site
    from ppl_vae.terms import Terms, prepare, terms
    from ppl_vae.training import History, fit
    from ppl_vae.vae import VAE

_HOMES = {
    "check": "ppl_vae.check",
    "Evaluation": "ppl_vae.diagnostics",
    "GradientReport": "ppl_vae.diagnostics.gradients",
    "gradients": "ppl_vae.diagnostics.gradients",
    "evaluate": "ppl_vae.diagnostics",
    "generate": "ppl_vae.generate",
    "posterior": "ppl_vae.draws",
    "refine": "ppl_vae.refinement",
    "History": "ppl_vae.training",
    "fit": "ppl_vae.training",
    "VAE": "ppl_vae.vae",
    "Run": "ppl_vae.runs",
    "Site": "ppl_vae.sites",
    "Terms": "ppl_vae.terms",
    "citation": "ppl_vae.citation",
    "prepare": "ppl_vae.terms",
    "terms": "ppl_vae.terms",
}
_ROOMS = frozenset(
    {
        "conditionals",
        "datasets",
        "diagnostics",
        "errors",
        "estimators",
        "guides",
        "models",
        "objectives",
        "reports",
        "schedules",
        "training",
    }
)

__all__ = [
    "VAE",
    "Evaluation",
    "GradientReport",
    "History",
    "Run",
    "Site",
    "Terms",
    "__version__",
    "check",
    "citation",
    "conditionals",
    "datasets",
    "diagnostics",
    "errors",
    "estimators",
    "evaluate",
    "fit",
    "generate",
    "gradients",
    "guides",
    "models",
    "objectives",
    "posterior",
    "prepare",
    "refine",
    "reports",
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


class _Package(types.ModuleType):
    """Keeps `pv.terms` the function when something imports the module `ppl_vae.terms`, and others alike."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
