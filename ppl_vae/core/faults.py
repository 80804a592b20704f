"""Faults of data in a sentence: where they are, and what to do."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pyro import poutine
from pyro.poutine import Trace
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ppl_vae import rng
from ppl_vae.core.batch import batch_length, take
from ppl_vae.core.observed import Message, outside
from ppl_vae.core.plates import run_pair, sample_sites
from ppl_vae.core.supports import advice, describe
from ppl_vae.datasets.blocks import Column
from ppl_vae.datasets.support import check_finite
from ppl_vae.errors import CheckError, DataError, NonFiniteError, PplVaeError

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE

Batch = tuple[Any, ...]

OWN_SUBSAMPLING = (
    "The plate {name!r} draws {size} of the {full} data by itself, so that results for every datum cannot be had from "
    "it. To train, this is right; for evaluate, posterior, generate and whatever tells of each datum leave out "
    "subsample_size: pyro.plate({name!r}, x.shape[0]), and let `fit` make the minibatches (batch_size={size})."
)


@dataclass(frozen=True)
class Data:
    """Data as a screen looks at them: a part at a time, as the programs take them.

    Attributes:
        taken: gives a part, or all (`slice(None)`).
        size: how many there are.
        row_bytes: of one datum.
        missing: how many values are missing.
        numbers: of the data in their source; their places in the split where it is None.
        columns: names of the columns of x.
        in_memory: whether all of them can be had at once.
    """

    taken: Callable[[slice], Batch]
    size: int
    row_bytes: int
    missing: int
    numbers: Tensor | Column | None = None
    columns: tuple[str, ...] | None = None
    in_memory: bool = True

    @classmethod
    def of_batch(cls, batch: Batch) -> "Data":
        """A batch as it is."""
        tensors = [part for part in batch if isinstance(part, Tensor) and part.dim()]
        size = batch_length(batch) or 0
        index = torch.arange(size)
        return cls(
            lambda at: batch if at == slice(None) else take(batch, index[at]),
            size,
            sum(part[:1].nbytes for part in tensors),
            count_missing(tensors),
        )


def count_missing(tensors: Iterable[Tensor | Column]) -> int:
    """The number of values that are NaN, counted in parts."""
    floats = [t for t in tensors if t.is_floating_point()]
    return sum(
        t.missing if isinstance(t, Column) else sum(int(part.isnan().sum()) for part in t.split(2**12)) for t in floats
    )


def refuse_infinite(batch: Batch) -> None:
    """Refuse infinite values of a batch.

    Raises:
        DataError: naming the first.
    """
    for i, part in enumerate(batch):
        if isinstance(part, Tensor) and part.dim():
            check_finite(part, "data" if len(batch) == 1 else f"data[{i}]")


def cannot_tell_each(own: tuple[str, int], batch: Batch) -> CheckError:
    """The refusal of a plate that subsamples by itself."""
    return CheckError(OWN_SUBSAMPLING.format(name=own[0], size=own[1], full=batch_length(batch)))


def own_subsampling(batch: Batch, *traces: Trace) -> tuple[str, int] | None:
    """The name and size of a plate over all data of a batch that draws some of them; None without one."""
    length = batch_length(batch)
    found = {name: sizes for trace in traces for name, sizes in subsampled(trace).items() if sizes[1] == length}
    return next(((name, size) for name, (size, _) in found.items()), None)


def subsampled(trace: Trace) -> dict[str, tuple[int, int]]:
    """The plates of a trace that draw some of their indices by themselves: how many of how many."""
    nodes: dict[str, Any] = trace.nodes
    plates = {n: node for n, node in nodes.items() if node["type"] == "sample" and site_is_subsample(node)}
    sizes = {n: (len(node["value"]), int(node["fn"].size)) for n, node in plates.items()}
    return {n: (size, full) for n, (size, full) in sizes.items() if size < full}


class Faults:
    """Sentences about data of a pair.

    Args:
        vae: the pair.
        data: all data.
    """

    def __init__(self, vae: "VAE", data: Data) -> None:
        self.vae, self.data = vae, data

    def outside(self, name: str, msg: Message, bad: Tensor, axis: int | None, start: int) -> DataError:
        """Values of a site outside its support."""
        fn, value = msg["fn"], msg["value"]
        return DataError(f"{describe(name, fn, value, bad, self._place(bad, axis, start))} {advice(fn, value)}")

    def missing(self, batch: Batch, start: int, how: str) -> DataError:
        """Missing values that no mask hides."""
        i, part = next((i, p) for i, p in enumerate(batch) if isinstance(p, Tensor) and has_nan((p,)))
        number = self.data.missing
        where = self._place(part.isnan(), 0, start)
        return DataError(
            f"Got {number} missing {'value' if number == 1 else 'values'} (NaN) in {_argument(batch, i)}, the first "
            f"{where}, expected none where the programs look: {how}. Leave these data out or fill them in; or "
            f"{self._masking()}."
        )

    def _masking(self) -> str:
        """The way to a model that masks what is missing: a ready-made one does where its data say so."""
        model = self.vae.model
        if getattr(model, "missing", None) is False and type(model).__module__.startswith("ppl_vae."):
            return (
                f"train {type(model).__name__} on data that say that values may be missing, dataset.missing=true (in "
                "Python missing=True of the data set): it masks them then"
            )
        return (
            "mask them in the model (poutine.mask, .mask, obs_mask) and give the guide finite numbers in their place "
            "(x.nan_to_num())"
        )

    def why(self, batch: Batch, start: int, failure: Exception) -> PplVaeError | None:
        """The fault of the data that a program failed on, if a run on other data shows it."""
        for name, holds in not_finite(self.vae):
            return NonFiniteError(
                f"Got a parameter {name!r} that holds {holds}, expected finite numbers: the programs fail on them. "
                "Begin with finite weights."
            )
        told = f"{type(failure).__name__}: {next(iter(str(failure).splitlines()), '')}"
        if self._runs(batch):
            return None
        if has_nan(batch) and self._runs(tuple(_filled(part) for part in batch)):
            return self.missing(batch, start, f"the programs fail on them ({told})")
        more = self.data.in_memory and self.data.size > (batch_length(batch) or 0)
        whole = self.data.taken(slice(None)) if more else batch
        try:
            own = own_subsampling(whole, *run_pair(self.vae, whole)) if whole is not batch else None
        except Exception:
            own = None
        if own is not None:
            return cannot_tell_each(own, whole)
        outside_of = self._outside_of_model(batch, start)
        if outside_of is not None:
            return outside_of
        default = torch.get_default_dtype()
        other = [i for i, p in enumerate(batch) if isinstance(p, Tensor) and p.is_floating_point()]
        other = [i for i in other if batch[i].dtype != default]
        if other and self._runs(tuple(p.to(default) if i in other else p for i, p in enumerate(batch))):
            i = other[0]
            return DataError(
                f"Got {_argument(batch, i)} of {str(batch[i].dtype)[6:]}, expected {str(default)[6:]}, which the "
                f"programs compute with ({told}). Give x.to({default}): without parameters a pair takes floats as they "
                "are."
            )
        kinds = [(i, p) for i, p in enumerate(batch) if isinstance(p, Tensor) and not p.is_floating_point()]
        floats = tuple(p.to(torch.get_default_dtype()) if isinstance(p, Tensor) else p for p in batch)
        if kinds and self._runs(floats):
            i, part = kinds[0]
            return DataError(
                f"Got {_argument(batch, i)} of {str(part.dtype)[6:]}, expected floats, which the programs compute with "
                f"({told}). Whole numbers and booleans stay what they are: give x.float(), or let the programs cast."
            )
        whole_numbers = [i for i, p in enumerate(batch) if isinstance(p, Tensor) and _is_whole(p)]
        if whole_numbers and self._runs(tuple(p.long() if i in whole_numbers else p for i, p in enumerate(batch))):
            i = whole_numbers[0]
            return DataError(
                f"Got {_argument(batch, i)} of {str(batch[i].dtype)[6:]}, expected integers, which the programs index "
                f"with ({told}). Give x.long(): its values are whole numbers."
            )
        one = tuple(p.unsqueeze(0) if isinstance(p, Tensor) else p for p in whole)
        if self._runs_as_one(one):
            shapes = ", ".join(str(tuple(p.shape)) for p in whole if isinstance(p, Tensor))
            return DataError(
                f"Got data of shape {shapes}, expected a first axis over data: the programs fail on them ({told}) and "
                "run on them as one datum. Give x[None], or for a datum of many data[i : i + 1]."
            )
        return None

    def _outside_of_model(self, batch: Batch, start: int) -> DataError | None:
        """Values outside a support that the guide failed on before the model could observe them."""
        try:
            model = poutine.trace(self.vae.run_model).get_trace(*batch)
            for name, msg in observed(model):
                bad = outside(msg)
                if bad is not None and bool(bad.any()):
                    return self.outside(name, msg, bad, data_axis(msg, batch_length(batch)), start)
        except Exception:
            return None
        return None

    def _runs_as_one(self, one: Batch) -> bool:
        """True if the programs run on a datum and have a plate of one for it, not one of a size of their own."""
        try:
            traces = run_pair(self.vae, one)
        except Exception:
            return False
        sizes = {
            f.size for t in traces for s in sample_sites(t).values() for f in s["cond_indep_stack"] if f.vectorized
        }
        return not sizes or 1 in sizes

    def _runs(self, batch: Batch) -> bool:
        try:
            with rng.forked(self.vae.device, seed=0):  # draws alike: a program that fails by chance blames no data
                run_pair(self.vae, batch)
        except Exception:
            return False
        return True

    def _place(self, bad: Tensor, axis: int | None, start: int) -> str:
        index = [int(i) for i in np.unravel_index(int(bad.flatten().to(torch.uint8).argmax()), bad.shape)]
        if axis is None or axis >= len(index):
            return f"at {index}"
        row = index.pop(axis) + start
        number = row if self.data.numbers is None else int(self.data.numbers[row])
        datum = f"{row}" if number == row else f"{row} (number {number} in the data set)"
        columns = self.data.columns
        if columns is not None and len(index) == 1 and bad.shape[-1] == len(columns):
            return f"in datum {datum}, column {columns[index[0]]!r}"
        return f"in datum {datum}" + (f" at {index}" if index else "")


def not_finite(vae: "VAE") -> Iterator[tuple[str, str]]:
    """The parameters of a pair that hold NaN or infinite values, with how many."""
    for name, tensor in vae.named_parameters():
        if torch.nn.parameter.is_lazy(tensor) or not tensor.is_floating_point():
            continue
        number = int((~torch.isfinite(tensor.detach())).sum())
        if number:
            yield name, f"{number} NaN or infinite {'value' if number == 1 else 'values'} among {tensor.numel()}"


def observed(model: Trace) -> Iterator[tuple[str, Message]]:
    """The sites of a model that observe data."""
    for name, msg in sample_sites(model).items():
        is_data = msg["is_observed"] and not msg["infer"].get("_deterministic")
        if is_data and isinstance(msg["value"], Tensor) and msg["value"].numel():
            yield name, msg


def data_axis(msg: Message, length: int | None) -> int | None:
    """The axis of a value along which the data lie, counted from the left."""
    batch_dims = msg["value"].dim() - getattr(msg["fn"], "event_dim", 0)
    for frame in msg["cond_indep_stack"]:
        if frame.vectorized and frame.size == length and frame.dim is not None and batch_dims + frame.dim >= 0:
            return int(batch_dims + frame.dim)
    return 0 if msg["value"].dim() and msg["value"].shape[0] == length else None


def has_nan(batch: Batch) -> bool:
    """True if a batch holds missing values."""
    return any(isinstance(p, Tensor) and p.is_floating_point() and bool(p.isnan().any()) for p in batch)


def _is_whole(part: Tensor) -> bool:
    return part.is_floating_point() and bool((part == part.round()).all())


def _filled(part: Any) -> Any:
    return part.nan_to_num() if isinstance(part, Tensor) and part.is_floating_point() else part


def _argument(batch: Batch, i: int) -> str:
    return "x" if i == 0 else f"argument {i} (of {len(batch)}, from 0)"
