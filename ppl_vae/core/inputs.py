"""The inputs of a model: the data that it observes, and what is given beside them."""

import inspect
import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn.utils.rnn import PackedSequence

from ppl_vae.core.batch import batch_length
from ppl_vae.core.plates import run_pair, sample_sites
from ppl_vae.core.programs import FunctionProgram
from ppl_vae.distributions.unwrap import support_of
from ppl_vae.errors import ArgumentError

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


@dataclass(frozen=True)
class Input:
    """One argument of a model.

    Attributes:
        name: as in the model's signature.
        sites: the observed sites whose value it is; none for what is no data.
        is_needed: whether it is a value per datum beside the data, which draws may depend on.
    """

    name: str
    sites: tuple[str, ...]
    is_needed: bool


def arguments(program: nn.Module, count: int) -> dict[str, Any]:
    """The arguments that a program takes by position, at least `count`, by name, each with its default (else None).

    Names are those of its signature; of what it takes as `*others`, those that its `argument_names` says, if there are.

    Example:
        >>> from ppl_vae.core.programs import as_module
        >>> arguments(as_module(lambda x, y=None, *others: None), 4)
        {'x': None, 'y': None, 'others[0]': None, 'others[1]': None}
    """
    called = program.fn if isinstance(program, FunctionProgram) else program.forward
    try:
        parameters = list(inspect.signature(called).parameters.values())
    except (TypeError, ValueError):  # written in C
        parameters = []
    found: dict[str, Any] = {}
    own = tuple(getattr(program, "argument_names", ()))
    for parameter in parameters:
        if parameter.kind == parameter.VAR_POSITIONAL:
            found |= dict.fromkeys(own[len(found) : count])
            found |= {f"{parameter.name}[{i}]": None for i in range(count - len(found))}
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            found[parameter.name] = None if parameter.default is parameter.empty else parameter.default
    return found | {f"argument {i}": None for i in range(len(found), count)}


def inputs_of(vae: "VAE", batch: tuple[Any, ...]) -> tuple[Input, ...]:
    """The arguments of a model, from one run on a batch.

    An argument is data if an observed site has it as its value. Where a site observes something that was made of an
    argument, it is taken to be made of the first one that no site has. Arguments whose names begin with `_` are read
    by no one.
    """
    sites = observed_inputs(vae, batch)
    made = sum(place is None for place in sites.values())
    length, found = batch_length(batch), []
    for place, (name, part) in enumerate(zip(arguments(vae.model, len(batch)), batch, strict=False)):
        own = tuple(site for site, at in sites.items() if at == place)
        is_needed = not own and is_per_datum(part, length) and not name.startswith("_")
        if is_needed and made:
            made, is_needed = made - 1, False
        found.append(Input(name, own, is_needed))
    return tuple(found)


def observed_inputs(vae: "VAE", batch: tuple[Any, ...]) -> dict[str, int | None]:
    """The observed sites of a model, each with the place of the argument that is its value, if there is one."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = run_pair(vae, batch)[1]
    found: dict[str, int | None] = {}
    for name, site in sample_sites(model).items():
        if site["is_observed"] and not site["infer"].get("_deterministic"):
            value: Any = site["value"]
            found[name] = place_of(value, batch)
    return found


def classes_of(vae: "VAE", batch: tuple[Any, ...]) -> dict[str, int]:
    """The numbers of classes 0, 1, … of arguments, by their names, where they are known.

    It is the support of the site whose value the argument is: an observed one, or a latent one of that name in a batch
    that is without it.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = run_pair(vae, batch)[1]
    names = list(arguments(vae.model, len(batch)))
    found: dict[str, int] = {}
    for name, site in sample_sites(model).items():
        value: Any = site["value"]
        place = place_of(value, batch) if site["is_observed"] else names.index(name) if name in names else None
        classes = _classes(support_of(site["fn"]))
        if place is not None and classes and (site["is_observed"] or (*batch, *[None] * len(names))[place] is None):
            found[names[place]] = classes
    return found


def _classes(support: Any) -> int | None:
    """The number of whole numbers from 0 on that a support holds; None for another one."""
    if isinstance(support, type(constraints.boolean)):
        return 2
    low, high = (getattr(support, name, None) for name in ("lower_bound", "upper_bound"))
    if not isinstance(support, constraints.integer_interval) or not isinstance(high, int) or low != 0:
        return None
    return high + 1


