"""Ready-made variational guides, one family per file, each an example to copy."""

from ppl_vae.guides.amortized import Amortized as Amortized
from ppl_vae.guides.bottom_up import BottomUp as BottomUp
from ppl_vae.guides.conditional import ConditionalAmortized as ConditionalAmortized
from ppl_vae.guides.conv import ConvAmortized as ConvAmortized
from ppl_vae.guides.derived import Derived as Derived
from ppl_vae.guides.deterministic import Deterministic as Deterministic
from ppl_vae.guides.dirichlet import DirichletAmortized as DirichletAmortized
from ppl_vae.guides.discrete import DiscreteAmortized as DiscreteAmortized
from ppl_vae.guides.flow import FlowAmortized as FlowAmortized
from ppl_vae.guides.full_rank import FullRank as FullRank
from ppl_vae.guides.gamma import GammaAmortized as GammaAmortized
from ppl_vae.guides.gmvae import MixtureAmortized as MixtureAmortized
from ppl_vae.guides.semi_supervised import SemiSupervisedAmortized as SemiSupervisedAmortized
from ppl_vae.guides.top_down import TopDown as TopDown
from ppl_vae.guides.vamp import VampPosterior as VampPosterior
