"""Results show themselves in a few lines, without a number of 17 digits; HTML is well-formed and escaped."""

import dataclasses
import inspect
import io
import random
import re
import types
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.core.overview import overview
from ppl_vae.display import Displayed, View, abridged, figures, measured, number, on_screen, printable, wrapped
from ppl_vae.linter.report import Finding, Report
from ppl_vae.sweeps.compare import Comparison, Metric

HOSTILE = "<script>alert('x')</script>&\"\x1b[2J\u202e</td>"
LINES = 25
"""The most that a result takes of a terminal."""

GIVEN = {"Bars", "Field", "LinearGaussian"}
"""Public dataclasses that are given to the package: their representation is the call that makes them."""

LONG = re.compile(r"\.0*[1-9]\d{6,}")
"""More digits than anybody reads."""

VOID = {"meta", "br", "hr", "img"}


class Balanced(HTMLParser):
    """Refuses tags that are not closed in order; collects text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.words = ""
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        assert not any(name.startswith("on") for name, _ in attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.words += f" {text}"


def model(x):
    with pyro.plate("data", x.shape[0]):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z[..., None], 1.0).expand([*z.shape, 3]).mask(~x.isnan()).to_event(1), obs=x)


class Guide(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 1)

    def forward(self, x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(self.net(x.nan_to_num()).squeeze(-1), 0.7))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One of each kind of result, by the name of its class."""
    from ppl_vae.diagnostics import calibrate, encodings, predictive_checks
    from ppl_vae.runs.run import Run

    folder = tmp_path_factory.mktemp("display")
    torch.manual_seed(0)
    x = torch.randn(60, 3)
    holes = x.clone()
    holes[0, 0] = float("nan")
    vae = pv.VAE(model, Guide())
    data = pv.datasets.from_arrays(x.numpy(), validation=10, test=10)
    history = pv.fit(vae, data, epochs=12, seed=0, progress=False, directory=folder / "run")
    batch = data.train.batch(slice(0, 8))
    run = Run.load(folder / "run", vae=pv.VAE(model, Guide()))
    family = pv.models.VAE(data.spec, latent_dim=2)
    pair = pv.VAE(family, pv.guides.Amortized(data.spec, family))
    terms = pv.terms(vae, batch, particles=2)
    found = [
        *(data, data.train, pv.datasets.Several((data.train[:5], data.train[5:9])), history, run, terms),
        *(
            terms.guide["z"],
            pv.evaluate(vae, data.test, 50),
            pv.check(vae, batch),
            pv.gradients(vae, batch, samples=10),
        ),
        *(pv.encode(vae, data.test)["z"], pv.impute(vae, holes, num_particles=20), calibrate(vae, 40, 10)),
        *(pv.fit_prior(pair, data, "normal"), predictive_checks(vae, data.test, draws=5), encodings(vae, data.test)[0]),
        *(pv.objectives.ELBO()(vae, batch), pv.prepare(vae, batch), sweep(folder), evidence(terms), comparison()),
        *(table().spec, table().spec.columns[0], pv.plots.gallery(pair, data.test, data.spec)),
        Finding(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE),
    ]
    return {type(result).__name__: result for result in found}


def evidence(terms):
    streaming = pv.diagnostics.StreamingEvidence(2)
    streaming.update(terms.log_weights.detach())
    return streaming.result()


def table():
    x = np.random.default_rng(0).normal(size=(50, 12))
    names = [HOSTILE, *(f"column {i}" for i in range(1, 12))]
    return pv.datasets.from_arrays(pd.DataFrame(x, columns=names), kinds={"column 1": "real"})


def sweep(folder):
    for job in ("0", "1"):
        (folder / "sweep" / job).mkdir(parents=True)
        (folder / "sweep" / job / "run.json").write_text('{"status": "finished", "result": {"validation/elbo": -1.1}}')
    return pv.Sweep.load(folder / "sweep")


def comparison():
    groups = pd.DataFrame({"a": [HOSTILE, "b"], "runs": [1, 2], "mean": [1 / 3, 2 / 3], "verdict": ["best", "worse"]})
    return Comparison(Metric("elbo", up=True), ("a",), ("a",), groups, groups, groups, notes=(HOSTILE,))


def public():
    """The public dataclasses that are no parameters."""
    rooms = [getattr(pv, name) for name in pv.__all__]
    for room in [r for r in rooms if isinstance(r, types.ModuleType)]:
        rooms += [getattr(room, name) for name in getattr(room, "__all__", [])]
    return {
        thing
        for thing in rooms
        if inspect.isclass(thing) and dataclasses.is_dataclass(thing) and not issubclass(thing, pv.estimators.Estimator)
    }


