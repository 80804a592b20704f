"""The one path from arrays to a data set, whether they are in memory or come from files (`reader.from_files`).

arrays → tensors (`convert`), alike in every split → support of x (`support`) → labels and factors
       → splits, some set aside from train (`split`) → policies (`preparation`) → spec (`spec`)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, Unpack

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from ppl_vae.datasets.annotated import is_annotated, of_anndata
from ppl_vae.datasets.blocks import Column, numbered
from ppl_vae.datasets.chosen import Chosen
from ppl_vae.datasets.columns import Kinds, as_numbers, fitted
from ppl_vae.datasets.convert import Channels, as_dtype, as_tensor, as_tensors, channels_first, encode_labels
from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.fields import fields_of, named
from ppl_vae.datasets.keywords import source
from ppl_vae.datasets.known_labels import KNOWN, encode_known, known_or_none
from ppl_vae.datasets.preparation import Preparation, check_policies, kept_dtype, mean, prepare, statistics
from ppl_vae.datasets.sequences import Padding, is_ragged, require_plain, sequences
from ppl_vae.datasets.several import some_labelled
from ppl_vae.datasets.spec import Spec
from ppl_vae.datasets.split import Split, held_out, split_indices
from ppl_vae.datasets.support import find_support, has_nan
from ppl_vae.errors import DataError

Arrays = Any
"""An array of numpy or torch, first axis over data, a tuple or mapping of them, x first; or a data set of torch."""


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
    layer: str | None = None,
    fields: Sequence[str] = (),
    categories: Sequence[str] = (),
    standardize_fields: Sequence[str] = (),
    kinds: Kinds | None = None,
    lengths: Any = None,
    time: int | None = None,
    **how: Unpack[Preparation],
) -> Dataset:
    """Make a data set of arrays.

    Args:
        train: ``(data, …)``, or several such arrays, which is what ``model(*batch)`` gets; x is the first. A mapping
            or a named tuple says their names, those of a tuple are x, x1, x2, …. Text and a Categorical of pandas are
            categories: codes, whose names are kept. An array that is mapped from a file, and a `torch.utils.data` data
            set, are not read into memory; a sparse matrix stays sparse. An AnnData is its matrix, with the columns of
            ``obs`` that `fields` names.
        validation: the same for validation, or how much of `train` to set aside for it: a fraction, or a
            number of data. None sets nothing aside and leaves the split empty.
        test: as `validation`.
        labels: one per datum of `train`, numbers or text; with several arrays given, a tuple of the labels of
            each. Of an AnnData, the name of a column of ``obs``.
        factors: known generating factors by name, each ``(data,)`` of integers; a tuple as for `labels`.
        channels: where the colour channels of images are, see `channels_first`; shapes are kept by default.
        name: of the data set.
        class_names: names of the labels 0, …, K − 1.
        feature_names: of the columns of a table.
        layer: of an AnnData, the name of the matrix among its layers; ``X`` by default.
        fields: of an AnnData, names of the columns of ``obs`` that the programs get beside x.
        categories: names of arrays of integers that are categories, too.
        standardize_fields: names of arrays beside x of which ready-made networks see (value − mean) / standard
            deviation, over the training data; the data stay as they are.
        kinds: what columns of a table hold, by name: ``real``, ``positive``, ``count``, ``binary``, ``category`` or
            ``ordinal``, those with names as ``{"ordinal": ["low", "high"]}``; the others are found (`columns.kind_of`)
            where there are columns that are no numbers, or some kind is said. Then support is ``mixed``.
        lengths: of sequences ``(data, time, features)``, one per datum; a tuple as for `labels`. A list of arrays
            ``(steps, features)`` of different lengths says them itself. Batches are then ``(x, lengths, …)``: steps
            after the end are zeros there, and no data: not in means, nor in the support.
        time: steps that sequences are padded to; by default the longest there is.
        how: see `Preparation`.

    Raises:
        DataError: for arrays that are empty, of unequal length, shape or kind, infinite, or outside the support; other
            names in another split. NaN is a missing value, which stays, for programs that mask it.

    Example:
        >>> data = from_arrays(torch.rand(100, 5), validation=0.1, test=20)
        >>> data
        Dataset(arrays: train 70, validation 10, test 20; x (5,) unit)
        >>> patients = {"x": torch.randn(4, 5), "age": [30.0, 41.0, 52.0, 63.0], "clinic": ["A", "B", "B", "A"]}
        >>> from_arrays(patients).spec.fields[2]
        Field(name='clinic', shape=(), dtype='int64', classes=2, class_names=('A', 'B'))
    """
    policies, dtype = check_policies(how), as_dtype(how["dtype"])
    given: dict[str, Arrays] = {"train": train, "validation": validation, "test": test}
    given = {key: value.tensors if isinstance(value, TensorDataset) else value for key, value in given.items()}
    if is_annotated(train):
        labels, found = _annotated(given, labels, layer, fields)
        feature_names = feature_names or found.features
    elif layer is not None or fields:
        raise DataError("Got layer or fields for data that are no AnnData: give arrays by name, {'x': …, 'age': …}.")
    shares = {key: value for key, value in given.items() if value is None or isinstance(value, Real)}
    if lengths is not None or any(map(is_ragged, given.values())):
        own = {key: value for key, value in given.items() if key not in shares}
        found_sequences, time = sequences(own, _per_part(lengths, own, "lengths"), time)
        given |= found_sequences
        require_plain(how)
    elif time is not None:
        raise DataError(f"Got time={time} for data that are no sequences, expected lengths beside it.")
    if "train" in shares:
        raise DataError(f"Got train={train!r}, expected an array with a first axis over data, or a tuple of them.")
    told = named({key: given[key] for key in given if key not in shares}, categories)
    mixed = as_numbers(
        {k: v[0] if isinstance(v, tuple) and v else v for k, v in told.arrays.items()}, kinds, feature_names
    )
    if mixed is not None:
        tables, _, feature_names = mixed
        given = {k: (x, *v[1:]) if isinstance(v := told.arrays[k], tuple) else x for k, x in tables.items()}
        told = replace(told, arrays=given)
    exact = how["standardization"] != "none"
    parts = {
        key: as_tensors(arrays, key, dtype, exact_x=exact, fields=told.names) for key, arrays in told.arrays.items()
    }
    _check_alike(parts)
    xs = {key: channels_first(tensors[0], channels, key) for key, tensors in parts.items()}
    support, levels = ("mixed", None) if mixed else find_support(xs, how["support"], how["levels"])
    if mixed and (how["support"] not in (None, "mixed") or how["levels"] is not None):
        raise DataError(
            f"Got support={how['support']!r}, levels={how['levels']} for a table of mixed columns: leave out."
        )
    x = xs["train"]
    seen_dtype = kept_dtype(x.dtype, how, support) or dtype or _natural_dtype(told.arrays["train"], x)
    incomplete = any(map(has_nan, xs.values()))
    if incomplete and how["missing"] is False and time is None:
        raise DataError("Got NaN in x with missing=False, expected no missing value: leave out these data, or missing.")
    if incomplete:
        if (how["binarization"], how["dequantization"]) != ("none", "none"):
            raise DataError(
                f"Got NaN in x with binarization={how['binarization']!r} and dequantization={how['dequantization']!r}, "
                "expected no missing value, or neither of the two: leave these data out, or fill in the values."
            )
    elif support == "binary" or (support == "integers" and (levels or 0) <= 256):
        xs = {key: x.to(torch.uint8) for key, x in xs.items()}

    encode = encode_known if how["labelled"] == KNOWN else encode_labels
    codes, classes, num_classes = encode(_per_part(labels, parts, "labels"), class_names)
    if how["with_labels"] and codes[0] is None:
        raise DataError("Got with_labels=True without labels, expected labels: say which they are.")
    if how["with_labels"] and how["labelled"] is not None:
        raise DataError(
            f"Got with_labels=True and labelled={how['labelled']!r}, expected one of them: labels of all, or of some."
        )
    known, factor_names, factor_sizes = _factors(_per_part(factors, parts, "factors"))
    first = told.arrays["train"]
    columns = feature_names or getattr(first[0] if isinstance(first, tuple) else first, "columns", None)
    columns = None if columns is None else tuple(str(column) for column in columns)
    splits, start = {}, 0
    for (key, (_, *others)), y, factor in zip(parts.items(), codes, known, strict=True):
        device = xs[key].device
        y, factor = (None if extra is None else extra.to(device) for extra in (y, factor))
        for what, extra in (("labels", y), ("factors", factor)):
            if extra is not None and len(extra) != len(xs[key]):
                raise DataError(f"Got {len(extra)} {what} for {len(xs[key])} data of {key}, expected one per datum.")
        tensors = (xs[key], *others, *([y] if how["with_labels"] and y is not None else []))
        resident = all(isinstance(tensor, Tensor) for tensor in tensors)
        rows = len(xs[key])
        indices = torch.arange(start, start + rows, device=device) if resident else numbered(rows, start)
        splits[key] = Split(tensors, y, factor, indices=indices, columns=columns)
        start += rows
    splits = _carve(splits, shares, how["seed"])
    if incomplete and time is None:
        _refuse_empty(splits["train"])
    real = torch.tensor([c.kind == "real" for c in mixed[1]]) if mixed else None
    splits, support, levels = prepare(splits, how, support, levels, seen_dtype, real, is_sequence=time is not None)
    if time is not None:
        incomplete = False
        splits = {key: split.then(Padding()) for key, split in splits.items()}

    batch = splits["train"][:1].batch()
    if how["with_labels"]:
        told = told.with_labels(len(batch))
    taken = ["datum", *(name for name, held in (("label", codes), ("factors", known)) if held[0] is not None)]
    described = fields_of(told, batch, splits["train"].tensors, standardize_fields, taken)
    location, scale = statistics(splits["train"])
    spec = Spec(
        shape=tuple(batch[0].shape[1:]),
        support=support,
        levels=levels,
        fields=described,
        num_classes=num_classes,
        class_names=classes,
        feature_names=columns,
        factor_names=factor_names,
        factor_sizes=factor_sizes,
        location=location,
        scale=scale,
        columns=fitted(mixed[1], splits["train"]) if mixed else None,
        missing=incomplete if how["missing"] is None else how["missing"],
        time=time,
        mean=mean(splits["train"]),
    )
    sizes = {key: len(split) for key, split in splits.items()}
    provenance = {"source": name, "seed": how["seed"], "sizes": sizes, "policies": policies}
    train_data = splits.pop("train")
    if how["labelled"] is None:
        return Dataset(name, spec, train_data, **splits, provenance=provenance)
    some = some_labelled(train_data, how["labelled"], how["seed"])
    splits = {key: known_or_none(split) for key, split in splits.items()}
    return Dataset(name, spec, some, **splits, provenance={**provenance, "labelled": len(some.parts[1])})


def _annotated(given: dict[str, Arrays], labels: Any, layer: str | None, fields: Sequence[str]) -> Any:
    """Put what an AnnData holds in its place; give the labels of each, and what the first one holds."""
    own = [labels] if isinstance(labels, str) else []
    names = list(dict.fromkeys([*fields, *own]))
    found = {key: of_anndata(value, key, layer, names) for key, value in given.items() if is_annotated(value)}
    given |= {key: one.arrays(fields) for key, one in found.items()}
    return tuple(one.beside[labels] for one in found.values()) if own else labels, found["train"]


def _refuse_empty(train: Split) -> None:
    """Refuse elements of x of which no training datum has a value: nothing can be learned of them."""
    known = sum((~part.isnan()).sum(0) for part in train.tensors[0].split(4096))
    empty = (torch.as_tensor(known) == 0).flatten().nonzero().flatten().tolist()
    if empty:
        shown = ", ".join(repr(train.columns[i]) if train.columns else str(i) for i in empty[:5])
        raise DataError(
            f"Got {len(empty)} columns or elements of x without a single value in the training data ({shown}), "
            "expected some of each: leave them out."
        )


def _check_alike(parts: Mapping[str, tuple[Tensor | Column, ...]]) -> None:
    shapes = {key: [tuple(t.shape[1:]) for t in tensors] for key, tensors in parts.items()}
    kinds = {key: ", ".join(map(_kind, tensors)) for key, tensors in parts.items()}
    for key in parts:
        if shapes[key] != shapes["train"]:
            raise DataError(
                f"Got data of shapes {shapes['train']} in train and {shapes[key]} in {key}, expected the same in every "
                "split (without the first axis)."
            )
        if kinds[key] != kinds["train"]:
            raise DataError(
                f"Got {kinds['train']} in train and {kinds[key]} in {key}, expected the same kind of values in "
                "every split: convert one of them."
            )


def _kind(x: Tensor | Column) -> str:
    return "booleans" if x.dtype == torch.bool else "floats" if x.is_floating_point() else "integers"


def _natural_dtype(train: Arrays, x: Tensor | Column) -> torch.dtype:
    """The dtype that x has by choice: numpy's float64 is none, see `as_tensor`."""
    chosen = isinstance(train[0] if isinstance(train, tuple) else train, Tensor) or x.dtype != torch.float64
    return x.dtype if x.is_floating_point() and chosen else torch.get_default_dtype()


