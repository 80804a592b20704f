"""Half precision: what is added up is right to the rounding of its terms, and every verb takes such a pair.

Oracle: the same parameters, data and draws in float64. With u = 2⁻⁸ (bfloat16) or 2⁻¹¹ (float16), the spacing of
numbers next to 1, an element of a log-density is known to a few u of its size, and nothing after it adds an error of
that order: sums over 4,096 dimensions, 1,000 particles or 2,000 data are held to 4 u of the sum of the sizes of their
terms, where rounding at each addition is off by tens of nats, and the evidence to 4 u of its own log-weights.
"""

import functools
import io
import json
import random
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.__main__ import main
from ppl_vae.core.half import array_of, wide_log_prob
from ppl_vae.errors import CheckError
from tests import bits
from tests.training.pairs import dataset, identical, interrupt_at, pair, quiet, rows, weights

HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}
dtypes = pytest.mark.parametrize("dtype", HALF.values(), ids=HALF)


class Model(nn.Module):
    """Many dimensions, all of a datum's own latent."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.linspace(-1, 1, dimensions))

    def forward(self, x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), x.new_ones(())))
            loc = z.unsqueeze(-1) * self.slope
            pyro.sample("x", dist.Normal(loc, torch.ones_like(loc)).to_event(1), obs=x)


class Guide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(0.25))

    def forward(self, x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(self.shift + 0 * x[..., 0], torch.ones_like(x[..., 0])))


def log_weights(x, z, slope, shift):
    """In float64, term by term: the log-weights, and the sum of the sizes of the terms that they are made of."""
    x, z, slope, shift = (t.double() for t in (x, z, slope, shift))
    one = torch.ones((), dtype=torch.float64)
    of_x = dist.Normal(z.unsqueeze(-1) * slope, one).log_prob(x)
    of_z, q = dist.Normal(0 * one, one).log_prob(z), dist.Normal(shift, one).log_prob(z)
    return of_x.sum(-1) + of_z - q, of_x.abs().sum(-1) + of_z.abs() + q.abs()


@dtypes
@pytest.mark.parametrize(("dimensions", "particles", "data"), [(4096, 2, 3), (1, 1000, 2), (8, 1, 2000), (64, 200, 40)])
def test_sums_are_right_to_the_rounding_of_their_terms(dtype, dimensions, particles, data):
    u = torch.finfo(dtype).eps
    vae = pv.VAE(Model(dimensions), Guide()).to(dtype)
    x = torch.randn(data, dimensions).to(dtype)
    with torch.no_grad():
        t = pv.terms(vae, x, particles=particles, total=data)
        exact, size = log_weights(x, t.guide["z"].value, vae.model.slope, vae.guide.shift)
        assert t.log_weights.dtype == torch.float32
        assert ((t.log_weights.double() - exact).abs() <= 4 * u * size).all()
        assert abs(float(t.elbo) - float(exact.mean())) <= 4 * u * float(size.mean())
        # given its log-weights, the evidence of any number of particles is right to float32's rounding
        for k in (1, particles):
            made, lw = pv.objectives.iwae.log_mean_exp(t.log_weights[:k]), t.log_weights[:k].double()
            expected = lw.logsumexp(0) - np.log(k)
            torch.testing.assert_close(made.double(), expected, rtol=1e-5, atol=1e-5)
        bound = pv.objectives.IWAE(num_particles=particles)(vae, x, total=data)
        assert bound.value.dtype == torch.float32


@dtypes
def test_evidence_of_a_thousand_particles(dtype):
    """`evaluate` in half precision against exact evidence in float64, within 5 standard errors and the rounding.

    The evidence of x = (x₁, x₂) is N(x; 0, I + s sᵀ). 40 data, 1,000 particles, seeded; a false alarm has probability
    6e-7 each, beside a rounding of 4 u of the sum of sizes of the terms of a log-weight.
    """
    vae = pv.VAE(Model(2), Guide()).to(dtype)
    x = torch.randn(40, 2).to(dtype)
    table = pv.evaluate(vae, x, num_particles=1000).table
    s = vae.model.slope.detach().double()
    exact = dist.MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double() + s.outer(s)).log_prob(x.double())
    error = np.abs(-table["nll"].to_numpy() - exact.numpy())
    assert (error <= 5 * table["nll_se"].to_numpy() + 4 * torch.finfo(dtype).eps * 6).all()


@dtypes
def test_plain_sums_would_drift(dtype):
    """The test above can fail: added up in half precision, 4,096 elements are off by more than it allows."""
    x = torch.randn(4096).to(dtype)
    fn = dist.Normal(torch.zeros_like(x), torch.ones_like(x)).to_event(1)
    exact = dist.Normal(0.0, 1.0).log_prob(x.double()).sum()
    drifting = functools.reduce(torch.add, fn.base_dist.log_prob(x))
    size = 4 * torch.finfo(dtype).eps * float(exact.abs())
    assert abs(float(wide_log_prob(fn, x) - exact)) < size / 8
    assert abs(float(drifting - exact)) > size


@dtypes
@pytest.mark.parametrize("how", ["off", pytest.param("export", marks=pytest.mark.slow)])
def test_a_pair_trains_is_kept_and_goes_on_to_the_same_bits(dtype, how, tmp_path):
    options = {"epochs": 2, "batch_size": 16, "keep": "last", "compile": how}
    options |= {"optimizer": functools.partial(torch.optim.Adam, lr=0.01, eps=1e-4)}
    whole, ours = pair(norm=True).to(dtype), pair(norm=True).to(dtype)
    expected = quiet(whole, dataset(), pv.objectives.ELBO(beta=interrupt_at(99).beta), **options)
    with pytest.raises(KeyboardInterrupt):
        quiet(pair(norm=True).to(dtype), dataset(), interrupt_at(5), directory=tmp_path, **options)
    again = pv.objectives.ELBO(beta=interrupt_at(99).beta)
    history = quiet(ours, dataset(), again, directory=tmp_path, resume=True, **options)
    assert identical(weights(ours), weights(whole))
    assert rows(history) == rows(expected)
    assert all(p.dtype == dtype for p in ours.parameters())
    loaded = pv.Run.load(tmp_path, vae=pair(norm=True).to(dtype)).vae
    assert identical(weights(loaded), weights(ours))
    assert history["train/bound"][-1] > history["train/bound"][0]


@dtypes
def test_posteriors_and_their_kin(dtype, tmp_path):
    vae, x = pair().to(dtype), dataset().validation
    found = pv.posterior(vae, x[:4], draws=20)
    assert found.posterior["z"].dtype == np.float32
    assert np.isfinite(found.posterior["z"].to_numpy()).all()
    found.to_netcdf(tmp_path / "posterior.nc")
    drawn = pv.generate(vae, 3)
    assert drawn.shape == (3, 6)
    pv.gradients(vae, x[:8].batch()[0], samples=10)
    assert array_of(torch.ones(2, dtype=dtype)).dtype == np.float32


def test_an_eps_that_underflows_is_told_with_what_to_set():
    half = pair().to(torch.float16)
    before = weights(half)
    for optimizer in (torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.NAdam):
        with pytest.raises(
            CheckError, match=r"eps=1e-08 and parameters of float16 \('(model|guide)\..* Set eps=1e-4, make the pair bf"
        ):
            quiet(half, dataset(), optimizer=functools.partial(optimizer, lr=0.01), epochs=1)
    assert identical(weights(half), before)
    quiet(half, dataset(), optimizer=functools.partial(torch.optim.SGD, lr=0.01), epochs=1)
    quiet(half, dataset(), optimizer=functools.partial(torch.optim.Adam, lr=0.01, eps=1e-4), epochs=1)
    quiet(pair().to(torch.bfloat16), dataset(), epochs=1)


VERBS = (
    ["evaluate", "num_particles=5"],
    ["posterior", "draws=6", "data=5"],
    ["generate", "n=3"],
    ["check"],
    ["export"],
)
SHORT = "trainer.epochs=1 trainer.batch_size=200 trainer.compile=off results.posterior=false results.figures=false"
CANNOT = ("cannot be exported", "has no p(z) to draw from", "export")
"""What pairs of any dtype say."""


def call(words):
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        return main(words), said.getvalue()


@pytest.mark.slow
@dtypes
def test_any_family_objective_estimator_and_likelihood_with_every_verb(dtype, tmp_path, monkeypatch):
    """A random few of all that `conf/` has; all 68 were tried in both dtypes when this was written."""
    monkeypatch.chdir(tmp_path)
    bits.data(Path())
    kinds = ("models and guides", "objectives", "estimators", "likelihoods")
    draw = random.Random(str(dtype))
    for kind in kinds:
        words = draw.choice([words for k, words in bits.configurations() if k == kind])
        name = str(dtype).removeprefix("torch.")
        run = f"{kind[:3]}"
        eps = ["optimizer.eps=1e-4"] if dtype == torch.float16 else []
        told = ["train", *bits.whole(words), *SHORT.split(), *eps, f"dataset.dtype={name}", f"hydra.run.dir={run}"]
        code, said = call([*told, "results.num_particles=4"])
        assert code == 0, (told, said)
        for verb in VERBS:
            code, said = call([verb[0], f"run={run}", *verb[1:], "format=json"])
            assert code == 0 or any(why in said for why in CANNOT), (told, verb, said)
            if verb[0] == "evaluate" and "deterministic" not in " ".join(words):
                assert json.loads(said.splitlines()[-1])["elbo"] is not None
