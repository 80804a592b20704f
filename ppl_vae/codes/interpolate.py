"""Ways from one datum to another."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import pyro.distributions as dist
import torch
from torch import Tensor

from ppl_vae.codes.decode import decode, latents_of, likeliest
from ppl_vae.codes.encode import Code, encode
from ppl_vae.core.data import as_pair_takes, take_data
from ppl_vae.core.tiles import first_data, inference
from ppl_vae.distributions.bijections import bijection
from ppl_vae.distributions.unwrap import elements, support_of
from ppl_vae.doors import checked
from ppl_vae.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE

Path = Callable[[Tensor, Tensor, Tensor], Tensor]


@checked
def interpolate(
    vae: "VAE",
    start: Any,
    end: Any,
    steps: int = 8,
    *,
    path: Literal["linear", "spherical"] = "linear",
    mean: bool = True,
    seed: int = 0,
    memory: int | str = "1GB",
) -> Any:
    r"""Go from one datum to another through the latents, and decode what lies between.

    With a, b the means of q(z | x) of the two data, t from 0 to 1, and h the map of all reals onto the support of the
    latent (the identity, for a latent that ranges over them),

    $$z(t) = h\big((1 - t)\, h^{-1}(a) + t\, h^{-1}(b)\big)$$

    or, on the great circle through both that keeps the lengths in which the mass of a normal prior lies (White, 2016),

    $$z(t) = h\left(\frac{\sin((1 - t) \omega)}{\sin \omega} h^{-1}(a) + \frac{\sin(t \omega)}{\sin \omega} h^{-1}(b)
    \right)$$

    with ω the angle between h⁻¹(a) and h⁻¹(b). A latent of whole numbers or categories has nothing between its values:
    it is the likeliest one of the nearer end.

    Args:
        vae: the pair.
        start: n data: a tensor `(n, …)` or a tuple of what the programs take.
        end: as many; what else than x the model takes is that of `start`. Of two sequences of other lengths, ways go
            over the steps that both have: what else the model takes is then that of the shorter one.
        steps: points on each way, both ends among them.
        path: `linear` or `spherical`.
        mean: give E[x | z]; else a draw.
        seed: of the draws; the caller's random state is untouched.
        memory: upper limit of the working memory.

    Returns:
        x, `(n, steps, *shape)`; by site where the model observes several.

    Raises:
        ArgumentError: for data of another number, less than two steps, or a pair without a continuous latent.
        CheckError: if the pair has no latent in the data plate.

    References:
        White (2016), Sampling Generative Networks, https://arxiv.org/abs/1609.04468

    >>> import ppl_vae as pv, pyro, pyro.distributions as dist
    >>> def model(x):
    ...     with pyro.plate("data", x.shape[0]):
    ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
    ...         pyro.sample("x", dist.Normal(2 * z, 1.0), obs=x)
    >>> def guide(x):
    ...     with pyro.plate("data", x.shape[0]):
    ...         pyro.sample("z", dist.Normal(x / 2, 0.5))
    >>> interpolate(pv.VAE(model, guide), torch.zeros(1), torch.ones(1), 5)
    tensor([[0.0000, 0.2500, 0.5000, 0.7500, 1.0000]])
    """
    if steps < 2:
        raise ArgumentError(f"Got steps={steps}, expected at least 2: both ends.")
    first, last = take_data(vae, start), take_data(vae, end)
    n = len(first)
    if len(last) != n:
        raise DataError(f"Got {n} data to start from and {len(last)} to end at, expected as many.")
    ends = [encode(vae, split, seed=seed, memory=memory) for split in (first, last)]
    t = torch.linspace(0, 1, steps)
    few = first_data(vae, first)
    with inference(vae, few):
        sites, _ = latents_of(vae, few)
    latents: dict[str, Tensor] = {}
    own = [name for name in ends[0] if not isinstance(elements(sites[name].fn), dist.Delta)]  # others follow from them
    supports = {name: support_of(sites[name].fn) for name in own}
    apart = [name for name, support in supports.items() if support is None]
    if apart or all(support.is_discrete for support in supports.values()):
        follow = ", ".join(f"{name!r}: …" for name in ends[0] if name not in supports)
        way = f" A way of your own through what follows from them is pv.decode(vae, {{{follow}}})." if follow else ""
        raise ArgumentError(
            f"Got latent {', '.join(map(repr, apart or supports))}, between whose values nothing lies; expected one "
            f"continuous latent at least.{way}"
        )
    for name, support in supports.items():
        a, b = (end[name].loc for end in ends)
        if support.is_discrete:
            a, b = (likeliest(sites[name].fn, loc) for loc in (a, b))
            latents[name] = torch.cat([a if s < 0.5 else b for s in t])
            continue
        to_support = bijection(sites[name].fn)
        a, b = to_support.inv(a), to_support.inv(b)
        between = torch.stack([_PATHS[path](a, b, s) for s in t])  # (steps, n, …)
        latents[name] = to_support(between).flatten(0, 1)
    like = as_pair_takes(_shorter(first.batch(), last.batch(), *ends), vae)
    made = decode(vae, latents, like=like, mean=mean, seed=seed, memory=memory)
    return {k: _by_way(v, n) for k, v in made.items()} if isinstance(made, Mapping) else _by_way(made, n)


def _shorter(
    first: tuple[Any, ...], last: tuple[Any, ...], start: Mapping[str, Code], end: Mapping[str, Code]
) -> tuple[Any, ...]:
    """The batch of the start, with the data of the end where its sequence has fewer steps: more codes are NaN."""
    masked = [sum(c.loc.isnan().reshape(len(c.loc), -1).sum(1) for c in codes.values()) for codes in (start, end)]
    rows = torch.as_tensor(masked[1] > masked[0])
    if not bool(rows.any()):
        return first
    return tuple(
        torch.where(rows.to(a.device).reshape(-1, *(1,) * (a.dim() - 1)), b, a)
        if isinstance(a, Tensor) and a.dim() and len(a) == len(rows)
        else a
        for a, b in zip(first, last, strict=True)
    )


def _by_way(made: Tensor, n: int) -> Tensor:
    """From `(steps · n, …)` to `(n, steps, …)`."""
    return made.reshape(-1, n, *made.shape[1:]).transpose(0, 1)


def _linear(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    return (1 - t) * a + t * b


def _spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    one, other = (x.flatten(1) if x.dim() > 1 else x[:, None] for x in (a, b))
    cosine = torch.nn.functional.cosine_similarity(one, other, dim=1).clamp(-1, 1)
    angle = torch.arccos(cosine).reshape(-1, *(1,) * (a.dim() - 1))
    near = angle.sin().abs() < 1e-4  # one direction, or opposite ones, between which there are many ways
    safe = torch.where(near, torch.ones_like(angle), angle)
    round_ = (torch.sin((1 - t) * safe) * a + torch.sin(t * safe) * b) / torch.sin(safe)
    return torch.where(near, _linear(a, b, t), round_)


_PATHS: dict[str, Path] = {"linear": _linear, "spherical": _spherical}
