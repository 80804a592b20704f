"""Figures and a self-contained HTML page from runs."""
