"""What holds on a CPU holds on a GPU: the same bounds to rounding, resumed runs, evidence, every verb.

Skipped where torch sees no CUDA device: `python -m pytest -m gpu` on a machine that has one.
"""

import contextlib
import functools
import io
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.cli import main
from tests.oracles import linear_gaussian

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]
ADAM = functools.partial(torch.optim.Adam, lr=3e-3)


class Model(nn.Module):
    """784-64-8, Bernoulli or Normal."""

    def __init__(self, x=784, hidden=64, latent=8, likelihood="bernoulli"):
        super().__init__()
        self.latent = latent
        self.likelihood = likelihood
        self.net = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, x))

    def forward(self, x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(self.latent, device=x.device), 1.0).to_event(1))
            h = self.net(z)
            given = dist.Bernoulli(logits=h) if self.likelihood == "bernoulli" else dist.Normal(h, 1.0)
            pyro.sample("x", given.to_event(1), obs=x)


class Guide(nn.Module):
    """The same the other way."""

    def __init__(self, x=784, hidden=64, latent=8):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(x, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))

    def forward(self, x):
        loc, log_scale = self.net(x).chunk(2, -1)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def pair(device="cuda"):
    torch.manual_seed(0)
    return pv.VAE(Model(), Guide()).to(device)


def images(n=640, device="cuda"):
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(n, 784, generator=generator) < 0.2).float().to(device)


def trained(mode, objective=None, epochs=4, n=640, **chosen):
    vae = pair()
    history = pv.fit(
        vae, images(n), objective, chosen.pop("optimizer", ADAM), epochs=epochs, batch_size=64, compile=mode,
        progress=False, seed=0, **chosen,
    )  # fmt: skip
    return vae, history


def alike(a, b, rtol=2e-3):
    """Weights after the same steps; rounding grows from step to step."""
    for (name, p), q in zip(a.named_parameters(), b.parameters(), strict=True):
        assert (p - q).norm() <= rtol * q.norm(), name


@pytest.mark.parametrize("mode", ["export", "inductor"])
@pytest.mark.parametrize(
    "objective",
    [None, pv.objectives.IWAE(5), pv.objectives.ELBO(beta=pv.schedules.linear(0.0, 1.0, 20))],
    ids=["elbo", "iwae", "annealed"],
)
def test_replayed_steps_are_the_programs(mode, objective):
    """Forty steps as one CUDA graph leave the weights of forty steps by the program."""
    program, _ = trained("off", objective)
    graph, history = trained(mode, objective)
    assert history.compiled == f"{mode}: asked for", history.compiled
    alike(graph, program)


def test_the_shorter_last_batch_is_replayed_too():
    program, _ = trained("off", n=600)
    graph, history = trained("export", n=600)
    assert history.compiled == "export: asked for", history.compiled
    alike(graph, program)


@pytest.mark.parametrize("mode", ["export", "inductor"])
def test_learning_rates_clipping_and_groups(mode):
    """What may move from step to step is read by the graph in each."""
    chosen = {
        "optimizer": functools.partial(torch.optim.AdamW, lr=3e-3, weight_decay=0.1),
        "scheduler": lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.95),
        "grad_clip": 1.0,
        "groups": {"guide": {"lr": 1e-3}},
    }
    program, _ = trained("off", **chosen)
    graph, history = trained(mode, **chosen)
    assert history.compiled == f"{mode}: asked for", history.compiled
    alike(graph, program)


def test_another_optimizer_takes_the_gradient_of_a_graph():
    chosen = {"optimizer": functools.partial(torch.optim.SGD, lr=1e-3, momentum=0.9)}
    program, _ = trained("off", **chosen)
    graph, history = trained("export", **chosen)
    assert history.compiled == "export: asked for", history.compiled
    alike(graph, program)


@pytest.mark.parametrize("policy", ["skip", "backoff"])
def test_steps_that_are_not_finite_are_skipped(policy):
    x = images()
    x[3] = 1e30  # its square is no number
    torch.manual_seed(0)
    vae = pv.VAE(Model(likelihood="normal"), Guide()).to("cuda")
    history = pv.fit(vae, x, None, ADAM, epochs=2, batch_size=64, compile="export", nonfinite=policy, progress=False)
    assert [row["skipped"] for row in history.rows] == [1, 1]
    assert all(p.isfinite().all() for p in vae.parameters())


def test_a_program_that_waits_says_so_and_trains():
    """A value that is read on the host is refused by the record, as on a CPU."""

    class Reads(Guide):
        def forward(self, x):
            if float(x.sum()) > -1:
                super().forward(x)

    torch.manual_seed(0)
    vae = pv.VAE(Model(), Reads()).to("cuda")
    history = pv.fit(vae, images(), None, ADAM, epochs=2, batch_size=64, compile="export", progress=False)
    assert history.compiled.startswith("eager: it cannot be captured"), history.compiled
    assert math.isfinite(history.rows[-1]["train/bound"])


