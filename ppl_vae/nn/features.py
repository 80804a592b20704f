"""Data and what is given beside them as numbers of order one, for the first layer of a network."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ppl_vae.errors import ArgumentError, DataError


class DataSpec(Protocol):
    """The part of a dataset's spec that networks read; `ppl_vae.datasets.Spec` is one.

    Any object with these attributes will do, so that a network can be built without a dataset.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Event shape of x: (C, H, W) for images, (D,) for tables."""

    @property
    def support(self) -> str:
        """One of binary, integers, counts, unit, positive, real, mixed."""

    @property
    def levels(self) -> int | None:
        """Number of values of integer data (0 … levels-1)."""

    @property
    def fields(self) -> Sequence[Any]:
        """Name, shape and dtype of every tensor of a batch; the first is x."""

    @property
    def num_classes(self) -> int | None:
        """Number of classes of the labels, if there are any."""

    @property
    def mean(self) -> Tensor | None:
        """Mean of x over the training data, where known."""


@dataclass(frozen=True)
class Argument:
    """One tensor of a batch as a program knows it that was made for a dataset.

    Attributes:
        name: of the field.
        classes: how many codes 0, …, K − 1 a category has; None for numbers.
        class_names: their names, where they have some.
        is_positive: whether values have to be above 0.
    """

    name: str
    classes: int | None = None
    class_names: tuple[str, ...] | None = None
    is_positive: bool = False


def arguments_of(spec: DataSpec, positive: str | None = None) -> tuple[Argument, ...]:
    """The tensors of a batch, x first, as a program says of itself in `data_fields`, by which its data are looked at.

    Labels are classes by the spec's word.

    Args:
        spec: the dataset's spec.
        positive: name of a field whose values have to be above 0.

    Example:
        >>> from ppl_vae.datasets.spec import Field, Spec
        >>> spec = Spec((2,), "real", fields=(Field("x", (2,)), Field("y", (), "int64")), num_classes=3)
        >>> [(field.name, field.classes) for field in arguments_of(spec)]
        [('x', None), ('y', 3)]
    """
    found = []
    for place, field in enumerate(spec.fields):
        classes, names = getattr(field, "classes", None), getattr(field, "class_names", None)
        if place and not classes and _is_label(field):
            classes, names = spec.num_classes, getattr(spec, "class_names", None)
        names = None if names is None else tuple(map(str, names))
        found.append(Argument(field.name, classes if place else None, names, field.name == positive))
    return tuple(found)


def _is_label(field: Any) -> bool:
    """True for a field of codes that are the labels; x1 has no name."""
    return "float" not in field.dtype and not tuple(field.shape) and field.name in ("y", "x1")


def has_missing(spec: DataSpec) -> bool:
    """True if values of x may be missing, which a model then has to mask; specs need not say so.

    Raises:
        DataError: x are sequences of varying length: another model would take their padding for data.
    """
    if getattr(spec, "time", None) is not None:
        raise DataError(
            "Got sequences of varying length for a model that would take their padding for data; expected "
            "model=state_space guide=state_space, or a program of your own that takes (x, lengths)."
        )
    return bool(getattr(spec, "missing", False))


def require_whole(spec: DataSpec, what: str) -> None:
    """Refuse data with missing values.

    Raises:
        DataError: naming what cannot do with them.
    """
    if has_missing(spec):
        raise DataError(f"Got data with missing values for {what}; expected none. Use model=vae, or fill them in.")


def instead_of_counts(spec: DataSpec) -> str:
    """Advice for data that are no vectors of counts, or are not known to be."""
    known = "" if spec.support in ("counts", "integers") else "If these are counts, say so: support='counts'. "
    return f"{known}Otherwise use model=vae guide=amortized."


class Rescale(nn.Module):
    """Data of any support as floats of order one: x/(levels-1), log(1+x) for counts, else x itself.

    A missing value is 0 then, which is the mean of standardized data (Mattei and Frellsen, 2019).

    Args:
        spec: the dataset's spec.
    """

    one: Tensor

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.log = spec.support in ("counts", "positive")
        self.top = float(spec.levels - 1) if spec.support == "integers" and spec.levels else 1.0
        self.missing = bool(getattr(spec, "missing", False))
        self.register_buffer("one", torch.ones(()), persistent=False)  # carries dtype

    def forward(self, x: Tensor) -> Tensor:
        """Data `(..., *shape)` to floats of that shape."""
        x = x.to(self.one.dtype)
        if self.missing:
            x = torch.where(x.isnan(), 0.0, x)
        return x.log1p() if self.log else x / self.top


class ColumnFeatures(nn.Module):
    """Columns of a table, each by its kind, as numbers of order one.

    Numbers are brought to mean 0 and standard deviation 1, positive ones as log x, counts as log(1 + x); missing ones
    are 0, and where some may be missing, a further feature of each says whether it is there. Categories are one-hot; of
    an ordinal value each level up to it is 1. Codes that are missing are zeros.

    Args:
        spec: the dataset's spec, of support `mixed`.
    """

    numbers: Tensor
    location: Tensor
    scale: Tensor
    is_positive: Tensor
    is_count: Tensor
    column: Tensor
    level: Tensor
    is_ordinal: Tensor

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        kinds = list(enumerate(getattr(spec, "columns", None) or ()))
        numbers = [(i, c) for i, c in kinds if not c.levels]
        # of two values one feature tells: the first level of a binary column is left away
        codes = [(i, c, k) for i, c in kinds for k in range(c.kind == "binary", c.levels)]
        held = {
            "numbers": torch.tensor([i for i, _ in numbers], dtype=torch.int64),
            "location": torch.tensor([float(c.location) for _, c in numbers]),
            "scale": torch.tensor([float(c.scale) for _, c in numbers]),
            "is_positive": torch.tensor([c.kind == "positive" for _, c in numbers], dtype=torch.bool),
            "is_count": torch.tensor([c.kind == "count" for _, c in numbers], dtype=torch.bool),
            "column": torch.tensor([i for i, _, _ in codes], dtype=torch.int64),
            "level": torch.tensor([float(k) for _, _, k in codes]),
            "is_ordinal": torch.tensor([c.kind == "ordinal" for _, c, _ in codes], dtype=torch.bool),
        }
        for name, value in held.items():
            self.register_buffer(name, value, persistent=False)
        self.missing = has_missing(spec)
        self.out_features = len(numbers) * (1 + self.missing) + len(codes)

    def forward(self, x: Tensor) -> Tensor:
        """Data `(..., columns)` to `(..., out_features)`."""
        x = x.to(self.location.dtype)
        values, codes = x[..., self.numbers], x[..., self.column]
        gone = values.isnan()
        # 1 is inside every kind: no NaN of a branch that is not taken comes into a gradient
        safe = torch.where(gone, 1.0, values)
        safe = torch.where(self.is_positive, torch.where(self.is_positive, safe, 1.0).log(), safe)
        safe = torch.where(self.is_count, torch.where(self.is_count, safe, 1.0).log1p(), safe)
        scaled = torch.where(gone, 0.0, (safe - self.location) / self.scale)
        # of NaN false; without `where`, which ONNX does not have of booleans
        hot = (codes == self.level) | (self.is_ordinal & (codes > self.level))
        return torch.cat([scaled, *([(~gone).to(x.dtype)] if self.missing else []), hot.to(x.dtype)], -1)


class Features(nn.Module):
    """Rescaled data with its event axes flattened into one; of mixed columns `ColumnFeatures`.

    Args:
        spec: the dataset's spec.
    """

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        if spec.support == "mixed":
            self.rescale: nn.Module = ColumnFeatures(spec)
            self.event_dim, self.out_features = 1, self.rescale.out_features
            return
        self.rescale = Rescale(spec)
        self.event_dim = len(spec.shape)
        self.out_features = prod(spec.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Data `(..., *shape)` to `(..., prod(shape))`."""
        x = self.rescale(x)
        return x.flatten(-self.event_dim) if self.event_dim else x.unsqueeze(-1)


