"""Data by search: random dtypes, containers, shapes and defects; every door gives the same outcome.

`python -m tests.doors 300 SEED` tries 300 cases and shrinks those that break the law.
"""
