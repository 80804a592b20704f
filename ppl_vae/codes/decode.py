"""Data of given latents."""

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyro.distributions as dist
import torch
from torch import Tensor

from ppl_vae.codes.encode import Code
from ppl_vae.core.data import as_pair_takes
from ppl_vae.core.generate import Held, drawn, only
from ppl_vae.core.predict import predict
from ppl_vae.core.run import terms
from ppl_vae.core.simulate import reference_batch
from ppl_vae.core.site import Site
from ppl_vae.core.supports import told
from ppl_vae.distributions.unwrap import innermost, support_of
from ppl_vae.doors import checked
from ppl_vae.errors import ArgumentError

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


@checked
def decode(
    vae: "VAE",
    latents: Any,
    *,
    given: Mapping[str, Any] | None = None,
    like: Any = None,
    mean: bool = True,
    seed: int | None = None,
    memory: int | str = "1GB",
) -> Any:
    r"""Give E[x | z] for given latents, or draw x ~ p(x | z).

    Latents that are not among the given ones are drawn from the model, given those: the lower ones of a hierarchy of
    which only the upper ones are given. Latents that all data share are drawn once, from the guide.

    Args:
        vae: the pair.
        latents: n values by the name of the latent, `{"z": (n, *shape)}`; the values alone where there is one latent.
            Codes of `ppl_vae.encode` stand for their `loc`, of categories and whole numbers for the likeliest value. A
            step that the model masks, after the end of a sequence, has no value: NaN there, as in codes.
        given: what the model takes beside the data, by the names of its arguments; see `ppl_vae.generate`.
        like: a batch whose shapes x takes, and whose other inputs are used, cycled to n data; by default shapes are
            those of the first data that the pair has seen. Codes of sequences take the data that they are of.
        mean: give E[x | z], where the likelihood has a mean; else a draw.
        seed: of what is drawn; None goes on with the caller's random state, an integer leaves it untouched.
        memory: upper limit of the working memory.

    Returns:
        x, `(n, *shape)`; by site where the model observes several.

    Raises:
        ArgumentError: latents that the model has not, of another shape or number, or outside of the support of their
            prior; inputs of the model that nobody gives.
        CheckError: if the pair has never seen a batch, or has no data plate.

    >>> import ppl_vae as pv, pyro, pyro.distributions as dist
    >>> def model(x):
    ...     with pyro.plate("data", x.shape[0]):
    ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
    ...         pyro.sample("x", dist.Normal(10 * z, 1.0), obs=x)
    >>> def guide(x):
    ...     with pyro.plate("data", x.shape[0]):
    ...         pyro.sample("z", dist.Normal(x / 10, 0.1))
    >>> decode(pv.VAE(model, guide), [0.0, 0.5], like=torch.zeros(2))
    tensor([0., 5.])
    """
    n, batch = count(latents), as_pair_takes(reference_batch(vae, like), vae)

    def held(few: tuple[Any, ...]) -> Held:
        sites, shared = latents_of(vae, few)
        values = as_latents(_values(latents, sites), sites)

        def part(first: int, size: int) -> dict[str, Tensor]:
            own = {name: placed(value[first : first + size], sites[name]) for name, value in values.items()}
            return {**shared, **own}

        return Held(part, functools.partial(_refuse_lost, values))

    made = drawn(vae, n, batch, given or {}, unsaid=like is None, mean=mean, seed=seed, memory=memory, latents=held)
    return only(made)


def _values(latents: Any, sites: Mapping[str, Site]) -> Any:
    """The values of latents, of codes those that they are nearest to."""
    if isinstance(latents, Mapping):
        return {name: _value(value, sites.get(str(name))) for name, value in latents.items()}
    return _value(latents, next(iter(sites.values())) if len(sites) == 1 else None)


def _value(given: Any, site: Site | None) -> Any:
    if not isinstance(given, Code):
        return given
    return given.loc if site is None else likeliest(site.fn, given.loc)