def _per_part(value: Any, parts: Collection[str], what: str) -> list[Any]:
    """One entry per split given as arrays: a tuple has them in order, anything else belongs to train."""
    entries = list(value) if isinstance(value, tuple) else [value] + [None] * (len(parts) - 1)
    if len(entries) != len(parts):
        raise DataError(
            f"Got {what} for {len(entries)} splits, expected {len(parts)}: one entry per split given as arrays."
        )
    if value is not None and len(parts) > 1 and not isinstance(value, tuple):
        raise DataError(
            f"Got one set of {what} for {len(parts)} splits, expected a tuple with those of each split given as "
            "arrays (None where there are none)."
        )
    return entries


def _factors(
    entries: Sequence[Mapping[str, Any] | None],
) -> tuple[list[Tensor | None], tuple[str, ...] | None, tuple[int, ...] | None]:
    """The factors of each split, ``(data, factors)``, their names, and how many values each takes."""
    given = [{k: as_tensor(v, f"factor {k!r}").to(torch.int64) for k, v in e.items()} for e in entries if e is not None]
    if not given:
        return [None for _ in entries], None, None
    for factors in given:
        if list(factors) != list(given[0]):
            raise DataError("Got different factors in different splits, expected the same names in the same order.")
        if len({len(values) for values in factors.values()}) != 1:
            held = ", ".join(f"{len(values)} of {name!r}" for name, values in factors.items())
            raise DataError(f"Got {held or 'no factors'}, expected one number per datum of each factor.")
    columns = [torch.stack(list(factors.values()), dim=1) for factors in given]
    found = iter(columns)
    sizes = torch.cat(columns).amax(0) + 1
    return [None if e is None else next(found) for e in entries], tuple(given[0]), tuple(sizes.tolist())


