"""The policies of a data set, put together in the one order that makes sense.

Binarization: a grey level x in [0, 1] is read as the probability that the pixel is on, so a binarized image is a draw
from p(b) = ∏ x^b (1 − x)^(1 − b): one fixed draw, a fresh one per visit, or a threshold. Dequantization: uniform noise
fills the gap between integers. Standardization: zero mean and unit variance per column or channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from ppl_vae.datasets.spec import Support
from ppl_vae.datasets.split import Split
from ppl_vae.datasets.transform import Draw, Scale, Scaling, Step, Transform, keyed_uniform
from ppl_vae.errors import DataError

Binarization = Literal["none", "static", "dynamic", "threshold"]


@dataclass(frozen=True)
class DynamicBinarization:
    """A fresh draw b ~ Bernoulli(x / peak) at every visit of a datum; `peak` is the value of white.

    References:
        Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders, https://arxiv.org/abs/1509.00519,
            section 5.1
    """

    peak: float

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        """Give b, booleans of x's shape."""
        return draw(x) * self.peak < x

    def mean(self, x: Tensor) -> Tensor:
        """Give E[b] = E[x] / peak."""
        return x / self.peak


def static_binarization(x: Tensor, indices: Tensor, peak: float, seed: int) -> Tensor:
    """Give one draw b ~ Bernoulli(x / peak) per datum, the same for ever: uint8 of x's shape.

    References:
        Salakhutdinov and Murray (2008), On the Quantitative Analysis of Deep Belief Networks,
            https://doi.org/10.1145/1390156.1390266
    """
    out = torch.empty(x.shape, dtype=torch.uint8, device=x.device)
    for part in torch.arange(len(x), device=x.device).split(4096):  # the noise takes 8 bytes a pixel
        out[part] = (keyed_uniform(indices[part], x.shape[1:], seed) * peak < x[part]).to(torch.uint8)
    return out


def threshold_binarization(x: Tensor, peak: float) -> Tensor:
    """Give 1 where x is at least half of white, else 0: uint8 of x's shape."""
    return (x >= peak / 2).to(torch.uint8)


Dequantization = Literal["none", "uniform"]


@dataclass(frozen=True)
class UniformDequantization:
    """y = (x + u) / levels in [0, 1) with u ~ U[0, 1), for x in {0, …, levels − 1}.

    The expected log density of y, less log(levels) per dimension, is a lower bound on log P(x): a continuous
    model of y is thereby an honest model of the integers, which one of x / (levels − 1) is not.

    References:
        Theis, van den Oord and Bethge (2016), A note on the evaluation of generative models,
            https://arxiv.org/abs/1511.01844, section 3.1
    """

    levels: int

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        """Give y, of the noise's dtype."""
        u = draw(x)
        # rounding may carry (levels − 1) + u up to levels: keep the half-open interval
        return ((x.to(u.dtype) + u) / self.levels).clamp(max=1 - 2.0**-24)

    def mean(self, x: Tensor) -> Tensor:
        """Give E[y] = (E[x] + 1/2) / levels."""
        return (x + 0.5) / self.levels


Standardize = Literal["none", "zscore"]


@dataclass(frozen=True, eq=False)
class Standardization:
    """z = (x − location) / scale; the statistics are shaped to broadcast against an event of x.

    Densities of z are those of x times ∏ scale: add Σ log(1 / scale), `log_density_shift`, to a log density
    of z to have it in the units of x (nats per datum).
    """

    location: Tensor
    scale: Tensor

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        """Give z; the noise is not used."""
        return (x - self.location) / self.scale

    def mean(self, x: Tensor) -> Tensor:
        """Give E[z]: zero, but for the axes that share one location."""
        return (x - self.location) / self.scale

    def to(self, device: torch.device | str) -> Standardization:
        """Give the same standardization with its statistics on `device`."""
        return Standardization(self.location.to(device), self.scale.to(device))

    def log_density_shift(self, shape: tuple[int, ...]) -> float:
        """Give log p(x) − log p(z) for one datum of `shape`, in nats."""
        return -float(self.scale.double().log().expand(shape).sum())


def fit_standardization(chunks: Callable[[], Iterable[Tensor]], names: Sequence[str] | None = None) -> Standardization:
    """Take mean and standard deviation over the data and all event axes but the first, missing values left out.

    Args:
        chunks: gives the training data afresh, ``(data, columns)`` or ``(data, channels, height, width)``, in
            parts.
        names: of the columns, for the message.

    Raises:
        DataError: for a column or channel that never varies, whose density is infinite.
    """

    def average(part: Callable[[Tensor], Tensor]) -> Tensor:
        total, count = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for x in chunks():
            axes = [d for d in range(x.ndim) if d != 1]
            total = total.to(x.device) + part(x.double()).nansum(axes, keepdim=True)[0]
            count = count.to(x.device) + (~x.isnan()).double().sum(axes, keepdim=True)[0]
        return total / count

    location = average(lambda x: x)
    scale = average(lambda x: (x - location).square()).sqrt()  # two passes: exact where location >> scale
    constant = (~(scale > 1e-12 * location.abs())).flatten().nonzero().flatten().tolist()
    if constant:
        shown = ", ".join(repr(names[i]) if names else str(i) for i in constant[:5])
        value = location.flatten()[constant[0]].item()
        raise DataError(
            f"Got {len(constant)} columns or channels without variance in the training data ({shown}; the "
            f"first is {value:g} throughout), expected each to vary: leave them out, or use "
            "standardization='none'."
        )
    return Standardization(location, scale)


