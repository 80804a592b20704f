"""Objectives: each a short function of the terms of a pair, with its formula and its paper."""

from ppl_vae.objectives.base import advance
from ppl_vae.objectives.bound import Bound
from ppl_vae.objectives.elbo import ELBO
from ppl_vae.objectives.iwae import IWAE

__all__ = ["ELBO", "IWAE", "Bound", "advance"]
