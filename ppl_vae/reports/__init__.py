"""A self-contained HTML page about a run; its figures are those of `pv.plots`."""

from ppl_vae.doors import doors
from ppl_vae.reports.html import html_report, write_report

__all__ = ["html_report", "write_report"]

doors(__name__)
