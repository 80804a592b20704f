"""One door for data: whatever a user calls data becomes what the programs take, by one set of rules.

Each public function takes its data here: as a **split** where it goes through all of them (`fit`, `evaluate`,
`posterior`, `refine`, …), as a **batch** where it runs the programs on just what it is given (`check`, `terms`,
`gradients`, `generate(like=)`). The command line hands over splits that a function of `ppl_vae.datasets` has made.

| Given                                            | Taken as                                                         |
| ------------------------------------------------ | ---------------------------------------------------------------- |
| a tuple                                          | one argument of the programs per entry, with one data axis, first |
| a tensor, an array, a table, nested lists of numbers | the one argument x                                    |
| an array mapped from a file                      | the one argument x, read block by block                          |
| a `torch.utils.data.Dataset`, an `IterableDataset` with a length | its items, read block by block; tuples as above  |
| a sparse matrix or tensor                        | rows, made dense batch by batch; a batch as the dense one        |
| a `TensorDataset`                                | the tuple of its tensors                                         |
| a `Split`                                        | itself; as a batch, all its data                                 |
| a `Several`, of data of several structures       | each of its parts, by `fit`; refused elsewhere: which part?      |
| a `Dataset`                                      | its train and validation by `fit`; refused elsewhere: which part? |
| a list of tensors or arrays                      | refused: arguments (`tuple`) or data (`torch.stack`)?            |
| a `DataLoader`, text, bytes, no data at all      | refused                                                          |
| a mapping, a named tuple, an AnnData             | what it has by names of the pair's fields, or of its arguments   |
| None, a number, other dicts, packed sequences, … | in a batch passed on; refused in a split: it has no data axis    |

| Values                                           | Reach the programs as                                            |
| ------------------------------------------------ | ---------------------------------------------------------------- |
| floats of any width                              | the one dtype of the pair's parameters, if there is one          |
| integers of any width                            | int64; refused above 2⁶³ − 1, warned of above 2²⁴ beside float32 |
| booleans                                         | booleans                                                         |
| NaN                                              | NaN: a missing value, legal where the programs mask it           |
| text of a category, by name                      | the code of the class; refused where there is none               |
| codes outside 0 … K − 1 of a category            | refused, where the pair was made for a dataset that has it       |
| infinite values, complex numbers, other text     | refused                                                          |

Ready-made families cast integers and booleans to floats themselves. Nothing is rescaled or binarized here: that is
what `ppl_vae.datasets.from_arrays` does, where it is asked to. Data are moved to the pair's device.
"""

import warnings
from collections.abc import Iterator, Sequence
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from ppl_vae.core.faults import Data, count_missing, refuse_infinite
from ppl_vae.core.fields import check_values, in_order
from ppl_vae.core.inputs import arguments
from ppl_vae.core.screen import screen
from ppl_vae.datasets.blocks import Column
from ppl_vae.datasets.convert import as_tensor, as_tensors, check_any
from ppl_vae.datasets.fields import by_name
from ppl_vae.datasets.several import Several
from ppl_vae.datasets.split import Split
from ppl_vae.errors import DataError, DataWarning

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE

WHOLE = {torch.float16: 2**11, torch.bfloat16: 2**8, torch.float32: 2**24, torch.float64: 2**53}
"""The whole numbers up to which a dtype holds each."""


_ARRAYS = (list, str, bytes, set, frozenset, Iterator, Number, np.generic, np.ndarray)
"""Types of which a single argument has to be an array: among several arguments, some of them pass as they are."""


def as_batch(batch: Any) -> tuple[Any, ...]:
    """A batch as the tuple that `model(*batch)` takes; tensors keep their dtype, device and graph.

    Raises:
        DataError: for what the table above refuses.

    Example:
        >>> [type(part).__name__ for part in as_batch(([1.0, 2.0], None, np.zeros((2, 3))))]
        ['Tensor', 'NoneType', 'Tensor']
    """
    batch = _opened(batch)
    if _is_split(batch):
        return tuple(batch.batch())
    if isinstance(batch, tuple):
        names = ["data"] if len(batch) == 1 else [f"data[{i}]" for i in range(len(batch))]
        taken = _kept(batch, tuple(_argument(part, name) for part, name in zip(batch, names, strict=True)))
    else:
        is_array = isinstance(batch, _ARRAYS) or (isinstance(batch, Tensor) and not batch.dim())
        taken = (as_tensor(batch, "data", exact=True) if is_array else _argument(batch, "data"),)
    for i, part in enumerate(taken):
        if isinstance(part, Tensor) and part.dim():
            check_any(part, f"data[{i}]" if len(taken) > 1 else "data", is_x=True)
            break
    return taken


