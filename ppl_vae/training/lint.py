"""The linter at the start of training."""

from typing import TYPE_CHECKING, Any

from ppl_vae.errors import CheckError

if TYPE_CHECKING:
    from ppl_vae.check import Finding
    from ppl_vae.vae import VAE

TOLD_BY_TRAINING = frozenset({"does not run", "not finite", "no parameters", "objective", "refused"})
"""Kinds of finding that training itself meets and tells better: with the user's own exception, the epoch, the step."""


def lint(vae: "VAE", batch: tuple[Any, ...], total: int) -> "tuple[Finding, ...]":
    """Refuse a pair that cannot be trained as it stands, and give the linter's warnings.

    Gradients are looked at under the ELBO: an objective may count its calls, and its first is the first step.

    Raises:
        CheckError: with every finding.
    """
    from ppl_vae.check import check

    try:
        return check(vae, batch, total=total).warnings
    except CheckError as refusal:
        errors = [f for f in refusal.findings if f.severity == "error"]
        if any(f.kind not in TOLD_BY_TRAINING for f in errors):
            raise
        return tuple(f for f in refusal.findings if f.severity == "warning")
