"""Ready-made variational guides, one family per file, each an example to copy."""

from ppl_vae.guides.amortized import Amortized as Amortized
