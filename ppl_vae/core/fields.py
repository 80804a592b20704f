"""Data by the names of what a pair takes, and the values that its fields may have.

A ready-made pair was made for a dataset, whose fields it knows (`data_fields`); any other pair has the names of its
model's arguments.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from ppl_vae.core.inputs import arguments, given_values
from ppl_vae.core.programs import FunctionProgram
from ppl_vae.datasets.annotated import is_annotated, of_anndata
from ppl_vae.datasets.blocks import Column
from ppl_vae.datasets.fields import by_name
from ppl_vae.errors import ArgumentError, DataError, near_names
from ppl_vae.nn.features import Argument

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE

PART = 2**16
"""Values of a field that are looked at together."""


def fields_of(vae: "VAE") -> tuple[Argument, ...]:
    """The fields of the data that a pair was made for; none where it was made for no dataset."""
    found = (getattr(program, "data_fields", ()) for program in (vae.model, vae.guide))
    return next((tuple(f) for f in found if f and all(isinstance(field, Argument) for field in f)), ())


def in_order(vae: "VAE", data: Any) -> Any:
    """Data by name as the tuple that the programs take; anything else, and what has other names, as it is.

    A mapping, a named tuple and an AnnData (its X, and columns of its obs) say names. Text is the name of a class, a
    number its code; of an AnnData any value of a category that has names is one of these.

    Raises:
        DataError: names that the pair does not take, or lacks; a class that it does not know.

    Example:
        >>> import torch, ppl_vae as pv
        >>> data = pv.datasets.from_arrays({"x": torch.randn(4, 2), "site": ["k", "l", "l", "k"]})
        >>> model = pv.models.Conditional(data.spec)
        >>> vae = pv.VAE(model, pv.guides.ConditionalAmortized(data.spec, model))
        >>> in_order(vae, {"site": ["l", "k"], "x": torch.zeros(2, 2)})[1]
        tensor([1, 0])
    """
    by = by_name(data)
    table = by is None and not isinstance(data, tuple) and is_annotated(data)
    if by is None and not table:
        return data
    fields = {field.name: field for field in fields_of(vae)}
    names, needed = (list(fields) or _argument_names(vae)), _needed(vae)
    if table:
        there = names[: max(needed, 1)]
        there += [name for name in names[len(there) :] if name in data.obs.columns]
        given = {(names or ["x"])[0]: None, **dict.fromkeys(there[1:])}
        found = of_anndata(data, "data", None, list(given)[1:])
        given = {**dict.fromkeys(given, found.x), **found.beside}
    else:
        given = dict(by or {})
    unknown = [name for name in given if name not in names]
    if unknown and not fields:
        return tuple(data) if isinstance(data, tuple) else data  # names that mean something to the programs, perhaps
    last = max((names.index(name) + 1 for name in given if name in names), default=0)
    missing = [name for name in names[: max(needed, last)] if name not in given]
    if unknown or missing:
        near = near_names(str(unknown[0]), names) if unknown else []
        raise DataError(
            f"Got data by the names {', '.join(map(str, given)) or '(none)'}, expected those that the pair takes, "
            f"{', '.join(names)}: {f'{unknown[0]!r} is none of them' if unknown else f'{missing[0]!r} is missing'}."
            f"{f' Did you mean {near[0]!r}?' if near else ''}"
        )
    return tuple(
        coded(fields.get(name, Argument(name)), given[name], numbers="names" if table else "refused")
        for name in names
        if name in given
    )


def _argument_names(vae: "VAE") -> list[str]:
    """The names of the arguments of a model of the user's own; those behind a star have none."""
    own = getattr(vae.model, "argument_names", ())
    return [name for name in arguments(vae.model, len(own)) if not name.startswith("_")]


def _needed(vae: "VAE") -> int:
    """The number of arguments that a model needs: those without a default, and all of a star that it names."""
    program: Any = vae.model
    called = program.fn if isinstance(program, FunctionProgram) else program.forward
    try:
        parameters = list(inspect.signature(called).parameters.values())
    except (TypeError, ValueError):  # written in C
        return 0
    if own := getattr(program, "argument_names", ()):
        return len(own)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in kinds and p.default is p.empty for p in parameters)


