"""Ready-made generative models, one family per file, each an example to copy."""

from ppl_vae.models.vae import VAE as VAE
