"""The pair, asked for by functions of pairs."""

from typing import Any

from ppl_vae.errors import ArgumentError


def require_pair(vae: Any) -> None:
    """Refuse what is no pair in the place of one.

    Raises:
        ArgumentError: saying what it is, and how a pair is made or got.
    """
    from ppl_vae.core.pair import VAE

    if isinstance(vae, VAE):
        return
    kind = f"the class {vae.__name__}" if isinstance(vae, type) else f"a {type(vae).__name__}"
    hint = " The pair of a run is run.vae." if hasattr(type(vae), "vae") else ""
    raise ArgumentError(f"Got vae={kind}, expected a pair: pv.VAE(model, guide).{hint}")
