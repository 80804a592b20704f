"""The command line: one verb a file, one Hydra config a verb, and nothing here imports torch."""

from ppl_vae.cli.app import main

__all__ = ["main"]
