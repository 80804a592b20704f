"""Distributions that torch and Pyro lack, or that lose digits there; each is exact for every real parameter."""

from ppl_vae.distributions.codes import Codes, Rounded
from ppl_vae.distributions.columns import Columns, Levels
from ppl_vae.distributions.continuous_bernoulli import ContinuousBernoulliLogits
from ppl_vae.distributions.counts import NegativeBinomialLog, PoissonLog, ZeroInflatedNegativeBinomialLog
from ppl_vae.distributions.elementwise import Elementwise
from ppl_vae.distributions.improper import Flat
from ppl_vae.distributions.integers import BinomialLogits, DiscretizedLogisticLevels
from ppl_vae.distributions.multinomial import Multinomial
from ppl_vae.distributions.open_beta import OpenBeta
from ppl_vae.distributions.root_normal import RootNormal
from ppl_vae.distributions.sphere import PowerSpherical, UniformSphere
from ppl_vae.distributions.vector_quantized import Nearest, StraightThrough

__all__ = [
    "BinomialLogits",
    "Codes",
    "Columns",
    "ContinuousBernoulliLogits",
    "DiscretizedLogisticLevels",
    "Elementwise",
    "Flat",
    "Levels",
    "Multinomial",
    "Nearest",
    "NegativeBinomialLog",
    "OpenBeta",
    "PoissonLog",
    "PowerSpherical",
    "RootNormal",
    "Rounded",
    "StraightThrough",
    "UniformSphere",
    "ZeroInflatedNegativeBinomialLog",
]
