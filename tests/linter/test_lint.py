"""The linter as a whole: what stops it, what passes without a finding, and what it leaves as it was."""

import time
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

import ppl_vae as pv
from ppl_vae.errors import CheckError
from tests.catalogue import CASES
from tests.generated.compare import build, double
from tests.generated.generate import generate
from tests.linter.pairs import B, D, Defects, data, discrete, good_guide, good_model, normal, params, prior

illegal = Defects()
LEGAL = {}


def legal(build):
    LEGAL[build.__name__] = build
    return build


@illegal("does not run", mentions=(Path(__file__).name,))
def matrices_that_do_not_fit():
    net = nn.Linear(D + 1, D)

    def guide(x):
        with data(x):
            pyro.sample("z", normal(net(x), 1.0).to_event(1))

    return good_model, guide, params()


@illegal("refused", mentions=("'zz'",), pair=lambda: {"estimators": {"zz": pv.estimators.Pathwise()}})
def estimator_of_an_unknown_site():
    return good_model, good_guide(), params()


@pytest.mark.parametrize("defect", illegal.known, ids=str)
def test_finds(defect):
    defect.assert_found()


@legal
def plain_pair():
    return good_model, good_guide(), params()


@legal
def batch_of_one():
    return good_model, good_guide(), (torch.randn(1, D),)


@legal
def equal_rows():
    return good_model, good_guide(), (torch.zeros(B, D),)


@legal
def enumerated_in_the_guide():
    return discrete()


@legal
def enumerated_in_the_model():
    net = nn.Linear(D, D)

    def model(x):
        with data(x):
            k = pyro.sample("k", dist.Categorical(x.new_ones(2)), infer={"enumerate": "parallel"})
            z = prior(x)
            pyro.sample("x", normal(z + k[..., None], 1.0).to_event(1), obs=x)

    def guide(x):
        with data(x):
            pyro.sample("z", normal(net(x), 1.0).to_event(1))

    return model, guide, params()


@legal
def a_value_that_is_kept():
    """`pyro.deterministic` takes all of a value as one event by default, the axis of the data with it."""

    def model(x):
        with data(x):
            z = prior(x)
            pyro.deterministic("twice", 2 * z)
            pyro.sample("x", normal(z, 1.0).to_event(1), obs=x)

    return model, good_guide(), params()


@legal
def scores_by_request():
    model, guide, batch = discrete()
    return model, guide, batch, {"estimators": {"k": pv.estimators.ScoreFunction()}}


@legal
def ready_made():
    spec = pv.datasets.from_arrays(torch.bernoulli(torch.full((20, 6), 0.5))).spec
    model = pv.models.VAE(spec=spec, likelihood=pv.likelihoods.Bernoulli(spec))
    return model, pv.guides.Amortized(spec=spec, model=model), (torch.bernoulli(torch.full((B, 6), 0.5)),)


@pytest.mark.parametrize("name", LEGAL)
def test_passes(name):
    """No finding at all on a legal pair."""
    model, guide, batch, *pair = LEGAL[name]()
    report = pv.check(pv.VAE(model, guide, **(pair[0] if pair else {})), batch)
    assert report.clean, str(report)


@pytest.mark.filterwarnings("ignore:.*was not registered in the param store because requires_grad=False:UserWarning")
@pytest.mark.parametrize("case", CASES.values(), ids=str)
def test_no_false_alarm_on_the_catalogue(case):
    """Programs in the style of Pyro's examples pass; what warnings they get is written beside them."""
    pyro.set_rng_seed(1)
    model, guide, *batches = case.build()
    for batch in batches:
        report = pv.check(pv.VAE(model, guide, **case.pair), batch)
        assert {f.kind for f in report.warnings} <= case.warnings, str(report)


def test_all_findings_at_once():
    net = nn.Linear(D, D)

    def model(x):
        with data(x), poutine.scale(scale=0.5):
            pyro.sample("x", dist.Bernoulli(logits=prior(x, "zed")).to_event(1), obs=x)
            pyro.sample("w", normal(0.0, 1.0))

    def guide(x):
        with data(x):
            pyro.sample("zde", normal(net(x), 1.0).to_event(1))
            pyro.sample("w", normal(0.0, 1.0))

    with pytest.raises(CheckError) as caught:
        pv.check(pv.VAE(model, guide), torch.rand(B, D))
    kinds = {f.kind for f in caught.value.findings}
    assert {"misspelt site", "observed outside the support", "scale on one side"} <= kinds


def test_leaves_everything_as_it_was():
    class Guide(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(D, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, D))

        def forward(self, x):
            with data(x):
                pyro.sample("z", normal(self.net(x), 1.0).to_event(1))

    vae = pv.VAE(good_model, Guide())
    vae.guide.net[3].eval()
    pv.objectives.ELBO()(vae, params()).surrogate.backward()
    grads = {n: p.grad.clone() for n, p in vae.named_parameters()}
    modes = {n: m.training for n, m in vae.named_modules()}
    buffers = {n: b.clone() for n, b in vae.named_buffers()}
    (x,) = params()
    state = torch.get_rng_state()
    pv.check(vae, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert {n: m.training for n, m in vae.named_modules()} == modes
    for name, p in vae.named_parameters():
        assert torch.equal(p.grad, grads[name])
    for name, b in vae.named_buffers():
        assert torch.equal(b, buffers[name])


def test_is_quick():
    """Well under a second for a fully connected pair on 784 pixels."""
    encoder, decoder = nn.Linear(784, 40), nn.Linear(20, 784)

    def model(x):
        with data(x):
            z = pyro.sample("z", normal(x.new_zeros(20), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        with data(x):
            loc, scale = encoder(x).chunk(2, -1)
            pyro.sample("z", normal(loc, scale.exp()).to_event(1))

    x = torch.bernoulli(torch.full((128, 784), 0.5))
    pv.check(pv.VAE(model, guide), x)
    start = time.process_time()
    pv.check(pv.VAE(model, guide), x)
    assert time.process_time() - start < 1


def test_report_tells_estimators_and_particles():
    model, guide, batch = discrete()
    report = pv.check(pv.VAE(model, guide), batch)
    assert report.estimators["k"][0] == "Enumerate"
    assert "finite support" in report.estimators["k"][1]
    assert report.data_plates == {"data"}
    model, guide, *batches = CASES["convolutions_and_batch_norm"].build()
    report = pv.check(pv.VAE(model, guide), batches[0])
    assert report.strategy == "tile"
    assert "conv" in report.reasons["plate"]


def test_one_verdict_whatever_was_drawn_before():
    """A rule that draws could find another pair's weakness by other draws: the report does not hang on the caller's."""
    reports = set()
    with double():
        pair = build(generate(4))  # by other draws, its guide ignores the data
        for seed in range(6):
            pyro.set_rng_seed(seed)
            try:
                reports.add(str(pv.check(pair["vae"], pair["batch"], pair["objective"])))
            except CheckError as error:
                reports.add(str(error))
    assert len(reports) == 1
