"""Gradient estimators, chosen per sample site of a guide.

An estimator says how its site is drawn (`draw`) and which gradient its draws carry; an objective builds its
surrogate from that. None of them renames or replaces a site.
"""

from ppl_vae.doors import doors
from ppl_vae.estimators.base import Baseline, Estimator
from ppl_vae.estimators.baselines import DecayingAverage, LeaveOneOut, Neural, OtherDraws
from ppl_vae.estimators.concrete import Concrete
from ppl_vae.estimators.enumerate import Enumerate
from ppl_vae.estimators.implicit import Implicit
from ppl_vae.estimators.pathwise import DoublyReparameterized, Pathwise, StickingTheLanding
from ppl_vae.estimators.quantize import Quantize
from ppl_vae.estimators.score_function import ScoreFunction

__all__ = [
    "Baseline",
    "Concrete",
    "DecayingAverage",
    "DoublyReparameterized",
    "Enumerate",
    "Estimator",
    "Implicit",
    "LeaveOneOut",
    "Neural",
    "OtherDraws",
    "Pathwise",
    "Quantize",
    "ScoreFunction",
    "StickingTheLanding",
]

doors(__name__)
