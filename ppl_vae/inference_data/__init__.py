"""Posterior draws as ArviZ's groups: drawn, written piece by piece, read."""