def coded(
    field: Argument,
    values: Any,
    error: type[Exception] = DataError,
    numbers: Literal["codes", "names", "refused"] = "codes",
) -> Any:
    """The values of a category as codes where they are names of its classes; anything else as it is.

    Args:
        field: which it is.
        values: one, or one per datum.
        error: the class of a refusal.
        numbers: what whole numbers are, where classes have names: codes, names, or refused where they may be both.

    Example:
        >>> coded(Argument("site", 2, ("k", "l")), "l"), coded(Argument("site", 2, ("k", "l")), [0, 1])
        (1, [0, 1])
    """
    if not field.classes or isinstance(values, Tensor):
        return values
    array, names = np.asarray(values), list(field.class_names or ())
    if array.dtype.kind == "f" and numbers == "names" and bool((array == np.round(array)).all()):
        array = array.astype(np.int64)
    is_text = array.dtype.kind in "US" or (array.dtype.kind == "O" and any(isinstance(v, str) for v in array.flat))
    is_number = array.dtype.kind in "biu"
    may_be_both = any(name.lstrip("-").isdigit() for name in names) and names != [*map(str, range(field.classes))]
    if is_number and may_be_both and numbers == "refused":
        raise error(
            f"Got whole numbers in {field.name!r}, whose classes have numbers as names ({', '.join(names[:10])}), "
            "expected text for names, or a tensor for codes."
        )
    if not is_text and not (names and numbers == "names" and (is_number or array.dtype.kind == "O")):
        return values
    codes = {name: code for code, name in enumerate(names)}
    texts = [v.decode() if isinstance(v, bytes) else str(v) for v in array.ravel().tolist()]
    for text in texts:
        if text not in codes:
            raise error(f"Got {text!r} in {field.name!r}, expected {_classes(field)}.")
    if not array.ndim:
        return codes[texts[0]]
    return torch.tensor([codes[text] for text in texts]).reshape(array.shape)


def check_values(vae: "VAE", parts: Sequence[Any], numbers: Any = None) -> None:
    """Refuse values that a field of a pair cannot have, in data that follow x.

    Args:
        vae: the pair.
        parts: what a batch or a split holds, x first.
        numbers: of the data in their source, for messages.

    Raises:
        DataError: a code that no class has; a number that has to be above 0 and is not.
    """
    fields = fields_of(vae)[: len(parts)]
    if not any(field.classes or field.is_positive for field in fields):
        return
    read = {
        place
        for program in (vae.model, vae.guide)
        for place, name in enumerate(arguments(program, len(fields)))
        if not name.startswith("_")
    }
    for place, (field, values) in enumerate(zip(fields, parts, strict=True)):
        if place in read:
            check_field(field, values, DataError, numbers)


def given_values_of(vae: "VAE", batch: tuple[Any, ...], given: Mapping[str, Any], n: int) -> dict[int, Any]:
    """Values for n data by the place of their argument (`inputs.given_values`), classes by their codes or names.

    Raises:
        ArgumentError: a name that the model does not take, another shape or kind, a class that it does not know.
    """
    known = dict(zip(arguments(vae.model, len(batch)), fields_of(vae), strict=False))
    told = {name: coded(known[name], v, ArgumentError) if name in known else v for name, v in given.items()}
    found = given_values(vae, batch, told, n)
    for place, value in found.items():
        if place < len(known):
            check_field(list(known.values())[place], value, ArgumentError)
    return found


def check_field(field: Argument, values: Any, error: type[Exception], numbers: Any = None) -> None:
    """Refuse values that a field cannot have, see `check_values`.

    Example:
        >>> check_field(Argument("site", 2, ("k", "l")), torch.tensor([0, 2]), DataError)
        Traceback (most recent call last):
        ppl_vae.errors.DataError: Got 2 in 'site' (datum 1), expected a code from 0 to 1 (of k, l).
    """
    if not isinstance(values, Tensor | Column) or not values.ndim or not (field.classes or field.is_positive):
        return
    known = values.known if isinstance(values, Column) and not values.is_floating_point() else None
    if known is not None and not field.is_positive and known.low >= 0 and known.high < (field.classes or 0):
        return
    start = 0
    for part in values.split(PART):
        bad = part <= 0 if field.is_positive else (part < 0) | (part >= (field.classes or 0))
        if part.is_floating_point():
            bad |= part.isnan() if field.is_positive else part != part.round()
        if bool(bad.any()):
            at = int(bad.flatten(1).any(1).nonzero()[0]) if bad.ndim > 1 else int(bad.nonzero()[0])
            row = start + at
            datum = row if numbers is None or not len(numbers) else int(numbers[row])
            got = part[at][bad[at]].flatten()[0].item()
            expected = "numbers above 0" if field.is_positive else _classes(field)
            raise error(f"Got {got:g} in {field.name!r} (datum {datum}), expected {expected}.")
        start += len(part)


def _classes(field: Argument) -> str:
    """The codes of a category, and what they stand for."""
    names = list(field.class_names or ())
    names = [] if names == [*map(str, range(len(names)))] else names
    some = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    return f"a code from 0 to {(field.classes or 1) - 1}{f' (of {some})' if names else ''}"
