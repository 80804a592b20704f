"""Steps run without Pyro are the same steps."""

import functools
import os
import random
import shutil
import subprocess
import sys
import textwrap
import types

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.compile import capture as graphs
from ppl_vae.compile import cost
from ppl_vae.compile import stepper as compiling
from ppl_vae.compile.gradient import Bound
from tests.training.pairs import Guide, Model, dataset, identical, pair, rows, weights

quiet = functools.partial(pv.fit, progress=False, epochs=3, batch_size=16)  # 50 data: a last batch of 2


def both(make, data=None, objective=pv.objectives.ELBO, mode="export", **options):
    """Histories and weights of the same run, eager and captured."""
    found = []
    for compile_mode in ("off", mode):
        vae = make()
        history = quiet(vae, dataset("dynamic") if data is None else data, objective(), compile=compile_mode, **options)
        found.append((history, weights(vae)))
    return found


PAIRS = {
    "plain": pair,
    "batch norm": functools.partial(pair, norm=True),
    "dropout": functools.partial(pair, dropout=True),
    "float64": lambda: pair().double(),
    "frozen decoder": lambda: _frozen(),
}
OBJECTIVES = {
    "analytic": functools.partial(pv.objectives.ELBO, kl="analytic"),
    "five particles": functools.partial(pv.objectives.ELBO, num_particles=5),
    "warm-up": lambda: pv.objectives.ELBO(beta=pv.schedules.linear(0.1, 1.0, over=9)),
    "iwae": functools.partial(pv.objectives.IWAE, num_particles=5),
}


def _frozen():
    vae = pair()
    vae.model.requires_grad_(False)
    return vae


SLOW = {"dropout", "float64", "analytic", "five particles"}  # each capture takes a second or two


def cases(names):
    return [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in names]


@pytest.mark.parametrize("name", cases(PAIRS))
def test_pairs_give_the_same_bits(name):
    (eager, expected), (captured, found) = both(PAIRS[name])
    assert captured.compiled == "export: asked for"
    assert rows(captured) == rows(eager)
    assert identical(found, expected)


@pytest.mark.parametrize("name", cases(OBJECTIVES))
def test_objectives_give_the_same_bits(name):
    (eager, expected), (captured, found) = both(pair, objective=OBJECTIVES[name])
    assert captured.compiled == "export: asked for"
    assert rows(captured) == rows(eager)
    assert identical(found, expected)


def test_estimators_give_the_same_bits():
    def make():
        return pv.VAE(*_seeded(), estimators={"z": pv.estimators.StickingTheLanding()})

    (eager, expected), (captured, found) = both(make)
    assert captured.compiled == "export: asked for"
    assert rows(captured) == rows(eager)
    assert identical(found, expected)


def _seeded(guide=Guide):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Model(), guide()


class Forked(Guide):
    """Looks at a number to decide what to do."""

    def forward(self, x, *_):
        if x.sum() > 1e9:
            x = x * 2
        return super().forward(x)


class Counting(Guide):
    """Changes in Python what it does next."""

    count = 0

    def forward(self, x, *_):
        self.count += 1
        return super().forward(x * (1 + self.count / 100))


class Listing(Guide):
    """The same in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = [0]

    def forward(self, x, *_):
        self.counts[0] += 1
        return super().forward(x * (1 + self.counts[0] / 100))


class Holding(Guide):
    """The same in an object beside it, and too late for a trial to see what comes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = types.SimpleNamespace(runs=0)

    def forward(self, x, *_):
        self.settings.runs += 1
        return super().forward(x if self.settings.runs < 100 else 2 * x)


class Drawing(Guide):
    """Takes noise from where no graph can see it."""

    def forward(self, x, *_):
        return super().forward(x + np.random.rand())  # noqa: NPY002


