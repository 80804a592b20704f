"""Ready-made variational guides, one family per file, each an example to copy."""

from ppl_vae.guides.amortized import Amortized as Amortized
from ppl_vae.guides.conv import ConvAmortized as ConvAmortized
from ppl_vae.guides.derived import Derived as Derived
from ppl_vae.guides.deterministic import Deterministic as Deterministic
