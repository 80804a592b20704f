"""The page: complete, self-contained, escaped."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from ppl_vae import plots as draw
from ppl_vae.reports.html import html_report, write_report

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
        environment={"versions": {"torch": "2.13"}},
        result={"best_epoch": 1},
    )


def test_is_self_contained_and_well_formed():
    html = full()
    page = Page(html)
    assert page.fetched
    assert all(url.startswith("data:image/png;base64,") for url in page.fetched)
    assert "url(" not in html
    assert "@import" not in html
    assert "<script" not in html


def test_says_the_results():
    text = Page(full()).text
    for piece in ("23.40", "−24.00", "25.0%", "5,000 particles", "z[0]", "versions.torch", "best_epoch", "seed: 0"):
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
        evaluation={**SUMMARY, "reason": evil, evil: 3},
    )
    assert "<img src=http" not in html
    assert Page(html).fetched == []


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