def test_every_public_result_is_shown(made):
    results = {kind.__name__ for kind in public()} - GIVEN
    assert {"Evaluation", "History", "Dataset", "Run", "Sweep", "Code"} <= results
    assert results - made.keys() == set()
    assert {name for name in results if not isinstance(made[name], Displayed)} == set()


def test_text_is_short_and_no_number_long(made):
    for name, result in made.items():
        text = repr(result)
        assert text.startswith((name, "error:")), text  # a finding says its severity
        assert len(text.splitlines()) <= LINES, name
        assert LONG.findall(text) == [], text
        assert not re.search(r"tensor\(|array\(|PosixPath", text), text
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text), name


def test_html_is_well_formed_and_says_no_less(made):
    for name, result in made.items():
        parsed = Balanced(result._repr_html_())
        assert "script" not in parsed.tags
        assert LONG.findall(parsed.words) == [], name
        title = repr(result).splitlines()[0].split("(")[0]
        assert title.split("\\x")[0].strip() in parsed.words


def test_one_line_where_results_stand_in_others(made):
    for name in ("Code", "Dataset", "Split", "Site", "Run", "Sweep", "Encoding"):
        assert "\n" not in repr(made[name])


def test_to_be_shown_reads_no_arrays(made, monkeypatch):
    def refuse(*_):
        raise AssertionError("a value was formatted")

    monkeypatch.setattr(torch.Tensor, "__repr__", refuse)
    for result in made.values():
        repr(result)
        result._repr_html_()


def test_a_run_that_is_gone_is_shown_all_the_same(tmp_path):
    run = pv.Run(tmp_path / "gone")
    assert "cannot be read" in repr(run)
    Balanced(run._repr_html_())
    sweep = pv.Sweep(tmp_path / "gone")
    Balanced(sweep._repr_html_())


def test_a_result_is_shown_with_its_errors(made):
    text = repr(made["Evaluation"])
    assert re.search(r"−log p\(x\) +\d+\.\d+ ± \d+\.\d+ \(particles\) ± \d", text)
    assert str(made["Evaluation"]) == text.split("\n", 1)[1]


def test_a_report_shows_its_warnings():
    warning = Finding("a kind", "what", "somewhere", "why", "fix", "warning")
    assert "warning: a kind, at somewhere" in repr(Report((warning,)))
    assert "1 warning," in repr(Report((warning,)))


def test_any_text_is_escaped_and_any_table_aligned():
    """Generated: 300 views of random words, hostile ones among them, and numbers of all sizes."""
    draw = random.Random(0)
    letters = ["<b>", "&amp;", "'", '"', "a", "é", "\x1b[31m", "\n", "\u202e", "</table>", "]]>", "<!--"]

    def word():
        return "".join(draw.choices(letters, k=draw.randint(0, 8)))

    def cell():
        value = draw.choice([-1, 1]) * 10 ** draw.uniform(-12, 12)
        return draw.choice([word(), value, int(value), None, True, float("nan"), float("inf"), np.float32(value)])

    for _ in range(300):
        width = draw.randint(1, 5)
        rows = [[cell() for _ in range(width)] for _ in range(draw.randint(0, 30))]
        view = View(word(), [word() for _ in range(width)], rows, [word()], folded={word(): word()})
        parsed = Balanced(view.html())
        assert parsed.tags <= {"div", "b", "table", "thead", "tbody", "tr", "td", "th", "details", "summary", "pre"}
        assert "\x1b" not in view.text()
        assert "\x1b" not in view.html()
        assert len(view.text().splitlines()) <= LINES
        assert not re.search(r"\d{8,}\.\d|\.\d{12}", view.text())
        for told in re.findall(r"<td[^>]*>(.*?)</td>", view.html()):
            assert "<" not in told


def test_numbers_keep_the_digits_that_their_error_leaves():
    """Of 500 generated pairs: the error has two digits, the value ends at the same place and is right to it."""
    draw = random.Random(0)
    for _ in range(500):
        error = 10 ** draw.uniform(-5, 0)
        value = draw.uniform(-2000, 2000)
        told, _, wrong = measured(value, error).partition(" ± ")
        assert len(told.partition(".")[2]) == len(wrong.partition(".")[2])
        assert abs(float(told) - value) <= 0.051 * error + 1e-9 * abs(value)
        assert abs(float(wrong) - error) <= 0.051 * error
        assert len(wrong.replace(".", "").lstrip("0")) == 2


@pytest.mark.parametrize(
    ("value", "error", "told"),
    [
        (float("nan"), 1.0, "-"),
        (float("inf"), 1.0, "inf"),
        (1.5, float("nan"), "1.500 ± -"),
        (0.0, 0.0, "0 ± 0"),
        (1e9, 1e-3, "1000000000.0000 ± 0.0010"),
        (1.0, 123.0, "1 ± 1.2e+02"),
    ],
)
def test_numbers_at_the_edges(value, error, told):
    assert measured(value, error) == told


