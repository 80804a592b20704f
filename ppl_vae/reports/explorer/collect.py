"""Data, codes, how well each datum is explained, and the decoder: all that a page needs to explore a pair."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.codes.decode import decode
from ppl_vae.codes.encode import Code, encode
from ppl_vae.core.data import as_pair_takes, take_data
from ppl_vae.core.generate import only
from ppl_vae.core.tiles import first_data, inference
from ppl_vae.diagnostics.evaluate import evaluate
from ppl_vae.errors import CheckError
from ppl_vae.mcmc.refine import refine
from ppl_vae.plots.of_pair import Pixels
from ppl_vae.reports.explorer.in_page import NotInPage, is_small, steps_of
from ppl_vae.runs.export import Decoder

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE

Array = NDArray[Any]

LEVELS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Quantiles of a unit at which pictures are decoded ahead, where the page cannot decode by itself."""


@dataclass
class Explored:
    """All that the page shows, as arrays.

    Attributes:
        x: the data as they are shown: pixels in [0, 1], `(n, C, H, W)`, or `(n, elements)`.
        is_image: which of the two.
        rows: what the data are called, `(n,)`.
        site: the latent that is explored.
        loc: means of q(z | x), `(n, units)`.
        scale: its standard deviations.
        units: the units in the order of their KL, or of the variance of their means; the largest first.
        numbers: by name, a number per datum: ELBO, log p(x), gap, Pareto k̂.
        labels: the class of each datum, `(n,)`; empty where the data have none.
        class_names: of the classes.
        element_names: of the elements of a table.
        program: the decoder as steps for the page.
        why: why there is none.
        rebuilt: E[x | E z] of each datum, where there is no program.
        traversals: `(units, levels, …)` around the mean code, where there is no program.
        chains: draws from p(z | x) by HMC, by place of the datum, `(draws, units)`.
    """

    x: Array
    is_image: bool
    rows: Array
    site: str
    loc: Array
    scale: Array
    units: list[int]
    numbers: dict[str, Array]
    labels: Array
    class_names: Sequence[str]
    element_names: Sequence[str]
    program: dict[str, Any] | None = None
    why: str = ""
    rebuilt: Array | None = None
    traversals: Array | None = None
    chains: dict[int, Array] = field(default_factory=dict)
    range: tuple[float, float] = (0.0, 1.0)