class Covariate(nn.Module):
    """One tensor of a batch as features: codes of a category one-hot, anything else flattened.

    Where the field says location and scale, they are those of (value − location) / scale.

    Args:
        field: of the dataset's spec.
        classes: how many codes there are, where the field does not say; None for numbers.

    Example:
        >>> from ppl_vae.datasets.spec import Field
        >>> Covariate(Field("age", (), location=(40.0,), scale=(10.0,)))(torch.tensor([30.0, 60.0])).tolist()
        [[-1.0], [2.0]]
    """

    location: Tensor
    scale: Tensor

    def __init__(self, field: Any, classes: int | None = None) -> None:
        super().__init__()
        self.classes = int(getattr(field, "classes", None) or classes or 0)
        self.event_dim = len(field.shape)
        self.out_features = self.classes or prod(field.shape)
        location, scale = getattr(field, "location", None), getattr(field, "scale", None)
        self.register_buffer("location", torch.tensor(location or 0.0), persistent=False)  # carries dtype, too
        self.register_buffer("scale", torch.tensor(scale or 1.0), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """Values `(..., *shape)` to features `(..., out_features)`."""
        if self.classes:
            return one_hot(values, self.classes).to(self.location.dtype)
        values = values.to(self.location.dtype)
        values = values.flatten(-self.event_dim) if self.event_dim else values.unsqueeze(-1)
        return (values - self.location) / self.scale


class Covariates(nn.Module):
    """All tensors of a batch that follow x, as features side by side.

    Args:
        spec: the dataset's spec, with further fields.
        without: names of those that are left out.

    Raises:
        DataError: batches hold x alone.
    """

    def __init__(self, spec: DataSpec, without: Collection[str] = ()) -> None:
        super().__init__()
        self.used = [place for place, field in enumerate(spec.fields) if place and field.name not in without]
        if not self.used:
            raise DataError(
                "this model needs batches (x, y), this dataset's batches hold x alone. Load it with its labels, "
                "dataset.with_labels=true, or with columns that follow x: dataset.fields=[age,batch]."
            )
        each = [covariate(spec, place) for place in self.used]
        self.each = nn.ModuleList(each)
        self.out_features = sum(one.out_features for one in each)
        self.classes = {spec.fields[at].name: c.classes for at, c in zip(self.used, each, strict=True) if c.classes}

    def forward(self, *given: Tensor) -> Tensor:
        """Values `(..., *shape)` of each to features `(..., out_features)`.

        Raises:
            ArgumentError: other numbers of them.
        """
        if len(given) < self.used[-1]:
            raise ArgumentError(f"Got {len(given)} tensors beside x, expected {self.used[-1]}, as in the spec.")
        return torch.cat([one(given[place - 1]) for place, one in zip(self.used, self.each, strict=True)], -1)


def covariate(spec: DataSpec, place: int) -> Covariate:
    """The features of a tensor of a batch; labels are classes by the spec's word."""
    field = spec.fields[place]
    return Covariate(field, spec.num_classes if _is_label(field) else None)


def one_hot(y: Tensor, classes: int) -> Tensor:
    """Codes `(...)` to `(..., classes)`, all false where a code is outside 0 … classes-1.

    Example:
        >>> import torch
        >>> one_hot(torch.tensor([2, -1]), 3)
        tensor([[False, False,  True],
                [False, False, False]])
    """
    return y.unsqueeze(-1) == torch.arange(classes, device=y.device)
