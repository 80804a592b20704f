"""The linter at the start of training."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppl_vae.compile.kind import kind
from ppl_vae.compile.recall import layout
from ppl_vae.errors import CheckError

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE
    from ppl_vae.linter import Finding

TOLD_BY_TRAINING = frozenset({"does not run", "not finite", "no parameters", "objective", "refused"})
"""Kinds of finding that training itself meets and tells better: with the user's own exception, the epoch, the step."""

LEGAL = frozenset({"guide ignores the data", "no gradient"})
"""Kinds of finding that leave every number right, if not of use."""

MOST = 16
"""Verdicts that are kept, those used last."""

_passed: OrderedDict[Any, None] = OrderedDict()


def lint(vae: VAE, batch: tuple[Any, ...], total: int) -> tuple[Finding, ...]:
    """Refuse a pair whose numbers would be wrong, and give the linter's warnings.

    Gradients are looked at under the ELBO: an objective may count its calls, and its first is the first step. A pair of
    packages' code that is of the kind of one without any finding, on the same batch, has none: jobs of a sweep that
    differ in their seeds are looked at once in a process.

    Raises:
        CheckError: with every finding.
    """
    from ppl_vae.linter import check

    seen = kind(vae)
    name = (seen, total, _told(batch)) if seen.is_ours else None
    if name in _passed:
        _passed.move_to_end(name)
        return ()
    try:
        found = check(vae, batch, total=total).warnings
    except CheckError as refusal:
        if any(f.severity == "error" and f.kind not in TOLD_BY_TRAINING | LEGAL for f in refusal.findings):
            raise
        return tuple(f for f in refusal.findings if f.severity == "warning" or f.kind in LEGAL)
    if name is not None and not found:
        _passed[name] = None
        while len(_passed) > MOST:
            _passed.popitem(last=False)
    return found


def _told(batch: tuple[Any, ...]) -> Any:
    """A batch by its layout and values."""
    values = hashlib.sha256()
    for x in batch:
        if isinstance(x, Tensor):
            values.update(x.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return len(batch), layout(batch), values.digest()
