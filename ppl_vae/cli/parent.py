"""`init=DIR`: a run of its own that begins with the weights of another one, which it names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ppl_vae import files
from ppl_vae.errors import RunError
from ppl_vae.runs.recorder import WEIGHTS
from ppl_vae.runs.run import Run

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE
    from ppl_vae.datasets import Dataset


def begin_with(vae: VAE, data: Dataset, init: str) -> dict[str, Any]:
    """Put the best weights of a run into a pair, and give what `run.json` says of it.

    Weights alone are read of it, which are data: no trust is asked for.

    Raises:
        RunError: there are none, or they are not those of this pair.
    """
    from ppl_vae.core.data import as_pair_takes
    from ppl_vae.core.run import prepare
    from ppl_vae.runs.state import load_weights

    parent = Run.load(init)
    path = parent.directory / WEIGHTS
    if not files.is_there(path):
        raise RunError(f"init={init}: {parent} has no weights yet, expected those of a run that was trained")
    prepare(vae, as_pair_takes(data.train[:2].batch(), vae))  # parameters appear that programs make when first run
    try:
        load_weights(path, vae)
    except RunError as error:
        raise RunError(
            f"init={init}: its weights are not those of this pair ({error}); give model and guide as there"
        ) from None
    return parent_of(parent)


def parent_of(run: Run) -> dict[str, Any]:
    """Facts for `run.json` on the run that another one begins with."""
    return {"parent": {"run": str(run.directory.absolute()), "epochs": len(run.metrics)}}
