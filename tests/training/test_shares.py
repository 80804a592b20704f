"""A batch in shares is the batch: gradient, bound, norm, buffers; what cannot be divided is refused."""

import functools
import inspect
import random
import subprocess
import sys
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import ppl_vae as pv
from ppl_vae import objectives as o
from ppl_vae.errors import ArgumentError, CheckError, PplVaeError
from ppl_vae.sweeps.lockstep import fit_together
from tests.objectives.test_every_objective import OBJECTIVES
from tests.training import pairs
from tests.training.row_noise import data, pair

sgd = functools.partial(torch.optim.SGD, lr=0.05)


def trained(vae: pv.VAE, x: Tensor, objective: object = None, **options: object) -> tuple[pv.VAE, pv.History]:
    defaults = {"steps": 1, "batch_size": 13, "optimizer": sgd, "keep": "last", "compile": "off"}
    return vae, pairs.quiet(vae, x, objective, **(defaults | options))


def distance(one: pv.VAE, other: pv.VAE) -> float:
    pairs_ = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs_)


def made(name: str) -> nn.Module:
    """An objective of the catalogue; wake-sleep without dreams, whose noise is no row's, and bits that are reached."""
    own = {"wake-sleep": lambda: o.WakeSleep(3, insomnia=1.0), "free bits per site": lambda: o.FreeBits(2.0, "site", 3)}
    return own[name]() if name in own else OBJECTIVES[name](3)


def test_every_objective_is_looked_at() -> None:
    classes = {c for c in vars(o).values() if inspect.isclass(c) and issubclass(c, o.Objective)}
    abstract = {c for c in classes if inspect.isabstract(c)}
    assert {type(made(name)) for name in OBJECTIVES} == classes - abstract


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_says_rightly_whether_it_is_a_mean_over_data(name: str) -> None:
    """By its numbers: the mean of the bounds of shares, weighted by their data, against the bound of the batch."""
    vae, x, objective = pair(), data(11), made(name)
    objective = objective.double()
    whole = objective(vae, x, total=40)
    cut = [5, 4, 2]
    parts = [objective(vae, part, total=40) for part in x.split(cut)]
    parameters = [*vae.parameters(), *objective.parameters()]
    found = [torch.autograd.grad(b.surrogate, parameters, allow_unused=True) for b in (whole, *parts)]
    flat = [
        torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in zip(f, parameters, strict=True)])
        for f in found
    ]
    joined = sum(n / 11 * g for n, g in zip(cut, flat[1:], strict=True))
    value = sum(n / 11 * b.value for n, b in zip(cut, parts, strict=True))
    alike = torch.allclose(joined, flat[0], atol=1e-10) and abs(float(value - whole.value)) < 1e-10
    assert alike == objective.mean_over_data


CASES = [
    pytest.param(name, shared, marks=[] if (name, shared) in (("elbo", True), ("iwae", False)) else pytest.mark.slow)
    for name in OBJECTIVES
    for shared in (False, True)
    if made(name).mean_over_data and not (shared and name in ("tail-adaptive", "wake-sleep"))  # no global latents there
]


@pytest.mark.parametrize(("name", "shared"), CASES)
def test_a_step_in_shares_is_the_step(name: str, shared: bool) -> None:
    """Steps of clipped gradients with noise of each row's own, the last batch of an epoch with one datum."""
    options = {"steps": 6, "grad_clip": 0.8, "seed": 5}
    one, history = trained(pair(shared=shared), data(), made(name), **options)
    for shares in (3, 7):
        other, found = trained(pair(shared=shared), data(), made(name), accumulate=shares, **options)
        assert distance(one, other) < 1e-12
        for row, expected in zip(found.rows, history.rows, strict=True):
            assert {k: v for k, v in row.items() if k != "seconds"} == pytest.approx(
                {k: v for k, v in expected.items() if k != "seconds"}, abs=1e-10
            )
        assert found.compiled.endswith(f"each batch in {shares} shares")


def test_the_gradient_is_that_of_the_bound() -> None:
    """By central differences of the bound of the whole batch, global latents and K particles included."""
    x, objective = data(13), o.IWAE(4)
    vae = pair(shared=True)
    before = [p.detach().clone() for p in vae.parameters()]
    trained(vae, x, objective, optimizer=functools.partial(torch.optim.SGD, lr=1.0), accumulate=4)
    step = [p.detach() - b for p, b in zip(vae.parameters(), before, strict=True)]
    generator = torch.Generator().manual_seed(2)
    for _ in range(4):
        way = [torch.randn(b.shape, generator=generator, dtype=b.dtype) for b in before]
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                for p, b, d in zip(vae.parameters(), before, way, strict=True):
                    p.copy_(b + sign * 1e-5 * d)
            values.append(float(objective(vae, x, total=13).value))
        slope = sum(float((s * d).sum()) for s, d in zip(step, way, strict=True))
        assert slope == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


class Point(nn.Module):
    """A guide that draws nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(6, 2)

    def forward(self, x: Tensor, *_: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Delta(self.encoder(x)).to_event(1))


class Clusters(nn.Module):
    """A mixture whose indicator is summed out, and the guide of it."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.linspace(-1, 1, 12).view(2, 6))

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Bernoulli(0.4), infer={"enumerate": "parallel"})
            logits = self.loc[0] + c[..., None] * self.loc[1]
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)


