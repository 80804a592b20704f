"""Steps that are not finite are skipped: nothing of them is left, whatever took them, and they are counted."""

import copy
import functools
import json
import math
import os
import shutil
import subprocess
import sys
import textwrap
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.compile import guard
from ppl_vae.errors import ArgumentError, NonFiniteError, RunError
from ppl_vae.reports.tables import tiles
from ppl_vae.sweeps.lockstep import fit_together
from ppl_vae.training import setup
from tests.training.pairs import (
    Fragile,
    Guide,
    Model,
    breaking,
    fragile,
    identical,
    interrupt_at,
    pair,
    quiet,
    rows,
    weights,
)

OPTIMIZERS = {
    "adam": functools.partial(torch.optim.Adam, lr=0.01),
    "adamw": functools.partial(torch.optim.AdamW, lr=0.01, foreach=True),
    "amsgrad": functools.partial(torch.optim.Adam, lr=0.01, amsgrad=True),
    "adamax": functools.partial(torch.optim.Adamax, lr=0.01),
    "nadam": functools.partial(torch.optim.NAdam, lr=0.01),
    "radam": functools.partial(torch.optim.RAdam, lr=0.01),
    "rmsprop": functools.partial(torch.optim.RMSprop, lr=0.01, centered=True, momentum=0.5),
    "sgd": functools.partial(torch.optim.SGD, lr=0.01),
    "momentum": functools.partial(torch.optim.SGD, lr=0.01, momentum=0.9, nesterov=True),
    "asgd": functools.partial(torch.optim.ASGD, lr=0.01),
    "adadelta": functools.partial(torch.optim.Adadelta, lr=0.01),
}


