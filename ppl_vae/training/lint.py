"""The linter at the start of training."""

from typing import TYPE_CHECKING, Any

from ppl_vae.errors import CheckError

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE
    from ppl_vae.linter import Finding

TOLD_BY_TRAINING = frozenset({"does not run", "not finite", "no parameters", "objective", "refused"})
"""Kinds of finding that training itself meets and tells better: with the user's own exception, the epoch, the step."""

LEGAL = frozenset({"guide ignores the data", "no gradient"})
"""Kinds of finding that leave every number right, if not of use."""


def lint(vae: "VAE", batch: tuple[Any, ...], total: int) -> "tuple[Finding, ...]":
    """Refuse a pair whose numbers would be wrong, and give the linter's warnings.

    Gradients are looked at under the ELBO: an objective may count its calls, and its first is the first step.

    Raises:
        CheckError: with every finding.
    """
    from ppl_vae.linter import check

    try:
        return check(vae, batch, total=total).warnings
    except CheckError as refusal:
        if any(f.severity == "error" and f.kind not in TOLD_BY_TRAINING | LEGAL for f in refusal.findings):
            raise
        return tuple(f for f in refusal.findings if f.severity == "warning" or f.kind in LEGAL)
