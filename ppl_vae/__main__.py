"""`python -m ppl_vae VERB key=value …`, the same as `ppl-vae VERB key=value …`."""

import sys

from ppl_vae.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
