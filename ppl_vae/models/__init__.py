"""Ready-made generative models, one family per file, each an example to copy."""

from ppl_vae.models.autoencoder import Autoencoder as Autoencoder
from ppl_vae.models.conv import ConvVAE as ConvVAE
from ppl_vae.models.vae import VAE as VAE
