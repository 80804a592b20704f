"""The moving picture of the trick is what it says."""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

pytest.importorskip("sphinx", reason="comes with the documentation's own packages")

EXTENSIONS = Path(__file__).resolve().parents[1] / "docs" / "_ext"
sys.path.insert(0, str(EXTENSIONS))
try:
    import trick
finally:
    sys.path.remove(str(EXTENSIONS))


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
