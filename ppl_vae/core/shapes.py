"""Shapes that a pair's sites must have: every batch axis is a plate's, and both programs draw events of one shape."""

from typing import Any

from pyro.distributions import Unit
from pyro.poutine import Trace

from ppl_vae.core.plates import sample_sites
from ppl_vae.errors import CheckError


def require_shapes(guide: Trace, model: Trace) -> None:
    """Refuse sites of which log-densities could not be told apart by datum and particle.

    Raises:
        CheckError: A batch axis belongs to no plate or has another size; a latent has other events in the two
            programs; a factor of the guide lacks `has_rsample`.
    """
    for program, trace in (("guide", guide), ("model", model)):
        for name, site in sample_sites(trace).items():
            shape = tuple(getattr(site["fn"], "batch_shape", ()))
            plates = {f.dim: f for f in site["cond_indep_stack"] if f.vectorized}
            for dim in range(-len(shape), 0):
                if dim in plates:
                    size = plates[dim].size
                    if size > 0 and shape[dim] not in (1, size):
                        raise CheckError(
                            f"Site {name!r} of the {program} has batch shape {shape}, and its plate "
                            f"{plates[dim].name!r} at dim {dim} has size {size}. Make that axis {size} long, or move "
                            "the plate (dim=…)."
                        )
                elif shape[dim] > 1 and dim < min(plates, default=0) and not is_enumerated(site, dim):
                    raise CheckError(
                        f"Site {name!r} of the {program} has batch shape {shape}, and no plate declares axis {dim}. "
                        f"Add .to_event({-dim}) if it is a part of one event, or a pyro.plate of size {shape[dim]} if "
                        "its elements are independent."
                    )
    latents = {n: s for n, s in sample_sites(guide).items() if not s["is_observed"]}
    for name, site in sample_sites(model).items():
        if name in latents and not site["is_observed"]:
            here, there = (tuple(getattr(s["fn"], "event_shape", ())) for s in (latents[name], site))
            if here != there:
                raise CheckError(
                    f"Events of site {name!r} have shape {here} in the guide and {there} in the model: log q and log p "
                    "are then densities of different things. Use the same .to_event(…) and sizes in both programs."
                )
    for name, site in sample_sites(guide).items():
        if isinstance(site["fn"], Unit) and "has_rsample" not in vars(site["fn"]):
            raise CheckError(
                f"pyro.factor({name!r}) in the guide needs has_rsample=…, as Pyro asks for: whether all that it "
                "depends on is reparameterized. Here it is a term of log q like any other, whatever it says."
            )


def is_enumerated(site: dict[str, Any], dim: int) -> bool:
    """True if an axis is one of those that a first run with enumeration allocated."""
    return dim in site["infer"].get("_dim_to_id", {})