class Wrong(torch.autograd.Function):
    """A gradient of its own: not that of its forward."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 3 * gradient


class Custom(Guide):
    def forward(self, x, *_):
        loc, raw = self.encoder(x).chunk(2, -1)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(Wrong.apply(loc), nn.functional.softplus(raw) + 1e-4).to_event(1))


@pytest.mark.parametrize(
    ("guide", "reason"),
    [
        *[(Forked, ", `if x.sum() > 1e9:`)"), (Drawing, "differs")],
        *[(Counting, "count"), (Listing, "counts"), (Holding, "settings.runs")],
    ],
)
def test_what_a_graph_would_get_wrong_is_run_eagerly(guide, reason):
    if guide in (Counting, Listing, Holding):  # a count lives in Python: not even two eager runs begin alike
        history = quiet(pv.VAE(*_seeded(guide)), dataset(), compile="export")
        assert history.compiled == f"eager: the program changes guide.{reason} as it runs"
        return
    (eager, expected), (captured, found) = both(lambda: pv.VAE(*_seeded(guide)))
    assert captured.compiled.startswith("eager: ")
    assert reason in captured.compiled
    assert rows(captured) == rows(eager)
    assert identical(found, expected)


class Caching(Guide):
    """Keeps a constant for every size of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.ones = {}

    def forward(self, x, *_):
        if len(x) not in self.ones:
            self.ones[len(x)] = torch.ones(len(x), 1)
        return super().forward(x * self.ones[len(x)])


class Remembering(Guide):
    """Keeps its last result."""

    def forward(self, x, *_):
        self.last = self.encoder(x).detach()
        return super().forward(x)


@pytest.mark.parametrize("guide", [Caching, Remembering])
def test_no_tensor_without_values_stays_behind(guide, monkeypatch):
    (eager, expected), (captured, found) = both(lambda: pv.VAE(*_seeded(guide)))
    assert captured.compiled == "export: asked for"
    assert rows(captured) == rows(eager)
    assert identical(found, expected)
    monkeypatch.setattr("ppl_vae.compile.cost.CAPTURE_TILES", 1)
    monkeypatch.setattr("ppl_vae.core.tiles.TILE", 5_000)
    vae = pv.VAE(*_seeded(guide))
    assert pv.evaluate(vae, torch.zeros(20, 6), 100).how.startswith("its graph")
    kept = vae.guide.ones[20] if guide is Caching else vae.guide.last
    assert type(kept) is torch.Tensor


class Coin(Guide):
    """Does something else now and then, by Python's own random numbers."""

    def forward(self, x, *_):
        return super().forward(x * 2 if random.random() < 0.01 else x)


def test_pythons_random_numbers_are_noticed_whatever_they_were():
    (eager, expected), (captured, found) = both(lambda: pv.VAE(*_seeded(Coin)))
    assert captured.compiled.startswith("eager: captured, the random state")
    assert rows(captured) == rows(eager)
    assert identical(found, expected)


def test_hooks_on_parameters_are_honoured():
    def make():
        vae = pair()
        next(vae.parameters()).register_hook(lambda gradient: gradient.clamp(-1e-3, 1e-3))
        return vae

    (eager, expected), (captured, found) = both(make)
    assert captured.compiled == "eager: a hook on a parameter changes its gradient"
    assert rows(captured) == rows(eager)
    assert identical(found, expected)


class Short(Guide):
    """Looks at a number where the batch is short."""

    def forward(self, x, *_):
        return super().forward(x * 2 if len(x) < 16 and x.sum() < 0 else x)


def test_a_shape_that_cannot_be_captured_leaves_others_alone():
    (eager, expected), (captured, found) = both(lambda: pv.VAE(*_seeded(Short)))
    assert captured.compiled.startswith("export: asked for; shorter batches eager: it cannot be captured (")
    assert rows(captured) == rows(eager)
    assert identical(found, expected)


SETTINGS = {"scale": 1.0}
"""What a script keeps beside its programs."""


class Scaled(Guide):
    """Has a number, a list, a function and a flag that someone may change."""

    temperature = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.temperature, self.scales, self.squash = 1.0, [1.0], torch.tanh

    def forward(self, x, *_):
        return super().forward(self.squash(x * self.temperature * self.scales[0] * SETTINGS["scale"]))


def cooled(guide):
    guide.temperature *= 0.5


def stretched(guide):
    guide.scales[0] *= 1.5


def set_globally(guide):
    SETTINGS["scale"] *= 1.5


def bent(guide):
    guide.squash = torch.relu if guide.squash is torch.tanh else torch.tanh


def frozen(guide):
    guide.requires_grad_(False)


def moved(guide):
    for parameter in guide.parameters():
        parameter.data = parameter.data * 0.9


