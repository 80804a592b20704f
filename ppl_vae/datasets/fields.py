"""The arguments of the programs by name, and those of them that are categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.datasets.blocks import Column
from ppl_vae.datasets.convert import as_labels
from ppl_vae.datasets.keywords import perhaps
from ppl_vae.datasets.preparation import average
from ppl_vae.datasets.spec import Field
from ppl_vae.errors import DataError


@dataclass(frozen=True)
class Named:
    """The arrays of all splits, in one order.

    Attributes:
        arrays: by split: an array, or a tuple of arrays of which categories are codes, int64 ``(data,)``.
        names: of the entries of the tuples, if they were given.
        classes: by the place of an entry that is a category, the names of its codes.
    """

    arrays: dict[str, Any]
    names: tuple[str, ...] | None
    classes: dict[int, tuple[str, ...]]

    def name(self, place: int) -> str:
        """The name of an entry: x, x1, x2, … where nobody gave one."""
        return self.names[place] if self.names and place < len(self.names) else f"x{place or ''}"

    def with_labels(self, size: int) -> Named:
        """The same of batches of `size` arrays, the last of which is that of the labels, y."""
        return replace(self, names=(*map(self.name, range(size - 1)), "y"))


def named(splits: Mapping[str, Any], categories: Sequence[str] = ()) -> Named:
    """Bring the arrays of all splits into one order, and code what is a category, alike in every split.

    Text and a Categorical of pandas are categories, integers where they are named. Codes follow the sorted values.

    Args:
        splits: an array, a tuple, a named tuple or a mapping of arrays by split; x comes first.
        categories: names of entries of integers that are categories.

    Raises:
        DataError: for other names in another split, a name that is not there, and categories that are missing or no
            whole numbers.

    Example:
        >>> given = named({"train": {"x": [[1.0], [2.0]], "batch": ["b", "a"]}, "test": {"batch": ["c"], "x": [[0.0]]}})
        >>> given.names, given.classes, given.arrays["train"][1], given.arrays["test"][1]
        (('x', 'batch'), {1: ('a', 'b', 'c')}, tensor([1, 0]), tensor([2]))
    """
    by = {key: by_name(given) for key, given in splits.items()}
    names = {key: None if given is None else tuple(given) for key, given in by.items()}
    first = names["train"]
    for key, own in names.items():
        if sorted(own or ()) != sorted(first or ()):
            raise DataError(
                f"Got {_told(first)} in train and {_told(own)} in {key}, expected the same names in every split."
            )
    if first is not None:
        _check_names(first)
    arrays: dict[str, Any] = {
        key: splits[key] if given is None else tuple(given[name] for name in first or ()) for key, given in by.items()
    }
    entries = arrays["train"] if isinstance(arrays["train"], tuple) else (arrays["train"],)
    found = Named(arrays, first, {})
    known = [found.name(place) for place in range(1, len(entries))]
    if unknown := [name for name in categories if name not in known]:
        raise DataError(
            f"Got categories={list(categories)}, expected names of arrays that follow x: "
            f"{', '.join(known) or 'there are none'}{perhaps(unknown[0], known) if known else '.'}"
        )
    for place, name in enumerate(known, 1):
        parts = [of[place] for of in arrays.values() if isinstance(of, tuple) and len(of) == len(entries)]
        if len(parts) == len(arrays) and (name in categories or any(map(_is_text, parts))):
            codes, found.classes[place] = encode(parts, name)
            for key, code in zip(arrays, codes, strict=True):
                arrays[key] = (*arrays[key][:place], code, *arrays[key][place + 1 :])
    return found


def encode(parts: Sequence[Any], what: str) -> tuple[list[Tensor], tuple[str, ...]]:
    """Turn the categories of all splits into codes with one meaning, and give the names of the codes.

    Example:
        >>> encode([[30, 10], [20]], "batch")
        ([tensor([2, 0]), tensor([1])], ('10', '20', '30'))
    """
    arrays = [as_labels(part, f"values of {what}") for part in parts]
    is_text = any(array.dtype.kind in "USO" for array in arrays)
    whole = np.concatenate([array.astype(str) if is_text else array for array in arrays])
    if whole.dtype.kind == "f":
        if wrong := whole[~(np.isfinite(whole) & (whole == np.round(whole)))].tolist():
            raise DataError(
                f"Got {wrong[0]:g} in {what}, which is named as a category, expected integers or text, none missing."
            )
        whole = whole.astype(np.int64)
    values, codes = np.unique(whole, return_inverse=True)
    names = tuple(map(str, values.tolist()))
    return list(torch.from_numpy(codes.astype(np.int64)).split([len(array) for array in arrays])), names


def fields_of(
    told: Named,
    batch: Sequence[Tensor],
    train: Sequence[Tensor | Column],
    standardize: Sequence[str] = (),
    taken: Sequence[str] = (),
) -> tuple[Field, ...]:
    """Describe the tensors of a batch.

    Args:
        told: their names.
        batch: some of them.
        train: all training data.
        standardize: names of those of which networks are to see standardized values.
        taken: names that something else has: where draws are handed on, it stands beside them.

    Raises:
        DataError: for a name that stands for two things, or for nothing; categories to be standardized, and what never
            varies.
    """
    names = [told.name(place) for place in range(len(batch))]
    if twice := [name for i, name in enumerate(names) if name in (*names[:i], *taken)]:
        raise DataError(f"Got an array named {twice[0]!r} beside something else of this name, expected another one.")
    if unknown := [name for name in standardize if name not in names[1:]]:
        raise DataError(
            f"Got standardize_fields={list(standardize)}, expected names of arrays that follow x: "
            f"{', '.join(names[1:]) or 'there are none'}{perhaps(unknown[0], names[1:])}"
        )
    found = []
    for place, (name, tensor) in enumerate(zip(names, batch, strict=True)):
        classes = told.classes.get(place)
        field = Field(name, tuple(tensor.shape[1:]), str(tensor.dtype)[6:], len(classes or ()) or None, classes)
        found.append(_standardized(field, train[place]) if name in standardize else field)
    return tuple(found)


def _standardized(field: Field, values: Tensor | Column) -> Field:
    """A field with the mean and the standard deviation of its training values, by element."""
    if field.classes:
        raise DataError(f"Got {field.name} in standardize_fields, which is a category, expected numbers.")
    location = average((part.double() for part in values.split(4096)), [0])
    scale = average(((part.double() - location).square() for part in values.split(4096)), [0]).sqrt()
    if not bool((scale > 1e-12 * location.abs()).all()):
        raise DataError(
            f"Got {field.name} in standardize_fields, which does not vary in the training data, expected it to: leave "
            "it out."
        )
    return replace(field, location=tuple(location.flatten().tolist()), scale=tuple(scale.flatten().tolist()))


def by_name(given: Any) -> Mapping[str, Any] | None:
    """The arrays of a mapping or a named tuple by their names; None for anything else.

    Example:
        >>> by_name({"x": 1}), by_name((1, 2))
        ({'x': 1}, None)
    """
    if isinstance(given, Mapping):
        return None if hasattr(type(given), "tocsr") else given  # a sparse matrix of keys (DOK) is no set of arrays
    return given._asdict() if isinstance(given, tuple) and hasattr(given, "_asdict") else None


def _told(names: Sequence[str] | None) -> str:
    return "arrays without names" if names is None else f"the names {', '.join(map(str, names)) or '(none)'}"


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if not isinstance(name, str) or not name.strip() or "/" in name:
            raise DataError(f"Got {name!r} as the name of an array, expected a text, not empty and without a slash.")


def _is_text(array: Any) -> bool:
    """True for an array of text, or a Categorical of pandas."""
    if isinstance(array, list):
        leaf: Any = array
        while isinstance(leaf, list) and leaf:
            leaf = leaf[0]
        return isinstance(leaf, str | bytes)
    dtype = getattr(array, "dtype", None)
    kind = getattr(dtype, "kind", None)
    if kind != "O":
        return kind in ("U", "S")
    values = np.asarray(array, dtype=object).ravel()
    return type(dtype).__name__ == "CategoricalDtype" or any(isinstance(value, str) for value in values)