def explore(
    vae: "VAE",
    data: Any,
    spec: Any = None,
    *,
    most: int = 1_000,
    num_particles: int = 100,
    chains: int = 12,
    units: int = 10,
    site: str | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Explored:
    """Take all that the page shows from a pair and some data.

    Args:
        vae: the pair.
        data: held-out data: a `Split`, a tensor or a tuple of them.
        spec: the data's `Spec`: names, and how x goes back to the units of its source.
        most: how many data are shown.
        num_particles: draws per datum, for its evidence.
        chains: of how many data draws are made by HMC.
        units: how many units of z have a slider.
        site: the latent that is explored; by default the one with the largest KL of those of real numbers.
        seed: of the draws.
        progress: told what is being done.

    Raises:
        CheckError: the pair has no latent of real numbers in the data plate.
    """
    split = take_data(vae, data)[:most]
    progress("codes")
    name, code = _chosen(vae, split, site, seed)
    loc, scale = (v.double().flatten(1).cpu().numpy() for v in (code.loc, code.scale))
    progress(f"evidence of {len(split)} data")
    found = evaluate(vae, split, num_particles=num_particles, seed=seed)
    by = {name: np.asarray(values) for name, values in found.by_datum.items()}
    numbers = {"ELBO": by["elbo"], "log p(x)": -by["nll"], "gap": -by["nll"] - by["elbo"], "Pareto k̂": by["pareto_k"]}
    numbers = {name: values for name, values in numbers.items() if np.isfinite(values).any()}
    x = as_pair_takes(split.batch(), vae)
    with inference(vae, first_data(vae, split)):
        pixels = Pixels(spec, x[0])
        shown = pixels(x[0])
        labels = np.array([]) if split.labels is None else split.labels.cpu().numpy()
        order = [int(k) for k in np.argsort(-(loc.var(0) / (scale**2).mean(0)))]
        result = Explored(
            x=shown if pixels.is_image else shown.reshape(len(shown), -1),
            is_image=pixels.is_image,
            rows=np.asarray(split.indices.cpu() if isinstance(split.indices, Tensor) else np.arange(len(split))),
            site=name,
            loc=loc,
            scale=scale,
            units=order[:units],
            numbers=numbers,
            labels=labels,
            class_names=tuple(getattr(spec, "class_names", None) or ()),
            element_names=tuple(getattr(spec, "feature_names", None) or ()),
        )
        progress("the decoder")
        _decoder(vae, result, x, name, code, pixels, seed)
    progress(f"HMC for {chains} data")
    _chains(vae, split, result, chains, seed)
    return result


def _chosen(vae: "VAE", split: Any, site: str | None, seed: int) -> tuple[str, Code]:
    codes = encode(vae, split, seed=seed)
    real = {name: code for name, code in codes.items() if code.loc.shape == code.scale.shape and code.loc.dim() == 2}
    real = {
        name: code for name, code in real.items() if bool(code.loc.isfinite().all()) and float(code.scale.max()) > 0
    }
    if site is not None and site not in real:
        raise CheckError(f"Got site={site!r}, expected a latent of real numbers: {', '.join(real) or 'there is none'}.")
    if not real:
        raise CheckError(
            "The pair has no latent of real numbers in the data plate, between whose values one could move. "
            "ppl-vae report shows what it has."
        )
    if site is not None:
        return site, real[site]
    spread = {name: float((code.loc.var(0) / code.scale.square().mean(0)).log1p().sum()) for name, code in real.items()}
    name = max(spread, key=spread.__getitem__)
    return name, real[name]


def _is_real(code: Code) -> bool:
    """A vector of real numbers for each datum, not all of them certain."""
    fits = code.loc.shape == code.scale.shape and code.loc.dim() == 2
    return fits and bool(code.loc.isfinite().all()) and float(code.scale.max()) > 0


def _decoder(
    vae: "VAE", result: Explored, x: tuple[Any, ...], name: str, code: Code, pixels: Pixels, seed: int
) -> None:
    """Put the decoder itself into the page, or what it says of some codes."""
    if result.is_image and hasattr(pixels, "low"):
        result.range = (pixels.low, pixels.high)
    try:
        others = [n for n in encode(vae, x, seed=seed) if n != name] if len(x) == 1 else x[1:]
        if others:
            raise NotInPage("it takes more than this latent")
        if not is_small(tuple(x[0].shape[1:])):
            raise NotInPage("a datum has too many elements to decode while a slider moves")
        half = Decoder(vae, x[0], lambda latents: latents[name].shape[0])

        def mean(z: Tensor) -> Tensor:
            (found,) = half.distributions({name: z}).values()
            return found.mean

        program = steps_of(mean, code.loc.shape[1], code.loc.dtype)
    except (NotInPage, ValueError, NotImplementedError) as reason:
        result.why = str(reason).splitlines()[0]
    else:
        result.program = program
        return
    result.rebuilt = _flat(pixels, only(decode(vae, {name: code.loc}, like=x, seed=seed)), result)
    middle = code.loc.mean(0)
    rows = []
    for unit in result.units:
        values = torch.quantile(code.loc[:, unit], torch.tensor(LEVELS, dtype=code.loc.dtype))
        moved = middle.expand(len(LEVELS), -1).clone()
        moved[:, unit] = values
        rows.append(moved)
    first = tuple(t[:1].expand(len(LEVELS) * len(rows), *t.shape[1:]) if isinstance(t, Tensor) else t for t in x)
    drawn = only(decode(vae, {name: torch.cat(rows)}, like=first, seed=seed))
    shaped = _flat(pixels, drawn, result)
    result.traversals = shaped.reshape(len(rows), len(LEVELS), *shaped.shape[1:])


def _flat(pixels: Pixels, values: Tensor, result: Explored) -> Array:
    shown = pixels(values)
    return shown if result.is_image else shown.reshape(len(shown), -1)


def _chains(vae: "VAE", split: Any, result: Explored, chains: int, seed: int) -> None:
    """Draws from the posterior itself, of data whose gap is largest, and of some others."""
    if not chains:
        return
    gap = result.numbers.get("gap", np.zeros(len(split)))
    hardest = [int(i) for i in np.argsort(-gap)[: chains // 2]]
    spread = [int(i) for i in np.linspace(0, len(split) - 1, chains - len(hardest))]
    places = sorted({*hardest, *spread})
    try:
        drawn = refine(vae, split[places], draws=25, chains=4, warmup=200, seed=seed)
    except CheckError:
        return  # a latent that HMC cannot move
    if result.site not in drawn["posterior"]:
        return  # a step of a series, which is one variable there
    values = np.asarray(drawn["posterior"][result.site])
    values = values.reshape(math.prod(values.shape[:2]), len(places), -1)
    for i, place in enumerate(places):
        result.chains[place] = values[:, i]
