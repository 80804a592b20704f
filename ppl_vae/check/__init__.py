"""The linter for a pair: one kind of finding per file."""

from ppl_vae.check.finding import Finding, Report
from ppl_vae.check.pair import check

__all__ = ["Finding", "Report", "check"]