class OwnOptimizer(torch.optim.Optimizer):
    """Of the old kind: its state is in plain numbers, and tensors that it makes anew."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr, "total": 0})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["total"] += 1
            for p in group["params"]:
                state = self.state[p]
                state["step"] = state.get("step", 0) + 1
                state["sum"] = state.get("sum", torch.zeros_like(p)) + p.grad.abs()
                p -= group["lr"] * p.grad / (1 + state["sum"]) / state["step"]


OPTIMIZERS["own"] = functools.partial(OwnOptimizer, lr=0.05)


class OnTheHost(guard.Guard):
    """The oracle: copies of everything, and an if."""

    skipped_at: list[int] = []  # noqa: RUF012
    skipped, last = 0, 0

    def __init__(self, optimizer, parts, *, backoff):
        super().__init__(optimizer, backoff=backoff)
        self.parts, self.steps = [p for p in parts if isinstance(p, nn.Module)], 0

    def keep(self):
        self.kept = (
            [copy.deepcopy(part.state_dict()) for part in self.parts],
            copy.deepcopy(self.optimizer.state_dict()),
        )

    def step(self, metrics=None):
        self.steps += 1
        self.ok = torch.tensor(all(math.isfinite(float(metrics[n])) for n in ("bound", "grad_norm")))
        if self.ok:
            self.optimizer.step()
            return
        self.skipped_at.append(self.steps)
        for part, state in zip(self.parts, self.kept[0], strict=True):
            part.load_state_dict(state)
        self.optimizer.load_state_dict(self.kept[1])


def on_the_host(monkeypatch, **arguments):
    vae = arguments.pop("vae", None) or fragile()
    OnTheHost.skipped_at = []
    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*lr_scheduler.step.* before `optimizer.step")
        patch.setattr(setup, "Guard", OnTheHost)
        patch.setattr("ppl_vae.training.nonfinite.is_over", lambda *_: False)
        history = quiet(vae, nonfinite="skip", **arguments)
    return vae, history


def bare(history):
    return [{k: v for k, v in row.items() if k not in ("skipped", "lr_factor")} for row in rows(history)]


HOW = {"epochs": 3, "batch_size": 8, "keep": "last"}


FEW = ("adam", "momentum", "own")
EACH = [name if name in FEW else pytest.param(name, marks=pytest.mark.slow) for name in OPTIMIZERS]


@pytest.mark.parametrize("name", EACH)
def test_a_skipped_step_changes_nothing(monkeypatch, name):
    """Bits of an oracle that copies everything and looks; with batch norm, whose averages the step has changed."""
    how = {**HOW, "optimizer": OPTIMIZERS[name], "data": breaking(3, 17)}
    expected, its_history = on_the_host(monkeypatch, **how)
    ours = fragile()
    history = quiet(ours, nonfinite="skip", **how)
    assert 0 < len(OnTheHost.skipped_at) == history.skipped < 3 * 7
    assert identical(weights(ours), weights(expected))
    assert bare(history) == bare(its_history)
    assert all(torch.isfinite(t).all() for t in weights(ours).values())


@pytest.mark.parametrize("policy", ["skip", "backoff"])
@pytest.mark.parametrize("name", EACH)
def test_where_all_steps_are_finite_nothing_differs(name, policy):
    how = {**HOW, "optimizer": OPTIMIZERS[name], "data": breaking()}
    plain, ours = fragile(), fragile()
    told = quiet(plain, **how), quiet(ours, nonfinite=policy, **how)
    assert identical(weights(plain), weights(ours))
    assert rows(told[0]) == bare(told[1])
    assert told[1].skipped == 0


@pytest.mark.parametrize(
    "options",
    [  # what skips comes from outside of the graph, and so do shares, clipping and schedules
        {"compile": "export"},
        {"accumulate": 2},
        {"grad_clip": 0.1, "scheduler": pv.training.schedulers.cosine()},
        {"compile": "export", "accumulate": 2, "grad_clip_value": 0.01},
    ],
    ids=["export", "shares", "clipped, scheduled", "export, shares, clipped"],
)
def test_however_steps_are_taken(monkeypatch, options):
    how = {**HOW, "batch_size": 10, **options, "data": breaking(3, 17, 18)}
    expected, its_history = on_the_host(monkeypatch, **how)
    ours = fragile()
    history = quiet(ours, nonfinite="skip", **how)
    assert 0 < len(OnTheHost.skipped_at) == history.skipped
    assert identical(weights(ours), weights(expected))
    assert bare(history) == bare(its_history)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="Inductor compiles C++")
def test_compiled_steps_skip_the_same_ones(repository):
    """In a process of its own: the compiler leaves global state behind."""
    code = """
        from tests.training.pairs import breaking, fragile, quiet
        told = {
            mode: quiet(fragile(), breaking(3, 17), nonfinite="skip", compile=mode, epochs=3, batch_size=10)
            for mode in ("off", "inductor")
        }
        assert told["inductor"].compiled == "inductor: asked for", told["inductor"].compiled
        assert told["off"].skipped > 2
        assert told["off"]["skipped"] == told["inductor"]["skipped"]
        for a, b in zip(told["off"]["train/bound"], told["inductor"]["train/bound"]):
            assert abs(a - b) < 1e-4 * abs(a), (a, b)
        """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(repository), *sys.path])}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_what_is_counted():
    """Averages are over the data of the steps that were taken; an epoch without one has none."""
    history = quiet(fragile(), breaking(3), nonfinite="skip", **HOW)
    assert history["skipped"] == [1, 1, 1]
    assert history.result["skipped"] == 3
    assert "3 steps skipped" in repr(history)
    assert [t["value"] for t in tiles(history.rows, None) if t["label"] == "steps skipped"] == ["3"]
    assert all(math.isfinite(b) for b in history["train/bound"] + history["grad_norm"])
    nothing = quiet(fragile(), breaking(*range(50)), nonfinite="skip", nonfinite_budget=100, **HOW)
    assert nothing["skipped"] == [7, 7, 7]
    assert all(math.isnan(b) for b in nothing["train/bound"])
    assert json.loads(nothing.to_jsonl().splitlines()[0])["train/bound"] is None


def test_it_is_said_aloud(capfd):
    pv.fit(fragile(), breaking(3), nonfinite="backoff", progress=None, **HOW)
    said = capfd.readouterr().err
    assert said.count("warning: 1 step of epoch") == 3
    assert "(3 of at most 10 in all, learning rate times 0.125)" in said


def test_the_learning_rate_is_lowered_and_comes_back(monkeypatch):
    """Under SGD without momentum θ moves by lr · f · ∇, so that f can be read from what a step did."""
    monkeypatch.setattr(guard, "RECOVERY", 4)
    moved = []

    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            moved.append([(p, p.detach().clone(), p.grad.clone()) for p in self.param_groups[0]["params"]])
            return super().step(closure)

    factors = []
    original = guard.Guard.step

    def step(self, metrics=None):
        original(self, metrics)
        ratios = [((before - p.detach()) / (0.1 * g)).flatten() for p, before, g in moved[-1]]
        factors.append(float(torch.cat(ratios).nanmedian()) if self.ok else 0.0)

    monkeypatch.setattr(guard.Guard, "step", step)
    history = quiet(
        pv.VAE(Model(), Fragile()).double(),
        breaking(3, train=40),
        epochs=3,
        batch_size=4,
        optimizer=functools.partial(Watched, lr=0.1),
        nonfinite="backoff",
        seed=1,
    )
    expected, f, clean = [], 1.0, 0
    for factor in factors:
        expected.append(f if factor else 0.0)
        clean = clean + 1 if factor else 0
        if not factor:
            f /= 2
        elif clean == 4 and f < 1:
            f, clean = f * 2, 0
    assert factors == pytest.approx(expected, rel=1e-6)
    assert expected.count(0.0) == 3
    assert {1.0, 0.5} <= set(expected)
    assert history["lr_factor"][-1] == f
    assert history["lr"] == [0.1] * 3


def test_more_than_the_budget_raises_where_it_was_exceeded(tmp_path):
    """… with the weights of before that step, though it is seen at the end of the epoch."""
    calls, how = [], {**HOW, "data": breaking(3, 17, 18, 40), "nonfinite": "skip", "epochs": 5}
    quiet(fragile(), **{**how, "nonfinite_budget": 100}, callbacks=[calls.append])
    per_epoch = [int(row["skipped"]) for row in calls]
    budget = per_epoch[0] + 1
    ours = fragile()
    with pytest.raises(NonFiniteError) as error:
        quiet(ours, nonfinite_budget=budget, directory=tmp_path, **how)
    assert f"{budget} steps were skipped before" in str(error.value)
    assert error.value.site == "z"
    assert error.value.epoch == 2
    before = fragile()
    quiet(before, **{**how, "nonfinite_budget": budget, "epochs": 1, "steps": error.value.step - 1})
    assert identical(weights(ours), weights(before))
    assert error.value.history.skipped == per_epoch[0]


@pytest.mark.parametrize("policy", ["skip", "backoff"])
def test_resumed_at_any_step_it_ends_with_the_same_bits(policy, tmp_path):
    """Also where the first step of the process that goes on is the one to skip, and its arguments are checked."""
    how = {"epochs": 2, "batch_size": 10, "keep": "last", "nonfinite": policy, "data": breaking(3, 17, 30)}
    options = {"optimizer": OPTIMIZERS["adam"], "seed": 3}
    whole = fragile()
    expected = quiet(whole, objective=pv.objectives.ELBO(beta=interrupt_at(99).beta), **how, **options)
    assert expected.skipped > 2
    for step in range(1, 10, 1 if policy == "skip" else 4):
        directory = tmp_path / f"{step}"
        with pytest.raises(KeyboardInterrupt):
            quiet(fragile(), objective=interrupt_at(step), directory=directory, **how, **options)
        ours = fragile()
        resumed = {"objective": pv.objectives.ELBO(beta=interrupt_at(99).beta), "directory": directory, "resume": True}
        history = quiet(ours, **how, **options, **resumed)
        assert identical(weights(ours), weights(whole)), step
        assert rows(history) == rows(expected), step


def test_another_policy_is_another_run(tmp_path):
    quiet(pair(), breaking(), epochs=1, directory=tmp_path)
    with pytest.raises(RunError, match="nonfinite"):
        quiet(pair(), breaking(), epochs=2, directory=tmp_path, resume=True, nonfinite="skip")


def test_what_is_wrong_by_itself_is_not_skipped():
    """A probability above 1 is refused in the first step, where arguments are checked; log-densities clamp it."""

    class Above(Model):
        def forward(self, x, *_):
            with pyro.plate("data", x.shape[0]):
                z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
                probs = 1.2 + self.decoder(z).sigmoid()
                pyro.sample("x", dist.Bernoulli(probs).to_event(1), obs=x)

    ours = pv.VAE(Above(), Guide())
    before = weights(ours)
    with pytest.raises(ValueError, match="Expected parameter probs"):
        quiet(ours, breaking(), nonfinite="skip", **HOW)
    assert identical(weights(ours), before)


@pytest.mark.parametrize("said", [{"nonfinite": "ignore"}, {"nonfinite_budget": -1}, {"nonfinite_budget": 1.5}])
def test_nonsense_is_refused(said):
    with pytest.raises(ArgumentError, match=next(iter(said))):
        quiet(pair(), breaking(), **said)


def test_of_runs_in_lockstep_each_skips_its_own_steps():
    """To rounding what each skips alone; neighbours of a run that breaks are as if they had none."""

    def run(seed, *bad, **more):
        options = {"objective": pv.objectives.ELBO(), "optimizer": OPTIMIZERS["adam"], "nonfinite": "skip"}
        return {"vae": fragile().double(), "data": breaking(*bad), "seed": seed, **HOW, **options, **more}

    runs = [run(0), run(1, 3, 17), run(2), run(3, 5, nonfinite="backoff"), run(4, *range(50))]
    outcomes = fit_together(runs)
    assert [o.alone for o in outcomes] == [""] * 5
    assert [o.history.skipped for o in outcomes[::2]] == [0, 0, 7]
    assert isinstance(outcomes[4].error, NonFiniteError)
    for made, outcome in zip(runs[:4], outcomes, strict=False):
        alone = {**made, "vae": fragile().double()}
        history = quiet(**alone)
        assert outcome.history["skipped"] == history["skipped"]
        for name, value in weights(alone["vae"]).items():
            torch.testing.assert_close(weights(made["vae"])[name], value, rtol=1e-7, atol=1e-7)
    assert outcomes[1].history.skipped > 0
    assert outcomes[3].history["lr_factor"][-1] < 1