class Shares(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(6, 1)

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Bernoulli(logits=self.net(x)[..., 0]), infer={"enumerate": "parallel"})


NOISELESS = {
    "a point": lambda: pv.VAE(pairs.Model(), Point()),
    "enumerated": lambda: pv.VAE(Clusters(), Shares()),
}


@pytest.mark.parametrize("name", NOISELESS)
def test_programs_without_noise_train_as_on_whole_batches(name: str) -> None:
    def fresh() -> pv.VAE:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return NOISELESS[name]().double()

    options = {"steps": 9, "optimizer": pairs.adam, "batch_size": 16, "data": pairs.dataset()}
    one, _ = trained(fresh(), options.pop("data"), **options)
    for shares in (2, 5):
        other, _ = trained(fresh(), pairs.dataset(), accumulate=shares, **options)
        assert distance(one, other) < 1e-9


@pytest.mark.slow
def test_how_often_and_how_shares_are_cut_is_free() -> None:
    """Searched: any size of data, batch and shares, also more shares than the last batch has data."""
    draw = random.Random(0)
    for _ in range(8):
        size = draw.randint(2, 30)
        batch = draw.randint(1, size)
        shares, steps = draw.randint(1, batch), draw.randint(1, 5)
        options = {"batch_size": batch, "steps": steps, "grad_clip": 0.1}
        one, other = (trained(pair(), data(size), accumulate=s, **options)[0] for s in (1, shares))
        assert distance(one, other) < 1e-12, (size, batch, shares, steps)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["off", "export", "inductor"])
def test_noise_is_the_same_however_the_gradient_is_taken(how: str, repository: Path) -> None:
    """In a process of its own: torch's compiler changes the environment and `sys.path`."""
    script = f"from tests.training.test_shares import same_noise; same_noise({how!r})"
    subprocess.run([sys.executable, "-c", script], cwd=repository, check=True, timeout=300)


def same_noise(how: str) -> None:
    options = {"epochs": 3, "batch_size": 16, "accumulate": 2, "optimizer": pairs.adam, "steps": None}
    expected, _ = trained(pairs.pair(dropout=True), pairs.dataset("dynamic"), **options)
    found, history = trained(pairs.pair(dropout=True), pairs.dataset("dynamic"), **(options | {"compile": how}))
    assert history.compiled == f"{'eager' if how == 'off' else how}: asked for; each batch in 2 shares"
    assert distance(expected, found) <= (1e-5 if how == "inductor" else 0.0)


# --- buffers
# ----------------------------------------------------------------------------------------------------------------


class Counting(o.ELBO):
    """Buffers of all kinds, changed in the ways that programs change them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("average", torch.zeros((), dtype=torch.float64))
        self.register_buffer("anew", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("steps", torch.tensor(2**40))
        self.register_buffer("began", torch.tensor(False))
        self.register_buffer("mask", torch.tensor([-torch.inf, 0.1]))

    def forward(self, vae, batch, total=None):
        if vae.training:
            self.average.mul_(0.9).add_(0.1 * batch[0].mean())
            self.anew = 0.5 * self.anew + batch[0].sum(-1).mean()
            self.steps += 1
            self.began.fill_(True)
        return super().forward(vae, batch, total)


def test_buffers_go_on_as_on_the_whole_batch() -> None:
    found = []
    for shares in (1, 4):
        objective = Counting()
        trained(pair(), data(), objective, steps=7, accumulate=shares)
        found.append(objective.state_dict())
    assert int(found[1]["steps"]) == 2**40 + 7
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, atol=1e-12, rtol=0)
    assert torch.equal(found[1]["mask"], torch.tensor([-torch.inf, 0.1]))


def test_batch_norm_averages_its_statistics_and_is_told() -> None:
    """Statistics are those of shares: the mean of the means is the batch's, and it is said that variances are not."""
    x = pairs.dataset("threshold", train=36)

    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.net = nn.BatchNorm1d(6), nn.Linear(6, 4)

        def forward(self, x, *_):
            loc, scale = self.net(self.norm(x)).chunk(2, -1)
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    found = []
    for shares in (1, 3):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            vae = pv.VAE(pairs.Model(), First())
        _, history = trained(vae, x, batch_size=12, steps=5, accumulate=shares)
        found.append((vae.guide.norm, [w.kind for w in history.warnings]))
    (whole, quiet), (shared, told) = found
    torch.testing.assert_close(shared.running_mean, whole.running_mean)
    assert int(shared.num_batches_tracked) == int(whole.num_batches_tracked) == 5
    assert "batch norm over shares" in told
    assert "batch norm over shares" not in quiet
    with pytest.raises(PplVaeError, match="a share of one datum"):
        trained(pairs.pair(norm=True), pairs.dataset(), batch_size=16, steps=None, epochs=1, accumulate=2)