def as_split(data: Any, vae: "VAE | None" = None) -> Split:
    """A split as it is, and arrays as a split of their values.

    Args:
        data: of the tables above.
        vae: the pair, where data may come by the names of its fields.

    Raises:
        DataError: for what the table above refuses.

    Example:
        >>> as_split((np.zeros((4, 2)), [0, 1, 0, 1]))
        Split(4 data: float64 (4, 2), int64 (4,))
    """
    data = _opened(data if vae is None else in_order(vae, data))
    if vae is not None and by_name(data) is not None and not isinstance(data, tuple):
        raise DataError(
            f"Got data by the names {', '.join(map(str, data)) or '(none)'}, expected those of arguments of the model, "
            f"{', '.join(arguments(vae.model, 1))}; or a tuple in their order."
        )
    split = data if _is_split(data) else Split(as_tensors(data, "data", exact=True))
    if len(split) == 0:
        raise DataError("Got no data, expected at least one datum: was a share of the data set reserved for it?")
    return split


def as_pair_takes(batch: tuple[Any, ...], vae: "VAE") -> tuple[Any, ...]:
    """The tensors of a batch on the device of a pair: floats of the one dtype of its parameters, int64, or booleans."""
    dtype = pair_dtype(vae)
    device = vae.device
    return _kept(batch, tuple(cast(part, dtype, device) for part in batch))


def take_batch(
    vae: "VAE", batch: Any, *, look: bool = False, every_datum: bool = False, any_size: bool = False
) -> tuple[Any, ...]:
    """A batch as a pair takes it: the door of `check`, `terms`, `gradients` and `generate`.

    Args:
        vae: the pair.
        batch: what its programs take.
        look: whether to look at the data as `take_data` does; Pyro's own validation looks at what `terms` is given.
        every_datum: see `take_data`.
        any_size: whether the programs have to run on any number of data.
    """
    batch = as_pair_takes(as_batch(in_order(vae, batch)), vae)
    if look:
        check_values(vae, batch)
        refuse_infinite(batch)
        screen(vae, Data.of_batch(batch), every_datum=every_datum, any_size=any_size)
    return batch


