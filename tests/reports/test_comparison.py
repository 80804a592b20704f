"""The page of a sweep: complete, self-contained, escaped; in a browser sortable, filterable, at home on a phone."""

import json
import re

import pandas as pd
import pytest

from ppl_vae.reports.comparison import comparison_page, write_comparison
from ppl_vae.sweeps.compare import compare
from tests.reports.browser import MISSING, PATH, Browser
from tests.reports.test_html import Page
from tests.sweeps.frames import betas, gathered

EVIL = "</script><img src=http://x onerror=alert(1)><!--\u2028'\"&"
in_a_browser = pytest.mark.skipif(PATH is None, reason=MISSING)
SECTIONS = ("curves", "differences", "importance", "front", "parallel")


def sweep(evil=""):
    rows, tables = betas()
    curve = pd.DataFrame({"epoch": range(1, 400), "validation/elbo": [-30 - 100 / e for e in range(1, 400)]})
    for row in rows:
        row["keys"]["objective"] = f"beta_vae{evil}"
    rows[0]["keys"]["objective"] = "elbo"
    rows.append(
        {"keys": {"objective.beta": 8.0, "seed": 0, f"x.{evil}": evil}, "state": "failed", "reason": f"no {evil}"}
    )
    return gathered(rows, tables=tables, curves=dict.fromkeys(range(9), curve))


def page(tmp_path, found=None, **words):
    found = found or sweep()
    (tmp_path / "1").mkdir(parents=True, exist_ok=True)
    (tmp_path / "1" / "report.html").write_text("<!doctype html><title>report 1</title>")
    return write_comparison(
        tmp_path / "comparison.html", title="sizes", comparison=compare(found, **words), found=found
    )


def test_is_self_contained_well_formed_and_complete(tmp_path):
    text = page(tmp_path).read_text()
    seen = Page(text)
    assert seen.fetched == ["1/report.html"]  # a link, and the only address of the page
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "url(" not in text.replace("url(#clip)", "")
    for piece in (
        "validation/elbo",
        "−26.",
        "not told apart",
        "1 failed, not ranked: job 9",
        "What went wrong",
        "no JavaScript"[3:],
    ):
        assert piece in seen.text
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".html"] == ["comparison.html"]


def test_no_text_of_the_user_is_markup(tmp_path):
    found = sweep(EVIL)
    made = compare(found)
    text = comparison_page(title=EVIL, comparison=made, found=found)
    assert "<img" not in text
    assert text.count("<script") == text.count("</script") == 2
    seen = Page(text)
    assert seen.fetched == []
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    assert any(EVIL in g["label"] for g in data["groups"])


def test_it_begins_with_the_outcome_and_where_it_comes_from(tmp_path):
    found = sweep()
    record = {
        "command": ["ppl-vae", "train", "-m", "seed=0,1"],
        "machine": {"processor": "a fast one"},
        "git": {"commit": "0123abc"},
    }
    text = Page(comparison_page(title="sizes", comparison=compare(found), found=found, record=record)).text
    order = ["Verdict", "Is the best group told apart", "! With care", "ppl-vae train -m seed=0,1"]
    places = [text.index(piece) for piece in order]
    assert places == sorted(places)
    for piece in ("a fast one", "0123abc", "9 of 10 jobs finished; 1 failed.", "not recorded"):
        assert piece in text
    assert (
        "not recorded: the run was made in Python"
        in Page(comparison_page(title="s", comparison=compare(found), found=found)).text
    )


def test_a_long_curve_is_thinned_to_its_ends(tmp_path):
    text = page(tmp_path).read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    curve = data["curves"]["0"]
    assert len(curve) <= 151
    assert (curve[0][0], curve[-1][0]) == (1, 399)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@in_a_browser
@pytest.mark.parametrize(("level", "apart"), [(-26.9, 1e-3), (-3120.0, 0.1), (-0.001, 1e-5), (-2.5e5, 30.0)])
def test_numbers_at_the_axis_are_whole(browser, tmp_path, level, apart):
    rows, tables = betas()
    curve = pd.DataFrame({"epoch": range(1, 30), "validation/elbo": [level - apart * e for e in range(1, 30)]})
    found = gathered(rows, tables=tables, curves=dict.fromkeys(range(9), curve))
    browser.open(page(tmp_path, found), 1280)
    assert browser("document.querySelectorAll('#curves svg text').length") > 6
    cut = browser(
        "[...document.querySelectorAll('#curves svg text, #front svg text')].filter(t => t.getBoundingClientRect().left"
        " < t.ownerSVGElement.getBoundingClientRect().left).map(t => t.textContent)"
    )
    assert cut == []


