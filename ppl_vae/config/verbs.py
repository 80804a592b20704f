"""The verbs, each with the dataclass of its keys."""

from ppl_vae.config.keys import (
    FIT,
    Calibrate,
    Check,
    Compare,
    Evaluate,
    Export,
    Generate,
    Gradients,
    New,
    Posterior,
    Prior,
    Report,
    Sweeps,
    Train,
    Trainer,
)
from ppl_vae.config.keys_of_codes import Encode, Explore, Impute, Interpolate, Reconstruct

SCHEMAS: dict[str, type] = {
    verb.__name__.lower(): verb
    for verb in (
        *(Train, Evaluate, Posterior, Generate, Encode, Reconstruct, Impute, Interpolate, Prior, Report, Explore),
        *(Export, Compare, Sweeps, Calibrate, Gradients, Check, New),
    )
}

DOORS: dict[type, str] = {Trainer: FIT}
"""The functions that take the keys of a dataclass by their names, and say what they mean."""
