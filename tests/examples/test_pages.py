"""The pages of docs/examples: their blocks run in order, and what each of them claims holds.

Each page trains its pairs from fixed seeds, and is held to part of the margin that it shows with them.
"""

import contextlib
import io
import sys
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch

import ppl_vae as pv

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "examples").glob("*.md"))
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run():
    """A page's names, after all its blocks ran."""
    sys.path.insert(0, str(ROOT / "docs" / "_ext"))
    try:
        from blocks import blocks
    finally:
        sys.path.pop(0)
    matplotlib.use("Agg")

    def of(page):
        names = {"__name__": "__main__"}
        torch.manual_seed(0)
        with contextlib.redirect_stdout(io.StringIO()):
            for block in blocks(ROOT / "docs" / "examples" / f"{page}.md"):
                exec(compile(block.text, f"{page}.md, line {block.line}", "exec"), names)
        plt.close("all")
        return names

    return of


def test_every_page_has_a_test_and_a_row():
    tested = {name.removeprefix("test_page_") for name in globals() if name.startswith("test_page_")}
    assert tested == {page.stem for page in PAGES}
    table = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
    assert [page.stem for page in PAGES if f"(examples/{page.stem}.md)" not in table] == []


def test_page_bottleneck(run):
    """A code of less than a fifth of the nats tells as many digits; by the whole KL it tells few."""
    names = run("bottleneck")
    pv.check(names["vae"], names["data"].train.batch(slice(0, 16)))
    table = names["table"].set_index("β")
    nats, accuracy = table.iloc[:, -1], table["accuracy"]
    assert nats.is_monotonic_decreasing
    assert nats[0.01] < nats[0.0] / 5
    assert accuracy[0.01] > accuracy[0.0] - 0.01
    assert accuracy[0.01] > 0.85 > accuracy[1.0]


def test_page_identifiable(run):
    names = run("identifiable")
    pv.check(pv.VAE(names["Model"](True), names["Guide"]()), names["data"].train.batch(slice(0, 64)))
    assert names["found"]["iVAE"] > 0.85
    assert names["found"]["iVAE"] > names["found"]["VAE"] + 0.08


def test_page_flows(run):
    pytest.importorskip("zuko")
    names = run("flows")
    for vae in names["pairs"].values():
        pv.check(vae, names["x"])
    assert 0 < names["gaps"]["spline"] < names["gaps"]["normal"] / 3
    assert names["gain"].mean() > 2 * names["gain"].std() / len(names["gain"]) ** 0.5


def test_page_sphere(run):
    names = run("sphere")
    pv.check(names["vae"], names["data"].test.batch())
    assert names["evidence"]["sphere"] > names["evidence"]["plane"] + 3
    assert float(torch.as_tensor(names["angles"]).median()) < 25


def test_page_semi_amortized(run):
    names = run("semi_amortized")
    (x,) = names["data"].test.batch(slice(0, 16))
    pv.check(names["trained"], x)
    gaps = names["table"].iloc[:, 1]
    assert gaps[3] < 0.8 * gaps[0]
    assert names["gain"].mean() > 2 * names["gain"].std() / len(names["gain"]) ** 0.5


def test_page_joint(run):
    names = run("joint")
    for vae in names["pairs"].values():
        pv.check(vae, names["data"].train.batch(slice(0, 16)))
    assert names["told"]["capacity"] > names["told"]["ELBO"] + 0.05


def test_page_multimodal(run):
    names = run("multimodal")
    batch = names["modalities"](names["digits"].test, (1, 0))
    for vae in names["vaes"].values():
        pv.check(vae, tuple(part[:16] for part in batch.values()))
    baseline = names["found"]["whole data alone"]
    for name in ("product", "mixture"):
        assert names["found"][name][0] > baseline[0] + 0.05
        assert names["found"][name][1] > baseline[1]
    assert min(names["found"]["mixture"]) > 0.8


def test_page_bayesian_decoder(run):
    names = run("bayesian_decoder")
    (x,) = names["data"].test.batch()
    pv.check(names["vae"], x)
    table = names["table"]
    assert table["uncertain weights"]["test"] > table["point estimate"]["test"] + 0.5