@in_a_browser
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 375])
def test_drawn_at_every_width_without_a_sideways_overflow(browser, tmp_path, width, dark):
    browser.open(page(tmp_path, sweep(" a_rather_long_name_of_an_objective")), width, dark=dark)
    assert browser.errors == []
    assert [url for url in browser.requested if not url.startswith("file://")] == []
    assert browser("document.documentElement.scrollWidth <= window.innerWidth")
    for name in SECTIONS:
        assert browser(f"document.querySelectorAll('#{name} svg *').length") > 5, name
        assert browser(f"document.querySelector('#{name} svg').getBoundingClientRect().width") >= 240
    wide = "[...document.querySelectorAll('#curves svg, #differences svg, #importance svg, #front svg')]"
    assert browser(f"Math.max(...{wide}.map(s => s.getBoundingClientRect().right)) <= window.innerWidth")
    light = browser("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert light != dark
    alts = browser("[...document.querySelectorAll('.chart > svg')].map(s => s.getAttribute('aria-label'))")
    assert len(alts) == len(SECTIONS)
    assert all(any(c.isdigit() for c in alt) for alt in alts), alts  # what is seen, in numbers


@in_a_browser
def test_sorting_and_filtering(browser, tmp_path):
    browser.open(page(tmp_path))
    jobs = (
        "[...document.querySelectorAll('#table-runs tbody tr')].filter(r => !r.hidden).map(r => +r.cells[0].dataset.v)"
    )
    header = "[...document.querySelectorAll('#table-runs th button')].find(b => b.textContent === '{}')"
    browser(header.format("job") + ".click()")
    assert browser(jobs) == list(range(10))
    browser(header.format("job") + ".click()")
    assert browser(jobs) == list(range(9, -1, -1))
    browser(header.format("validation/elbo") + ".click()")
    assert browser(jobs)[:3] != [9, 8, 7]
    assert browser(jobs)[-1] == 9  # what has no figure stays at the end
    first = browser(jobs)
    browser(header.format("validation/elbo") + ".click()")
    assert browser(jobs) == [*first[:-1][::-1], 9]
    assert browser("document.querySelectorAll('#table-runs th[aria-sort]').length") == 1

    def find(text):
        typed = f"i => {{ i.value = {text!r}; i.dispatchEvent(new Event('input')) }}"
        browser(f"({typed})(document.getElementById('find-runs'))")
        return sorted(browser(jobs))

    assert find("failed") == [9]
    assert find("finished 0.1") == [0, 1, 2]
    assert browser("document.getElementById('shown-runs').textContent") == "3 of 10"
    assert find("") == list(range(10))


@in_a_browser
def test_one_group_stands_out_and_links_lead_to_reports(browser, tmp_path):
    browser.open(page(tmp_path))
    off = "document.querySelectorAll('.chart .off').length"
    assert browser(off) == 0
    browser("document.querySelector('#legend button').click()")
    assert browser(off) > 0
    assert browser("document.querySelector('#legend button').getAttribute('aria-pressed')") == "true"
    browser("document.querySelector('#legend button').click()")
    assert browser(off) == 0
    assert browser("[...document.querySelectorAll('#table-runs a')].map(a => a.href)") == [
        (tmp_path / "1/report.html").as_uri()
    ]


@in_a_browser
@pytest.mark.parametrize("rows", [0, 1], ids=["nothing has finished", "a single run"])
def test_little_to_show_is_told(browser, tmp_path, rows):
    state = (
        {"state": "finished", "figures": {"validation/elbo": -3.0, "seconds": 1.0}} if rows else {"state": "missing"}
    )
    browser.open(page(tmp_path, gathered([{"keys": {}, **state}])), 375)
    assert browser.errors == []
    assert all(browser(f"document.querySelector('#{name} .hint').textContent.length") > 10 for name in SECTIONS)
    assert browser("document.documentElement.scrollWidth <= window.innerWidth")


@in_a_browser
def test_curves_are_read_by_keys(browser, tmp_path):
    browser.open(page(tmp_path))
    svg = "document.querySelector('#curves svg')"
    browser(f"{svg}.focus()")
    browser(f"{svg}.dispatchEvent(new KeyboardEvent('keydown', {{key: 'Home'}}))")
    read = browser("document.querySelector('#curves .reading').textContent")
    assert read.startswith("epoch 1;")
    assert "−130" in read  # each of these begins at −30 − 100
    assert browser(f"{svg}.querySelector('.cursor').getAttribute('visibility')") == "visible"


@in_a_browser
def test_names_that_are_markup_stay_text(browser, tmp_path):
    found = sweep(EVIL)
    browser.open(page(tmp_path, found))
    assert browser.errors == []
    assert browser("document.images.length") == 0
    assert browser("document.querySelector('#legend button').textContent.includes('</script>')")