@pytest.mark.parametrize("change", [cooled, stretched, set_globally, bent, frozen, moved])
def test_what_callbacks_change_counts_from_then_on(change, monkeypatch):
    found = []
    for mode in ("off", "export"):
        monkeypatch.setitem(SETTINGS, "scale", 1.0)
        vae = pv.VAE(*_seeded(Scaled))
        history = quiet(vae, dataset(), compile=mode, callbacks=[lambda row, vae=vae: change(vae.guide)])
        found.append((rows(history), weights(vae)))
    assert found[0][0] == found[1][0]
    assert identical(found[0][1], found[1][1])


class Recurrent(Guide):
    """A network whose gradient torch's tracer gets wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 6, batch_first=True)

    def forward(self, x, *_):
        return super().forward(self.lstm(x[:, None])[0][:, 0])


def test_a_graph_that_fails_is_not_used():
    (eager, expected), (captured, found) = both(lambda: pv.VAE(*_seeded(Recurrent)))
    assert captured.compiled.startswith(("eager: captured, it fails (", "export: asked for"))
    assert rows(captured) == rows(eager)
    assert identical(found, expected)


class Hooked(Guide):
    """Changes a gradient on its way."""

    def forward(self, x, *_):
        loc, raw = self.encoder(x).chunk(2, -1)
        if loc.requires_grad:
            loc.register_hook(lambda gradient: 3 * gradient)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(loc, nn.functional.softplus(raw) + 1e-4).to_event(1))


@pytest.mark.parametrize("guide", [Custom, Hooked])
def test_gradients_of_the_programs_own_are_captured_too(guide):
    (eager, expected), (captured, found) = both(lambda: pv.VAE(*_seeded(guide)))
    assert captured.compiled == "export: asked for"
    assert rows(captured) == rows(eager)
    assert identical(found, expected)


class Shared(Model):
    """Adds one parameter twice, so that two gradients are one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (nn.Parameter(torch.zeros(6)) for _ in range(2))

    def forward(self, x, *_):
        zero = x.new_zeros(2)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(zero, torch.ones_like(zero)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z) + (self.a + self.b)).to_event(1), obs=x)


@pytest.mark.parametrize("limit", [{"grad_clip": 0.1}, {"grad_clip_value": 0.01}])
def test_clipping_changes_each_gradient_once(limit):
    def make():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return pv.VAE(Shared(), Guide())

    (eager, expected), (captured, found) = both(make, **limit)
    assert captured.compiled == "export: asked for"
    assert rows(captured) == rows(eager)
    assert identical(found, expected)


def test_auto_chooses_by_the_steps_ahead(monkeypatch):
    assert "12 steps do not pay" in quiet(pair(), dataset(), compile="auto").compiled
    monkeypatch.setattr(cost, "CAPTURE_STEPS", 10)
    assert "export: 12 steps pay" in quiet(pair(), dataset(), compile="auto").compiled


@pytest.mark.parametrize(("eager", "graph", "told"), [(1.0, 2.0, "its graph is slower"), (2.0, 1.0, "export: 12")])
def test_auto_takes_the_faster_of_two_ways_with_the_same_bits(monkeypatch, eager, graph, told):
    monkeypatch.setattr(cost, "CAPTURE_STEPS", 1)
    seconds = iter([eager, graph])
    monkeypatch.setattr(compiling, "_seconds", lambda step, batch: step(batch) and next(seconds))
    vae, other = pair(), pair()
    history = quiet(vae, dataset(), compile="auto")
    assert told in history.compiled
    assert rows(history) == rows(quiet(other, dataset(), compile="off"))
    assert identical(weights(vae), weights(other))


def test_gradients_are_left_alone_by_the_capture():
    vae, other = pair(), pair()
    history = quiet(vae, dataset(), compile="export", optimizer=functools.partial(torch.optim.SGD, lr=0.0))
    assert identical(weights(vae), weights(other))
    assert history.compiled == "export: asked for"


def compiles_after(monkeypatch, runs):
    """Let fake compiled steps pay for themselves after some runs; the sizes of batches that were compiled for."""
    at = []

    def fake(self, recorded, batch, before):
        at.append(len(batch[0]))

        def way(batch, meter):
            before(batch, meter)
            with torch.no_grad():  # other bits, which tell where it was used
                next(iter(self.gradient.parameters.values())).add_(1e-3)

        return way

    monkeypatch.setattr(compiling.Stepper, "_compiled", fake)
    monkeypatch.setattr(cost, "CAPTURE_STEPS", 1)
    monkeypatch.setattr(cost, "saved_seconds", lambda graph: 1.0)
    monkeypatch.setattr(cost, "compile_seconds", lambda graph: runs)
    return at


