"""Runs in lockstep: each equals the run alone, to rounding, or is trained alone and is told why.

The law is searched for: random families, objectives, estimators, schedules, optimizers, numbers of runs, sizes that
leave a short last batch, dtypes. Tolerances: float64 1e-7, float32 2e-3, of the size of a number or of 1: a step
differs by some ε, and optimizers that divide by √v carry that on. A gradient that is zero but for rounding, as that of
a bias before batch norm, is sent anywhere by them: with batch norm the optimizer is SGD.
"""

import functools
import json
import math
import multiprocessing
import os
import random
import signal

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.errors import NonFiniteError, RunError
from ppl_vae.objectives.base import Objective
from ppl_vae.runs import checkpoints
from ppl_vae.runs.recorder import read_record
from ppl_vae.runs.run import Run
from ppl_vae.sweeps import lane, together
from ppl_vae.sweeps.lockstep import fit_together
from ppl_vae.training import Store, resume, schedulers
from tests.training.pairs import adam, dataset, pair, quiet

TOLERANCE = {torch.float64: 1e-7, torch.float32: 2e-3}


class Latents(nn.Module):
    """A model of Bernoulli pixels over a latent of one family."""

    def __init__(self, family: str, columns: int = 6) -> None:
        super().__init__()
        self.family, self.decoder = family, nn.Linear(3, columns)

    def forward(self, x):
        one = x.new_ones(3)
        prior = {
            "normal": lambda: dist.Normal(0 * one, one),
            "gamma": lambda: dist.Gamma(2 * one, one),
            "beta": lambda: dist.Beta(one, 2 * one),
            "bernoulli": lambda: dist.Bernoulli(one / 2),
        }[self.family]
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", prior().to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)


class Encoded(nn.Module):
    """A guide of the same family."""

    def __init__(self, family: str, columns: int = 6, dropout: bool = False) -> None:
        super().__init__()
        self.family = family
        self.encoder = nn.Sequential(nn.Linear(columns, 8), nn.Dropout(0.2 if dropout else 0.0), nn.Tanh())
        self.head = nn.Linear(8, 6)

    def forward(self, x):
        a, b = self.head(self.encoder(x)).chunk(2, -1)
        a, b = (a, b) if self.family in ("normal", "bernoulli") else (nn.functional.softplus(a) + 0.5, b)
        b = nn.functional.softplus(b) + 0.5
        q = {"normal": dist.Normal, "gamma": dist.Gamma, "beta": dist.Beta}.get(self.family)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", (dist.Bernoulli(logits=a) if q is None else q(a, b)).to_event(1))


def configuration(choose: random.Random):
    """A maker of runs, by their number; its words; how many; and their dtype."""
    family = choose.choice(["normal", "normal", "gamma", "beta", "bernoulli", "batch norm"])
    dtype, runs = choose.choice([torch.float64, torch.float64, torch.float32]), choose.randint(2, 4)
    latent = "normal" if family == "batch norm" else family
    estimators = {
        "normal": [None, pv.estimators.StickingTheLanding(), pv.estimators.ScoreFunction()],
        "gamma": [None],
        "beta": [None],
        "bernoulli": [None, pv.estimators.ScoreFunction(), "concrete"],
    }[latent]
    estimator = choose.choice(estimators)
    objective = choose.choice(
        ["elbo", "elbo", "particles", "iwae", "renyi"] if estimator is None else ["elbo", "particles"]
    )
    beta, dropout = choose.choice(["number", "schedule"]), choose.random() < 0.3
    sgd = functools.partial(torch.optim.SGD, momentum=0.9)
    optimizers = [torch.optim.Adam, torch.optim.AdamW, sgd, torch.optim.RMSprop]
    optimizer = sgd if family == "batch norm" else choose.choice(optimizers)
    schedule = choose.choice(
        [None, schedulers.cosine(warmup=3), schedulers.step(every=1), schedulers.plateau(patience=0)]
    )
    options = {
        "epochs": 3,
        "batch_size": choose.choice([16, 25, 64]),
        "grad_clip": choose.choice([None, 0.5]),
        "early_stopping": choose.choice([None, 1]),
        "keep": choose.choice(["best", "last"]),
    }
    data = dataset(choose.choice(["threshold", "dynamic"]), train=choose.choice([50, 53]))

    def make(number: int):
        with torch.random.fork_rng():
            torch.manual_seed(number)
            if family == "batch norm":
                vae = pair(number, norm=True, dropout=dropout)
            else:
                one = pv.estimators.Concrete(0.5 + 0.25 * number) if estimator == "concrete" else estimator
                vae = pv.VAE(
                    Latents(latent), Encoded(latent, dropout=dropout), estimators={} if one is None else {"z": one}
                )
        weight = 0.5 + 0.25 * number if beta == "number" else pv.schedules.linear(0.1, 1.0 + number, over=6)
        made = {
            "elbo": lambda: pv.objectives.ELBO(beta=weight),
            "particles": lambda: pv.objectives.ELBO(num_particles=3, beta=weight),
            "iwae": lambda: pv.objectives.IWAE(num_particles=3),
            "renyi": lambda: pv.objectives.Renyi(alpha=0.5, num_particles=3),
        }[objective]()
        lr = 0.002 * (1 + number)
        return {
            "vae": vae.to(dtype),
            "data": data,
            "objective": made,
            "optimizer": functools.partial(optimizer, lr=lr),
            "scheduler": schedule,
            "seed": 10 + number,
            **options,
        }

    words = f"{family} {estimator} {objective} {beta} {optimizer} dropout={dropout} {options} {dtype} {len(data.train)}"
    return make, words, runs, dtype


