"""Steps run without Pyro are the same steps."""

import functools
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.training import compile as compiling
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
    [(Forked, "cannot be captured"), (Counting, "differs"), (Drawing, "differs")],
)
def test_what_a_graph_would_get_wrong_is_run_eagerly(guide, reason):
    if guide is Counting:  # its count lives in Python: not even two eager runs agree unless they begin alike
        history = quiet(pv.VAE(*_seeded(guide)), dataset(), compile="export")
        assert history.compiled.startswith("eager: captured, ")
        return
    (eager, expected), (captured, found) = both(lambda: pv.VAE(*_seeded(guide)))
    assert captured.compiled.startswith("eager: ")
    assert reason in captured.compiled
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
    assert "12 steps ahead do not pay" in quiet(pair(), dataset(), compile="auto").compiled
    monkeypatch.setattr(compiling, "WORTHWHILE", 10)
    assert "export: 12 steps ahead pay" in quiet(pair(), dataset(), compile="auto").compiled


@pytest.mark.parametrize(("eager", "graph", "told"), [(1.0, 2.0, "its graph is slower"), (2.0, 1.0, "export: 12")])
def test_auto_takes_the_faster_of_two_ways_with_the_same_bits(monkeypatch, eager, graph, told):
    monkeypatch.setattr(compiling, "WORTHWHILE", 1)
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


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="Inductor compiles C++")
def test_inductor_agrees_to_rounding(tmp_path, repository):
    """In a process of its own: torch's compiler changes sys.path and the environment."""
    script = f"""
        import sys
        sys.path.insert(0, {str(repository)!r})
        import torch
        from tests.training.test_compile import both, dataset, pair
        (eager, expected), (compiled, found) = both(pair, mode="inductor", data=dataset(train=48))
        assert compiled.compiled == "inductor: asked for", compiled.compiled
        for key in ("train/bound", "validation/bound"):
            assert torch.allclose(torch.tensor(compiled[key]), torch.tensor(eager[key]), rtol=1e-5)
        assert all(torch.allclose(found[k], expected[k], rtol=1e-4, atol=1e-5) for k in expected)
    """
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
