"""All data of a split, looked at once before anything is computed: supports, missing values, every datum in its place.

Where the model observes an argument as it is, under a support that is the same for all data, the argument is compared
with the support and nothing is run. Else, and where values are missing, the two programs run once over all data.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyro
import pyro.distributions as dist
import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_vae.core.batch import batch_length
from ppl_vae.core.faults import (
    Batch,
    Data,
    Faults,
    cannot_tell_each,
    data_axis,
    has_nan,
    observed,
    own_subsampling,
    refuse_infinite,
    subsampled,
)
from ppl_vae.core.misfit import misfit_told
from ppl_vae.core.observed import Message, outside, visible
from ppl_vae.core.plates import run_pair, sample_sites, unchanged
from ppl_vae.core.programs import exclusive
from ppl_vae.core.supports import bounds, is_fixed, is_silenced
from ppl_vae.distributions.unwrap import support_of
from ppl_vae.errors import DataError

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE

BLOCK = 2**21
"""Bytes of data that are looked at together."""


@exclusive
def screen(vae: "VAE", data: Data, *, every_datum: bool = True, any_size: bool | None = None, rows: int = 128) -> None:
    """Refuse data that the programs of a pair cannot be right on.

    Args:
        vae: the pair; it is left as found, but for parameters that appear at a first run.
        data: all data.
        every_datum: refuse a data plate that subsamples by itself.
        any_size: refuse programs that take one batch size only; by default with `every_datum`.
        rows: data in the first run.

    Raises:
        DataError: naming the site or argument, the first bad datum, its value, and the support; where the programs
            fail on the data but run on them with a data axis, as floats, or with missing values filled in.
        CheckError: for a plate that subsamples by itself, with `every_datum`.
    """
    looking = _Screen(vae, data)
    with _aside(vae), misfit_told(vae):
        head = data.taken(slice(0, rows))
        try:
            guide, model = looking.look(head, 0)
        except Exception:
            before, head = head, data.taken(slice(0, rows))  # of the dtype of parameters that appeared as they ran
            if _dtypes(head) == _dtypes(before):
                raise
            guide, model = looking.look(head, 0)
        own = own_subsampling(head, guide, model)
        if own is not None and every_datum:
            raise cannot_tell_each(own, head)
        if own is None and data.size > 2:
            looking.try_two(always=every_datum if any_size is None else any_size)
        columns = _observed_columns(head, model)
        if columns is not None and not data.missing:
            many = max(rows, 2 * BLOCK // max(data.row_bytes, 1))
            for start in range(0, data.size if columns else 0, many):
                looking.compare(data.taken(slice(start, start + many)), columns, start)
            return
        many = max(rows, min(1024, BLOCK // max(data.row_bytes, 1)))
        if own is not None:  # such programs take one number of data, of which they look at some
            many, data = rows, replace(data, size=data.size // rows * rows)
        for start in range(rows, data.size, many):
            looking.look(data.taken(slice(start, start + many)), start)


def _dtypes(batch: Batch) -> list[torch.dtype]:
    return [part.dtype for part in batch if isinstance(part, Tensor)]


@exclusive
def fault(vae: "VAE", batch: Batch) -> DataError | None:
    """The fault of a batch that programs fail on, or whose missing values they let through; None without one."""
    looking = _Screen(vae, Data.of_batch(batch))
    with _aside(vae):
        try:
            refuse_infinite(batch)
            traces = run_pair(vae, batch)
        except DataError as error:
            return error
        except Exception as failure:
            why = looking.faults.why(batch, 0, failure)
            return why if isinstance(why, DataError) else None
        try:
            if has_nan(batch):
                looking.look(batch, 0)
            if looking.data.size > 2 and own_subsampling(batch, *traces) is None:
                looking.try_two(always=False)
        except DataError as error:
            return error
        return None


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


class _Screen:
    def __init__(self, vae: "VAE", data: Data) -> None:
        self.vae, self.data, self.faults = vae, data, Faults(vae, data)

    def look(self, batch: Batch, start: int) -> tuple[Trace, Trace]:
        """Run both programs on some data, and refuse what is wrong with them."""
        try:
            guide, model = run_pair(self.vae, batch)
        except Exception as failure:
            why = self.faults.why(batch, start, failure)
            if why is None:
                raise
            raise why from failure
        for name, msg in observed(model):
            bad = outside(msg)
            if bad is not None and bool(bad.any()) and not self._excused(batch, name, msg):
                if _is_nan(msg["value"], msg) and has_nan(batch):
                    raise self.faults.missing(batch, start, f"site {name!r} observes them")
                raise self.faults.outside(name, msg, bad, data_axis(msg, batch_length(batch)), start)
        if has_nan(batch):
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
            why = self.faults.why(two, 0, failure)
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
                raise self.faults.outside(name, here, bad, 0, start)

    def _excused(self, batch: Batch, name: str, msg: Message) -> bool:
        """True if the program has switched validation off at a site, or its support hangs on what is drawn."""
        with pyro.validation_enabled(True):
            try:
                model = run_pair(self.vae, batch)[1]
            except Exception:
                return False
        again = model.nodes.get(name)
        if again is None or is_silenced(again["fn"]):
            return True
        return bounds(again["fn"]) != bounds(msg["fn"]) and len(bounds(msg["fn"])) > 0

    def refuse_spread(self, batch: Batch, start: int, *traces: Trace) -> None:
        """Refuse missing values that the programs let through to a draw or a density."""
        for trace, program in zip(traces, ("guide", "model"), strict=True):
            for name, msg in sample_sites(trace).items():
                density = dist.util.scale_and_mask(msg["fn"].log_prob(msg["value"]), 1.0, msg["mask"])
                if bool(density.isnan().any()) or _is_nan(msg["value"], msg):
                    raise self.faults.missing(batch, start, f"they reach site {name!r} of the {program}")


def _observed_columns(batch: Batch, model: Trace) -> dict[str, tuple[int, Message]] | None:
    """The arguments that are observed as they are, by site; None if a site observes something else."""
    columns = {}
    nodes: dict[str, Any] = model.nodes
    drawn = [nodes[plate]["value"] for plate in subsampled(model)]
    for name, msg in observed(model):
        if support_of(msg["fn"]) is None:
            continue
        i = next(
            (i for i, part in enumerate(batch) if part is msg["value"] or _is_taken(part, msg["value"], drawn)), None
        )
        if i is None or visible(msg) is not None or not is_fixed(support_of(msg["fn"])):
            return None
        columns[name] = i, msg
    return columns


def _is_taken(part: Any, value: Tensor, drawn: list[Tensor]) -> bool:
    """True if a value is an argument at the indices that a plate has drawn."""
    if not isinstance(part, Tensor) or not part.dim() or not value.dim() or part.shape[1:] != value.shape[1:]:
        return False
    return any(len(value) == len(at) and torch.equal(part[at], value) for at in drawn if int(at.max()) < len(part))


def _is_nan(value: Any, msg: Message) -> bool:
    hidden = msg["is_observed"] and visible(msg) is not None
    return not hidden and isinstance(value, Tensor) and value.is_floating_point() and bool(value.isnan().any())
