"""The part of a data set that networks, likelihoods and saved runs need to know: all but its data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ppl_vae.display import Displayed, View, few, number
from ppl_vae.errors import DataError

Support = Literal["binary", "integers", "counts", "unit", "positive", "real", "mixed"]
SUPPORTS: tuple[Support, ...] = get_args(Support)

Kind = Literal["real", "positive", "count", "binary", "category", "ordinal"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, repr=False)
class ColumnKind(Displayed):
    """The kind of one column of a table whose columns differ, and what networks need to know of it.

    Args:
        kind: ``real``; ``positive`` (0, ∞); ``count`` {0, 1, …}; ``binary`` {0, 1}; ``category`` {0, …, K − 1};
            ``ordinal``, the same in an order that means something.
        names: what the codes 0, …, K − 1 stand for; none where the table itself has 0 and 1.
        location: mean over the training data, of log x for positive x, of log(1 + x) for counts …
        scale: … and standard deviation, so that networks see, and give, numbers of order one.

    Raises:
        DataError: for an unknown kind, or fewer than two names where codes stand for some.
    """

    kind: Kind
    names: tuple[str, ...] = ()
    location: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DataError(f"Got {self.kind!r} as the kind of a column, expected one of {', '.join(KINDS)}.")
        few = len(self.names) < 2 and self.kind in ("category", "ordinal")
        if few or (self.kind == "binary" and len(self.names) not in (0, 2)):
            raise DataError(
                f"Got the names {list(self.names)} for a column of kind {self.kind!r}, expected two or more."
            )

    def _view(self) -> View:
        names = f", {few(self.names)}" if self.names else ""
        return View(f"ColumnKind({self.kind}{names}: location {number(self.location)}, scale {number(self.scale)})")

    @property
    def levels(self) -> int:
        """The number of values that there are: 0 where they are numbers."""
        return 2 if self.kind == "binary" else len(self.names)


@dataclass(frozen=True)
class Field:
    """One tensor of a batch.

    Args:
        name: of it.
        shape: without the data axis.
        dtype: as in ``torch.<dtype>``.
        classes: how many codes 0, …, K − 1 a category has; None for numbers.
        class_names: their names, in the order of the codes.
        location: training means of what networks are to see as (value − location) / scale, one number per element; not
            compared, since they are of the data, not of their kind …
        scale: … and standard deviations.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    classes: int | None = None
    class_names: tuple[str, ...] | None = None
    location: tuple[float, ...] | None = field(default=None, compare=False, repr=False)
    scale: tuple[float, ...] | None = field(default=None, compare=False, repr=False)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype as torch's own object."""
        return getattr(torch, self.dtype)

    def to_dict(self) -> dict[str, Any]:
        """Give plain lists, numbers and strings, without what is not set."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if v is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Field:
        """Build the field that `to_dict` wrote.

        Raises:
            DataError: for a key that is no part of a field, or a missing one.
        """
        known = [item.name for item in fields(cls)]
        if wrong := sorted({*values} - {*known} | {"name", "shape"} - {*values}):
            raise DataError(f"Got {sorted(values)} in a field of a saved spec ({wrong}), expected only {known}.")
        kept: dict[str, Any] = {k: tuple(v) if isinstance(v, list | tuple) else v for k, v in values.items()}
        return cls(**kept)


@dataclass(frozen=True, repr=False)
class Spec(Displayed):
    """The kind of data that a model is for: shapes, support, names; nothing as large as the data.

    A spec goes through JSON unchanged (`to_dict`, `from_dict`), except for `mean`, which is neither
    written nor compared.

    Args:
        shape: event shape of x, without the data axis: images ``(channels, height, width)``, tables
            ``(columns,)``.
        support: where x lives: ``binary`` {0, 1}; ``integers`` {0, …, levels − 1}; ``counts`` {0, 1, …};
            ``unit`` [0, 1]; ``positive`` (0, ∞); ``real``; ``mixed`` where each column has its own, see `columns`.
        levels: how many integers there are, for ``integers``.
        fields: one per tensor of a batch, x first. Left out, it is x alone in float32.
        num_classes: how many classes the labels have, if they are classes.
        class_names: their names, in the order of the codes.
        feature_names: the columns of a table.
        columns: the kind of each, for ``mixed``; x holds codes 0, 1, … where values have names.
        factor_names: the known generating factors, if there are any …
        factor_sizes: … and how many values each takes.
        location: where x was standardized: x = (original − location) / scale, one number per column or
            channel.
        scale: see `location`.
        time: the steps that sequences of varying length are padded to, whose x is ``(time, features)`` and whose length
            is the field ``lengths``; None where x is no such sequence.
        missing: whether values of x may be missing (NaN), which ready-made pairs then mask; not compared, since specs
            of earlier versions do not say it.
        mean: training mean of x, ``shape``, for output biases.

    Raises:
        DataError: for an unknown support, ``integers`` without levels, or kinds of columns that do not fit it.

    Example:
        >>> spec = Spec(shape=(1, 8, 8), support="binary")
        >>> spec.size, Spec.from_dict(spec.to_dict()) == spec
        (64, True)
    """

    shape: tuple[int, ...]
    support: Support
    levels: int | None = None
    fields: tuple[Field, ...] = ()
    num_classes: int | None = None
    class_names: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] | None = None
    factor_names: tuple[str, ...] | None = None
    factor_sizes: tuple[int, ...] | None = None
    location: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None
    columns: tuple[ColumnKind, ...] | None = None
    time: int | None = None
    missing: bool = field(default=False, compare=False)
    mean: Tensor | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.support not in SUPPORTS:
            raise DataError(f"Got support {self.support!r}, expected one of {', '.join(SUPPORTS)}.")
        if self.support == "integers" and (self.levels is None or self.levels < 2):
            raise DataError(
                f"Got support 'integers' with levels={self.levels}, expected at least 2: say how many values "
                "there are, such as levels=256."
            )
        kinds = None if self.columns is None else len(self.columns)
        if (self.support == "mixed") != (kinds is not None) or (kinds is not None and self.shape != (kinds,)):
            raise DataError(
                f"Got support {self.support!r} and the kinds of {kinds} columns for x of shape {self.shape}, expected "
                "one for each column with support 'mixed', and none with another."
            )
        if self.time is not None and (len(self.shape) != 2 or self.shape[0] != self.time):
            raise DataError(f"Got time={self.time} for x of shape {self.shape}, expected the shape (time, features).")
        if not self.fields:
            object.__setattr__(self, "fields", (Field("x", self.shape),))

    def _view(self) -> View:
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values |= {"fields": [f.name for f in self.fields], "columns": self.columns and [c.kind for c in self.columns]}
        rows = [
            (name, few(map(number, value)) if isinstance(value, list | tuple) else value)
            for name, value in values.items()
            if name not in ("shape", "support", "mean") and value is not None and value is not False
        ]
        return View(f"Spec(x {self.shape} {self.support})", rows=rows)

    def differences(self, other: Spec) -> dict[str, tuple[Any, Any]]:
        """The fields that are not equal: the value here, and the one of another spec, as `to_dict` has them."""
        here, there = self.to_dict(), other.to_dict()
        compared = [item.name for item in fields(self) if item.compare]
        return {k: (here.get(k), there.get(k)) for k in compared if getattr(self, k) != getattr(other, k)}

    @property
    def size(self) -> int:
        """Numbers per datum of x: the product of `shape`."""
        return math.prod(self.shape)

    @property
    def is_image(self) -> bool:
        """True where x has the shape (channels, height, width)."""
        return len(self.shape) == 3

    def restore(self, x: Tensor) -> Tensor:
        """Bring standardized x, ``(…, *shape)``, back to the units of the source: location + scale · x."""
        if self.location is None or self.scale is None:
            return x
        location, scale = (torch.as_tensor(v, dtype=x.dtype, device=x.device) for v in (self.location, self.scale))
        return location.reshape(self.aligned) + scale.reshape(self.aligned) * x

    @property
    def aligned(self) -> tuple[int, ...]:
        """The shape in which location and scale go with x: by column, channel, or feature of a sequence."""
        return (-1,) if self.time is not None else (-1,) + (1,) * (len(self.shape) - 1)

    def to_dict(self) -> dict[str, Any]:
        """Give plain lists, numbers and strings, without `mean` and without what is not set."""
        out: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name == "fields":
                out["fields"] = [f.to_dict() for f in value]
            elif item.name == "columns" and value is not None:
                out["columns"] = [asdict(c) | {"names": list(c.names)} for c in value]
            elif item.name != "mean" and value is not None and value is not False:
                out[item.name] = list(value) if isinstance(value, tuple) else value
        return out

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Spec:
        """Build the spec that `to_dict` wrote.

        Raises:
            DataError: for a key that is no part of a spec, or a missing one.
        """
        known = {item.name for item in fields(cls)} - {"mean"}
        if unknown := sorted(set(values) - known):
            raise DataError(f"Got {unknown} in a saved spec, expected only {sorted(known)}.")
        if missing := sorted({"shape", "support"} - set(values)):
            raise DataError(f"A saved spec lacks {missing}; expected at least a shape and a support.")
        kept: dict[str, Any] = {k: tuple(v) if isinstance(v, list | tuple) else v for k, v in values.items()}
        kept["fields"] = tuple(map(Field.from_dict, values.get("fields", ())))
        if values.get("columns") is not None:
            kept["columns"] = tuple(
                ColumnKind(c["kind"], tuple(map(str, c["names"])), float(c["location"]), float(c["scale"]))
                for c in values["columns"]
            )
        return cls(**kept)
