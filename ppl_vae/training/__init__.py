"""Training: `fit`, its history, learning-rate schedules, and what is kept on disk."""

from ppl_vae.doors import doors
from ppl_vae.runs.state import load_weights
from ppl_vae.training import callbacks, schedulers
from ppl_vae.training.checkpoint import Store
from ppl_vae.training.fit import fit
from ppl_vae.training.history import History

__all__ = ["History", "Store", "callbacks", "fit", "load_weights", "schedulers"]

doors(__name__)