@dataclass(frozen=True)
class Policies:
    """What is done to x between memory and model; each is a name, ``none`` leaves x alone.

    Raises:
        DataError: for an unknown name, or two that exclude one another.
    """

    binarization: Binarization = "none"
    dequantization: Dequantization = "none"
    scaling: Scale = "unit"
    standardization: Standardize = "none"

    def __post_init__(self) -> None:
        for key, kinds in {
            "binarization": get_args(Binarization),
            "dequantization": get_args(Dequantization),
            "scaling": get_args(Scale),
            "standardization": get_args(Standardize),
        }.items():
            if (value := getattr(self, key)) not in kinds:
                raise DataError(f"Got {key}={value!r}, expected one of {', '.join(kinds)}.")
        if self.binarization != "none" and (self.dequantization, self.standardization) != ("none", "none"):
            raise DataError(
                f"Got binarization={self.binarization!r} together with "
                f"dequantization={self.dequantization!r} and standardization={self.standardization!r}, "
                "expected one of them: binary data are neither dequantized nor standardized; use "
                "binarization='none'."
            )


def apply(
    policies: Policies,
    splits: dict[str, Split],
    support: Support,
    levels: int | None,
    dtype: torch.dtype | None,
    seed: int,
    names: Sequence[str] | None = None,
) -> tuple[dict[str, Split], Support, int | None]:
    """Give the splits with their transform, and the support and levels of what a model sees.

    Args:
        policies: what to do.
        splits: as stored.
        support: of x as stored …
        levels: … and how many levels it has.
        dtype: of x in batches.
        seed: of static draws, and of the noise where no generator is given.
        names: of the columns, for messages.

    Raises:
        DataError: where a policy does not fit the support.
    """
    steps: tuple[Step, ...] = ()
    if policies.binarization != "none" and support != "binary":
        peak = _peak(support, levels, policies.binarization)
        if policies.binarization == "dynamic":
            steps = (DynamicBinarization(peak),)
        else:
            splits = {name: _binarized(split, policies, peak, seed) for name, split in splits.items()}
        support, levels = "binary", None
    elif policies.dequantization != "none":
        if support != "integers" or levels is None:
            raise DataError(
                f"Got dequantization={policies.dequantization!r} for data whose support is {support!r}, "
                "expected integers with known levels: give levels=256 for 8-bit pixels, or "
                "dequantization='none'."
            )
        steps, support, levels = (UniformDequantization(levels),), "unit", None
    elif policies.scaling == "unit" and support == "integers" and levels is not None:
        steps, support, levels = (Scaling(levels - 1),), "unit", None
    transform = Transform(steps, dtype, seed)
    if policies.standardization != "none":
        standardization = _fit(splits["train"], transform, names)
        transform, support, levels = Transform((*steps, standardization), dtype, seed), "real", None
    return {name: _with(split, transform) for name, split in splits.items()}, support, levels


def _peak(support: Support, levels: int | None, policy: str) -> float:
    if support == "integers" and levels is not None:
        return levels - 1
    if support == "unit":
        return 1
    raise DataError(
        f"Got binarization={policy!r} for data whose support is {support!r}, expected grey levels: integers "
        "with known levels (give levels=256 for values from 0 to 255) or numbers in [0, 1] (divide by the "
        "largest there can be)."
    )


def _binarized(split: Split, policies: Policies, peak: float, seed: int) -> Split:
    x, *others = split.tensors
    if policies.binarization == "static":
        x = static_binarization(x, split.indices, peak, seed)
    else:
        x = threshold_binarization(x, peak)
    return replace(split, tensors=(x, *others))


def _with(split: Split, transform: Transform) -> Split:
    return replace(split, transform=transform)


def _fit(train: Split, transform: Transform, names: Sequence[str] | None) -> Standardization:
    # numbers such as dates in seconds lose their digits in float32 before the mean is taken away, not after
    stored = train.tensors[0].dtype
    dtype = torch.float64 if stored in (torch.float64, torch.int64, torch.int32) else transform.dtype
    view = _with(train, Transform(transform.steps, dtype, transform.seed))
    fitted = fit_standardization(lambda: (batch[0] for batch in view.batches(4096)), names)
    return Standardization(fitted.location.to(dtype), fitted.scale.to(dtype))


def mean(split: Split, chunk: int = 4096) -> Tensor:
    """Give the mean of x over a split as a model sees it, ``(*shape)``: policies' noise averaged out, NaN left out."""
    x = split.tensors[0]
    total, count = torch.zeros(x.shape[1:], dtype=torch.float64), torch.zeros(x.shape[1:], dtype=torch.float64)
    for part in (p.double() for p in x.split(chunk)):
        total, count = total.to(x.device) + part.nansum(0), count.to(x.device) + (~part.isnan()).sum(0)
    return split.transform.mean(total / count.clamp(min=1))


def statistics(split: Split) -> tuple[tuple[float, ...], tuple[float, ...]] | tuple[None, None]:
    """Give location and scale of the standardization, one number per column or channel, or None twice."""
    for step in split.transform.steps:
        if isinstance(step, Standardization):
            return tuple(step.location.flatten().tolist()), tuple(step.scale.flatten().tolist())
    return None, None
