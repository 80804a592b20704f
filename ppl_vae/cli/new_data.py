"""The data that a verb is asked about: a part of the run's own, or a file of new ones, taken as the run's were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from ppl_vae.cli.open_run import part
from ppl_vae.cli.own_table import TABLES, columns_of, kind_of_source, named_rows
from ppl_vae.errors import DataError, UsageError
from ppl_vae.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from ppl_vae.datasets import Dataset, Field, Split


PACKED = (".gz", ".bz2", ".xz", ".zip", ".zst")
"""Endings of files that are compressed."""

ENDINGS = (
    ".csv", ".tsv", ".tab", ".txt", ".dat", ".data", ".npz", ".npy", ".parquet", ".pq", ".feather", ".arrow", ".ipc",
    ".h5ad",
)  # fmt: skip
"""Endings of files of data; what else stands behind a dot is part of a name."""

PARTS = ("train", "validation", "test")
"""The parts of a run's own data, whose names its own tables bear."""


@dataclass(frozen=True)
class Asked:
    """The data that a verb is asked about.

    Attributes:
        split: the data.
        name: what files of them are called: the part, or what `called` makes of the name of the file.
        rows: the names of the data, in their order.
        id: what these names are called.
        numbers: their numbers in their source.
        file: that they come from; None where it is none.
    """

    split: Split
    name: str
    rows: NDArray[Any]
    id: str
    numbers: NDArray[np.int64] | None = None
    file: Path | None = None


def asked(cfg: DictConfig, run: Run) -> Asked:
    """The data that `split=`, or `dataset.path=`, says, with the names of their rows.

    Raises:
        UsageError: the run's data come from no file.
        DataError: the new data are no such data.
    """
    new = cfg.dataset.path
    split = part(run, cfg.split.name) if new is None else new_data(run, new)
    name = cfg.split.name if new is None else called(new)
    numbers = np.asarray(split.indices[: len(split)].cpu() if hasattr(split.indices, "cpu") else split.indices)
    column = cfg.get("id")
    path = run.plain_config["dataset"].get("path") if new is None else new
    data = Asked(split, name, numbers, "datum", numbers, None if path is None else Path(path))
    if column is None:
        return data
    if data.file is None:
        raise UsageError(f"id={column}: the data of {run} come from no file with columns; leave it out")
    rows = len(split) if new is not None else sum(map(len, run.data.splits.values()))
    return replace(data, rows=named_rows(data.file, str(column), run, rows)[numbers], id=str(column))


def called(path: str) -> str:
    """The name of files made of a file of new data: its own without its ending, and that of no part of the run.

    Example:
        >>> called("in/ids.v1.csv"), called("ids.v2.CSV.gz"), called("2024.05"), called("test.csv")
        ('ids.v1', 'ids.v2', '2024.05', 'new_test')
    """
    name = Path(path).name
    for endings in (PACKED, ENDINGS):
        name = name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in endings else name
    name = "" if name.lower() in (*PACKED, *ENDINGS) else name
    return f"new_{name}" if name.lower().removesuffix("_draws") in PARTS else name or "new"


def new_data(run: Run, path: str) -> Split:
    """All data of a file, as the run's own were read, scaled as its training data were.

    Raises:
        UsageError: the run's data come from no file.
        DataError: they are no data of that kind.
    """
    from ppl_vae.config.build import build_dataset
    from ppl_vae.config.targets import plan
    from ppl_vae.datasets.columns import as_kinds

    config = run.plain_config
    node = config["dataset"]
    with run.building("dataset"):
        known = plan("dataset", node, trusted=run.trusted).parameters
    if "path" not in known:
        raise UsageError(
            f"dataset.path={path}: the data of {run} come from no file ({node['_target_']}), so that nothing says how "
            "one is read. In Python: pv.encode(run.vae, x), with x as a model sees it"
        )
    with run.building("dataset"):
        asked_for: dict[str, Any] = {"path": path, "validation": 0, "test": 0, "standardization": "none"}
        asked_for["labelled"] = None
        if run.spec.location is not None:
            asked_for["dtype"] = "float64"  # digits of what is to be standardized are lost afterwards, not before
        if run.spec.feature_names and node.get("shape") is None:
            asked_for |= {"columns": list(run.spec.feature_names), "exclude": []}
        if run.spec.columns is not None:  # a code means what it meant to the run
            asked_for["kinds"] = as_kinds(run.spec)
        if not node.get("with_labels"):
            asked_for["label"] = None
        asked_for["time"] = run.spec.time
        asked_for["categories"] = [field.name for field in run.spec.fields if field.classes]
        asked_for["standardize_fields"] = []  # by the run's numbers, not by those of the new data
        told = {k: v for k, v in asked_for.items() if k in known}
        data = build_dataset({**config, "dataset": {**node, **told}}, trusted=run.trusted)
    return _as_trained(run, data, path)


