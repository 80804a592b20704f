"""A page on which a trained pair is explored: its latents, its data, and what it makes of both."""

from ppl_vae.reports.explorer.collect import Explored, explore
from ppl_vae.reports.explorer.page import explorer_page, require_bokeh

__all__ = ["Explored", "explore", "explorer_page", "require_bokeh"]
