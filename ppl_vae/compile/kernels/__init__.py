"""Arithmetic that compiled graphs may take in place of torch's own."""