def assert_equal(history, vae, alone, other, tolerance, words=""):
    assert history.status == alone.status, words
    assert len(history) == len(alone), words
    for row, expected in zip(history.rows, alone.rows, strict=True):
        assert list(row) == list(expected), words
        for key in row.keys() - {"seconds"}:
            assert math.isclose(row[key], expected[key], rel_tol=tolerance, abs_tol=tolerance), (
                words,
                key,
                row,
                expected,
            )
    for (name, p), q in zip(vae.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.allclose(p.double(), q.double(), rtol=tolerance, atol=tolerance), (words, name)


def assert_law(seed: int) -> list[str]:
    """The reasons of runs that were trained alone."""
    make, words, count, dtype = configuration(random.Random(seed))
    runs = [make(number) for number in range(count)]
    outcomes = fit_together(runs)
    for number, (run, outcome) in enumerate(zip(runs, outcomes, strict=True)):
        assert outcome.error is None, (seed, words, outcome.error)
        other = make(number)
        alone = quiet(**other)
        assert_equal(outcome.history, run["vae"], alone, other["vae"], TOLERANCE[dtype], f"{seed}: {words}")
        assert outcome.alone or outcome.history.compiled.startswith("batched: one program"), words
    return [outcome.alone for outcome in outcomes if outcome.alone]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_each_run_equals_the_run_alone(seed):
    assert_law(seed)


@pytest.mark.slow
def test_each_run_equals_the_run_alone_in_a_longer_search():
    reasons = [assert_law(seed) for seed in range(3, 40)]
    stacked = sum(not found for found in reasons)
    assert stacked > 30, reasons  # the others have a reason


def run(number, directory=None, **changed):
    objective = pv.objectives.ELBO(beta=pv.schedules.linear(0.1, 1.0 + number, over=15))
    return (
        {
            "vae": pair(number, dropout=True),
            "data": dataset("dynamic"),
            "objective": objective,
            "optimizer": adam,
            "seed": number,
            "epochs": 4,
            "batch_size": 16,
            "keep": "last",
        }
        | ({} if directory is None else {"directory": directory / str(number)})
        | changed
    )


@pytest.fixture(scope="module")
def whole():
    """Three runs, each alone."""
    runs = [run(number) for number in range(3)]
    return [(run["vae"], quiet(**run)) for run in runs]


def assert_goes_on_to_the_same_end(tmp_path, whole):
    """Each, resumed alone, ends as the run that was never interrupted, to rounding."""
    for number, (vae, history) in enumerate(whole):
        assert Run.load(tmp_path / str(number)).status == "interrupted"
        again = run(number, tmp_path, resume=True)
        assert_equal(quiet(**again), again["vae"], history, vae, TOLERANCE[torch.float32])
        assert Run.load(tmp_path / str(number)).status == "finished"


@pytest.mark.parametrize("epoch", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_ctrl_c_leaves_runs_that_go_on(tmp_path, whole, epoch):
    def interrupt(row):
        if row["epoch"] == epoch:
            signal.raise_signal(signal.SIGINT)

    runs = [run(0, tmp_path), run(1, tmp_path, callbacks=[interrupt]), run(2, tmp_path)]
    with pytest.raises(KeyboardInterrupt):
        fit_together(runs)
    assert_goes_on_to_the_same_end(tmp_path, whole)


def killed(tmp_path):
    def kill(row):
        if row["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    fit_together([run(0, tmp_path), run(1, tmp_path, callbacks=[kill]), run(2, tmp_path)])


@pytest.mark.slow
def test_a_kill_leaves_runs_that_go_on(tmp_path, whole):
    process = multiprocessing.get_context("fork").Process(target=killed, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    rows = [len((tmp_path / str(n) / "metrics.jsonl").read_text().splitlines()) for n in range(3)]
    assert rows[0] == 2  # between two runs' turns at the end of an epoch
    assert rows[2] == 1
    assert_goes_on_to_the_same_end(tmp_path, whole)


@pytest.mark.slow
def test_interrupted_runs_go_on_in_lockstep_too(tmp_path, whole):
    def interrupt(row):
        if row["epoch"] == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit_together([run(0, tmp_path, callbacks=[interrupt]), run(1, tmp_path), run(2, tmp_path)])
    again = [run(n, tmp_path, resume=True) for n in range(3)]
    for outcome, made, (vae, history) in zip(fit_together(again), again, whole, strict=True):
        assert not outcome.alone
        assert_equal(outcome.history, made["vae"], history, vae, TOLERANCE[torch.float32])


def ended_at(tmp_path, epoch, number, runs):
    def kill(row):
        if row["epoch"] == epoch:
            os.kill(os.getpid(), signal.SIGKILL)

    fit_together([run(n, tmp_path, callbacks=[kill] if n == number else []) for n in range(runs)])


@pytest.mark.parametrize(
    ("epoch", "number", "runs"),
    [
        (2, 1, 3),
        (4, 0, 2),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in [(1, 0, 3), (4, 1, 3), (3, 0, 2)]),
    ],
)
def test_killed_while_states_are_saved_they_end_with_the_same_bits(tmp_path, monkeypatch, epoch, number, runs):
    monkeypatch.setattr(together, "SAVING", math.inf)  # after every epoch
    whole = [run(n) for n in range(runs)]
    expected = fit_together(whole)
    process = multiprocessing.get_context("fork").Process(target=ended_at, args=(tmp_path, epoch, number, runs))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    again = [run(n, tmp_path, resume=True) for n in range(runs)]
    assert len({checkpoints.last(tmp_path / str(n)).state["epoch"] for n in range(runs)}) == 2  # some are ahead
    for outcome, made, told, other in zip(fit_together(again), again, expected, whole, strict=True):
        assert not outcome.alone
        for row, expected_row in zip(outcome.history.rows, told.history.rows, strict=True):
            assert {**row, "seconds": 0} == {**expected_row, "seconds": 0}
        for name, tensor in made["vae"].state_dict().items():
            assert torch.equal(tensor, other["vae"].state_dict()[name]), name


def fail(row):
    raise ZeroDivisionError("mine")


@pytest.mark.slow
def test_a_nan_and_a_callback_that_fails_end_their_runs_and_no_other(tmp_path, whole):
    runs = [*(run(n, tmp_path) for n in range(3)), run(3, tmp_path, callbacks=[fail])]
    runs[1]["optimizer"] = functools.partial(torch.optim.SGD, lr=1e30)
    outcomes = fit_together(runs)
    assert isinstance(outcomes[3].error, ZeroDivisionError)
    assert outcomes[3].history.status == "failed"
    assert isinstance(outcomes[1].error, NonFiniteError)
    assert "Got a bound of" in str(outcomes[1].error)
    record = read_record(tmp_path / "1")
    assert record["status"] == "failed"
    assert record["error"].startswith("NonFiniteError")
    for n in (0, 2):
        assert_equal(outcomes[n].history, runs[n]["vae"], whole[n][1], whole[n][0], TOLERANCE[torch.float32])
        assert read_record(tmp_path / str(n))["status"] == "finished"


def test_a_disk_that_fails_at_the_end_of_a_run_ends_that_run_and_no_other(tmp_path, monkeypatch):
    def full(training):
        if training.plan.seed == 1:
            raise RunError("no room left")
        resume.catch_up(training)

    monkeypatch.setattr(lane, "catch_up", full)
    outcomes = fit_together([run(n, tmp_path, epochs=1) for n in range(3)])
    assert [str(outcome.error) for outcome in outcomes] == ["None", "no room left", "None"]
    assert [outcome.history.status for outcome in outcomes] == ["finished", "failed", "finished"]
    assert [read_record(tmp_path / str(n))["status"] for n in range(3)] == ["finished", "failed", "finished"]


@pytest.mark.slow
def test_each_run_stops_early_and_keeps_its_best_by_itself():
    options = {"epochs": 12, "early_stopping": 1, "keep": "best"}
    lrs = [0.3, 1e-3, 0.5, 0.1]
    runs = [run(n, **options, optimizer=functools.partial(torch.optim.Adam, lr=lr)) for n, lr in enumerate(lrs)]
    outcomes = fit_together(runs)
    for n, lr in enumerate(lrs):
        other = run(n, **options, optimizer=functools.partial(torch.optim.Adam, lr=lr))
        alone = quiet(**other)
        assert outcomes[n].history.best_epoch == alone.best_epoch
        assert_equal(outcomes[n].history, runs[n]["vae"], alone, other["vae"], 2e-2)
    assert len({len(o.history) for o in outcomes}) > 1


def test_the_callers_process_is_left_as_it_was():
    torch.manual_seed(5)
    before = torch.get_rng_state(), pyro.settings.get(), np.random.get_state()[1].tolist()  # noqa: NPY002
    runs = [run(n, epochs=1) for n in range(2)]
    runs[0]["vae"].eval()
    memory = {name: p.data_ptr() for name, p in runs[0]["vae"].named_parameters()}
    fit_together(runs)
    after = torch.get_rng_state(), pyro.settings.get(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert not runs[0]["vae"].training
    assert memory == {name: p.data_ptr() for name, p in runs[0]["vae"].named_parameters()}


class Counting(Objective):
    """An objective that counts its calls in a plain number."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.inner = 0, pv.objectives.ELBO()

    def forward(self, vae, batch, total=None):
        self.calls += 1
        return self.inner(vae, batch, total)


HIDDEN: dict[int, float] = {}


class Odd(nn.Module):
    """A model with a number that is held in a list, or by nothing of its own, or with numpy's noise."""

    def __init__(self, scale=1.0, noisy=False, listed=False) -> None:
        super().__init__()
        HIDDEN[id(self)] = scale
        self.listed, self.noisy = [scale if listed else None], noisy
        self.shift = nn.Parameter(torch.zeros(6))

    def forward(self, x):
        jitter = float(np.random.normal()) if self.noisy else 0.0  # noqa: NPY002
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            x = x + jitter
            pyro.sample("x", dist.Normal(self.shift + z.sum(-1, keepdim=True), HIDDEN[id(self)]).to_event(1), obs=x)


class Narrow(nn.Module):
    """A guide of two units."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(6, 4)

    def forward(self, x):
        loc, raw = self.encoder(x).chunk(2, -1)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(loc, nn.functional.softplus(raw) + 0.1).to_event(1))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ([{}, {"batch_size": 25}], "no other run is of its kind"),
        pytest.param([{"objective": Counting}] * 2, "the program changes calls as it runs", marks=pytest.mark.slow),
        (
            [{"vae": lambda: odd(1.0, listed=True)}, {"vae": lambda: odd(2.0, listed=True)}],
            "no other run is of its kind",
        ),
        ([{"vae": lambda: odd(1.0)}, {"vae": lambda: odd(2.0)}], "differs from the eager one"),
        pytest.param(
            [{"vae": lambda: odd(noisy=True)}] * 2, "random numbers that are not torch's", marks=pytest.mark.slow
        ),
    ],
    ids=["another batch size", "a count", "a number in a list", "a hidden number", "numpy"],
)
def test_what_cannot_be_stacked_is_trained_alone_and_told_why(changes, reason):
    def make():
        return [
            run(n, epochs=2) | {k: v() if callable(v) else v for k, v in changed.items()}
            for n, changed in enumerate(changes)
        ]

    said = []
    runs, others = make(), make()
    outcomes = fit_together(runs, progress=said.append)
    assert reason in " ".join(said)
    alone = [outcome for outcome in outcomes if outcome.alone]
    assert alone
    for outcome, mine, other in zip(outcomes, runs, others, strict=True):
        assert_equal(outcome.history, mine["vae"], quiet(**other), other["vae"], TOLERANCE[torch.float32])


def odd(scale=1.0, noisy=False, listed=False):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return pv.VAE(Odd(scale, noisy, listed), Narrow())


class Scaled(Narrow):
    """A guide with a number, a list and weights that a callback may change."""

    def __init__(self) -> None:
        super().__init__()
        self.temperature, self.scales = 1.0, [1.0]

    def forward(self, x):
        super().forward(x * self.temperature * self.scales[0])


def cooled(guide):
    guide.temperature *= 0.5


def stretched(guide):
    guide.scales[0] *= 1.5


def moved(guide):
    for parameter in guide.parameters():
        parameter.data = parameter.data * 0.9


def exchanged(guide):
    """Another network of the same shapes."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        guide.encoder = nn.Linear(6, 4)


@pytest.mark.parametrize(("change", "alone"), [(cooled, True), (stretched, True), (exchanged, True), (moved, False)])
def test_what_callbacks_change_counts_from_then_on(change, alone):
    def make(seed):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            vae = pv.VAE(Odd(1.0), Scaled())
        return run(seed, epochs=3, vae=vae, callbacks=[lambda row: change(vae.guide)])

    runs, others = [make(seed) for seed in range(2)], [make(seed) for seed in range(2)]
    for outcome, mine, other in zip(fit_together(runs), runs, others, strict=True):
        assert outcome.alone == ("a callback has changed more than values of its tensors" if alone else "")
        assert outcome.history.compiled.startswith("eager" if alone else "batched")
        assert_equal(outcome.history, mine["vae"], quiet(**other), other["vae"], TOLERANCE[torch.float32])


def test_runs_that_share_an_objective_are_trained_one_after_the_other():
    objective = pv.objectives.ELBO(beta=pv.schedules.linear(0.0, 1.0, over=9))
    runs = [run(n, epochs=2, objective=objective) for n in range(2)]
    outcomes = fit_together(runs)
    for n, outcome in enumerate(outcomes):
        assert "shares a parameter or buffer" in outcome.alone
        other = run(n, epochs=2, objective=pv.objectives.ELBO(beta=pv.schedules.linear(0.0, 1.0, over=9)))
        assert quiet(**other).rows[-1]["beta"] == outcome.history.rows[-1]["beta"]
        assert all(
            torch.equal(p, q) for p, q in zip(runs[n]["vae"].parameters(), other["vae"].parameters(), strict=True)
        )


@pytest.mark.slow
def test_files_are_those_of_a_run_alone(tmp_path):
    fit_together([run(n, tmp_path, epochs=2) for n in range(2)])
    quiet(**run(1, tmp_path / "alone", epochs=2))
    mine, other = tmp_path / "1", tmp_path / "alone" / "1"
    assert sorted(p.name for p in mine.rglob("*")) == sorted(p.name for p in other.rglob("*"))
    assert json.loads((mine / "recipe.json").read_text()) == json.loads((other / "recipe.json").read_text())
    states = [Store(d).load() for d in (mine, other)]
    assert states[0]["rng"]["torch"].equal(states[1]["rng"]["torch"])  # the same noise was drawn, and as much
    assert states[0].keys() == states[1].keys()
    assert states[0]["position"] == states[1]["position"] == 0
