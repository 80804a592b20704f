"""The pictures of a pair: run it on a few data, and draw."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae import plots as draw
from ppl_vae.core.data import as_pair_takes, take_data
from ppl_vae.core.generate import generate, of_data
from ppl_vae.core.predict import expected_values
from ppl_vae.core.terms import Terms
from ppl_vae.core.tiles import inference
from ppl_vae.datasets.columns import value_names
from ppl_vae.datasets.transform import DynamicBinarization, Transform
from ppl_vae.diagnostics.latents import Encoding, encodings
from ppl_vae.display import Displayed, View, few
from ppl_vae.errors import CheckError
from ppl_vae.guides.derived import Derived
from ppl_vae.plots import traverse

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE

Array = NDArray[np.float64]

MOVED = 4
"""Latents that are traversed at most."""


@dataclass(repr=False)
class Gallery(Displayed):
    """Figures by name, and why others are missing.

    Attributes:
        figures: `samples` or `sample_marginals`, `reconstructions`, `latent_map`, `kl_per_unit`, `traversals`, and
            `traversals_<site>` of further latents; `dependencies` of a pair whose guide is derived from its model.
        notes: by figure, or `latents` for all of them, the reason for what is missing.
        failed: the figures that should have been there: something went wrong, which their note says.
    """

    figures: dict[str, Figure] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def _view(self) -> View:
        """The names of figures, and why others are missing."""
        missing = [f"no {name}: {note}" for name, note in self.notes.items()]
        return View(f"Gallery({len(self.figures)} figures: {few(list(self.figures))})", notes=missing)

    @contextlib.contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Draw one figure: where that fails, its note says so and the other figures stand."""
        try:
            yield
        except CheckError as error:  # this pair has none
            self.notes[name] = str(error)
        except Exception as error:
            self.notes[name] = f"{type(error).__name__}: {error}"
            self.failed.append(name)


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
    """Draw all figures that a pair and its data allow.

    Args:
        vae: the pair.
        data: held-out data: a `Split`, a tensor or a tuple of them.
        spec: the data's `Spec`: names, and how x goes back to the units of its source.
        samples: how many images are drawn from the model.
        reconstructions: how many data are reconstructed.
        units: how many latent units are traversed, those with the largest KL.
        steps: values per unit: quantiles of its draws over data, those that a normal has at −2.5 to 2.5.
        most: how many data the latent map shows at most.
        seed: of the draws; the caller's random state is untouched.

    Returns:
        The figures; what this pair has not (no prior to draw from, no continuous latent), and what could not be drawn,
        is said in `notes`.

    >>> import ppl_vae as pv
    >>> data = pv.datasets.load("digits")
    >>> model = pv.models.VAE(data.spec, latent_dim=2)
    >>> vae = pv.VAE(model, pv.guides.Amortized(data.spec, model))
    >>> list(gallery(vae, data.test[:20], data.spec).figures)
    ['samples', 'reconstructions', 'latent_map', 'kl_per_unit', 'traversals']
    """
    split = take_data(vae, data)
    result = Gallery()
    x = as_pair_takes(split.batch(slice(0, min(len(split), 500))), vae)
    with inference(vae, x) as terms:
        torch.manual_seed(seed)
        seen = terms(x)
        shown = _shown(seen, x[0])
    pixels = Pixels(spec, shown)
    names = None if spec is None else spec.feature_names
    words = value_names(spec)
    if isinstance(vae.guide, Derived):
        with result.attempt("dependencies"):
            result.figures["dependencies"] = draw.dependencies(vae, x)
    with result.attempt("samples"):
        count = samples if pixels.is_image else min(2_000, max(len(x[0]), 200))
        new = generate(vae, count, like=x, mean=pixels.is_image, seed=seed)
        new = of_data(new, x[0]) if isinstance(new, dict) else new
        if pixels.is_image:
            result.figures["samples"] = draw.image_grid(pixels(new), title="Means of p(x | z), z from the prior")
        else:
            drawn = pixels(new)
            drawn = drawn[~np.isnan(drawn).any(-1)]  # not what is after the end of a sequence
            result.figures["sample_marginals"] = draw.sample_marginals(pixels(shown), drawn, names, words)
    with inference(vae, x) as terms:
        torch.manual_seed(seed)
        with result.attempt("reconstructions"):
            head = tuple(t[:reconstructions] if pixels.is_image and isinstance(t, Tensor) else t for t in x)
            t = terms(head)
            latents = {n: s.raw for n, s in t.latents.items() if not s.is_auxiliary}
            rebuilt = of_data(expected_values(vae, head, latents), head[0])
            if pixels.is_image:
                result.figures["reconstructions"] = draw.reconstructions(
                    pixels(shown[: len(head[0])]), pixels(rebuilt), _source(split[: len(head[0])], pixels)
                )
            else:
                result.figures["reconstructions"] = draw.feature_reconstructions(
                    pixels(shown), pixels(rebuilt), names, words
                )
        codes: list[Encoding] = []
        with result.attempt("latents"):
            codes = encodings(vae, split[:most], seed=seed)
            if not codes:
                result.notes["latents"] = (
                    "No latent of real numbers to show: the codes are discrete or shared by all data."
                )
    if codes:
        main = max(codes, key=lambda code: code.mean.shape[1])
        labels = None if split.labels is None else split.labels[:most].cpu().numpy()
        with result.attempt("latent_map"):
            class_names = None if spec is None else spec.class_names
            result.figures["latent_map"] = draw.latent_map(main.mean, labels, class_names, main.name)
        with result.attempt("kl_per_unit"):
            told = [code for code in codes if code.kl is not None and np.isfinite(code.kl).all()]
            if told:
                result.figures["kl_per_unit"] = _kl_of_all(told)
    _traverse(result, vae, seen, codes, pixels, names, units, steps, seed)
    return result