@pytest.mark.slow
def test_auto_compiles_once_that_has_paid_whatever_the_length_of_the_run(monkeypatch, tmp_path):
    """At a step that the graph decides: an interrupted run goes on as any run that is long enough."""
    at = compiles_after(monkeypatch, 6.5)
    short, long, parts = pair(), pair(), pair()
    assert quiet(short, dataset(), compile="auto", epochs=1).compiled == "export: 4 steps pay for a capture"
    assert not at
    history = quiet(long, dataset(), compile="auto", epochs=4)
    assert history.compiled == "inductor: from step 7 on"
    assert at == [16]  # a full batch; the shorter ones have not been run so often
    quiet(parts, dataset(), compile="auto", epochs=1, directory=tmp_path)
    for epochs in (2, 3, 4):
        parts = pair(seed=epochs)
        found = quiet(parts, dataset(), compile="auto", epochs=epochs, directory=tmp_path, resume=True)
    assert rows(found) == rows(history)
    assert identical(weights(parts), weights(long))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["auto", "inductor"])
def test_shorter_last_batches_are_compiled_once_that_has_paid(monkeypatch, tmp_path, mode):
    """Each is one step of an epoch: after as many epochs as a full one takes steps."""
    at = compiles_after(monkeypatch, 2.5)
    whole, parts = pair(), pair()
    history = quiet(whole, dataset(), compile=mode, epochs=4)
    assert at == [16, 2]
    assert history.compiled == ("inductor: from step 3 on" if mode == "auto" else "inductor: asked for")
    for epochs in (1, 3, 4):
        parts = pair(seed=epochs - 1)
        found = quiet(parts, dataset(), compile=mode, epochs=epochs, directory=tmp_path, resume=epochs > 1)
    assert rows(found) == rows(history)
    assert identical(weights(parts), weights(whole))


class Flat(Guide):
    def forward(self, x, *_):
        return super().forward(x.flatten(1))


class FlatModel(Model):
    def forward(self, x, *_):
        return super().forward(x.flatten(1))


class Turns:
    """Data whose batches are full, of two shapes in turn."""

    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def to(self, device):
        return self

    def num_batches(self, size):
        return len(self.x.split(size))

    def firsts(self, size):
        return [next(self.batches(size))]

    def batches(self, size, *_, **__):
        for i, part in enumerate(self.x.split(size)):
            yield (part if i % 2 else part[:, None],)


def test_each_shape_is_compiled_from_its_own_graph(monkeypatch):
    found = []

    def fake(self, recorded, batch, before):
        *_, last = recorded.graph.graph.find_nodes(op="placeholder")
        found.append((tuple(last.meta["val"].shape), tuple(batch[0].shape)))
        return before

    monkeypatch.setattr(compiling.Stepper, "_compiled", fake)
    monkeypatch.setattr(cost, "CAPTURE_STEPS", 1)
    monkeypatch.setattr(cost, "saved_seconds", lambda graph: 1.0)
    monkeypatch.setattr(cost, "compile_seconds", lambda graph: 4.5)
    vae = pv.VAE(FlatModel(), Flat())
    data = Turns((torch.rand(64, 6) < 0.5).float())
    monkeypatch.setattr(sys.modules["ppl_vae.training.fit"], "batches_of", lambda *_: (data, None))
    quiet(vae, data, compile="auto")
    assert sorted(found) == [((16, 1, 6), (16, 1, 6)), ((16, 6), (16, 6))]


def test_auto_tells_why_it_could_not_compile(monkeypatch):
    def refuse(*_):
        raise compiling.CaptureError("it is a test")

    monkeypatch.setattr(compiling.Stepper, "_compiled", refuse)
    monkeypatch.setattr(cost, "CAPTURE_STEPS", 1)
    monkeypatch.setattr(cost, "compile_seconds", lambda graph: 0.0)
    vae, other = pair(), pair()
    assert quiet(vae, dataset(), compile="auto").compiled == "export: it is a test"
    quiet(other, dataset(), compile="off")
    assert identical(weights(vae), weights(other))