def likeliest(fn: Any, loc: Tensor) -> Tensor:
    """The value that a code is nearest to: of a category the most probable one, a whole number of whole numbers."""
    kind, support = innermost(fn), support_of(fn)
    if isinstance(kind, dist.OneHotCategorical):
        return torch.nn.functional.one_hot(loc.argmax(-1), loc.shape[-1]).to(loc.dtype)
    if isinstance(kind, dist.Categorical):
        return loc.argmax(-1).to(loc.dtype)
    return loc.round() if support is not None and support.is_discrete else loc


def _refuse_lost(values: Mapping[str, Tensor], first: int, sites: Mapping[str, Site]) -> None:
    """Refuse latents that are missing where the model does not mask them.

    Raises:
        ArgumentError: naming the latent and the datum.
    """
    for name, value in values.items():
        seen = sites[name].seen[0]
        lost = value[first : first + len(seen)].to(seen.device).isnan() & ~seen.isnan()
        if bool(lost.any()):
            datum = (
                first + int(lost.flatten(1).any(1).nonzero()[0]) if lost.ndim > 1 else first + int(lost.nonzero()[0])
            )
            raise ArgumentError(
                f"Got latents {name!r} with NaN for datum {datum}, whose sequence has this step, expected numbers. For "
                "codes of sequences give the data that they are of: like=data."
            )


def count(latents: Any) -> int:
    """The number of data that the given latents are of."""
    values = [
        v.loc if isinstance(v, Code) else v for v in (latents.values() if isinstance(latents, Mapping) else [latents])
    ]
    try:
        lengths = {len(value) for value in values}
    except TypeError:
        lengths = set()
    if len(lengths) != 1 or 0 in lengths:
        raise ArgumentError(
            f"Got latents of {' and '.join(map(str, sorted(lengths))) or 'no'} data, expected n values of each latent, "
            "one or more: an array (n, *shape), or a dict of them by the names of latents."
        )
    return lengths.pop()


def latents_of(vae: "VAE", batch: tuple[Any, ...]) -> tuple[dict[str, Site], dict[str, Tensor]]:
    """The latents of a datum where the model has them, and a draw from the guide of those that all data share.

    The guide draws what it has, so that a prior need not be one that can be drawn from.
    """
    t = terms(vae, batch, mode="draw")
    guided = {name: site for name, site in t.latents.items() if name in t.model}
    held = {name: site.raw for name, site in guided.items()}
    sites = {name: site for name, site in predict(vae, batch, values=held)[1].items() if site.is_local}
    return sites, {name: held[name] for name, site in guided.items() if not site.is_local}


def placed(value: Tensor, site: Site) -> Tensor:
    """Values of a latent where the model has them."""
    assert site.placed is not None
    return site.placed(value)


def as_latents(latents: Any, sites: Mapping[str, Site]) -> dict[str, Tensor]:
    """Given values of latents by their names, `(n, *shape)` of the kind that the model draws.

    Raises:
        ArgumentError: names that are not there, other shapes, values outside the support.
    """
    if not isinstance(latents, Mapping):
        if len(sites) != 1:
            raise ArgumentError(
                f"Got the values of one latent for a model with {len(sites)} ({', '.join(sites)}), expected a dict by "
                f"name: {{{', '.join(f'{name!r}: …' for name in sites)}}}."
            )
        latents = {next(iter(sites)): latents}
    found: dict[str, Tensor] = {}
    for name, given in latents.items():
        if name not in sites:
            raise ArgumentError(f"Got a latent {name!r}, expected one of the model's: {', '.join(sites)}.")
        found[name] = _as_site(name, given, sites[name])
    return found


def _as_site(name: str, given: Any, site: Site) -> Tensor:
    try:
        value = torch.as_tensor(given).to(site.value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(f"Got latents {name!r} that are no numbers ({error}), expected an array.") from None
    shape = site.value.shape[2:]
    if value.shape[1:] != shape:
        raise ArgumentError(
            f"Got latents {name!r} of shape {tuple(value.shape)}, expected {('n', *shape)}, as the model draws them."
        )
    support = support_of(site.fn)
    known = torch.where(value.isnan(), site.value[0, :1], value) if site.is_masked else value  # see `_refuse_lost`
    if bool(known.isnan().any()) or (support is not None and not bool(support.check(known).all())):
        raise ArgumentError(f"Got latents {name!r} outside of the support of their prior, expected {told(support)}.")
    return value
