"""Networks whose forward returns a distribution: likelihoods, encoders, heads, priors and flows."""

from ppl_vae.conditionals.auto import likelihood_for as likelihood_for
from ppl_vae.conditionals.bernoulli import Bernoulli as Bernoulli
from ppl_vae.conditionals.beta import Beta as Beta
from ppl_vae.conditionals.continuous_bernoulli import ContinuousBernoulli as ContinuousBernoulli
from ppl_vae.conditionals.counts import NegativeBinomial as NegativeBinomial
from ppl_vae.conditionals.counts import Poisson as Poisson
from ppl_vae.conditionals.counts import ZeroInflatedNegativeBinomial as ZeroInflatedNegativeBinomial
from ppl_vae.conditionals.discrete import Binomial as Binomial
from ppl_vae.conditionals.discrete import Categorical as Categorical
from ppl_vae.conditionals.discrete import DiscretizedLogistic as DiscretizedLogistic
from ppl_vae.conditionals.heads import DiagonalNormal as DiagonalNormal
from ppl_vae.conditionals.location_scale import Laplace as Laplace
from ppl_vae.conditionals.location_scale import Normal as Normal
from ppl_vae.conditionals.location_scale import StudentT as StudentT
from ppl_vae.conditionals.mlp import MLP as MLP
from ppl_vae.conditionals.mlp import Activation as Activation
from ppl_vae.conditionals.mlp import Decoder as Decoder
from ppl_vae.conditionals.mlp import Encoder as Encoder
from ppl_vae.conditionals.mlp import join as join
from ppl_vae.conditionals.positive import Gamma as Gamma
from ppl_vae.conditionals.positive import LogNormal as LogNormal
from ppl_vae.conditionals.priors import StandardNormal as StandardNormal