def place_of(value: Tensor, batch: Sequence[Any]) -> int | None:
    """The place of the argument that a program observes as `value`, the same tensor or equal numbers; None for none.

    Where a value of an argument is missing, anything may be observed.
    """
    same = (i for i, part in enumerate(batch) if part is value)
    tensors = ((i, part) for i, part in enumerate(batch) if isinstance(part, Tensor) and part.shape == value.shape)
    equal = (i for i, part in tensors if bool(((part == value) | (part != part)).all()))
    return next(itertools.chain(same, equal), None)


def is_per_datum(part: Any, length: int | None) -> bool:
    """True if a part of a batch holds a value per datum."""
    if isinstance(part, PackedSequence):
        return True
    return isinstance(part, Tensor) and part.dim() > 0 and part.shape[0] == length


def given_values(vae: "VAE", batch: tuple[Any, ...], given: Mapping[str, Any], n: int) -> dict[int, Any]:
    """Values for n data by the place of the argument that they are for.

    Args:
        vae: the pair.
        batch: any batch, for shapes and dtypes.
        given: a value, or one per datum, by the name of an argument of the model.
        n: how many data.

    Raises:
        ArgumentError: a name that the model does not take, another shape or kind.
    """
    names = list(arguments(vae.model, len(batch)))
    found: dict[int, Any] = {}
    for name, value in given.items():
        if name not in names:
            raise ArgumentError(
                f"Got given={{{name!r}: …}}, expected names among those of the model's arguments: {', '.join(names)}."
            )
        place = names.index(name)
        part = batch[place] if place < len(batch) else None
        found[place] = _spread(name, value, part, batch_length(batch), n, vae.device)
    return found


def refuse_no_class(vae: "VAE", batch: tuple[Any, ...], values: Mapping[int, Any]) -> None:
    """Refuse values of an argument that has classes which are none of them.

    Args:
        vae: the pair.
        batch: any batch.
        values: as `given_values` gives them.

    Raises:
        ArgumentError: naming the argument and how many classes it has.
    """
    names, classes = list(arguments(vae.model, len(batch))), classes_of(vae, batch)
    for place, value in values.items():
        name, part = names[place], batch[place] if place < len(batch) else None
        if name not in classes or not isinstance(value, Tensor):
            continue
        bad = ~((value >= 0) & (value < classes[name]) & (value == value.round()))
        if isinstance(part, Tensor) and part.is_floating_point():
            bad &= ~value.isnan()  # missing
        if bool(bad.any()):
            raise ArgumentError(
                f"Got given={{{name!r}: …}} with {value[bad][0].item():g}, expected classes of {name}: whole numbers "
                f"from 0 to {classes[name] - 1}."
            )


def _spread(name: str, value: Any, part: Any, length: int | None, n: int, device: torch.device) -> Any:
    """A value for n data, in the shape and kind of an argument."""
    if isinstance(part, PackedSequence):
        raise ArgumentError(f"Got given={{{name!r}: …}}, which is a packed sequence. Pass a whole batch: like=batch.")
    if part is None:
        if value is None or isinstance(value, (str, bool)):
            return value
        array = _numbers(name, value)
        array = array.to(torch.get_default_dtype()) if array.is_floating_point() else array
        shape = (n, *(array.shape[1:] if array.dim() and array.shape[0] in (1, n) else array.shape))
    elif not isinstance(part, Tensor):
        return value  # a setting, such as a temperature
    else:
        array = _numbers(name, value)
        if not part.is_floating_point() and not bool((array.to(part.dtype) == array).all()):
            raise ArgumentError(f"Got given={{{name!r}: {value!r:.40}}}, expected values of {str(part.dtype)[6:]}.")
        array = array.to(part.dtype)
        shape = (n, *part.shape[1:]) if is_per_datum(part, length) else tuple(part.shape)
    try:
        return array.broadcast_to(shape).contiguous().to(device)
    except RuntimeError:
        raise ArgumentError(
            f"Got given={{{name!r}: …}} of shape {tuple(array.shape)}, expected {tuple(shape)}: {n} values of shape "
            f"{tuple(shape[1:])}, or one for all."
        ) from None


def _numbers(name: str, value: Any) -> Tensor:
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(f"Got given={{{name!r}: {value!r:.40}}}, expected numbers ({error}).") from None
