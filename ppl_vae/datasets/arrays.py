"""Arrays that are in memory already, as a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, Unpack

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from ppl_vae.datasets.convert import Channels, as_dtype, as_tensor, as_tensors, channels_first
from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.keywords import source
from ppl_vae.datasets.labels import encode_labels
from ppl_vae.datasets.preparation import Preparation, check_policies, kept_dtype, mean, prepare, statistics
from ppl_vae.datasets.spec import Field, Spec
from ppl_vae.datasets.split import Split, split_indices
from ppl_vae.datasets.support import find_support, has_nan
from ppl_vae.errors import DataError

Arrays = Any
"""An array of numpy or torch with a first axis over data, or a tuple of them, x first."""


@source
def from_arrays(
    train: Arrays,
    validation: Arrays | float | None = None,
    test: Arrays | float | None = None,
    *,
    labels: Any = None,
    factors: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    channels: Channels | None = None,
    name: str = "arrays",
    class_names: Sequence[str] | None = None,
    feature_names: Sequence[str] | None = None,
    **how: Unpack[Preparation],
) -> Dataset:
    """Make a data set of arrays.

    Args:
        train: ``(data, …)``, or a tuple of such arrays, which is what ``model(*batch)`` gets; x is the first.
        validation: the same for validation, or how much of `train` to set aside for it: a fraction, or a
            number of data. None sets nothing aside and leaves the split empty.
        test: as `validation`.
        labels: one per datum of `train`, numbers or text; with several arrays given, a tuple of the labels of
            each.
        factors: known generating factors by name, each ``(data,)`` of integers; a tuple as for `labels`.
        channels: where the colour channels of images are, see `channels_first`; shapes are kept by default.
        name: of the data set.
        class_names: names of the labels 0, …, K − 1.
        feature_names: of the columns of a table.
        how: see `Preparation`.

    Raises:
        DataError: for arrays that are empty, of unequal length, shape or kind, infinite, or outside the support. NaN
            is a missing value, which stays, for programs that mask it.

    Example:
        >>> data = from_arrays(torch.rand(100, 5), validation=0.1, test=20)
        >>> data
        Dataset(arrays: train 70, validation 10, test 20; x (5,) unit)
    """
    policies, with_labels, seed = check_policies(how), how["with_labels"], how["seed"]
    wanted = as_dtype(how["dtype"])
    given = {"train": train, "validation": validation, "test": test}
    given = {key: value.tensors if isinstance(value, TensorDataset) else value for key, value in given.items()}
    shares = {key: value for key, value in given.items() if value is None or isinstance(value, Real)}
    if "train" in shares:
        raise DataError(f"Got train={train!r}, expected an array with a first axis over data, or a tuple of them.")
    parts = {
        key: as_tensors(value, key, wanted, exact_x=how["standardization"] != "none")
        for key, value in given.items()
        if key not in shares
    }
    _check_alike(parts)
    parts = {key: (channels_first(x, channels, key), *others) for key, (x, *others) in parts.items()}
    stored, levels = find_support({key: tensors[0] for key, tensors in parts.items()}, how["support"], how["levels"])
    x = parts["train"][0]
    seen_dtype = kept_dtype(x.dtype, how, stored) or wanted or _natural_dtype(given["train"], x)
    missing = any(has_nan(x) for x, *_ in parts.values())
    if missing and (how["binarization"], how["dequantization"]) != ("none", "none"):
        raise DataError(
            f"Got NaN in x with binarization={how['binarization']!r} and dequantization={how['dequantization']!r}, "
            "expected no missing value, or neither of the two: leave these data out, or fill in the values."
        )
    if not missing and (stored == "binary" or (stored == "integers" and (levels or 0) <= 256)):
        parts = {key: (x.to(torch.uint8), *others) for key, (x, *others) in parts.items()}

    codes, classes, num_classes = encode_labels(_per_part(labels, len(parts), "labels"), class_names)
    if with_labels and codes[0] is None:
        raise DataError("Got with_labels=True without labels, expected labels: say which they are.")
    known, factor_names = _factors(_per_part(factors, len(parts), "factors"))
    splits = {
        key: _split(key, tensors, code, factor, with_labels)
        for (key, tensors), code, factor in zip(parts.items(), codes, known, strict=True)
    }
    splits = _carve(splits, shares, seed)
    columns = feature_names or getattr(train, "columns", None)
    columns = None if columns is None else tuple(str(column) for column in columns)
    splits = {key: replace(split, columns=columns) for key, split in splits.items()}
    splits, seen, seen_levels = prepare(splits, how, stored, levels, seen_dtype, columns)

    fields = _fields(splits["train"], with_labels)
    location, scale = statistics(splits["train"])
    spec = Spec(
        shape=fields[0].shape,
        support=seen,
        levels=seen_levels,
        fields=fields,
        num_classes=num_classes,
        class_names=classes,
        feature_names=columns,
        factor_names=factor_names,
        factor_sizes=_factor_sizes([factor for factor in known if factor is not None]),
        location=location,
        scale=scale,
        mean=mean(splits["train"]),
    )
    provenance = {
        "source": name,
        "seed": seed,
        "sizes": {key: len(split) for key, split in splits.items()},
        "policies": policies,
    }
    return Dataset(name, spec, splits["train"], splits["validation"], splits["test"], provenance)


def _check_alike(parts: Mapping[str, tuple[Tensor, ...]]) -> None:
    kind = [tuple(t.shape[1:]) for t in parts["train"]]
    values = [_kind(t) for t in parts["train"]]
    for key, tensors in parts.items():
        if (other := [tuple(t.shape[1:]) for t in tensors]) != kind:
            raise DataError(
                f"Got data of shapes {kind} in train and {other} in {key}, expected the same in every split "
                "(without the first axis)."
            )
        if (held := [_kind(t) for t in tensors]) != values:
            raise DataError(
                f"Got {', '.join(values)} in train and {', '.join(held)} in {key}, expected the same kind of values in "
                "every split: convert one of them."
            )


def _kind(x: Tensor) -> str:
    return "booleans" if x.dtype == torch.bool else "floats" if x.is_floating_point() else "integers"


def _per_part(value: Any, number: int, what: str) -> list[Any]:
    """One entry per array given: a tuple has them in order, anything else belongs to train."""
    entries = list(value) if isinstance(value, tuple) else [value] + [None] * (number - 1)
    if len(entries) != number:
        raise DataError(
            f"Got {what} for {len(entries)} splits, expected {number}: one entry per split given as arrays."
        )
    if value is not None and number > 1 and not isinstance(value, tuple):
        raise DataError(
            f"Got one set of {what} for {number} splits, expected a tuple with those of each split given as "
            "arrays (None where there are none)."
        )
    return entries


def _factors(
    entries: Sequence[Mapping[str, Any] | None],
) -> tuple[list[Tensor | None], tuple[str, ...] | None]:
    names = next((tuple(entry) for entry in entries if entry is not None), None)
    if any(entry is not None and tuple(entry) != names for entry in entries):
        raise DataError("Got different factors in different splits, expected the same names in the same order.")
    columns = [
        None
        if entry is None
        else torch.stack([as_tensor(v, f"factor {k!r}").to(torch.int64) for k, v in entry.items()], dim=1)
        for entry in entries
    ]
    return columns, names


def _factor_sizes(factors: Sequence[Tensor]) -> tuple[int, ...] | None:
    if not factors:
        return None
    return tuple(int(size) for size in torch.cat(list(factors)).max(dim=0).values + 1)


def _split(key: str, tensors: tuple[Tensor, ...], labels: Tensor | None, factors: Tensor | None, both: bool) -> Split:
    for what, extra in (("labels", labels), ("factors", factors)):
        if extra is not None and len(extra) != len(tensors[0]):
            raise DataError(f"Got {len(extra)} {what} for {len(tensors[0])} data of {key}, expected one per datum.")
    device = tensors[0].device
    labels, factors = (None if t is None else t.to(device) for t in (labels, factors))
    return Split((*tensors, labels) if both and labels is not None else tensors, labels, factors)


def _carve(splits: Mapping[str, Split], shares: Mapping[str, Any], seed: int) -> dict[str, Split]:
    """Number all data given, then set aside what validation and test take from train."""
    start, numbered = 0, {}
    for key, split in splits.items():
        numbered[key] = replace(split, indices=split.indices + start)
        start += len(split)
    parts = split_indices(len(splits["train"]), shares.get("validation"), shares.get("test"), seed)
    carved = dict(zip(("train", "validation", "test"), parts, strict=True))
    held_out = {key: numbered["train"][carved[key]] for key in ("validation", "test") if key not in numbered}
    whole = len(carved["train"]) == len(splits["train"])  # then spare the memory of a copy
    train = numbered.pop("train") if whole else numbered.pop("train")[carved["train"]]
    out = {"train": train, **held_out, **numbered}
    return {key: out[key] for key in ("train", "validation", "test")}


def _natural_dtype(train: Arrays, x: Tensor) -> torch.dtype:
    """The dtype that x has by choice: numpy's float64 is none, see `as_tensor`."""
    chosen = isinstance(train[0] if isinstance(train, tuple) else train, Tensor) or x.dtype != torch.float64
    return x.dtype if x.is_floating_point() and chosen else torch.get_default_dtype()


def _fields(train: Split, with_labels: bool) -> tuple[Field, ...]:
    batch = train[:1].batch()
    names = ["x", *(f"x{i}" for i in range(1, len(batch)))]
    if with_labels:
        names[-1] = "y"
    return tuple(Field(n, tuple(t.shape[1:]), str(t.dtype)[6:]) for n, t in zip(names, batch, strict=True))
