"""New data from the model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyro
import torch
from torch import Tensor

from ppl_vae.core.batch import batch_length, take
from ppl_vae.core.call import require_pair
from ppl_vae.core.data import as_pair_takes
from ppl_vae.core.fields import given_values_of
from ppl_vae.core.inputs import arguments, inputs_of, is_per_datum, observed_inputs, refuse_no_class
from ppl_vae.core.predict import predict
from ppl_vae.core.run import prepare
from ppl_vae.core.simulate import reference_batch
from ppl_vae.core.tiles import inference, plan
from ppl_vae.doors import checked
from ppl_vae.errors import ArgumentError

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE
    from ppl_vae.core.site import Site


@checked
def generate(
    vae: Any,
    n: int = 64,
    *,
    like: Any = None,
    given: Mapping[str, Any] | None = None,
    mean: bool = False,
    seed: int | None = None,
    memory: int | str = "1GB",
) -> Any:
    r"""Draw new data from the model, z ~ p(z), x ~ p(x | z), or x ~ p(x | z, y) for a y that is given.

    A model of x alone needs nothing else. One that takes more, such as a label, a library size or lengths of
    sequences, is told what they are: by name (`given`), or by a batch of data that have them (`like`).

    Args:
        vae: the pair.
        n: how many.
        like: a batch whose shapes the new data take, and whose other inputs are used, cycled to n data; by default
            shapes are those of the first data that the pair has seen.
        given: a value, or n of them, by the name of an argument of the model, `{"y": 3}`: what it takes beside the
            data, or data that it observes and that depend on no latent. A class is its code, or its name as text.
        mean: give E[x | z] in place of x ~ p(x | z), where the likelihood has a mean.
        seed: of the draws; None goes on with the caller's random state, an integer leaves it untouched.
        memory: upper limit of the working memory.

    Returns:
        New x `(n, *shape)`; a dict by site where the model observes several, those given among them.

    Raises:
        ArgumentError: if n or `given` cannot be meant, a class that is none among it, or the model takes what neither
            `given` nor `like` says.
        CheckError: if the pair has never seen a batch, has no data plate, or its prior cannot be drawn from.

    >>> import ppl_vae as pv, pyro, pyro.distributions as dist
    >>> def model(x, dose):
    ...     with pyro.plate("data", x.shape[0]):
    ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
    ...         pyro.sample("x", dist.Normal(z + dose, 1.0), obs=x)
    >>> def guide(x, dose):
    ...     with pyro.plate("data", x.shape[0]):
    ...         pyro.sample("z", dist.Normal((x - dose) / 2, 0.5**0.5))
    >>> vae = pv.VAE(model, guide)
    >>> batch = torch.zeros(2), torch.ones(2)
    >>> generate(vae, 5, given={"dose": 100.0}, like=batch, mean=True).round(decimals=-2)
    tensor([100., 100., 100., 100., 100.])
    """
    require_pair(vae)
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ArgumentError(f"Got n={n!r}, expected a whole number of at least 1.")
    batch = as_pair_takes(reference_batch(vae, like), vae)
    made = drawn(vae, n, batch, given or {}, unsaid=like is None, mean=mean, seed=seed, memory=memory)
    return only(made)


Latents = Callable[[tuple[Any, ...]], "Held"]
"""Of the first data of a batch, the latents to hold."""


@dataclass(frozen=True)
class Held:
    """Latents that are given.

    Attributes:
        part: values (`Site.raw`) of some of n data: the first, how many.
        check: looks at the sites of these data as they were run: the first, the sites by name.
    """

    part: Callable[[int, int], dict[str, Tensor]]
    check: Callable[[int, Mapping[str, "Site"]], None]


def drawn(
    vae: "VAE",
    n: int,
    batch: tuple[Any, ...],
    given: Mapping[str, Any],
    *,
    unsaid: bool,
    mean: bool,
    seed: int | None,
    memory: int | str,
    latents: Latents | None = None,
) -> dict[str, Tensor]:
    """Draw n data, by site; see `generate`.

    Args:
        vae: the pair.
        n: how many.
        batch: as the pair takes it: shapes, and what is not given, cycled to n data.
        given: values by the names of the model's arguments.
        unsaid: whether the other inputs of `batch` were chosen by nobody.
        mean: see `generate`.
        seed: see `generate`.
        memory: see `generate`.
        latents: values to hold; without them they are drawn from the prior.
    """
    values = given_values_of(vae, batch, given, n)
    if values:
        with inference(vae, batch):
            refuse_no_class(vae, batch, values)
    defaults = list(arguments(vae.model, len(batch)).values())
    batch = (*batch, *defaults[len(batch) : max(values, default=-1) + 1])

    def part(first: int, size: int) -> tuple[Any, ...]:
        cycled = take(batch, torch.arange(first, first + size) % (batch_length(batch) or 1))
        own = {k: v[first : first + size] if is_per_datum(v, n) else v for k, v in values.items()}
        return tuple(own.get(place, value) for place, value in enumerate(cycled))

    # Without a seed, one is drawn from the caller's stream, which so goes on.
    start = int(torch.randint(2**31, ())) if seed is None else seed
    parts: list[dict[str, Tensor]] = []
    few = part(0, min(n, 2)) if values else batch  # some programs take no other number of data
    with inference(vae, few):
        held = _held(vae, few, values, unsaid)
        coded = None if latents is None else latents(few)
        pyro.set_rng_seed(start)
        size = plan(vae, few, n, 1, memory, start).data
        for first in range(0, n, size):
            inputs = part(first, min(size, n - first))
            own = {site: inputs[place] for site, place in held.items()}
            codes = {} if coded is None else coded.part(first, min(size, n - first))
            made, latent = predict(vae, inputs, values={**codes, **own}, mean=mean)
            if coded is not None:
                coded.check(first, latent)
            parts.append({name: own.get(name, site.seen[0]) for name, site in made.items()})
    return {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}


def only(made: dict[str, Tensor]) -> Any:
    """The values of the one site that a model observes; by site where there are several."""
    return next(iter(made.values())) if len(made) == 1 else made


def _held(vae: "VAE", batch: tuple[Any, ...], values: Mapping[int, Any], is_unsaid: bool) -> dict[str, int]:
    """The observed sites that are given, with the place of the argument that they are; refuse what is not said.

    Raises:
        ArgumentError: see `generate`.
    """
    inputs, observed = inputs_of(vae, batch), observed_inputs(vae, batch)
    unsaid = [i.name for place, i in enumerate(inputs) if i.is_needed and place not in values]
    if unsaid and is_unsaid:
        names = " and ".join(unsaid)
        raise ArgumentError(
            f"Got no {names} for a model that takes {names} beside the data it observes, expected values: what it "
            f"draws may depend on them. Pass given={{{', '.join(f'{name!r}: …' for name in unsaid)}}} (a value, or one "
            "per datum), or a batch of data that have them: like=batch."
        )
    held = {site: place for place, i in enumerate(inputs) if place in values for site in i.sites}
    parents = prepare(vae, batch, mode="draw").plates.parents
    for site, place in held.items():
        name = inputs[place].name
        if len(held) == len(observed):
            raise ArgumentError(
                f"Got given={{{name!r}: …}}, expected something left to draw: the model observes nothing else. For "
                "data like given ones, use pv.posterior and its predictive draws."
            )
        if latents := sorted(parents.get(site, ())):
            raise ArgumentError(
                f"Got given={{{name!r}: …}}, expected inputs of the model, or data that depend on no latent: "
                f"{site!r} depends on {', '.join(map(repr, latents))}, so that its value says something of them. Use "
                "pv.posterior for latents given data."
            )
    return held


def of_data(values: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Of what a model observes, the site that observes x `(data, *shape)`: a label may stand before it.

    Example:
        >>> of_data({"y": torch.zeros(3), "x": torch.zeros(3, 8)}, torch.zeros(5, 8)).shape
        torch.Size([3, 8])
    """
    fitting = [value for value in values.values() if value.shape[1:] == x.shape[1:]]
    return fitting[-1] if fitting else next(iter(values.values()))
