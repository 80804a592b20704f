"""Tables whose columns differ: what each holds, found or said, and its values as numbers and back as text."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from ppl_vae.datasets.spec import KINDS, ColumnKind, Kind, Spec
from ppl_vae.datasets.split import Split
from ppl_vae.errors import DataError, near_names

if TYPE_CHECKING:
    import pandas as pd

Kinds = Mapping[Any, Any]
"""Kinds of columns by name, with the names of values where they have an order or not all are there.

So ``{"age": "positive", "grade": {"ordinal": ["low", "high"]}}``.
"""

CODED = ("binary", "category", "ordinal")


def is_number(column: pd.Series[Any]) -> bool:
    """Tell whether a column is one of plain numbers, or of booleans, by its dtype."""
    return getattr(column.dtype, "kind", "O") in "biuf"


def as_read(column: pd.Series[Any]) -> pd.Series[Any]:
    """Give a column of Python's own numbers, or booleans, as one of numbers or booleans; any other as it is.

    Example:
        >>> import pandas as pd
        >>> as_read(pd.Series([1.5, None], dtype=object)).dtype, as_read(pd.Series([1.5, "a"], dtype=object)).dtype
        (dtype('float64'), dtype('O'))
    """
    import pandas as pd

    if getattr(column.dtype, "kind", "") != "O" or isinstance(column.dtype, pd.CategoricalDtype):
        return column
    known = column.dropna()
    are_numbers = len(known) > 0 and all(isinstance(v, Real) and not isinstance(v, bool | np.bool_) for v in known)
    return pd.to_numeric(column) if are_numbers else column


def is_plain(table: pd.DataFrame) -> bool:
    """Tell whether all columns are plain numbers, or all are booleans: of one kind."""
    columns = [as_read(table.iloc[:, i]) for i in range(table.shape[1])]
    booleans = [getattr(column.dtype, "kind", "") == "b" for column in columns]
    return all(map(is_number, columns)) and (all(booleans) or not any(booleans))


def kind_of(column: pd.Series[Any]) -> Kind | None:
    """Give the kind of a column of a table in which some are no numbers; None for what is none.

    Text is a category, or binary where there are two; so are pandas' own categories, and ordinal where they are
    ordered. Booleans and numbers of which all are 0 or 1 are binary, other numbers real. Text is refused where more
    than half of it are numbers (a decimal comma, a mark for what is missing), and where more than half of the values
    occur once (names of rows).

    Example:
        >>> import pandas as pd
        >>> kind_of(pd.Series(["a", "b", None, "a"])), kind_of(pd.Series([1.5, 2.0])), kind_of(pd.Series(["x", "y"]))
        ('binary', 'real', None)
    """
    import pandas as pd

    dtype: Any = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return "ordinal" if dtype.ordered else "binary" if len(dtype.categories) == 2 else "category"
    known = column.dropna()
    if getattr(dtype, "kind", "O") == "b" or (len(known) and all(isinstance(v, bool | np.bool_) for v in known)):
        return "binary"
    if is_number(column):
        return "binary" if bool(known.isin([0, 1]).all()) else "real"
    if not all(isinstance(v, str) for v in known) or not len(known):
        return None
    numbers = pd.to_numeric(known.str.replace(",", "."), errors="coerce").notna()
    often = known.value_counts()
    if numbers.mean() > 0.5 or (often == 1).sum() > len(known) / 2:
        return None
    return "binary" if len(often) == 2 else "category"


def as_numbers(
    x: Mapping[str, Any], kinds: Kinds | None, names: Sequence[str] | None
) -> tuple[dict[str, NDArray[np.float64]], tuple[ColumnKind, ...], tuple[str, ...]] | None:
    """Give the tables of all splits as numbers, the kinds of columns and their names; None if all are plain numbers.

    Args:
        x: tables or arrays by split, ``train`` among them.
        kinds: what the user says of columns.
        names: of the columns of arrays.

    Raises:
        DataError: for kinds of columns that are not there, columns that are neither numbers nor categories, values that
            a kind does not have, categories that are not among those named.
    """
    train = x["train"]
    if not kinds and "pandas" not in sys.modules:
        return None  # what is here is no table, and to import pandas takes a fifth of a second
    import pandas as pd

    table = isinstance(train, pd.DataFrame)
    if not kinds and not (table and not is_plain(train)):
        return None
    if not table and getattr(train, "ndim", None) != 2:
        raise DataError(
            f"Got kinds of columns for {type(train).__name__}, expected a table in memory, (data, columns)."
        )
    frames = {
        key: value if isinstance(value, pd.DataFrame) else pd.DataFrame(np.asarray(value)) for key, value in x.items()
    }
    columns = [str(name) for name in (names if names is not None else frames["train"].columns)]
    for key, frame in frames.items():
        if len(frame.columns) != len(columns):
            raise DataError(f"Got {len(frame.columns)} columns in {key}, expected {len(columns)}.")
        frames[key] = frame.set_axis(columns, axis=1)
    said = {str(name): kind for name, kind in (kinds or {}).items()}
    if unknown := [name for name in said if name not in columns]:
        near = near_names(unknown[0], columns)
        raise DataError(
            f"Got kinds of {unknown[0]!r}, which is no column of x, expected one of {', '.join(columns[:20])}"
            f"{f': perhaps {near[0]!r}?' if near else '.'}"
        )
    starts = np.cumsum([0, *(len(frame) for frame in frames.values())])
    found, values = [], np.empty((starts[-1], len(columns)))
    for i, name in enumerate(columns):
        parts = [as_read(frame.iloc[:, i]) for frame in frames.values()]
        dtype = parts[0].dtype
        if isinstance(dtype, pd.CategoricalDtype) and any(part.dtype != dtype for part in parts):
            raise DataError(f"Got other categories of {name!r} in different splits, expected the same in each.")
        column = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0].reset_index(drop=True)
        kind, values[:, i] = _encode(name, column, said.get(name))
        found.append(kind)
    splits = {key: values[a:b] for key, a, b in zip(frames, starts[:-1], starts[1:], strict=True)}
    return splits, tuple(found), tuple(columns)


def _encode(name: str, column: pd.Series[Any], said: Any) -> tuple[ColumnKind, NDArray[np.float64]]:
    """One column as numbers, NaN where a value is missing, and what they are."""
    import pandas as pd

    levels: Sequence[Any] | None = None
    if isinstance(said, Mapping):
        if len(said) != 1:
            raise DataError(f"Got the kinds {dict(said)} of the column {name!r}, expected one, with its names.")
        ((said, levels),) = said.items()
        if isinstance(levels, str) or not isinstance(levels, Sequence):
            raise DataError(f"Got {levels!r} as the names of the values of {name!r}, expected a list of them.")
    kind = said or kind_of(column)
    if kind is None:
        if not column.notna().any():
            raise DataError(f"Got no value in the column {name!r}, expected some: leave it out.")
        first = str(column.dropna().iloc[0])[:40]
        raise DataError(
            f"Got the column {name!r} with {first!r}, expected numbers, or text in which values recur: leave it out, "
            f"or say what it is, such as kinds={{{name}: category}}."
        )
    if kind not in KINDS:
        raise DataError(
            f"Got {kind!r} as the kind of the column {name!r}, expected one of {', '.join(get_args(Kind))}."
        )
    if kind not in CODED:
        numbers: NDArray[np.float64] = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
        lost = np.isnan(numbers) & column.notna().to_numpy()
        wrong = {
            "real": np.isinf(numbers),
            "positive": ~(numbers > 0) & ~np.isnan(numbers) | np.isinf(numbers),
            "count": ~((numbers >= 0) & (numbers == np.round(numbers))) & ~np.isnan(numbers) | np.isinf(numbers),
        }[kind]
        _refuse(name, kind, column, lost | wrong, {"positive": "above 0", "count": "0, 1, 2, …"}.get(kind, "finite"))
        return ColumnKind(kind), numbers
    plain = levels is None and is_number(column) and getattr(column.dtype, "kind", "O") != "b"
    if kind == "binary" and plain and bool(column.dropna().isin([0, 1]).all()):
        return ColumnKind("binary"), column.to_numpy(np.float64, na_value=np.nan)
    names = [_text(v) for v in (_levels(name, column, kind) if levels is None else levels)]
    if len(set(names)) != len(names):
        raise DataError(f"Got the names {names} of the column {name!r}, expected each once.")
    if len(names) < 2 or (kind == "binary" and len(names) > 2):
        raise DataError(
            f"Got {len(names)} different values of the column {name!r} ({', '.join(names[:5])}), expected "
            f"{'two' if kind == 'binary' else 'at least two'} for kind {kind!r}: leave it out, or say another kind."
        )
    code = {text: float(i) for i, text in enumerate(names)}
    missing = column.isna().to_numpy()
    codes = np.array([np.nan if gone else code.get(_text(v), -1.0) for v, gone in zip(column, missing, strict=True)])
    _refuse(name, kind, column, codes < 0, f"one of {', '.join(names[:10])}, or nothing")
    return ColumnKind(kind, tuple(names)), codes


def _levels(name: str, column: pd.Series[Any], kind: str) -> list[Any]:
    """The values of a column, in order."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        return list(column.dtype.categories)
    if kind == "ordinal" and not is_number(column):
        raise DataError(
            f"Got text in the column {name!r} of kind 'ordinal' without an order, expected one: "
            f"kinds={{{name}: {{ordinal: [low, middle, high]}}}}, or an ordered category of pandas."
        )
    return sorted(column.dropna().unique(), key=lambda v: v if is_number(column) else str(v))