def test_the_gain_is_estimated_from_what_is_fused_away(monkeypatch):
    vae, batch = pair(), (torch.zeros(16, 6),)
    pv.objectives.ELBO()(vae, batch, total=16)
    with pyro.validation_enabled(False):
        graph, _ = graphs.trace(Bound(vae, pv.objectives.ELBO(), 16), batch)
    saved = cost.saved_seconds(graph)
    assert 20 * cost.CALL < saved < 200 * cost.CALL  # nothing here is large: calls count
    large = graphs.record(lambda x: [(x @ x).exp()], (torch.zeros(1000, 1000),))
    for idle, gain in ((False, 0.0), (True, 2e9 * cost.MULTIPLICATION)):
        monkeypatch.setattr(cost, "is_possible", lambda: True)
        monkeypatch.setattr(cost, "takes_onednn", lambda idle=idle: idle)
        assert cost.saved_seconds(large) == pytest.approx(cost.CALL + 4e6 * cost.BYTE + gain)  # of exp


def by_compiler(tmp_path, repository, script):
    """Run in a process of its own: torch's compiler changes sys.path and the environment."""
    begin = f"import sys; sys.path.insert(0, {str(repository)!r}); from tests.compile.test_stepper import *\n"
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", begin + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr


def agree(name, make=pair, **options):
    """Check that Inductor's steps are the program's, but for rounding."""
    (eager, expected), (compiled, found) = both(make, mode="inductor", data=dataset("dynamic", train=50), **options)
    assert compiled.compiled == "inductor: asked for", (name, compiled.compiled)
    for key in ("train/bound", "validation/bound", "grad_norm", "lr"):
        torch.testing.assert_close(compiled[key], eager[key], rtol=1e-4, atol=1e-6, msg=f"{name}: {key}")
    for key, value in expected.items():
        torch.testing.assert_close(
            found[key], value, rtol=1e-3, atol=1e-4, msg=lambda m, key=key: f"{name}, {key}: {m}"
        )


needs_compiler = [pytest.mark.slow, pytest.mark.skipif(shutil.which("g++") is None, reason="Inductor compiles C++")]


def inductor(test):
    for mark in needs_compiler:
        test = mark(test)
    return test


@inductor
def test_inductor_agrees_to_rounding(tmp_path, repository):
    by_compiler(
        tmp_path,
        repository,
        """
        from torch import optim
        Adam, AdamW, SGD = (functools.partial(o, lr=0.02) for o in (optim.Adam, optim.AdamW, optim.SGD))
        agree("plain", optimizer=Adam)
        cost.compile_seconds = lambda graph: 0.0
        stepper, compile_both = compiling.Stepper._compiled, []
        def counted(self, recorded, batch, way):
            compile_both.append(len(batch[0]))
            return stepper(self, recorded, batch, way)
        compiling.Stepper._compiled = counted
        agree("the shorter last batch, too", optimizer=Adam)
        assert compile_both == [16, 2], compile_both
        # Batch norm makes the gradient of the bias before it zero but for rounding: ε keeps Adam from following that.
        agree("norm and dropout, both limits", lambda: pair(norm=True, dropout=True), grad_clip=0.5,
              grad_clip_value=0.1, optimizer=functools.partial(Adam, eps=1e-3))
        agree("groups, decay, schedules of betas and of β", optimizer=functools.partial(AdamW, weight_decay=0.1),
              groups={"guide": {"lr": 0.005}}, objective=OBJECTIVES["warm-up"],
              scheduler=pv.training.schedulers.PerStep(functools.partial(
                  torch.optim.lr_scheduler.OneCycleLR, max_lr=[0.02, 0.01], total_steps=20)))
        agree("another optimizer", optimizer=SGD, grad_clip=0.5)
        agree("frozen", PAIRS["frozen decoder"], optimizer=functools.partial(Adam, weight_decay=0.1))
        agree("float64", lambda: pair().double(), optimizer=Adam)
        agree("averaged weights", optimizer=Adam, ema=0.9)
        """,
    )