def _as_trained(run: Run, data: Dataset, path: str) -> Split:
    """All of a data set, with the transform of the run."""
    import torch

    from ppl_vae.datasets.split import Split
    from ppl_vae.datasets.transform import Standardization

    parts = [split for split in data.splits.values() if isinstance(split, Split) and len(split)]
    whole = parts[0] if len(parts) == 1 else _joined(parts)
    shape = tuple(whole.tensors[0].shape[1:])
    if shape != run.spec.shape:
        raise DataError(f"dataset.path={path}: got data of shape {shape}, expected {run.spec.shape}, as {run} has them")
    steps = tuple(step for step in whole.transform.steps if not isinstance(step, Standardization))
    dtype = run.spec.fields[0].torch_dtype
    if run.spec.location is not None and run.spec.scale is not None:
        kind, fitted = run.spec.aligned, (run.spec.location, run.spec.scale)
        of = (torch.tensor(values, dtype=torch.float64).reshape(kind) for values in fitted)
        steps = (Standardization(*of), *steps) if run.spec.time is not None else (*steps, Standardization(*of))
    whole = replace(whole, transform=replace(whole.transform, steps=steps, dtype=dtype))
    for place, (known, own) in enumerate(zip(run.spec.fields, data.spec.fields, strict=False)):
        if place and (own.shape, bool(own.classes)) != (known.shape, bool(known.classes)):
            told = [f"{'categories' if f.classes else 'numbers'} of shape {f.shape}" for f in (own, known)]
            raise DataError(f"dataset.path={path}: got {told[0]} in {own.name}, expected {told[1]}, as in {run}")
        if known.class_names and own.class_names != known.class_names:
            whole = _recoded(whole, place, own.class_names or (), known, f"dataset.path={path}", run)
    names = None if run.spec.fields[-1].classes else run.spec.class_names
    if run.spec.fields[-1].name == "y" and names and data.spec.class_names != names:
        y = replace(run.spec.fields[-1], class_names=names)
        whole = _recoded(whole, len(run.spec.fields) - 1, data.spec.class_names or (), y, f"dataset.path={path}", run)
        whole = replace(whole, labels=whole.tensors[-1][:])
    return whole


def _joined(parts: list[Split]) -> Split:
    """The parts of a data set as one, in the order of their source."""
    import torch

    first = parts[0]
    if not all(split.in_memory for split in parts):
        raise DataError("Got new data in several parts that are not in memory, expected one: give validation=0 test=0.")

    def cat(of: list[Any]) -> Any:
        return None if of[0] is None else torch.cat(of)

    indices = cat([split.indices for split in parts])
    order = indices.argsort()
    tensors = tuple(cat([split.tensors[i] for split in parts])[order] for i in range(len(first.tensors)))
    labels = cat([split.labels for split in parts])
    factors = cat([split.factors for split in parts])
    return replace(
        first,
        tensors=tensors,
        labels=None if labels is None else labels[order],
        factors=None if factors is None else factors[order],
        indices=indices[order],
    )


def _recoded(split: Split, place: int, names: Sequence[str], known: Field, where: str, run: Run) -> Split:
    """A category by the codes of the run, where the file has others or fewer."""
    import torch

    expected = list(known.class_names or ())
    if unknown := [name for name in names if name not in expected]:
        what = "labels" if known.name == "y" else f"in {known.name} the categories"
        raise DataError(
            f"{where}: got {what} {', '.join(map(str, unknown[:5]))}, expected those of {run}: "
            f"{', '.join(map(str, expected[:10]))}"
        )
    codes = split.tensors[place]
    assert isinstance(codes, torch.Tensor)
    codes = torch.tensor([expected.index(name) for name in names])[codes]
    return replace(split, tensors=(*split.tensors[:place], codes, *split.tensors[place + 1 :]))


def is_raw(split: Split) -> bool:
    """Tell whether the numbers of a split are those of its source, once what was standardized is put back."""
    from ppl_vae.datasets.sequences import Padding
    from ppl_vae.datasets.transform import Standardization

    return all(isinstance(step, Standardization | Padding) for step in split.transform.steps)


def raw(run: Run, split: Split) -> torch.Tensor:
    """The x of a split in the units that `Spec.restore` gives back: as its source has it, unless it was rescaled.

    After the end of a sequence it is NaN.
    """
    if not is_raw(split):
        return run.spec.restore(split.batch()[0])
    x: Any = split.tensors[0]
    return x if hasattr(x, "isnan") else x[: len(x)]


def as_written(run: Run, data: Asked) -> pd.DataFrame | None:
    """The columns of x as the table of the user has them, by the rows of the data; None where they are of none.

    Of a csv it is text, which has all digits: numbers of a column with gaps are floats as soon as they are read.
    """
    from ppl_vae.datasets.files import existing_file

    names, split = run.spec.feature_names, data.split
    plain = names is not None and len(run.spec.shape) == 1 and split.in_memory and is_raw(split)
    if not plain or data.file is None or data.numbers is None or kind_of_source(run) not in TABLES:
        return None
    _, frame = columns_of(existing_file(data.file, "a file with columns"), run, names or ())
    return frame.iloc[data.numbers]
