"""The source of blocks as which data outside memory are read."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import TensorDataset

from ppl_vae.datasets.items import Items
from ppl_vae.datasets.mapped import Mapped, is_mapped, of_user
from ppl_vae.datasets.row_groups import RowGroups


def outside(data: Any, what: str) -> Any:
    """Give the source of what is outside memory: a mapped array, a data set of torch, a reader's own; else None.

    Args:
        data: what the user, or the reader of a file, calls data.
        what: its name in messages.
    """
    if isinstance(data, Mapped | RowGroups):
        return data
    if isinstance(data, torch.utils.data.Dataset) and not isinstance(data, TensorDataset):
        return Items(data, what)
    return of_user(data) if is_mapped(data) else None
