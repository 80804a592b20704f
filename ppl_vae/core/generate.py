"""New data from the model."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyro
import torch
from torch import Tensor

from ppl_vae.core.batch import batch_length, take
from ppl_vae.core.predict import predict
from ppl_vae.core.simulate import reference_batch
from ppl_vae.core.tiles import as_pair_takes, inference, plan

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


def generate(
    vae: "VAE", n: int = 64, *, like: Any = None, mean: bool = False, seed: int | None = None, memory: int | str = "1GB"
) -> Any:
    r"""Draw new data from the model, z ~ p(z), x ~ p(x | z).

    Args:
        vae: the pair.
        n: how many.
        like: a batch whose shapes the new data take, and whose other inputs (conditions) are used, cycled to n
            data; by default the first batch the pair has seen.
        mean: give E[x | z] in place of x ~ p(x | z), where the likelihood has a mean.
        seed: of the draws; None goes on with the caller's random state, an integer leaves it untouched.
        memory: upper limit of the working memory.

    Returns:
        New x `(n, *shape)`; a dict by site where the model observes several.

    Raises:
        CheckError: if the pair has never seen a batch, has no data plate, or its prior cannot be drawn from.

    >>> import ppl_vae as pv, pyro, pyro.distributions as dist
    >>> def model(x):
    ...     with pyro.plate("data", x.shape[0]):
    ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
    ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
    >>> def guide(x):
    ...     with pyro.plate("data", x.shape[0]):
    ...         pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))
    >>> generate(pv.VAE(model, guide), 5, like=torch.zeros(2), seed=0).shape
    torch.Size([5])
    """
    if n < 1:
        raise ValueError(f"Got n={n}, expected at least 1.")
    batch = as_pair_takes(reference_batch(vae, like), vae)
    # Without a seed, one is drawn from the caller's stream, which so goes on.
    start = int(torch.randint(2**31, ())) if seed is None else seed
    parts: list[dict[str, Tensor]] = []
    with inference(vae, batch):
        pyro.set_rng_seed(start)
        size = plan(vae, batch, n, 1, memory, start).data
        for first in range(0, n, size):
            drawn, _ = predict(vae, _cycled(batch, first, min(size, n - first)), mean=mean)
            parts.append({name: site.value[0] for name, site in drawn.items()})
    result = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    return next(iter(result.values())) if len(result) == 1 else result


def of_data(values: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Of what a model observes, the site that observes x `(data, *shape)`: a label may stand before it.

    Example:
        >>> of_data({"y": torch.zeros(3), "x": torch.zeros(3, 8)}, torch.zeros(5, 8)).shape
        torch.Size([3, 8])
    """
    fitting = [value for value in values.values() if value.shape[1:] == x.shape[1:]]
    return fitting[-1] if fitting else next(iter(values.values()))


def _cycled(batch: tuple[Any, ...], first: int, n: int) -> tuple[Any, ...]:
    return take(batch, torch.arange(first, first + n) % (batch_length(batch) or 1))