def _carve(given: dict[str, Split], shares: Mapping[str, Any], seed: int) -> dict[str, Split]:
    """Set aside what validation and test take from train."""
    whole = given["train"]
    if not whole.in_memory:
        return _carve_unread(given, shares, seed)
    parts = split_indices(len(whole), shares.get("validation"), shares.get("test"), seed)
    carved = {
        key: whole if len(part) == len(whole) else whole[part]  # spare the memory of a copy
        for key, part in zip(("train", "validation", "test"), parts, strict=True)
    }
    return {key: split if key in ("train", *shares) else given[key] for key, split in carved.items()}


def _carve_unread(given: dict[str, Split], shares: Mapping[str, Any], seed: int) -> dict[str, Split]:
    """The same data as `_carve`, without a copy of what is outside memory."""
    whole = given["train"]
    held = held_out(len(whole), shares.get("validation"), shares.get("test"), seed)
    rows = [Chosen.all_but(len(whole), torch.cat(held).sort().values), *map(Chosen.of, held)]
    carved = dict(zip(("train", "validation", "test"), (_part(whole, chosen) for chosen in rows), strict=True))
    return {key: split if key in ("train", *shares) else given[key] for key, split in carved.items()}


def _part(whole: Split, rows: Chosen) -> Split:
    def part(values: Any) -> Any:
        if isinstance(values, Column):
            return values.take(rows)
        return values.index_select(0, rows.at(torch.arange(rows.size)).to(values.device))

    return whole.each(part)