def _text(value: Any) -> str:
    """A value as text: 1 and 1.0 are the same."""
    if isinstance(value, bool | np.bool_ | str):
        return str(value)
    return f"{value:.15g}" if isinstance(value, int | float | np.number) else str(value)


def _refuse(name: str, kind: str, column: pd.Series[Any], wrong: NDArray[np.bool_], expected: str) -> None:
    if number := int(wrong.sum()):
        row = int(wrong.argmax())
        raise DataError(
            f"Got {number} value{'' if number == 1 else 's'} of the column {name!r} that cannot be {kind}, the first "
            f"{str(column.iloc[row])[:40]!r} in row {row + 1}, expected {expected}: mend it, or say another kind."
        )


def fitted(columns: Sequence[ColumnKind], train: Split) -> tuple[ColumnKind, ...]:
    """Give the kinds with mean and standard deviation of what the training data hold, as a model sees them."""
    (x, *_) = train.batch()
    x = x.double()
    found = []
    for column, values in zip(columns, x.unbind(1), strict=True):
        known = values[~values.isnan()]
        if column.kind in CODED or not len(known):
            found.append(column)
            continue
        known = known.log() if column.kind == "positive" else known.log1p() if column.kind == "count" else known
        scale = float(known.std(correction=0))
        constant = not scale > 1e-12 * abs(float(known.mean()))  # nothing to scale by: its log-density is refused later
        found.append(replace(column, location=float(known.mean()), scale=1.0 if constant else scale))
    return tuple(found)