def test_a_parameter_without_gradient_is_left_alone() -> None:
    """AdamW would shrink it."""
    vae, _ = trained(pair(), data(), steps=3, accumulate=3, optimizer=functools.partial(torch.optim.AdamW, lr=0.1))
    assert torch.equal(vae.guide.unused, torch.ones(2, dtype=torch.float64))


# --- resume, failures, refusals
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_resumed_run_has_the_bits_of_an_unbroken_one(tmp_path) -> None:
    options = {"accumulate": 3, "compile": "export"}
    expected = pairs.pair(dropout=True)
    pairs.train(expected, tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):  # the sixth share of all, in the second step
        pairs.train(pairs.pair(dropout=True), tmp_path / "run", objective=pairs.interrupt_at(6), **options)
    resumed = pairs.pair(dropout=True, seed=1)
    pairs.train(resumed, tmp_path / "run", resume=True, **options)
    assert pairs.identical(pairs.weights(resumed), pairs.weights(expected))
    with pytest.raises(PplVaeError, match="accumulate 1 to go on"):
        pairs.train(pairs.pair(dropout=True), tmp_path / "run", resume=True, compile="export")


def test_a_nan_is_found_in_its_share() -> None:
    class Breaks(o.ELBO):
        def forward(self, vae, batch, total=None):
            bound = super().forward(vae, batch, total)
            bad = (batch[0] == x[17]).all(-1).any() & bool(vae.training)
            return o.Bound(bound.value, bound.surrogate * torch.where(bad, torch.nan, 1.0), bound.metrics)

    x = data()
    with pytest.raises(pv.errors.NonFiniteError, match=r"not finite at bound .* in epoch 1, step \d"):
        trained(pair(), x, Breaks(), steps=None, epochs=2, accumulate=4)


def whole(x: Tensor) -> None:
    z = pyro.sample("z", dist.Normal(0.0, 1.0))
    pyro.sample("x", dist.Normal(z, 1.0).expand(x.shape).to_event(x.dim()), obs=x)


def of_whole(x: Tensor) -> None:
    pyro.sample("z", dist.Normal(pyro.param("loc", torch.tensor(0.0)), 1.0))


def coupled(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z[..., None], 1.0).expand([len(x), x.shape[-1]]).to_event(1), obs=x)
    pyro.factor("together", -(z.sum(-1) ** 2))


def of_coupled(x: Tensor) -> None:
    loc = pyro.param("loc", torch.tensor(0.0))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc.expand(len(x)), 1.0))


def plain(vae, batch, total=None):
    return o.ELBO()(vae, batch, total)


def declared(vae, batch, total=None):
    return o.ELBO()(vae, batch, total)


declared.mean_over_data = True


@pytest.mark.parametrize(
    ("vae", "objective", "options", "words"),
    [
        (pair, None, {"accumulate": 0}, "accumulate=0"),
        (pair, None, {"accumulate": 1.5}, "accumulate=1.5"),
        (pair, None, {"accumulate": 14}, "which has 13 data"),
        (pair, o.BetaTCVAE(), {"accumulate": 2}, "under BetaTCVAE, expected an objective that is a mean over data"),
        (pair, o.IWAE(joint=True), {"accumulate": 2, "batch_size": 40}, "under IWAE"),
        (pair, plain, {"accumulate": 2}, "mean_over_data = True"),
        (lambda: pv.VAE(whole, of_whole), None, {"accumulate": 2, "batch_size": 40}, "no plate of the programs"),
        (lambda: pv.VAE(coupled, of_coupled), None, {"accumulate": 2, "batch_size": 40}, "'together', outside the"),
        (pair, None, {"precision": "bf16"}, "precision='bf16', expected one of full, bf16-mixed"),
        (pair, None, {"precision": "bf16-mixed"}, "parameters of float64"),
        (pair, None, {"distributed": True}, "torch.distributed.init_process_group"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refuses(vae, objective, options, words) -> None:
    with pytest.raises((CheckError, ArgumentError), match=words):
        trained(vae(), data(), objective, **options)


def test_takes_a_function_that_says_that_it_is_a_mean() -> None:
    one, other = (trained(pair(), data(), f, accumulate=2)[0] for f in (declared, None))
    assert distance(one, other) == 0


def test_refuses_wrapped_pairs() -> None:
    vae = pv.VAE(nn.DataParallel(pairs.Model()), pairs.Guide())
    with pytest.raises(ArgumentError, match=r"DataParallel at 'model', expected the bare module"):
        pairs.quiet(vae, pairs.dataset())


def test_jobs_in_shares_or_mixed_precision_are_trained_alone() -> None:
    for options, words in (({"accumulate": 2}, "in shares"), ({"precision": "bf16-mixed"}, "precision=bf16-mixed")):
        runs = [
            {"vae": pairs.pair(seed=s), "data": pairs.dataset(), "epochs": 1, "batch_size": 25, **options}
            for s in range(2)
        ]
        outcomes = fit_together(runs)
        assert all(words in outcome.alone for outcome in outcomes)
        alone = pairs.pair(seed=1)
        pairs.quiet(**(runs[1] | {"vae": alone}))
        assert pairs.identical(pairs.weights(alone), pairs.weights(runs[1]["vae"]))
