"""Attacks: kills, damaged files, hostile directories, mutated data and command lines; `python -m tests.torture`."""
