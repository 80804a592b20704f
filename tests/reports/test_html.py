"""The page: complete, self-contained, escaped."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from ppl_vae import plots as draw
from ppl_vae.reports.hardest import Hard
from ppl_vae.reports.html import html_report, write_report
from ppl_vae.reports.tables import text
from tests.reports.browser import MISSING, PATH, Browser

SUMMARY = {
    "nll": 23.4,
    "nll_se": 0.01,
    "nll_se_data": 0.2,
    "elbo": -24.0,
    "gap": 0.6,
    "reconstruction": 20.0,
    "kl": 4.0,
    "kl_per_unit": {"z": [1.0, 3.0]},
    "active_units": 2,
    "num_units": 2,
    "pareto_k": 0.5,
    "pareto_k_max": 0.9,
    "pareto_k_bad": 0.25,
    "ess": 100.0,
    "num_particles": 5_000,
    "n": 4,
    "seed": 0,
    "reason": None,
}
TABLE = pd.DataFrame({"nll": [3.0, 9.0, 1.0, 2.0], "pareto_k": [0.1, 0.9, 0.2, 0.3], "label": [1, 2, 3, 4]})


class Page(HTMLParser):
    """Collects what a browser would fetch, and checks that tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.fetched, self.text = [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.fetched += [v for k, v in attrs if k in ("src", "href", "srcset") and v and not v.startswith("#")]
        if tag not in ("meta", "img", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def full():
    images = np.random.default_rng(0).random((4, 1, 8, 8))
    return html_report(
        title="digits",
        config={"seed": 0},
        run="outputs/x",
        status="finished",
        rows=[{"epoch": 1, "train/elbo": -30.0, "validation/elbo": -31.0, "seconds": 2.0}],
        figures={"samples": draw.image_grid(images), "reconstructions": draw.reconstructions(images, images)},
        evaluation=SUMMARY,
        table=TABLE,
        posterior=pd.DataFrame({"mean": [0.1], "sd": [1.0]}, index=["z[0]"]),
        environment={
            "versions": {"torch": "2.13"},
            "command": ["ppl-vae", "train", "seed=0"],
            "git": {"commit": "0123abc"},
            "machine": {"processor": "a fast one", "cores": 2},
        },
        result={"best_epoch": 1},
    )


def test_is_self_contained_and_well_formed():
    html = full()
    page = Page(html)
    assert page.fetched
    assert all(url.startswith("data:image/png;base64,") for url in page.fetched)
    assert "url(" not in html
    assert "@import" not in html
    assert html.count("<script") == html.count("</script>") == 1
    assert "http" not in html


def test_says_the_results():
    text = Page(full()).text
    for piece in ("23.40", "−24.00", "25.0%", "5,000 particles", "z[0]", "torch", "best_epoch", "seed: 0"):
        assert piece in text
    for piece in ("ppl-vae train seed=0", "0123abc", "a fast one"):
        assert piece in text
    assert "k̂ exceeds 0.7 for 25.0%" in text
    first = re.search(r"finds hardest.*?<tbody>\s*<tr>(.*?)</tr>", full(), re.S)[1]
    assert "9.000" in first
    assert ">2<" in first  # a label stays a whole number


def test_escapes_everything():
    evil = "<img src=http://x onerror=alert(1)>"
    html = html_report(
        title=evil,
        config=evil,
        run=evil,
        status="failed",
        error=evil,
        subtitle=evil,
        result={evil: evil},
        environment={evil: evil},
        notes={"samples": evil, "reconstructions": evil, "latents": evil},
        posterior=pd.DataFrame({evil: [1.0]}, index=[evil]),
        table=pd.DataFrame({"nll": [1.0], evil: [evil]}),
        evaluation={**SUMMARY, "reason": evil, evil: 3, "kl_per_site": {evil: 1.0}, "split": evil},
        units=pd.DataFrame({"site": [evil], "unit": [evil], "kl": [1.0], "variance": [1.0], "active": [True]}),
        rows=[{"epoch": e, "train/elbo": -1.0 * e, f"validation/kl/{evil}": 1.0} for e in (1, 2)],
        diagnostics={evil: {evil: evil}, "calibration": {"verdict": evil, "p_value": 0.5}},
        hardest=[Hard(0, words=evil)],
        figures={evil: draw.image_grid(np.zeros((1, 1, 2, 2)))},
    )
    assert "<img src=http" not in html
    assert "onerror=alert(1)>" not in html
    assert all(url.startswith("data:image/png;base64,") for url in Page(html).fetched)
    assert html.count("<script") == 1


def test_without_evaluation_and_posterior_it_says_what_to_run():
    text = Page(html_report(title="x", run="my runs/a")).text
    assert "ppl-vae evaluate run='my runs/a'" in text
    assert "ppl-vae posterior run='my runs/a'" in text
    assert "No epoch" in text


@pytest.mark.parametrize(("bad", "words"), [(0.0, "can be trusted"), (0.01, "these data cannot"), (0.5, "misses mass")])
def test_verdict(bad, words):
    summary = {**SUMMARY, "pareto_k_bad": bad}
    assert words in html_report(title="x", evaluation=summary)


def test_an_autoencoder_has_no_evidence():
    nothing = {"nll": float("nan"), "elbo": float("nan"), "reconstruction": 3.0, "reason": "the code is deterministic"}
    text = Page(html_report(title="x", evaluation=nothing)).text
    assert "the code is deterministic" in text
    assert "nan" not in text
    assert "ppl-vae prior run=DIR" in text
    assert "ppl-vae calibrate" not in text  # it would be refused, as would scores=[checks]


def test_further_figures_follow_the_evaluation():
    figure = draw.calibration(np.random.default_rng(0).random((50, 2)))
    page = Page(html_report(title="x", figures={"calibration": figure, "my_own": figure}))
    assert len(page.fetched) == 2
    assert "calibrated on data that the model makes" in page.text
    assert "my own" in page.text


def test_written_whole(tmp_path):
    path = write_report(tmp_path / "report.html", title="x")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_the_verdict_comes_first_and_in_words():
    text = Page(full()).text
    assert text.index("Verdict") < text.index("Can the evidence be trusted?") < text.index("ppl-vae train seed=0")
    assert "✗ No" in text
    assert text.count("? Not examined") == 1
    assert "ppl-vae calibrate run=outputs/x" in text
    assert "<details open" not in full()


def test_every_picture_and_drawing_says_what_it_shows():
    html = full()
    alts = re.findall(r'<img [^>]*alt="([^"]*)"', html) + re.findall(r'aria-label="([^"]*)" data-read', html)
    assert len(alts) >= 4
    assert all(len(alt) > 15 for alt in alts)
    assert "Data and their reconstructions. −log p(x | z) is 20.000 nats per datum." in alts
    assert any("half lie below 0.25" in alt for alt in alts)


def test_places_that_are_linked_are_there_once():
    html = full()
    ids = re.findall(r' id="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"', html)) <= set(ids)


def test_hardest_data_stand_beside_their_reconstructions():
    html = html_report(title="x", evaluation=SUMMARY, table=TABLE, hardest=[Hard(1, b"data", b"rebuilt")])
    row = re.search(r"finds hardest.*?<tbody>\s*<tr>(.*?)</tr>", html, re.S)[1]
    assert row.index("datum 1") < row.index("reconstruction of datum 1") < row.index("9.000")


def test_all_sites_of_many():
    summary = {**SUMMARY, "kl_per_site": {"z_1": 3.0, "z_2": 1.0}, "kl_global": {"w": 7.0}}
    units = pd.DataFrame(
        {"site": ["z_1", "z_1", "z_2"], "unit": [0, 1, 0], "kl": [2.0, 1.0, 1.0], "active": [True, False, True]}
    )
    names = [f"{site}[{i}]" for site in ("z_1", "z_2") for i in range(30)]
    posterior = pd.DataFrame({"mean": np.arange(60.0)}, index=names)
    text = Page(html_report(title="x", evaluation=summary, units=units, posterior=posterior)).text
    assert "1 of 2" in text
    assert "75.0%" in text
    assert "7.000" in text
    assert "z_1[11]" in text
    assert "z_1[12]" not in text
    assert "z_2[0]" in text


def test_what_cannot_be_shown_says_so_and_the_page_stands():
    text = Page(html_report(title="x", units=pd.DataFrame({"site": ["z"]}), evaluation=SUMMARY)).text
    assert "KeyError" in text
    assert "−24.00" in text


def test_numbers_without_bounds():
    inf, big = float("inf"), 1e308
    units = pd.DataFrame({"site": ["z"] * 3, "unit": [0, 1, 2], "kl": [inf, -big, 1.0], "active": ["x", True, None]})
    table = pd.DataFrame({"nll": [big, -big, inf], "pareto_k": [inf, -inf, big]})
    rows = [{"epoch": 10.0**e, "train/elbo": -(10.0**e), "validation/kl/z": big} for e in range(0, 300, 20)]
    summary = {**SUMMARY, "kl_per_site": {"z": inf, "w": -big}, "nll_se_data": big, "n": "many", "pareto_k_bad": inf}
    html = html_report(title="x", units=units, table=table, rows=rows, evaluation=summary)
    assert not re.search(r'="(-?inf|nan)"', html)
    assert html.count("<svg viewBox") >= 3
    assert "Error" not in Page(html).text


def test_below_a_megabyte_whatever_it_is_made_of():
    rng = np.random.default_rng(0)
    pictures = {name: draw.image_grid(rng.random((60, 3, 32, 32))) for name in ("samples", "one")}
    rows = [{"epoch": e, **{f"validation/kl/z_{i}": rng.random() for i in range(12)}} for e in range(1, 2_001)]
    table = pd.DataFrame({"nll": rng.random(20_000), "pareto_k": rng.random(20_000)})
    config = {f"key_{i}": "x" * 100 for i in range(3_000)}
    html = html_report(title="x", figures=pictures, rows=rows, table=table, config=config, evaluation=SUMMARY)
    assert len(html.encode()) < 1_000_000
    assert "the rest is in config.yaml" in html


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.skipif(PATH is None, reason=MISSING)
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1366, 768, 390])
def test_at_home_on_every_screen_and_offline(browser, tmp_path, width, dark):
    path = tmp_path / "report.html"
    path.write_text(full(), encoding="utf-8")
    browser.open(path, width, dark=dark)
    assert browser.errors == []
    assert [url for url in browser.requested if not url.startswith(("file://", "data:"))] == []
    assert browser("document.documentElement.scrollWidth <= window.innerWidth")
    assert (browser("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)") != dark
    ink, line = (
        browser(f"getComputedStyle(document.querySelector('{what}'))['{how}']")
        for what, how in (("h2", "color"), ("polyline, circle.k1", "fill"))
    )
    assert ink != browser("getComputedStyle(document.body).backgroundColor")
    assert line


@pytest.mark.skipif(PATH is None, reason=MISSING)
def test_values_are_read_by_pointer_and_by_keys(browser, tmp_path):
    rows = [{"epoch": e, "train/elbo": -40.0 + e, "validation/elbo": -41.0 + e} for e in range(1, 11)]
    path = write_report(tmp_path / "report.html", title="x", rows=rows)
    browser.open(path)
    svg, read = "document.querySelector('svg[data-read]')", "document.querySelector('.reading').textContent"
    assert browser(read) == ""
    at = f"({svg}).getBoundingClientRect()"
    middle = f"{{clientX: {at}.left + {at}.width / 2, clientY: {at}.top + 9}}"
    browser(f"({svg}).dispatchEvent(new PointerEvent('pointermove', {middle}))")
    assert browser(read).startswith("epoch 5; training ELBO −35.000; validation ELBO −36.000")
    browser(f"({svg}).focus()")
    for key, seen in (("ArrowRight", 6), ("End", 10), ("ArrowRight", 10), ("Home", 1), ("ArrowLeft", 1)):
        browser(f"({svg}).dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}'}}))")
        assert browser(read).startswith(f"epoch {seen};")
    assert browser(f"({svg}).querySelector('.cursor').getAttribute('visibility')") == "visible"


def test_drawings_may_be_turned_to_light_on_dark_and_pictures_of_data_may_not():
    rng = np.random.default_rng(0)
    images, plane = rng.random((4, 1, 5, 5)), draw.latent_map(rng.normal(size=(20, 2)))
    grid = draw.image_grid(images)
    figures = {"samples": grid, "latent_map": plane, "gaps": draw.render(plane), "mine": draw.render(grid)}
    page = html_report(title="t", figures=figures, diagnostics={"gaps": {"approximation": 1.0, "amortization": 1.0}})
    assert len(re.findall(r"<figure[ >]", page)) == 4
    assert page.count('<figure class="drawing">') == 2
    alts = re.findall(r'<figure class="drawing"><img src="data:[^"]*" width="\d+" alt="([^"]*)"', page)
    assert any("component" in alt or "z" in alt for alt in alts)


def test_captions_say_what_is_there():
    """Of four epochs none is left out; labels are spoken of where they are."""
    rows = [{"epoch": i + 1, "train/elbo": -3.0 + i, "validation/elbo": -3.0 + i} for i in range(12)]
    assert "where training began" not in html_report(title="t", rows=rows[:4])
    assert "where training began" in html_report(title="t", rows=rows)
    codes = np.random.default_rng(0).normal(size=(20, 2))
    plain, coloured = draw.latent_map(codes), draw.latent_map(codes, np.arange(20) % 2)
    assert "Labels are shown" not in html_report(title="t", figures={"latent_map": plain})
    assert "Labels are shown" in html_report(title="t", figures={"latent_map": coloured})


def test_figures_have_the_digits_that_their_errors_leave():
    page = html_report(
        title="t", evaluation={**SUMMARY, "nll": 27.0861234, "nll_se": 0.00074551, "nll_se_data": 0.1739}
    )
    assert "27.08612 ± 0.00075 (particles) ± 0.17 (data) nats per datum" in page
    assert "± 0.00075 nats, 5,000 particles" in page


def test_zero_has_no_sign():
    assert (text(-0.0), text(-0.5)) == ("0", "−0.5")


def test_what_ended_a_run_stands_before_its_traceback():
    raised = (
        'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    g()\nValueError: the rate\nis too high'
    )
    page = html_report(title="t", status="failed", error=raised)
    assert page.index("ValueError: the rate is too high") < page.index("Traceback (most recent")


ODD = (..., None, "x", [], {}, [1, "a"], 10**400, float("nan"), float("inf"))
"""Values that a file of another version, of another hand or of a bad disk may hold; the first: it holds none."""


@pytest.mark.parametrize("value", ODD, ids=lambda value: str(value)[:20])
def test_a_page_is_made_of_whatever_stands_in_its_files(value):
    """A hostile or damaged value at every place: the page says what it can, and no fault is reported as ours."""

    def put(mapping, key):
        rest = {k: v for k, v in mapping.items() if k != key}
        return rest if value is ... else {**rest, key: value}

    rows = [{"epoch": e, "validation/elbo": -9.0, "train/elbo": -9.0, "seconds": 1.0, "skipped": 0} for e in (1, 2)]
    record = {"seconds": 1.0, "threads": 1, "machine": {"cores": 2}, "git": {}, "versions": {}, "command": ["train"]}
    named = {"simulations": 9, "coverage_90": 0.9, "coverage_50": 0.5, "verdict": "uniform", "p_value": 0.5}
    found = {
        "calibration": named,
        "checks": {"mean_pit_p": 0.5},
        "gaps": {"approximation": 1, "amortization": 1, "n": 2},
    }
    pages = [html_report(title="t", evaluation=put(SUMMARY, key)) for key in SUMMARY]
    pages += [html_report(title="t", rows=[put(row, key) for row in rows]) for key in rows[0]]
    pages += [html_report(title="t", environment=put(record, key)) for key in record]
    pages += [html_report(title="t", diagnostics={n: put(f, key)}) for n, f in found.items() for key in f]
    assert not any("Error: " in page for page in pages)