def test_what_cannot_be_one_graph_runs_kernel_by_kernel_and_noise_goes_on():
    """A failed capture leaves the generator usable."""
    from ppl_vae.compile.replay import Replay

    device = torch.device("cuda", 0)
    with pytest.raises(RuntimeError):
        Replay(lambda x: [x[x > 0].sum() + torch.randn_like(x).sum()], [], [torch.ones(3, device=device)], device)
    assert torch.randn(3, device=device).isfinite().all()
    draw = Replay(lambda x: [x + torch.randn_like(x)], [], [torch.zeros(1000, device=device)], device)
    torch.cuda.manual_seed(7)
    expected = [torch.randn(1000, device=device) for _ in range(3)]
    torch.cuda.manual_seed(7)
    for value in expected:
        assert torch.equal(draw(torch.zeros(1000, device=device))[0], value)


def test_resumed_runs_are_the_uninterrupted_ones(tmp_path):
    """To rounding: graphs are captured anew."""
    torch.manual_seed(0)
    whole, _ = trained("export", epochs=6, directory=tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(row):
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        trained("export", epochs=6, directory=tmp_path / "cut", callbacks=[stop])
    resumed = pair()
    history = pv.fit(
        resumed, images(), None, ADAM, epochs=6, batch_size=64, compile="export", progress=False, seed=0,
        directory=tmp_path / "cut", resume=True,
    )  # fmt: skip
    assert len(history.rows) == 6
    alike(resumed, whole, 1e-5)


def test_evidence_is_exact():
    """Of 400 data with a guide 1.3 times too wide: by 2,000 particles each, within five standard errors over data."""
    oracle = linear_gaussian(400)
    vae = pv.VAE(*oracle.altered(1.3)).to("cuda")
    found = pv.evaluate(vae, oracle.x.to("cuda"), num_particles=2000, seed=0)
    gap = torch.as_tensor(found.by_datum["nll"]).double() + oracle.log_evidence()
    assert gap.mean().abs() < 5 * gap.std() / len(gap) ** 0.5 + 1e-4, gap.mean()


def test_evaluations_agree_with_the_cpu():
    vae, _ = trained("export", epochs=10)
    x = images(200)
    there = pv.evaluate(vae, x, num_particles=500, seed=0)
    here = pv.evaluate(vae.to("cpu"), x.cpu(), num_particles=500, seed=1)
    a, b = (torch.as_tensor(e.by_datum["elbo"]) for e in (there, here))
    gap = (a - b).mean().abs()
    assert gap < 5 * (a - b).std() / len(a) ** 0.5, gap


def said(*words):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = main(list(words))
    assert code == 0, out.getvalue()[-3000:]
    return out.getvalue()


def test_every_verb(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = str(tmp_path / "run")
    said("train", "engine.device=cuda", "trainer.epochs=3", "trainer.compile=export", f"hydra.run.dir={run}")
    assert "cuda" in (tmp_path / "run" / "run.json").read_text()
    for verb in (
        ["evaluate", "num_particles=50"],
        ["posterior"],
        ["generate"],
        ["reconstruct"],
        ["encode"],
        ["interpolate"],
        ["gradients"],
        ["calibrate"],
        ["export"],
        ["report"],
        ["check"],
    ):
        said(verb[0], f"run={run}", *verb[1:])
    rows = np.where(np.random.default_rng(0).random((50, 64)) < 0.2, np.nan, np.random.default_rng(1).random((50, 64)))
    np.save("missing.npy", rows)
    table = ["dataset=npy", "dataset.path=missing.npy", "trainer.epochs=2", "likelihood=normal"]
    said("train", "engine.device=cuda", *table, f"hydra.run.dir={tmp_path / 'missing'}")
    said("impute", f"run={tmp_path / 'missing'}")
    assert pv.Run.load(run).vae.device.type == "cpu"


@pytest.mark.parametrize("mode", ["off", "export"])
def test_mixed_precision(mode, tmp_path):
    vae, history = trained(mode, precision="bf16-mixed", epochs=8)
    _, full = trained(mode, epochs=8)
    assert abs(history.rows[-1]["train/bound"] - full.rows[-1]["train/bound"]) < 1.0
    assert all(p.dtype == torch.float32 for p in vae.parameters())


def test_objectives_that_train_networks_of_their_own():
    _, history = trained("export", pv.objectives.FactorVAE(10.0))
    assert math.isfinite(history.rows[-1]["train/bound"])
