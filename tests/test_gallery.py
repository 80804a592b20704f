"""The page of pictures lacks none."""

import inspect
import sys
from pathlib import Path

import ppl_vae as pv

DOCS = Path(__file__).resolve().parents[1] / "docs"
sys.path.insert(0, str(DOCS / "_ext"))
try:
    import blocks
finally:
    sys.path.remove(str(DOCS / "_ext"))

CODE = "\n".join(block.text for block in blocks.blocks(DOCS / "gallery.md"))

ELSEWHERE = {"Counts", "Topics", "Tabular", "StateSpace"}
"""Families with pages of their own, to which the page leads."""


def classes(room):
    return {n for n, thing in vars(room).items() if inspect.isclass(thing) and not n.startswith("_")}


def test_every_figure_is_in_the_gallery():
    """By its function, or under the name by which `pv.plots.gallery` gives it."""
    drawn = {n for n in pv.plots.__all__ if inspect.isfunction(getattr(pv.plots, n))} - {
        "render",
        "save_figure",
        "theme",
    }
    by_gallery = {"reconstructions", "latent_map", "kl_per_unit", "traversals", "sample_marginals"}
    of_tables = {"feature_reconstructions": 'tables["reconstructions"]', "feature_traversals": 'tables["traversals"]'}
    lacking = [n for n in drawn - by_gallery - of_tables.keys() if f"pv.plots.{n}(" not in CODE]
    lacking += [n for n in by_gallery if f'["{n}"]' not in CODE]
    lacking += [code for code in of_tables.values() if code not in CODE]
    assert lacking == []


def test_every_objective_is_in_the_gallery():
    wanted = classes(pv.objectives) - {"Objective", "Bound", "Multisample"}
    assert len(wanted) > 12
    assert [name for name in sorted(wanted) if f"pv.objectives.{name}(" not in CODE] == []


def test_every_family_is_in_the_gallery_or_has_its_page():
    wanted = classes(pv.models) - {"Latent"} - ELSEWHERE
    assert len(wanted) > 12
    assert [name for name in sorted(wanted) if f"pv.models.{name}(" not in CODE] == []