def take_data(vae: "VAE", data: Any, *, every_datum: bool = True, rows: int = 128) -> Any:
    """A split that a pair can be run on: the door of whatever goes through all data, which are looked at here once.

    Args:
        vae: the pair.
        data: a split, or arrays.
        every_datum: whether results are wanted of each datum, which a plate that subsamples by itself does not give.
        rows: data in the first run of the programs.

    Raises:
        DataError: for what the tables above refuse; values outside the support of a site that observes them, or
            missing where nothing masks them, naming site, datum and value; data without their data axis.
        CheckError: for a data plate that subsamples by itself, with `every_datum`.
    """
    if isinstance(data, Several) and not every_datum:
        return Several(tuple(take_data(vae, part, every_datum=False, rows=rows) for part in data.parts))
    split = as_split(data, vae)
    check_values(vae, split.tensors, split.indices)
    warn_of_lost_digits(split, pair_dtype(vae))
    data = Data(
        lambda at: as_pair_takes(split.batch(at), vae),
        len(split),
        sum(t.nbytes // max(1, len(t)) for t in split.tensors),
        count_missing(split.tensors),
        split.indices,
        split.columns,
        not any(isinstance(t, Column) for t in split.tensors),
    )
    screen(vae, data, every_datum=every_datum, rows=rows)
    return split


def warn_of_lost_digits(split: Split, dtype: torch.dtype | None) -> None:
    """Say where whole numbers are above what the floats of a pair can tell apart."""
    most = WHOLE.get(dtype or torch.float64, 0)
    for i, tensor in enumerate(split.tensors):
        if tensor.dtype == torch.bool or not most or tensor.dtype == dtype or not tensor.numel():
            continue
        if isinstance(tensor, Column) and max(-tensor.known.low, tensor.known.high) <= most:
            continue
        if tensor.is_floating_point() and not any(map(_is_whole, tensor.split(2**12))):
            continue
        largest = max(float(part.abs().max()) for part in tensor.split(2**16))
        if largest > most:
            warnings.warn(
                f"Got whole numbers up to {largest:.0f} in {'x' if i == 0 else f'argument {i}'}, expected at most "
                f"{most}, above which {str(dtype)[6:]} does not tell them apart: as counts or measurements they lose "
                "their last digits where a program computes with them. Use vae.double(), or leave it where they are "
                "only indices.",
                DataWarning,
                stacklevel=3,
            )


def _is_whole(part: Tensor) -> bool:
    return bool(((part == part.round()) | part.isnan()).all())


def pair_dtype(vae: torch.nn.Module) -> torch.dtype | None:
    """The one dtype of all floating-point parameters of a pair; None where there is none, or several."""
    dtypes = {p.dtype for p in vae.parameters() if p.is_floating_point()}
    return dtypes.pop() if len(dtypes) == 1 else None


def cast(part: Any, dtype: torch.dtype | None, device: torch.device) -> Any:
    """One argument of the programs by the second table above.

    Example:
        >>> cast(torch.tensor([1], dtype=torch.uint8), torch.float32, torch.device("cpu")).dtype
        torch.int64
    """
    if not isinstance(part, Tensor) or part.dtype == torch.bool:
        return part if not isinstance(part, Tensor) else part.to(device)
    if part.is_floating_point():
        return part.to(device, dtype)
    return part.to(device, torch.int64)


def _kept(before: tuple[Any, ...], after: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same batch where nothing of it has changed."""
    return before if all(a is b for a, b in zip(before, after, strict=True)) else after


def _opened(data: Any) -> Any:
    """The content of known containers; containers that say too little are refused."""
    if hasattr(type(data), "splits"):  # of the type: a table has its columns as attributes, whatever they are called
        raise DataError("Got a whole data set, expected one part of it: data.test, data.validation or data.train.")
    if isinstance(data, Several):
        data.batch()
    if isinstance(data, TensorDataset):
        return tuple(data.tensors)
    if isinstance(data, DataLoader):
        raise DataError(
            f"Got a {type(data).__name__} as data, expected what it loads: batches are made here, so give its "
            ".dataset, and batch_size to fit."
        )
    if isinstance(data, torch.utils.data.Dataset):
        return Split(as_tensors(data, "data", exact=True))
    if isinstance(data, Sequence) and not isinstance(data, tuple | str | bytes) and not _is_split(data):
        held = next((type(part).__name__ for part in data if isinstance(part, Tensor | np.ndarray)), None)
        if held is not None:
            raise DataError(
                f"Got a list of {len(data)} of type {held} as data, expected a tuple or one array: write tuple(…) if "
                "each is an argument of the programs, torch.stack(…) or numpy.stack(…) if each is one datum."
            )
    return data


def _is_split(data: Any) -> bool:
    """True for what gives batches of itself; a named tuple may have an entry of this name."""
    return hasattr(type(data), "batch") and not isinstance(data, tuple)


def _argument(part: Any, what: str) -> Any:
    """Arrays as tensors; anything else as it is."""
    if isinstance(part, Tensor) and part.layout == torch.strided and not part.is_complex():
        return part
    kind = type(part)
    is_array = isinstance(part, Tensor | np.ndarray) or hasattr(kind, "toarray") or hasattr(kind, "to_numpy")
    return as_tensor(part, what, exact=True) if is_array or _is_numbers(part) else part


def _is_numbers(part: Any) -> bool:
    """True if it is a list of numbers, of lists of them, and so on."""
    if not isinstance(part, list) or not part:
        return False
    leaf: Any = part
    while isinstance(leaf, list | tuple) and leaf:
        leaf = leaf[0]
    return isinstance(leaf, int | float | complex | np.generic)
