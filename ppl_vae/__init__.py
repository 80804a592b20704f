"""Variational autoencoders as Pyro model/guide pairs.

Names are imported when they are first used, so that the command line answers without loading torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ppl_vae.imports import unsearched
from ppl_vae.version import __version__

if TYPE_CHECKING:
    from ppl_vae import (
        datasets,
        diagnostics,
        distributions,
        errors,
        estimators,
        guides,
        likelihoods,
        models,
        nn,
        objectives,
        plots,
        reports,
        schedules,
        sklearn,
        training,
    )
    from ppl_vae.citations import citation
    from ppl_vae.codes.decode import decode
    from ppl_vae.codes.encode import Code, encode
    from ppl_vae.codes.impute import Imputation, impute
    from ppl_vae.codes.interpolate import interpolate
    from ppl_vae.codes.prior import FittedPrior, fit_prior
    from ppl_vae.codes.reconstruct import reconstruct
    from ppl_vae.core.generate import generate
    from ppl_vae.core.pair import VAE
    from ppl_vae.core.run import prepare, terms
    from ppl_vae.core.site import Site
    from ppl_vae.core.terms import Terms
    from ppl_vae.diagnostics.evaluate import Evaluation, evaluate
    from ppl_vae.diagnostics.gradients import GradientReport, gradients
    from ppl_vae.inference_data.draw import posterior
    from ppl_vae.linter import check
    from ppl_vae.mcmc.refine import refine
    from ppl_vae.runs.run import Run
    from ppl_vae.sweeps.sweep import Sweep
    from ppl_vae.training.fit import fit
    from ppl_vae.training.history import History

_HOMES = {
    "Code": "ppl_vae.codes.encode",
    "FittedPrior": "ppl_vae.codes.prior",
    "Imputation": "ppl_vae.codes.impute",
    "decode": "ppl_vae.codes.decode",
    "encode": "ppl_vae.codes.encode",
    "fit_prior": "ppl_vae.codes.prior",
    "impute": "ppl_vae.codes.impute",
    "interpolate": "ppl_vae.codes.interpolate",
    "reconstruct": "ppl_vae.codes.reconstruct",
    "check": "ppl_vae.linter",
    "Evaluation": "ppl_vae.diagnostics",
    "GradientReport": "ppl_vae.diagnostics.gradients",
    "gradients": "ppl_vae.diagnostics.gradients",
    "evaluate": "ppl_vae.diagnostics",
    "generate": "ppl_vae.core.generate",
    "posterior": "ppl_vae.inference_data.draw",
    "refine": "ppl_vae.mcmc.refine",
    "History": "ppl_vae.training",
    "fit": "ppl_vae.training",
    "VAE": "ppl_vae.core.pair",
    "Run": "ppl_vae.runs.run",
    "Sweep": "ppl_vae.sweeps.sweep",
    "Site": "ppl_vae.core.site",
    "Terms": "ppl_vae.core.terms",
    "citation": "ppl_vae.citations",
    "prepare": "ppl_vae.core.run",
    "terms": "ppl_vae.core.run",
}
_ROOMS = frozenset(
    {
        "datasets",
        "diagnostics",
        "distributions",
        "errors",
        "estimators",
        "guides",
        "likelihoods",
        "models",
        "nn",
        "objectives",
        "plots",
        "reports",
        "schedules",
        "sklearn",
        "training",
    }
)

__all__ = [
    "VAE",
    "Code",
    "Evaluation",
    "FittedPrior",
    "GradientReport",
    "History",
    "Imputation",
    "Run",
    "Site",
    "Sweep",
    "Terms",
    "__version__",
    "check",
    "citation",
    "datasets",
    "decode",
    "diagnostics",
    "distributions",
    "encode",
    "errors",
    "estimators",
    "evaluate",
    "fit",
    "fit_prior",
    "generate",
    "gradients",
    "guides",
    "impute",
    "interpolate",
    "likelihoods",
    "models",
    "nn",
    "objectives",
    "plots",
    "posterior",
    "prepare",
    "reconstruct",
    "refine",
    "reports",
    "schedules",
    "sklearn",
    "terms",
    "training",
]


def __getattr__(name: str) -> Any:
    module = f"ppl_vae.{name}" if name in _ROOMS else _HOMES.get(name)
    if module is None:
        raise AttributeError(f"module 'ppl_vae' has no attribute {name!r}")
    with unsearched():
        found = importlib.import_module(module)
    value = found if name in _ROOMS else getattr(found, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
