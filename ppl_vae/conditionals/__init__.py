"""Networks whose forward returns a distribution: likelihoods, encoders, heads, priors and flows."""

from ppl_vae.conditionals.auto import likelihood_for as likelihood_for
from ppl_vae.conditionals.bernoulli import Bernoulli as Bernoulli
from ppl_vae.conditionals.heads import DiagonalNormal as DiagonalNormal
from ppl_vae.conditionals.mlp import MLP as MLP
from ppl_vae.conditionals.mlp import Activation as Activation
from ppl_vae.conditionals.mlp import Decoder as Decoder
from ppl_vae.conditionals.mlp import Encoder as Encoder
from ppl_vae.conditionals.mlp import join as join
