"""The page of pictures lacks none, and the moving picture of the trick is what it says."""

import inspect
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

import ppl_vae as pv

DOCS = Path(__file__).resolve().parents[1] / "docs"
sys.path.insert(0, str(DOCS / "_ext"))
try:
    import blocks
    import trick
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


def test_the_moving_picture_is_small_says_what_it_is_and_asks_for_nothing():
    text = trick.picture()
    svg = ElementTree.fromstring(text[text.index("<svg") : text.index("</svg>") + len("</svg>")])
    assert len(text) < 20_000
    assert svg.attrib["role"] == "img"
    described = {node.attrib.get("id"): "".join(node.itertext()) for node in svg.iter()}
    assert all(described[name].strip() for name in svg.attrib["aria-labelledby"].split())
    assert not re.search(r"url\(|https?://(?!www\.w3\.org)|<script|@import", text)


def test_whoever_asks_for_less_motion_sees_none():
    """All that moves is set inside of the query for those who do not."""
    style = trick.style()
    start = style.index("@media (prefers-reduced-motion: no-preference) {")
    end = style.index("\n}\n", start)
    moving = [found.start() for found in re.finditer(r"animation[\w-]*:", style)]
    assert len(moving) > 5
    assert all(start < at < end for at in moving)
    assert "animation-play-state: paused" in style[start:end]  # and anybody may hold it


def test_the_parameters_descend_by_the_gradient_of_the_average():
    """E[(μ + σ ε − 2)²] = (μ − 2)² + σ², by steps of 0.1."""
    mu, sigma = (torch.tensor(v, dtype=torch.double, requires_grad=True) for v in (0.0, 1.0))
    for at, m, s in trick.PATH[-14:-1]:
        assert (m, s) == pytest.approx((mu.item(), sigma.item())), at
        slopes = torch.autograd.grad((mu - 2) ** 2 + sigma**2, (mu, sigma))
        mu, sigma = ((p - 0.1 * g).detach().requires_grad_() for p, g in zip((mu, sigma), slopes, strict=True))
    assert [at for at, *_ in trick.PATH] == sorted(at for at, *_ in trick.PATH)
