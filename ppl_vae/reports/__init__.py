"""Figures and a self-contained HTML page from runs."""

from ppl_vae.doors import doors
from ppl_vae.reports import figures
from ppl_vae.reports.html import html_report, write_report

__all__ = ["figures", "html_report", "write_report"]

doors(__name__)
