"""Objectives: each a short function of the terms of a pair, with its formula and its paper."""

from ppl_vae.doors import doors
from ppl_vae.objectives.base import Bound, Objective, advance, as_objective
from ppl_vae.objectives.beta_tcvae import BetaTCVAE
from ppl_vae.objectives.dip import DIP
from ppl_vae.objectives.elbo import ELBO
from ppl_vae.objectives.factor_vae import FactorVAE
from ppl_vae.objectives.free_bits import Capacity, FreeBits
from ppl_vae.objectives.info_vae import InfoVAE
from ppl_vae.objectives.iwae import CIWAE, IWAE, MIWAE, PIWAE, Renyi
from ppl_vae.objectives.multisample import Multisample
from ppl_vae.objectives.tail_adaptive import TailAdaptive
from ppl_vae.objectives.wake_sleep import WakeSleep

__all__ = [
    "CIWAE",
    "DIP",
    "ELBO",
    "IWAE",
    "MIWAE",
    "PIWAE",
    "BetaTCVAE",
    "Bound",
    "Capacity",
    "FactorVAE",
    "FreeBits",
    "InfoVAE",
    "Multisample",
    "Objective",
    "Renyi",
    "TailAdaptive",
    "WakeSleep",
    "advance",
    "as_objective",
]

doors(__name__)
