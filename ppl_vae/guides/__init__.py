"""Ready-made variational guides, one family per file, each an example to copy."""

from ppl_vae.doors import doors as _doors
from ppl_vae.guides.amortized import Amortized as Amortized
from ppl_vae.guides.amortized import ConditionalAmortized as ConditionalAmortized
from ppl_vae.guides.amortized import ConvAmortized as ConvAmortized
from ppl_vae.guides.amortized import Deterministic as Deterministic
from ppl_vae.guides.amortized import DirichletAmortized as DirichletAmortized
from ppl_vae.guides.amortized import DiscreteAmortized as DiscreteAmortized
from ppl_vae.guides.amortized import FlowAmortized as FlowAmortized
from ppl_vae.guides.amortized import FullRank as FullRank
from ppl_vae.guides.amortized import GammaAmortized as GammaAmortized
from ppl_vae.guides.amortized import QuantizedAmortized as QuantizedAmortized
from ppl_vae.guides.amortized import VampPosterior as VampPosterior
from ppl_vae.guides.conv_ladder import ConvLadder as ConvLadder
from ppl_vae.guides.counts import CountsAmortized as CountsAmortized
from ppl_vae.guides.derived import Derived as Derived
from ppl_vae.guides.gmvae import MixtureAmortized as MixtureAmortized
from ppl_vae.guides.ladder import BottomUp as BottomUp
from ppl_vae.guides.ladder import Ladder as Ladder
from ppl_vae.guides.ladder import TopDown as TopDown
from ppl_vae.guides.semi_supervised import SemiSupervisedAmortized as SemiSupervisedAmortized
from ppl_vae.guides.source import source as source
from ppl_vae.guides.state_space import Recurrent as Recurrent
from ppl_vae.guides.vector_quantized import ConvVectorQuantizedAmortized as ConvVectorQuantizedAmortized
from ppl_vae.guides.vector_quantized import VectorQuantizedAmortized as VectorQuantizedAmortized

_doors(__name__)
