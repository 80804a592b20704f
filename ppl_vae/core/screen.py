"""All data of a split, looked at once before anything is computed: supports, missing values, every datum in its place.

Where the model observes an argument as it is, under a support that is the same for all data, the argument is compared
with the support and nothing is run. Else, and where values are missing, the two programs run once over all data.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.poutine import Trace
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ppl_vae.core.batch import batch_length, take
from ppl_vae.core.observed import Message, outside, support_of, visible
from ppl_vae.core.plates import run_pair, sample_sites, unchanged
from ppl_vae.core.programs import exclusive
from ppl_vae.datasets.support import check_finite
from ppl_vae.errors import CheckError, DataError, NonFiniteError, PplVaeError

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE

Batch = tuple[Any, ...]
BLOCK = 2**21
"""Bytes of data that are looked at together."""

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
    """

    taken: Callable[[slice], Batch]
    size: int
    row_bytes: int
    missing: int
    numbers: Tensor | None = None
    columns: tuple[str, ...] | None = None

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


def count_missing(tensors: Iterable[Tensor]) -> int:
    """How many values are NaN, counted in parts: data may be larger than memory."""
    floats = [t for t in tensors if t.is_floating_point()]
    return sum(int(part.isnan().sum()) for t in floats for part in t.split(2**12))


