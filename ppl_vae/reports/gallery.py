"""The pictures of a pair: run it on a few data, and draw."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.core.data import as_pair_takes, take_data
from ppl_vae.core.generate import generate, of_data
from ppl_vae.core.predict import expected_values
from ppl_vae.core.terms import Terms, terms
from ppl_vae.core.tiles import inference
from ppl_vae.diagnostics.latents import Encoding, encodings
from ppl_vae.errors import CheckError
from ppl_vae.reports import figures as draw

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE

Array = NDArray[np.float64]


@dataclass
class Gallery:
    """Figures by name, and why others are missing.

    Attributes:
        figures: `samples` or `sample_marginals`, `reconstructions`, `traversals`, `latent_map`, `kl_per_unit`.
        notes: by section (`samples`, `reconstructions`, `latents`), the reason for what is missing.
    """

    figures: dict[str, Figure] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


def gallery(
    vae: "VAE",
    data: Any,
    spec: Any = None,
    *,
    samples: int = 60,
    reconstructions: int = 24,
    units: int = 10,
    steps: int = 9,
    most: int = 5_000,
    seed: int = 0,
) -> Gallery:
    """Draw all pictures that a pair and its data allow.

    Args:
        vae: the pair.
        data: held-out data: a `Split`, a tensor or a tuple of them.
        spec: the data's `Spec`: names, and how x goes back to the units of its source.
        samples: how many images are drawn from the model.
        reconstructions: how many data are reconstructed.
        units: how many latent units are traversed, those with the largest KL.
        steps: values per unit, from −2.5 to 2.5 posterior standard deviations of the data's codes.
        most: how many data the latent map shows at most.
        seed: of the draws; the caller's random state is untouched.

    Returns:
        The figures; what this pair has not (no prior to draw from, no continuous latent) is said in `notes`.
    """
    split = take_data(vae, data)
    result = Gallery()
    x = as_pair_takes(split.batch(slice(0, min(len(split), 500))), vae)
    with inference(vae, x):
        shown = _shown(terms(vae, x), x[0])
    pixels = _Pixels(spec, shown)
    names = None if spec is None else spec.feature_names
    try:
        count = samples if pixels.is_image else min(2_000, max(len(x[0]), 200))
        new = generate(vae, count, like=x, mean=pixels.is_image, seed=seed)
        new = of_data(new, x[0]) if isinstance(new, dict) else new
        if pixels.is_image:
            result.figures["samples"] = draw.samples_grid(pixels(new))
        else:
            result.figures["sample_marginals"] = draw.sample_marginals(pixels(shown), pixels(new), names)
    except CheckError as error:
        result.notes["samples"] = str(error)
    with inference(vae, x):
        torch.manual_seed(seed)
        head = tuple(t[:reconstructions] if pixels.is_image and isinstance(t, Tensor) else t for t in x)
        t = terms(vae, head)
        latents = {n: s.raw for n, s in t.latents.items() if n in t.model}
        rebuilt = of_data(expected_values(vae, head, latents), head[0])
        if pixels.is_image:
            result.figures["reconstructions"] = draw.reconstructions(pixels(shown[: len(head[0])]), pixels(rebuilt))
        else:
            result.figures["reconstructions"] = draw.feature_reconstructions(pixels(shown), pixels(rebuilt), names)
        codes = encodings(vae, split[:most], seed=seed)
        if not codes:
            result.notes["latents"] = "No latent of real numbers to show: the codes are discrete or shared by all data."
            return result
        main = max(codes, key=lambda code: code.mean.shape[1])
        labels = None if split.labels is None else split.labels[:most].cpu().numpy()
        result.figures["latent_map"] = draw.latent_map(
            main.mean, labels, None if spec is None else spec.class_names, main.name
        )
        if main.kl is not None and np.isfinite(main.kl).all():
            result.figures["kl_per_unit"] = draw.kl_per_unit(main.kl, main.active, main.name)
        figure = _traversals(vae, t, main, pixels, names, units, steps)
        if figure is not None:
            result.figures["traversals"] = figure
    return result


def _shown(t: Terms, x: Tensor) -> Tensor:
    """The data as the model sees them: NaN where it masks them."""
    observed = [site.seen[0] for site in t.model.values() if site.is_observed and site.is_local]
    fitting = [value for value in observed if value.shape == x.shape]
    return fitting[-1] if fitting else x


def _traversals(
    vae: "VAE", t: Terms, code: Encoding, pixels: "_Pixels", names: Sequence[str] | None, units: int, steps: int
) -> Figure | None:
    """Move one unit at a time, the rest at the first datum's posterior mean."""
    site = t.latents[code.name]
    if site.raw.numel() != site.value.numel() or len(t.latents) > 1:
        return None  # other latents would have to follow: which way, only the model knows
    order = np.argsort(-(code.kl if code.kl is not None else code.mean.var(0)))[:units]
    deviation = 2.5 if code.kl is not None and np.isfinite(code.kl).all() else 2.5 * float(code.mean.std())
    values = np.linspace(-deviation, deviation, steps)
    grid = np.tile(code.mean[0], (len(order), steps, 1))
    for row, unit in enumerate(order):
        grid[row, :, unit] = values
    rows = torch.from_numpy(grid.reshape(-1, grid.shape[-1])).to(site.raw)
    like = tuple(part[:1].expand(len(rows), *part.shape[1:]) if isinstance(part, Tensor) else part for part in t.batch)
    shape = list(site.raw.shape)
    axis = next((i for i, size in enumerate(shape) if size == t.batch_size), 0)
    shape[axis] = len(rows)
    mean = of_data(expected_values(vae, like, {code.name: rows.reshape(shape)}), like[0])
    drawn = pixels(mean).reshape(len(order), steps, *mean.shape[1:])
    labels = [f"{code.name}[{unit}]" for unit in order]
    if pixels.is_image:
        return draw.traversals(drawn, values, labels, "the others at the code of one datum")
    return draw.feature_traversals(drawn, values, labels, names)


class _Pixels:
    """Turn x into what is shown: pixels in [0, 1], or a table in the units of its source."""

    def __init__(self, spec: Any, x: Tensor) -> None:
        self.spec = spec
        self.is_image = x.dim() == 4 and x.shape[1] in (1, 2, 3)
        shown = self._restored(x)
        self.low, self.high = 0.0, 1.0
        if self.is_image and (np.nanmin(shown) < 0 or np.nanmax(shown) > 1):
            self.low, self.high = (float(v) for v in np.nanquantile(shown, [0.001, 0.999]))

    def _restored(self, x: Tensor) -> Array:
        x = x.detach().cpu()
        return (x if self.spec is None else self.spec.restore(x.float())).double().numpy()

    def __call__(self, x: Tensor) -> Array:
        shown = self._restored(x)
        if not self.is_image:
            return shown.reshape(len(shown), -1)
        return np.clip((shown - self.low) / max(self.high - self.low, 1e-12), 0, 1)
