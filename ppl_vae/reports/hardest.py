"""The data that a model finds hardest, beside what it makes of them."""

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.image import imsave

from ppl_vae.codes.reconstruct import reconstruct
from ppl_vae.core.data import as_pair_takes, take_data
from ppl_vae.core.generate import of_data
from ppl_vae.datasets.columns import value_names
from ppl_vae.plots.of_pair import Pixels
from ppl_vae.plots.style import picture

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE

SHOWN = ("nll", "elbo", "log_likelihood", "kl", "pareto_k", "label")
"""Columns of an evaluation that stand beside a datum."""

FEATURES = 3
"""Features of a row of a table, or of a sequence's steps, that are told: those furthest from their reconstruction, in
standard deviations."""


@dataclass(frozen=True)
class Hard:
    """A datum and its reconstruction: two pictures as PNG, or words where it has no pixels.

    Attributes:
        place: its row in the evaluation.
        data: the datum.
        rebuilt: its reconstruction.
        words: of a row of a table, or a sequence: the features, or their steps, furthest off.
    """

    place: int
    data: bytes = b""
    rebuilt: bytes = b""
    words: str = ""


def hardest_rows(table: Any, count: int = 8) -> list[int]:
    """The rows with the least evidence, or where there is none the lowest bound or reconstruction; worst first.

    >>> import pandas as pd
    >>> hardest_rows(pd.DataFrame({"nll": [3.0, 9.0, 1.0]}), 2)
    [1, 0]
    """
    for name, sign in (("nll", 1), ("elbo", -1), ("log_likelihood", -1)):
        if name in table and table[name].notna().any():
            values = sign * table[name].to_numpy(dtype=np.float64)
            order = np.argsort(-np.where(np.isnan(values), -np.inf, values), kind="stable")
            return [int(i) for i in order[: min(count, int((~np.isnan(values)).sum()))]]
    return []


def hardest(vae: "VAE", data: Any, table: Any, spec: Any = None, *, count: int = 8, seed: int = 0) -> list[Hard]:
    """Rebuild the hardest data.

    Args:
        vae: the pair.
        data: what was evaluated, in its order.
        table: `Evaluation.table`.
        spec: of the data.
        count: how many.
        seed: of the draws of z that are averaged over.
    """
    split = take_data(vae, data)
    places = hardest_rows(table, count)
    if not places or len(split) != len(table):
        return []
    some = split[places]
    x = as_pair_takes(some.batch(), vae)[0]
    rebuilt: Any = reconstruct(vae, some, seed=seed)
    rebuilt = of_data(rebuilt, x.cpu()) if isinstance(rebuilt, dict) else rebuilt
    every = as_pair_takes(split.batch(slice(0, min(len(split), 500))), vae)[0]
    pixels = Pixels(spec, every)
    shown, made = pixels(x), pixels(rebuilt)
    if pixels.is_image:
        return [Hard(place, _png(a), _png(b)) for place, a, b in zip(places, shown, made, strict=True)]
    spread = np.nanstd(pixels(every), axis=0)
    names = list((None if spec is None else spec.feature_names) or [f"feature {i}" for i in range(shown.shape[1])])
    words = list(value_names(spec) or [()] * len(names))
    if steps := getattr(spec, "time", None):  # of sequences each step is a row; after their end there is no number
        shown, made = (part.reshape(len(places), -1) for part in (shown, made))
        spread, words = np.tile(spread, steps), words * steps
        names = [f"{name} at step {step}" for step in range(steps) for name in names]
    return [Hard(at, words=_told(a, b, spread, names, words)) for at, a, b in zip(places, shown, made, strict=True)]


def _told(x: Any, rebuilt: Any, spread: Any, names: Any, words: Any) -> str:
    """The features that are furthest off, categories by their names."""

    def value(feature: int, number: float) -> str:
        code = round(number)
        return str(words[feature][code]) if 0 <= code < len(words[feature]) else f"{number:.4g}".replace("-", "−", 1)

    off = np.abs(x - rebuilt) / np.where(spread > 0, spread, 1.0)
    order = [int(i) for i in np.argsort(-np.nan_to_num(off, nan=-1.0))[:FEATURES] if off[i] > 0]
    return "; ".join(f"{names[i]}: {value(i, x[i])}, rebuilt {value(i, rebuilt[i])}" for i in order)


def _png(image: Any) -> bytes:
    """Pixels as they are: the page enlarges them."""
    shown, words = picture(image)
    buffer = BytesIO()
    told = {k: v for k, v in words.items() if k != "interpolation"}
    imsave(buffer, np.ascontiguousarray(shown), format="png", **told)
    return buffer.getvalue()