def _traverse(
    result: Gallery,
    vae: "VAE",
    t: Terms,
    codes: Sequence[Encoding],
    pixels: "Pixels",
    names: Sequence[str] | None,
    units: int,
    steps: int,
    seed: int,
) -> None:
    """Move each latent, that of the most units first: that is `traversals`; further ones bear their names."""
    data = pixels(_shown(t, t.batch[0]))
    levels = (0.5 * (1 + torch.erf(torch.linspace(-2.5, 2.5, steps, dtype=torch.float64) / 2**0.5))).tolist()
    encoded = {code.name: code for code in sorted(codes, key=lambda code: -code.mean.shape[1])}
    discrete = [n for n, s in t.latents.items() if n not in encoded and s.is_local and not s.is_auxiliary]
    for site in [*encoded, *discrete][:MOVED]:
        name = f"traversals_{site}" if "traversals" in result.figures else "traversals"
        with result.attempt(name):
            moved = traverse.categories(vae, t, site, units, seed) if site in t.latents else None
            if moved is None and site in encoded:
                moved = traverse.continuous(vae, t, encoded[site], units, levels, seed)
            if moved is not None:
                result.figures[name] = _moved(moved, pixels, names, levels, data)


def _moved(
    moved: traverse.Traversal, pixels: "Pixels", names: Sequence[str] | None, levels: Sequence[float], data: Array
) -> Figure:
    rows, steps = moved.mean.shape[:2]
    shown = pixels(moved.mean.flatten(0, 1))
    shown = shown.reshape(rows, steps, *shown.shape[1:] if pixels.is_image else (-1,))
    if not pixels.is_image:
        return draw.feature_traversals(shown, moved.values, moved.rows, names, data)
    told = moved.values if isinstance(moved.values, list) else [f"{100 * level:.2g}%" for level in levels]
    kind = "datum" if moved.rows[0].startswith("datum") else "unit"
    return draw.traversals(shown, told, moved.rows, moved.held and f"the rest: {moved.held}", moved.steps, kind)


def _kl_of_all(codes: list[Encoding]) -> Figure:
    """KL per unit of every site: a hierarchy's first layer alone says little."""
    parts = [np.reshape(code.kl, -1) for code in codes if code.kl is not None]
    kl = np.concatenate(parts)
    active = np.concatenate([code.active.reshape(-1) for code in codes])
    if len(codes) == 1:
        return draw.kl_per_unit(kl, active, codes[0].name)
    labels = [f"{code.name}[{i}]" for code, part in zip(codes, parts, strict=True) for i in range(len(part))]
    return draw.kl_per_unit(kl, active, f"{len(codes)} sites", labels)


def _source(split: Any, pixels: "Pixels") -> Array | None:
    """The grey images of which binarized data are draws; None where x is what was stored."""
    steps = split.transform.steps
    if not any(isinstance(step, DynamicBinarization) for step in steps):
        return None
    (stored, *_) = replace(split, transform=Transform()).batch()
    return pixels(split.transform.mean(stored))


def _shown(t: Terms, x: Tensor) -> Tensor:
    """The data as the model sees them: NaN where it masks them."""
    observed = [site.seen[0] for site in t.observed.values() if site.is_local]
    fitting = [value for value in observed if value.shape == x.shape]
    return fitting[-1] if fitting else x


def rows(x: Array, spec: Any) -> Array:
    """Data `(data, …)` as the rows of a table: of sequences each step is one, of others each datum."""
    return x.reshape(-1, x.shape[-1]) if getattr(spec, "time", None) is not None else x.reshape(len(x), -1)


class Pixels:
    """Turn x into what is shown: pixels in [0, 1], or a table in the units of its source.

    Grey levels 0, …, levels − 1 are shown as level / (levels − 1); other numbers than those in [0, 1] by the range of
    the data.

    Args:
        spec: of the data; None where there is none.
        x: some data, `(data, *shape)`, which tell the range.
    """

    def __init__(self, spec: Any, x: Tensor) -> None:
        self.spec = spec
        self.is_image = x.dim() == 4 and x.shape[1] in (1, 2, 3)
        self.low, self.high = 0.0, 1.0
        levels = getattr(spec, "levels", None)
        if levels is not None and spec.support == "integers":
            self.high = float(levels - 1)
            return
        shown = self._restored(x)
        if self.is_image and (np.nanmin(shown) < 0 or np.nanmax(shown) > 1):
            self.low, self.high = (float(v) for v in np.nanquantile(shown, [0.001, 0.999]))

    def _restored(self, x: Tensor) -> Array:
        x = x.detach().cpu()
        return (x if self.spec is None else self.spec.restore(x.float())).double().numpy()

    def __call__(self, x: Tensor) -> Array:
        """Data `(data, *shape)` as pixels `(data, C, H, W)` in [0, 1], else as rows."""
        shown = self._restored(x)
        if not self.is_image:
            return rows(shown, self.spec)
        return np.clip((shown - self.low) / max(self.high - self.low, 1e-12), 0, 1)
