"""The linter for a pair: one kind of finding per file."""

from ppl_vae.doors import doors
from ppl_vae.linter.lint import check
from ppl_vae.linter.report import Finding, Report

__all__ = ["Finding", "Report", "check"]

doors(__name__)
