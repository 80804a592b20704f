"""Batches as programs take them: tensors, packed sequences and what holds them, beside anything else."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.nn.utils import rnn


def batch_length(batch: tuple[Any, ...]) -> int | None:
    """The number of data in a batch: the length of its first tensor's first axis (`None` if it holds no such tensor).

    Example:
        >>> import torch
        >>> batch_length((torch.zeros(4, 2), 0.5, None))
        4
    """
    return next(_lengths(batch), None)


def take(batch: tuple[Any, ...], index: Tensor) -> tuple[Any, ...]:
    """The data of a batch at `index`: of every tensor and packed sequence whose length is the batch's.

    Example:
        >>> import torch
        >>> take((torch.arange(3), "kept"), torch.tensor([2, 2]))
        (tensor([2, 2]), 'kept')
    """
    return tuple(_take(part, index, batch_length(batch)) for part in batch)


def structure(batch: tuple[Any, ...]) -> Any:
    """The mark of batches for which a program samples the same sites: what is None, and all sizes but the length.

    Labelled and unlabelled batches differ in it, and sequences of other lengths in time; numbers do not count.

    Example:
        >>> import torch
        >>> structure((torch.zeros(4, 2), None)) == structure((torch.zeros(7, 2), None))
        True
        >>> structure((torch.zeros(4, 2), None)) == structure((torch.zeros(4, 2), torch.zeros(4)))
        False
    """
    return tuple(_structure(part, batch_length(batch)) for part in batch)


def _structure(part: Any, length: int | None) -> Any:
    if isinstance(part, Tensor):
        return tuple(part.shape[1:]) if part.dim() and part.shape[0] == length else ("whole", *part.shape)
    if isinstance(part, rnn.PackedSequence):
        return "packed", len(part.batch_sizes), tuple(part.data.shape[1:])
    if isinstance(part, dict):
        return tuple((key, _structure(inner, length)) for key, inner in part.items())
    if isinstance(part, (tuple, list)):
        return type(part).__name__, *(_structure(inner, length) for inner in part)
    return part if isinstance(part, (bool, str)) else type(part).__name__


def _lengths(part: Any) -> Iterator[int]:
    if isinstance(part, Tensor):
        if part.dim():
            yield part.shape[0]
    elif isinstance(part, rnn.PackedSequence):
        yield int(part.batch_sizes[0])
    elif isinstance(part, dict):
        yield from _lengths(tuple(part.values()))
    elif isinstance(part, (tuple, list)):
        for inner in part:
            yield from _lengths(inner)


def _take(part: Any, index: Tensor, length: int | None) -> Any:
    if isinstance(part, Tensor):
        return part[index.to(part.device)] if part.dim() and part.shape[0] == length else part
    if isinstance(part, rnn.PackedSequence):
        if int(part.batch_sizes[0]) != length:
            return part
        padded, sizes = rnn.pad_packed_sequence(part, batch_first=True)
        return rnn.pack_padded_sequence(
            padded[index.to(padded.device)], sizes[index.cpu()], batch_first=True, enforce_sorted=False
        )
    if isinstance(part, dict):
        return {key: _take(inner, index, length) for key, inner in part.items()}
    if isinstance(part, (tuple, list)) and not hasattr(part, "_fields"):
        return type(part)(_take(inner, index, length) for inner in part)
    return part