@inductor
def test_inductor_takes_objectives_and_estimators_of_every_kind(tmp_path, repository):
    """Several networks and updates, permutations, per-particle weights, pairwise kernels, a bound per optimizer."""
    by_compiler(
        tmp_path,
        repository,
        """
        def factor():
            torch.manual_seed(0)  # of its discriminator
            return pv.objectives.FactorVAE()
        adam = functools.partial(torch.optim.Adam, lr=0.02, eps=1e-3)
        for objective in (factor, pv.objectives.BetaTCVAE, pv.objectives.PIWAE, pv.objectives.InfoVAE,
                          pv.objectives.WakeSleep, OBJECTIVES["iwae"]):
            agree(str(objective), objective=objective, optimizer=adam)
        def scored():
            torch.manual_seed(0)
            return pv.VAE(Model(), Guide(), estimators={"z": pv.estimators.ScoreFunction()})
        agree("score function", scored, optimizer=adam)
        """,
    )


@inductor
def test_jobs_that_differ_in_tensors_share_compiled_code(tmp_path, repository):
    """Seeds, learning rates and β are no part of the code: a sweep compiles once."""
    by_compiler(
        tmp_path,
        repository,
        """
        from torch._dynamo.utils import counters
        for job in range(3):
            adam = functools.partial(torch.optim.Adam, lr=0.01 * (job + 1))
            objective = pv.objectives.ELBO(beta=1 + job)
            history = quiet(pair(job), dataset(), objective, compile="inductor", optimizer=adam, seed=job)
            assert history.compiled == "inductor: asked for", history.compiled
        found = counters["inductor"]
        assert (found["fxgraph_cache_miss"], found["fxgraph_cache_hit"]) == (1, 2), found
        assert found["fxgraph_cache_bypass"] == 0, found
        """,
    )


@inductor
def test_compiled_runs_resume_exactly(tmp_path, repository):
    """Compiled code gives other bits: each step must be taken in the same way again."""
    by_compiler(
        tmp_path,
        repository,
        f"""
        from pathlib import Path
        adam = functools.partial(torch.optim.Adam, lr=0.02)
        run = functools.partial(quiet, data=dataset("dynamic"), compile="inductor", optimizer=adam)
        whole, parts = pair(), pair()
        expected = run(whole, epochs=4)
        assert expected.compiled == "inductor: asked for", expected.compiled
        where = Path({str(tmp_path)!r}) / "run"
        run(parts, epochs=2, directory=where)
        parts = pair(seed=1)
        found = run(parts, epochs=4, directory=where, resume=True)
        assert rows(found) == rows(expected)
        assert identical(weights(parts), weights(whole))
        """,
    )


class Partial(Guide):
    """One parameter gets a gradient in full batches only."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(6))

    def forward(self, x, *_):
        return super().forward(x + self.shift if len(x) == 16 else x)


@inductor
def test_the_update_is_left_to_the_optimizer_where_it_is_not_the_same_for_all(tmp_path, repository):
    by_compiler(
        tmp_path,
        repository,
        """
        from tests.compile.test_stepper import _seeded
        adam = functools.partial(torch.optim.Adam, lr=0.02)
        agree("partial", lambda: pv.VAE(*_seeded(Partial)), optimizer=adam)
        def change(mode):
            vae = pair()
            def between(row):
                for parameter in vae.guide.parameters():
                    parameter.data = parameter.data * 0.9
            history = quiet(vae, dataset(), compile=mode, optimizer=adam, callbacks=[between])
            return history, weights(vae)
        (_, expected), (history, found) = change("off"), change("inductor")
        assert history.compiled == "inductor: asked for", history.compiled
        assert all(torch.allclose(found[k], expected[k], rtol=1e-3, atol=1e-4) for k in expected)
        """,
    )


@inductor
def test_a_wrong_update_is_noticed(tmp_path, repository):
    by_compiler(
        tmp_path,
        repository,
        """
        from ppl_vae.compile import fused as whole
        right = whole.adam
        def wrong(parameters, gradients, averages, squares, numbers):
            right(parameters, gradients, averages, squares, numbers * torch.tensor([1, 1, 1, 1, 1.01, 1, 1, 1, 1]))
        whole.adam = wrong
        adam = functools.partial(torch.optim.Adam, lr=0.02)
        history = quiet(pair(), dataset(), compile="inductor", optimizer=adam)
        assert history.compiled.startswith("export: compiled, optimizer tensor "), history.compiled
        assert rows(history) == rows(quiet(pair(), dataset(), compile="off", optimizer=adam))
        """,
    )


def test_a_capture_pays_sooner_on_a_gpu():
    """A step by the program costs more there, and one by a graph less."""
    assert cost.steps_to_capture(torch.device("cuda")) < cost.steps_to_capture(torch.device("cpu"))
