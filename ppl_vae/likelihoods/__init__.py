"""Likelihoods: modules that turn a decoder's output into a distribution over the data, one kind of data per file."""

from ppl_vae.doors import doors
from ppl_vae.likelihoods.auto import likelihood_for
from ppl_vae.likelihoods.binary import Bernoulli
from ppl_vae.likelihoods.counts import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from ppl_vae.likelihoods.integers import Binomial, Categorical, DiscretizedLogistic
from ppl_vae.likelihoods.mixed import Mixed
from ppl_vae.likelihoods.positive import Gamma, LogNormal
from ppl_vae.likelihoods.real import Laplace, Normal, StudentT
from ppl_vae.likelihoods.unit import Beta, ContinuousBernoulli

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "Gamma",
    "Laplace",
    "LogNormal",
    "Mixed",
    "NegativeBinomial",
    "Normal",
    "Poisson",
    "StudentT",
    "ZeroInflatedNegativeBinomial",
    "likelihood_for",
]

doors(__name__)
