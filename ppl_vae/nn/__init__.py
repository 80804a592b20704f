"""Networks whose forward returns features or a distribution: encoders, decoders, heads, flows and priors."""

from ppl_vae.doors import doors
from ppl_vae.nn.autoregressive import AutoregressiveDecoder
from ppl_vae.nn.codebook import Codebook
from ppl_vae.nn.codes import AutoregressiveCodes, CategoricalCodes, CodeDecoder, Rounding, UniformCodes
from ppl_vae.nn.conv import ConvDecoder, ConvEncoder, PlacesDecoder, PlacesEncoder
from ppl_vae.nn.dependent_priors import AutoregressivePrior, ConditionalPrior
from ppl_vae.nn.flows import Autoregressive, Coupling
from ppl_vae.nn.heads import Code, DiagonalNormal, Dirichlet, Flow, FullRankNormal, Gamma, Point
from ppl_vae.nn.mlp import MLP, Activation, Decoder, Encoder, join
from ppl_vae.nn.priors import FlowPrior, FullMixturePrior, GammaPrior, MixturePrior, StandardNormal
from ppl_vae.nn.recurrent import RecurrentDecoder, RecurrentEncoder
from ppl_vae.nn.transformer import TransformerDecoder, TransformerEncoder

__all__ = [
    "MLP",
    "Activation",
    "Autoregressive",
    "AutoregressiveCodes",
    "AutoregressiveDecoder",
    "AutoregressivePrior",
    "CategoricalCodes",
    "Code",
    "CodeDecoder",
    "Codebook",
    "ConditionalPrior",
    "ConvDecoder",
    "ConvEncoder",
    "Coupling",
    "Decoder",
    "DiagonalNormal",
    "Dirichlet",
    "Encoder",
    "Flow",
    "FlowPrior",
    "FullMixturePrior",
    "FullRankNormal",
    "Gamma",
    "GammaPrior",
    "MixturePrior",
    "PlacesDecoder",
    "PlacesEncoder",
    "Point",
    "RecurrentDecoder",
    "RecurrentEncoder",
    "Rounding",
    "StandardNormal",
    "TransformerDecoder",
    "TransformerEncoder",
    "UniformCodes",
    "join",
]

doors(__name__)
