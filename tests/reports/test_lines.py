"""Drawings as SVG: where things are, what is read, and that texts are texts."""

import json
import re
import xml.etree.ElementTree as ET

import pytest

from ppl_vae.reports.lines import POINTS, Bar, Chart, Line, finite


def drawn(**parts):
    return ET.fromstring(Chart("title", "across", "up", "what is seen", **parts).svg)


def points(svg):
    return [tuple(map(float, p.split(","))) for p in svg.find(".//polyline").get("points").split()]


def test_a_line_goes_from_corner_to_corner():
    svg = drawn(lines=[Line("a", [(0.0, 0.0), (10.0, 5.0)])], limits=(0.0, 5.0))
    inner = svg.find("svg")
    width, height = float(inner.get("width")), float(inner.get("height"))
    assert points(svg) == [(0.0, height), (width, 0.0)]
    assert svg.get("aria-label") == "what is seen"
    assert [t.text for t in svg.iter("text")][-2:] == ["across", "up"]


def test_values_are_read_where_they_are_drawn():
    svg = drawn(lines=[Line("a", [(1.0, 2.0), (2.0, 4.0)]), Line("b", [(2.0, -3.0)], 2)])
    read = json.loads(svg.get("data-read"))
    assert [told for _, told in read] == ["across 1; a 2.000", "across 2; a 4.000; b −3.000"]
    inner = svg.find("svg")
    left = float(inner.get("x"))
    assert [at for at, _ in read] == [left, left + float(inner.get("width"))]


def test_bars_stand_on_zero():
    svg = drawn(bars=[Bar(0, 1, 2.0, "first: 2"), Bar(1, 2, 0.0, "second: 0")], rules=[(1.0, "0.7")])
    height = float(svg.find("svg").get("height"))
    first, second = svg.findall(".//rect")
    assert float(first.get("y")) + float(first.get("height")) == pytest.approx(height)
    assert float(second.get("height")) == 0
    assert json.loads(svg.get("data-read"))[0][1] == "first: 2"


def test_texts_are_no_markup():
    evil = "\"><script>alert(1)</script><!--&'"
    chart = Chart(evil, evil, evil, evil, lines=[Line(evil, [(0, 0), (1, 1)])], points=[(0, 0, evil)])
    svg = ET.fromstring(chart.svg)
    assert svg.find(".//script") is None
    assert svg.get("aria-label") == evil
    assert "<script" not in chart.svg


def test_a_long_line_is_thinned_to_its_ends():
    line = [(float(i), float(i)) for i in range(10_000)]
    found = points(drawn(lines=[Line("a", line)]))
    assert len(found) <= POINTS + 1
    assert found[-1][0] == pytest.approx(float(drawn(lines=[Line("a", line)]).find("svg").get("width")))


@pytest.mark.parametrize(
    "values", [[5.0], [5.0, 5.0], [0.0, 1e-320], [-1e299, 1e299], [1e16, 1e16 + 2], [0.0, 1e-9]], ids=str
)
def test_numbers_of_any_size_are_drawn(values):
    text = Chart("t", "x", "y", "", lines=[Line("a", list(enumerate(values)))]).svg
    ET.fromstring(text)
    assert not re.search(r'="(nan|inf|-inf)', text)


def test_what_cannot_be_drawn_is_left_out():
    nan = float("nan")
    assert finite([(1, nan), (None, 2.0), (2, 3), (3, float("inf")), ("4", 1.0), (5, 1e305), (10**400, 1)]) == [
        (2.0, 3.0)
    ]


def test_numbers_at_the_axis_keep_off_its_name():
    """Digits of 11 px are below 6.5 px wide; the name is turned, about 18 px from the edge."""
    svg = drawn(lines=[Line("a", [(0.0, -1_240.0), (1.0, -1_200.0)])])
    numbers = [t for t in svg.findall("text") if t.get("text-anchor") == "end"]
    assert max(len(t.text) for t in numbers) == 6
    assert min(float(t.get("x")) - 6.5 * len(t.text) for t in numbers) > 18
