"""Data that the model makes, whose latents are known."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppl_vae.core.batch import batch_length, take
from ppl_vae.core.data import take_batch
from ppl_vae.core.inputs import place_of
from ppl_vae.core.predict import predict
from ppl_vae.core.run import terms
from ppl_vae.errors import CheckError

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE
    from ppl_vae.core.site import Site


def reference_batch(vae: "VAE", like: Any) -> tuple[Any, ...]:
    """Give the batch that simulated data take their shapes and other inputs from.

    Raises:
        CheckError: if none is given and the pair has seen none.
    """
    like = vae.reference_batch if like is None else like
    if like is None:
        raise CheckError("The pair has not seen any data, so the shape of x is unknown. Pass a batch: like=batch.")
    return take_batch(vae, like, look=True, every_datum=True)


def simulate(vae: "VAE", batch: tuple[Any, ...], n: int, start: int = 0) -> tuple[tuple[Any, ...], dict[str, "Site"]]:
    """Draw n data from the model, (z*, x*) ~ p(x | z) p(z).

    Args:
        vae: the pair.
        batch: its shapes and further inputs are taken, cycled to n data.
        n: how many.
        start: where the cycle begins.

    Returns:
        The batch with x* in the place of x, and the latent sites.

    Raises:
        CheckError: if the model observes something else than an input, or cannot be drawn from.
    """
    inputs = take(batch, torch.arange(start, start + n) % (batch_length(batch) or 1))
    drawn, latent = predict(vae, inputs)
    return _replaced(vae, inputs, {name: site.value[0] for name, site in drawn.items()}), latent


def _replaced(vae: "VAE", inputs: tuple[Any, ...], drawn: Mapping[str, Tensor]) -> tuple[Any, ...]:
    observed = {name: site.value[0] for name, site in terms(vae, inputs, mode="draw").observed.items()}
    result = list(inputs)
    for name, value in drawn.items():
        place = place_of(observed[name], inputs)
        if place is None:
            raise CheckError(
                f"The model observes {name!r}, which is none of the inputs of the pair as it stands, so simulated data "
                "cannot be given to the guide. Observe an input unchanged, and transform data beforehand."
            )
        result[place] = value.to(inputs[place])
    return tuple(result)