def as_kinds(spec: Spec) -> dict[str, Any]:
    """Give the kinds of a spec as `from_arrays` takes them, with all names: what further data are read by."""
    names = spec.feature_names or tuple(map(str, range(len(spec.columns or ()))))
    return {n: {c.kind: list(c.names)} if c.names else c.kind for n, c in zip(names, spec.columns or (), strict=True)}


def named(column: ColumnKind, values: Any) -> NDArray[Any]:
    """Give the values of a column as its table has them: text for codes; missing ones are None there.

    Example:
        >>> named(ColumnKind("binary", ("no", "yes")), [1.0, float("nan"), 0.0]).tolist()
        ['yes', None, 'no']
    """
    values = np.asarray(values)
    if not column.names:
        return values
    texts = np.array([*column.names, None], dtype=object)
    codes = np.where(np.isnan(values), len(column.names), values).round().astype(np.int64)
    found: NDArray[Any] = texts[codes]
    return found


def value_names(spec: Any) -> list[tuple[str, ...]] | None:
    """Give of each column of a spec what its codes stand for; None where columns do not differ."""
    kinds = getattr(spec, "columns", None)
    return None if kinds is None else [column.names for column in kinds]


def to_frame(spec: Spec, x: Any) -> pd.DataFrame:
    """Give x, ``(data, columns)``, as a table in the units and words of its source.

    Raises:
        DataError: for data that are no table.

    Example:
        >>> from ppl_vae.datasets import from_arrays
        >>> import pandas as pd
        >>> table = pd.DataFrame({"age": [31.0, 47.0, None, 20.0], "town": ["Bonn", "Kiel", "Bonn", None]})
        >>> data = from_arrays(table, standardization="zscore")
        >>> to_frame(data.spec, data.train.batch()[0]).round(1)["town"].fillna("?").tolist()
        ['Bonn', 'Kiel', 'Bonn', '?']
    """
    import pandas as pd

    x = torch.as_tensor(x)
    if len(spec.shape) != 1 or tuple(x.shape[1:]) != spec.shape:
        raise DataError(f"Got x of shape {tuple(x.shape)}, expected a table, (data, columns), of {spec.shape}.")
    values = spec.restore(x.double()).cpu().numpy()
    names = spec.feature_names or tuple(map(str, range(spec.size)))
    kinds = spec.columns or (ColumnKind("real"),) * spec.size
    return pd.DataFrame({n: named(kind, values[:, i]) for i, (n, kind) in enumerate(zip(names, kinds, strict=True))})
