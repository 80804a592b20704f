"""Ready-made generative models, one family per file, each an example to copy."""

from ppl_vae.doors import doors as _doors
from ppl_vae.models.conditional import Conditional as Conditional
from ppl_vae.models.conv_hierarchy import ConvHierarchy as ConvHierarchy
from ppl_vae.models.counts import Counts as Counts
from ppl_vae.models.discrete import Discrete as Discrete
from ppl_vae.models.gmvae import GMVAE as GMVAE
from ppl_vae.models.hierarchical import Hierarchical as Hierarchical
from ppl_vae.models.latent import Latent as Latent
from ppl_vae.models.quantized import Quantized as Quantized
from ppl_vae.models.semi_supervised import SemiSupervised as SemiSupervised
from ppl_vae.models.state_space import StateSpace as StateSpace
from ppl_vae.models.tabular import Tabular as Tabular
from ppl_vae.models.topics import Topics as Topics
from ppl_vae.models.vae import VAE as VAE
from ppl_vae.models.vae import Autoencoder as Autoencoder
from ppl_vae.models.vae import AutoregressiveVAE as AutoregressiveVAE
from ppl_vae.models.vae import ConvVAE as ConvVAE
from ppl_vae.models.vae import GammaVAE as GammaVAE
from ppl_vae.models.vamp import Vamp as Vamp
from ppl_vae.models.vector_quantized import ConvVectorQuantized as ConvVectorQuantized
from ppl_vae.models.vector_quantized import VectorQuantized as VectorQuantized

_doors(__name__)