@exclusive
def screen(vae: "VAE", data: Data, *, every_datum: bool = True, rows: int = 128) -> None:
    """Refuse data that the programs of a pair cannot be right on.

    Args:
        vae: the pair; it is left as found, but for parameters that appear at a first run.
        data: all data.
        every_datum: refuse a data plate that subsamples by itself, and programs that take one batch size only.
        rows: data in the first run.

    Raises:
        DataError: naming the site or argument, the first bad datum, its value, and the support; where the programs
            fail on the data but run on them with a data axis, as floats, or with missing values filled in.
        CheckError: for a plate that subsamples by itself, with `every_datum`.
    """
    looking = _Screen(vae, data)
    with _aside(vae):
        head = data.taken(slice(0, rows))
        guide, model = looking.look(head, 0)
        own = own_subsampling(head, guide, model)
        if own is not None and every_datum:
            raise _cannot_tell_each(own, head)
        if own is None and data.size > 2:
            looking.try_two(always=every_datum)
        columns = _observed_columns(head, model)
        if columns is not None and not data.missing:
            many = max(rows, 2 * BLOCK // max(data.row_bytes, 1))
            for start in range(0, data.size, many):
                looking.compare(data.taken(slice(start, start + many)), columns, start)
            return
        many = max(rows, min(1024, BLOCK // max(data.row_bytes, 1)))
        for start in range(rows, data.size, many):
            looking.look(data.taken(slice(start, start + many)), start)


@exclusive
def fault(vae: "VAE", batch: Batch) -> DataError | None:
    """What is wrong with a batch that programs fail on, or whose missing values they let through; None: nothing."""
    looking = _Screen(vae, Data.of_batch(batch))
    with _aside(vae):
        try:
            refuse_infinite(batch)
            traces = run_pair(vae, batch)
        except DataError as error:
            return error
        except Exception as failure:
            why = looking.why(batch, 0, failure)
            return why if isinstance(why, DataError) else None
        try:
            if _has_nan(batch):
                looking.look(batch, 0)
            if looking.data.size > 2 and own_subsampling(batch, *traces) is None:
                looking.try_two(always=False)
        except DataError as error:
            return error
        return None


def refuse_infinite(batch: Batch) -> None:
    """Refuse infinite values of a batch.

    Raises:
        DataError: naming the first.
    """
    for i, part in enumerate(batch):
        if isinstance(part, Tensor) and part.dim():
            check_finite(part, "data" if len(batch) == 1 else f"data[{i}]")


@contextmanager
def _aside(vae: "VAE") -> Iterator[None]:
    """Within, programs run as in an evaluation, and leave generators, buffers and modes as they were."""
    modes = [(module, module.training) for module in vae.modules()]
    vae.eval()
    try:
        with torch.no_grad(), pyro.validation_enabled(False), unchanged(vae):
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _cannot_tell_each(own: tuple[str, int], batch: Batch) -> CheckError:
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


class _Screen:
    def __init__(self, vae: "VAE", data: Data) -> None:
        self.vae, self.data = vae, data

    def look(self, batch: Batch, start: int) -> tuple[Trace, Trace]:
        """Run both programs on some data, and refuse what is wrong with them."""
        try:
            guide, model = run_pair(self.vae, batch)
        except Exception as failure:
            why = self.why(batch, start, failure)
            if why is None:
                raise
            raise why from failure
        for name, msg in _observed(model):
            bad = outside(msg)
            if bad is not None and bool(bad.any()) and not self._excused(batch, name, msg):
                if _is_nan(msg["value"], msg) and _has_nan(batch):
                    raise self._missing(batch, start, f"site {name!r} observes them")
                raise DataError(self._told(name, msg, bad, _data_axis(msg, batch_length(batch)), start))
        if _has_nan(batch):
            self.refuse_spread(batch, start, guide, model)
        return guide, model

    def try_two(self, *, always: bool) -> None:
        """Run the programs on two data: by accident, what has no data axis may run as a whole.

        Args:
            always: whether they have to run on any number of data.
        """
        two = self.data.taken(slice(0, 2))
        try:
            run_pair(self.vae, two)
        except Exception as failure:
            why = self.why(two, 0, failure)
            if why is None and not always:
                return
            if why is None:
                raise
            raise why from failure

    def compare(self, batch: Batch, columns: dict[str, tuple[int, Message]], start: int) -> None:
        """Compare arguments that are observed as they are with the supports of their sites."""
        for name, (i, msg) in columns.items():
            here = {**msg, "value": batch[i]}
            bad = outside(here)
            if bad is not None and bool(bad.any()) and not self._excused(batch, name, msg):
                raise DataError(self._told(name, here, bad, 0, start))

    def _excused(self, batch: Batch, name: str, msg: Message) -> bool:
        """Whether the program has switched validation off at a site, or its support hangs on what is drawn."""
        with pyro.validation_enabled(True):
            try:
                model = run_pair(self.vae, batch)[1]
            except Exception:
                return False
        again = model.nodes.get(name)
        if again is None or is_silenced(again["fn"]):
            return True
        return _bounds(again["fn"]) != _bounds(msg["fn"]) and len(_bounds(msg["fn"])) > 0

    def _told(self, name: str, msg: Message, bad: Tensor, axis: int | None, start: int) -> str:
        fn, value = msg["fn"], msg["value"]
        return f"{describe(name, fn, value, bad, self._place(bad, axis, start))} {advice(fn, value)}"

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

    def refuse_spread(self, batch: Batch, start: int, *traces: Trace) -> None:
        """Refuse missing values that the programs let through to a draw or a density."""
        for trace, program in zip(traces, ("guide", "model"), strict=True):
            for name, msg in sample_sites(trace).items():
                density = dist.util.scale_and_mask(msg["fn"].log_prob(msg["value"]), 1.0, msg["mask"])
                if bool(density.isnan().any()) or _is_nan(msg["value"], msg):
                    raise self._missing(batch, start, f"they reach site {name!r} of the {program}")

    def _missing(self, batch: Batch, start: int, how: str) -> DataError:
        i, part = next((i, p) for i, p in enumerate(batch) if isinstance(p, Tensor) and _has_nan((p,)))
        number = self.data.missing
        where = self._place(part.isnan(), 0, start)
        return DataError(
            f"Got {number} missing {'value' if number == 1 else 'values'} (NaN) in {_argument(batch, i)}, the first "
            f"{where}, expected none where the programs look: {how}. Leave these data out or fill them in; or mask "
            "them in the model (poutine.mask, .mask, obs_mask) and give the guide finite numbers in their place "
            "(x.nan_to_num())."
        )

    def why(self, batch: Batch, start: int, failure: Exception) -> PplVaeError | None:
        """What is wrong with the data that a program failed on, if a run on other data shows it."""
        for name, holds in not_finite(self.vae):
            return NonFiniteError(
                f"Got a parameter {name!r} that holds {holds}, expected finite numbers: the programs fail on them. "
                "Begin with finite weights."
            )
        told = f"{type(failure).__name__}: {next(iter(str(failure).splitlines()), '')}"
        if _has_nan(batch) and self._runs(tuple(_filled(part) for part in batch)):
            return self._missing(batch, start, f"the programs fail on them ({told})")
        whole = self.data.taken(slice(None)) if self.data.size > (batch_length(batch) or 0) else batch
        try:
            own = own_subsampling(whole, *run_pair(self.vae, whole)) if whole is not batch else None
        except Exception:
            own = None
        if own is not None:
            return _cannot_tell_each(own, whole)
        outside_of = self._outside_of_model(batch, start)
        if outside_of is not None:
            return outside_of
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
        if self._runs(one):
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
            for name, msg in _observed(model):
                bad = outside(msg)
                if bad is not None and bool(bad.any()):
                    return DataError(self._told(name, msg, bad, _data_axis(msg, batch_length(batch)), start))
        except Exception:
            return None
        return None

    def _runs(self, batch: Batch) -> bool:
        try:
            run_pair(self.vae, batch)
        except Exception:
            return False
        return True


def not_finite(vae: "VAE") -> Iterator[tuple[str, str]]:
    """The parameters of a pair that hold NaN or infinite values, with how many."""
    for name, tensor in vae.named_parameters():
        if torch.nn.parameter.is_lazy(tensor) or not tensor.is_floating_point():
            continue
        number = int((~torch.isfinite(tensor.detach())).sum())
        if number:
            yield name, f"{number} NaN or infinite {'value' if number == 1 else 'values'} among {tensor.numel()}"


def describe(name: str, fn: Any, value: Tensor, bad: Tensor, place: str) -> str:
    """Values outside a support, in a sentence.

    Args:
        name: of the site.
        fn: its distribution.
        value: what is observed.
        bad: which of them lie outside.
        place: of the first.
    """
    number = int(bad.sum())
    index = np.unravel_index(int(bad.flatten().to(torch.uint8).argmax()), bad.shape)
    event = value.shape[value.dim() - support_of(fn).event_dim :]
    first = value.expand(*bad.shape, *event)[tuple(int(i) for i in index)]
    shown = f"{first.item():g}" if first.numel() == 1 else str([round(float(v), 4) for v in first.flatten()[:4]])
    support = told(support_of(fn))
    return (
        f"Got {number} {'value' if number == 1 else 'values'} outside the support of {family(fn)} at site {name!r}, "
        f"the first {shown} {place} (values go from {value.min():.4g} to {value.max():.4g}), expected {support}."
    )


def advice(fn: Any, value: Tensor) -> str:
    """What to do about data outside a support."""
    base = _base(fn)
    if value.is_floating_point() and bool(value.isnan().any()):
        return "Mask missing values (poutine.mask, or .mask on the distribution), leave them out or fill them in."
    unit = bool(((value >= 0) & (value <= 1)).all())
    if isinstance(base, (dist.Bernoulli, torch.distributions.Bernoulli)) and unit:
        return (
            "Binarize the data (dataset.binarization=dynamic), or take a likelihood for values in [0, 1]: "
            "ContinuousBernoulli or Beta."
        )
    if isinstance(base, (dist.Bernoulli, dist.ContinuousBernoulli, dist.Beta)):
        return "Rescale the data (x / 255 for bytes), or take a likelihood that fits their range."
    return "Rescale the data, or take a likelihood that fits their range."


def family(fn: Any) -> str:
    """The name of a distribution without what is wrapped around it."""
    return type(_base(fn)).__name__


def told(support: Any) -> str:
    """A support in words: `greater than 0`."""
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    name = type(support).__name__.strip("_")
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower().replace("_", " ").removesuffix(" eq")
    bounds = [f"{float(b):g}" for key in ("lower_bound", "upper_bound") if (b := _number(support, key)) is not None]
    words = {"real": "the real line", "boolean": "0 or 1", "simplex": "the simplex"}.get(words, words)
    return f"{words} {' to '.join(bounds)}".strip()


def is_silenced(fn: Any) -> bool:
    """Whether the user switched validation off for a distribution, given that it is on by default."""
    while fn is not None:
        if fn.__dict__.get("_validate_args") is False:
            return True
        fn = getattr(fn, "base_dist", None)
    return False


def _base(fn: Any) -> Any:
    while hasattr(fn, "base_dist") and not isinstance(fn, dist.TransformedDistribution):
        fn = fn.base_dist
    return fn


def _number(support: Any, key: str) -> float | None:
    bound = getattr(support, key, None)
    return None if bound is None or torch.as_tensor(bound).numel() != 1 else float(bound)


def _bounds(fn: Any) -> list[Any]:
    support = support_of(fn)
    found = [getattr(support, key, None) for key in ("lower_bound", "upper_bound")]
    return [b.tolist() if isinstance(b, Tensor) else b for b in found if b is not None]


def _observed(model: Trace) -> Iterator[tuple[str, Message]]:
    for name, msg in sample_sites(model).items():
        is_data = msg["is_observed"] and not msg["infer"].get("_deterministic")
        if is_data and isinstance(msg["value"], Tensor) and msg["value"].numel():
            yield name, msg


def _observed_columns(batch: Batch, model: Trace) -> dict[str, tuple[int, Message]] | None:
    """The arguments that are observed as they are, by site; None if a site observes something else."""
    columns = {}
    for name, msg in _observed(model):
        if support_of(msg["fn"]) is None:
            continue
        i = next((i for i, part in enumerate(batch) if part is msg["value"]), None)
        if i is None or visible(msg) is not None or not _is_fixed(support_of(msg["fn"])):
            return None
        columns[name] = i, msg
    return columns


def _is_fixed(support: Any) -> bool:
    """Whether a support is the same for all data and draws."""
    held = [v for v in vars(support).values() if not isinstance(v, (int, float, str, bool))] if support else []
    return all(isinstance(v, Tensor) and v.dim() == 0 and not v.requires_grad for v in held)


def _data_axis(msg: Message, length: int | None) -> int | None:
    """The axis of a value along which the data lie, counted from the left."""
    batch_dims = msg["value"].dim() - getattr(msg["fn"], "event_dim", 0)
    for frame in msg["cond_indep_stack"]:
        if frame.vectorized and frame.size == length and frame.dim is not None and batch_dims + frame.dim >= 0:
            return int(batch_dims + frame.dim)
    return 0 if msg["value"].dim() and msg["value"].shape[0] == length else None


def _is_nan(value: Any, msg: Message) -> bool:
    hidden = msg["is_observed"] and visible(msg) is not None
    return not hidden and isinstance(value, Tensor) and value.is_floating_point() and bool(value.isnan().any())


def _has_nan(batch: Batch) -> bool:
    return any(isinstance(p, Tensor) and p.is_floating_point() and bool(p.isnan().any()) for p in batch)


def _is_whole(part: Tensor) -> bool:
    return part.is_floating_point() and bool((part == part.round()).all())


def _filled(part: Any) -> Any:
    return part.nan_to_num() if isinstance(part, Tensor) and part.is_floating_point() else part


def _argument(batch: Batch, i: int) -> str:
    return "x" if i == 0 else f"argument {i} (of {len(batch)}, from 0)"