def test_figures_leave_out_what_there_is_not():
    assert figures({"a": None, "b": float("nan"), "c": 1, "c_se": None, "d": {"e": 1}, "f": "text"}) == [
        ("c", "1"),
        ("f", "text"),
    ]


def test_long_tables_have_a_beginning_and_an_end():
    assert [row[0] for row in abridged([[i] for i in range(20)])] == [0, 1, 2, "…", 16, 17, 18, 19]
    assert len(abridged([[i] for i in range(8)])) == 8


def test_columns_of_numbers_are_on_the_right():
    text = View("t", ("name", "n"), [("a", 1), ("b", 1000)]).text()
    assert text.splitlines() == ["t", "name     n", "a        1", "b     1000"]


def test_numbers_and_nothing():
    assert (number(True), number(None), number(np.float64("nan")), number(np.int64(3))) == ("True", "-", "-", "3")
    assert printable("\u2066a") == "\\u2066a"


def test_a_pair_shows_its_sites_once_it_has_seen_data():
    vae = pv.VAE(model, Guide())
    assert "pv.check" in Balanced(vae._repr_html_()).words
    pv.prepare(vae, (torch.randn(4, 3),))
    before = torch.get_rng_state()
    view = overview(vae)
    assert torch.equal(torch.get_rng_state(), before)
    assert [tuple(row) for row in view.rows] == [
        ("z", "Normal", "Normal", "()", "latent", "-", "Pathwise"),
        ("x", "Normal", "-", "(3,)", "observed", "z", "-"),
    ]
    assert view.title == "VAE(model, Guide): 4 parameters on cpu"
    parsed = Balanced(vae._repr_html_())
    assert {"table", "details"} <= parsed.tags
    assert "Linear" in parsed.words


def test_buffers_and_modes_are_as_before():
    class Normed(Guide):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x):
            return super().forward(self.norm(x))

    vae = pv.VAE(model, Normed())
    pv.prepare(vae, (torch.randn(4, 3),))
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    vae._repr_html_()
    assert vae.training
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())


def test_a_program_that_fails_is_said_to():
    calls = []

    def failing(x):
        calls.append(1)
        if len(calls) > 100:
            raise ValueError("theirs <now>")
        model(x)

    vae = pv.VAE(failing, Guide())
    pv.prepare(vae, (torch.randn(4, 3),))
    calls += [1] * 100
    assert "ValueError: theirs <now>" in Balanced(vae._repr_html_()).words


def test_a_hostile_name_of_a_site_stays_text():
    def theirs(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("<i>z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[..., None], 1.0).expand([*z.shape, 3]).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("<i>z", dist.Normal(x.sum(-1), 1.0))

    vae = pv.VAE(theirs, guide)
    pv.prepare(vae, (torch.randn(4, 3),))
    assert "i" not in Balanced(vae._repr_html_()).tags


def test_steps_of_a_series_stand_in_one_row():
    def steps(x):
        with pyro.plate("data", x.shape[0]):
            z = torch.zeros(x.shape[0])
            for t in range(4):
                z = pyro.sample(f"z_{t}", dist.Normal(z, 1.0))
                pyro.sample(f"x_{t}", dist.Normal(z, 1.0), obs=x[:, t])

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            for t in range(4):
                pyro.sample(f"z_{t}", dist.Normal(x[:, t], 1.0))

    vae = pv.VAE(steps, guide)
    pv.prepare(vae, (torch.randn(4, 4),))
    assert [row[0] for row in overview(vae).rows] == ["z_0 … z_3", "x_0 … x_3"]


def test_lines_are_broken_between_words_alone():
    """Generated: 400 texts of numbers, paths, commands and aligned columns, at random widths."""
    draw = random.Random(0)
    words = ["-26.9217", "±", "0.0221", "(particles)", "/a/very/long-path/of_a/run.json", "nats", "1,234", "k̂", "a-b"]
    command = "ppl-vae train -m resume=/a/b 'seed=1'"
    for _ in range(400):
        width = draw.randint(10, 100)
        text = "  ".join(" ".join(draw.choices(words, k=draw.randint(1, 9))) for _ in range(draw.randint(1, 3)))
        text = f"{text}\nnext: {command}" if draw.random() < 0.3 else text
        lines = wrapped(text, width).split("\n")
        assert " ".join(" ".join(lines).split()) == " ".join(text.split())
        for line in lines:
            assert len(line) <= width or " " not in line.strip() or line.strip().startswith("ppl-vae "), line
    assert wrapped(text, 10_000) == text


def test_a_stream_that_is_no_terminal_keeps_its_lines(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", "10")
    assert on_screen("a word\x1b another", io.StringIO()) == "a word\\x1b another"
    assert on_screen("a word and another", Terminal()) == "a word and\n  another"
