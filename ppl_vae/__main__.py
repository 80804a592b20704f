"""`python -m ppl_vae VERB key=value …`, the same as `ppl-vae VERB key=value …`."""

import os
import sys

if __name__ == "__main__" and sys.path[:1] in ([""], [os.getcwd()]) and not sys.flags.safe_path:  # noqa: PTH109
    del sys.path[0]  # `python -m` looks for modules here before anywhere else: a torch.py of somebody's would be ours

from ppl_vae.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
