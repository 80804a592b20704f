"""The linter: a table of legal and illegal pairs by name, in the spirit of Pyro's test of valid models."""

import time

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoDiagonalNormal, AutoNormal, AutoNormalMessenger
from torch import nn

import ppl_vae as pv
from ppl_vae.errors import CheckError
from tests.catalogue import CASES

B, D = 5, 3
normal = dist.Normal


def params():
    return (torch.randn(B, D),)


def prior(x, name="z"):
    return pyro.sample(name, normal(x.new_zeros(D), 1.0).to_event(1))


def data(x):
    return pyro.plate("data", x.shape[0])


def good_model(x):
    with data(x):
        z = prior(x)
        pyro.sample("x", normal(z, 1.0).to_event(1), obs=x)


def good_guide():
    net = nn.Linear(D, D)

    def guide(x):
        with data(x):
            pyro.sample("z", normal(net(x), 1.0).to_event(1))

    return guide


ILLEGAL: dict[str, tuple] = {}
LEGAL: dict[str, tuple] = {}


def illegal(kind, severity="error", mentions=(), **known):
    def enter(build):
        ILLEGAL[build.__name__] = (build, kind, severity, mentions, known)
        return build

    return enter


def legal(build):
    LEGAL[build.__name__] = build
    return build


@illegal("misspelt site", mentions=("'latnet'", "'latent'"))
def misspelt_site():
    net = nn.Linear(D, D)

    def model(x):
        with data(x):
            pyro.sample("x", normal(prior(x, "latent"), 1.0).to_event(1), obs=x)

    def guide(x):
        with data(x):
            pyro.sample("latnet", normal(net(x), 1.0).to_event(1))

    return model, guide, params()


@illegal("site in the model only", mentions=("'w'",))
def latent_in_the_model_only():
    def model(x):
        w = prior(x, "w")
        with data(x):
            pyro.sample("x", normal(prior(x) + w, 1.0).to_event(1), obs=x)

    return model, good_guide(), params()


@illegal("site in the guide only", mentions=("'extra_of_guide'", "is_auxiliary"))
def latent_in_the_guide_only():
    net = nn.Linear(D, D)

    def guide(x):
        with data(x):
            e = pyro.sample("extra_of_guide", normal(0.0, 1.0))
            pyro.sample("z", normal(net(x) + e[..., None], 1.0).to_event(1))

    return good_model, guide, params()


@illegal("observed site in the guide")
def guide_draws_what_is_observed():
    net = nn.Linear(D, D)

    def guide(x):
        with data(x):
            pyro.sample("z", normal(net(x), 1.0).to_event(1))
            pyro.sample("x", normal(net(x), 1.0).to_event(1))

    return good_model, guide, params()


@illegal("shape", mentions=("(3,)", "(2,)"))
def latent_sizes_differ():
    net = nn.Linear(D, 2)

    def model(x):
        with data(x):
            z = prior(x)
            pyro.sample("x", normal(z.sum(-1, True), 1.0).expand([B, D]).to_event(1), obs=x)

    def guide(x):
        with data(x):
            pyro.sample("z", normal(net(x), 1.0).to_event(1))

    return model, guide, params()


@illegal("shape", mentions=("does not run", "(2,)"))
def latent_sizes_differ_so_that_the_model_fails():
    net, decoder = nn.Linear(D, 2), nn.Linear(D, D)

    def model(x):
        with data(x):
            pyro.sample("x", normal(decoder(prior(x)), 1.0).to_event(1), obs=x)

    def guide(x):
        with data(x):
            pyro.sample("z", normal(net(x), 1.0).to_event(1))

    return model, guide, params()


@illegal("observed outside the support", mentions=("Categorical", "0 to 7"))
def labels_out_of_range():
    net = nn.Linear(D, 3)

    def model(x, y):
        with data(x):
            pyro.sample("y", dist.Categorical(logits=net(prior(x))), obs=y)

    def guide(x, y):
        with data(x):
            pyro.sample("z", normal(x + pyro.param("b", torch.zeros(D)), 1.0).to_event(1))

    return model, guide, (torch.randn(B, D), torch.tensor([0, 1, 2, 7, 0]))


@illegal("data", mentions=("1 missing value (NaN) in x, the first in datum 0 at [0]", "mask"))
def missing_values_as_nan():
    x = torch.randn(B, D)
    x[0, 0] = torch.nan

    def guide(x):
        with data(x):
            pyro.sample("z", normal(pyro.param("a", torch.ones(D)) * x.nan_to_num(), 1.0).to_event(1))

    return good_model, guide, (x,)


@illegal("site in the model only", mentions=("obs=",))
def observation_forgotten():
    def model(x):
        with data(x):
            pyro.sample("x", normal(prior(x), 1.0).to_event(1))

    return model, good_guide(), params()


@illegal("undeclared batch axis", "warning", mentions=("to_event(1)",))
def to_event_forgotten():
    net = nn.Linear(D, D)

    def model(x):
        with pyro.plate("data", x.shape[0], dim=-2):
            z = pyro.sample("z", normal(x.new_zeros(D), 1.0).expand([x.shape[0], D]))
            pyro.sample("x", normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0], dim=-2):
            pyro.sample("z", normal(net(x), 1.0))

    return model, guide, params()


@illegal("does not run", mentions=("test_lint.py",))
def matrices_that_do_not_fit():
    net = nn.Linear(D + 1, D)

    def guide(x):
        with data(x):
            pyro.sample("z", normal(net(x), 1.0).to_event(1))

    return good_model, guide, params()


@illegal("missing data plate", mentions=("pyro.plate", "5"))
def no_plate_at_all():
    net = nn.Linear(D, D)

    def model(x):
        z = pyro.sample("z", normal(x.new_zeros(x.shape[0], D), 1.0).to_event(1))
        pyro.sample("x", normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.sample("z", normal(net(x), 1.0).to_event(1))

    return model, guide, params()


@illegal("to_event swallows the batch")
def event_over_the_batch():
    net = nn.Linear(D, D)

    def model(x):
        z = pyro.sample("z", normal(x.new_zeros(x.shape[0], D), 1.0).to_event(2))
        pyro.sample("x", normal(z, 1.0).to_event(2), obs=x)

    def guide(x):
        pyro.sample("z", normal(net(x), 1.0).to_event(2))

    return model, guide, params()


@illegal("to_event swallows the batch", "warning", mentions=("N/B",))
def minibatch_scale_missing_for_global_latents():
    def model(x):
        w = prior(x, "w")
        pyro.sample("x", normal(w, 1.0).expand(x.shape).to_event(2), obs=x)

    def guide(x):
        pyro.sample("w", normal(pyro.param("loc", torch.zeros(D)), 1.0).to_event(1))

    return model, guide, params()


@illegal("sequential data plate", "warning")
def plate_over_data_as_a_loop():
    def model(x):
        w = prior(x, "w")
        for i in pyro.plate("data", x.shape[0]):
            pyro.sample(f"x_{i}", normal(w, 1.0).to_event(1), obs=x[i])

    def guide(x):
        pyro.sample("w", normal(pyro.param("loc", torch.zeros(D)), 1.0).to_event(1))

    return model, guide, params()


@illegal("plates")
def plate_in_the_model_only():
    def model(x):
        with data(x):
            z = pyro.sample("z", normal(0.0, 1.0))
            pyro.sample("x", normal(z[..., None], 1.0).expand([D]).to_event(1), obs=x)

    def guide(x):
        pyro.sample("z", normal(pyro.param("loc", torch.zeros(())), 1.0))

    return model, guide, params()


@illegal("support", mentions=("Gamma", "greater than"))
def guide_leaves_the_support():
    net = nn.Linear(D, D)

    def model(x):
        with data(x):
            z = pyro.sample("z", dist.Gamma(x.new_ones(D), 1.0).to_event(1))
            pyro.sample("x", normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with data(x):
            pyro.sample("z", normal(net(x) - 1, 1.0).to_event(1))

    return model, guide, params()


@illegal("support", "warning")
def guide_cannot_reach_the_prior():
    net = nn.Linear(D, D)

    def guide(x):
        with data(x):
            pyro.sample("z", dist.LogNormal(net(x), 1.0).to_event(1))

    return good_model, guide, params()


@illegal("observed outside the support", mentions=("Bernoulli", "inariz"))
def grey_pixels_under_a_bernoulli():
    def model(x):
        with data(x):
            pyro.sample("x", dist.Bernoulli(logits=prior(x)).to_event(1), obs=x)

    return model, good_guide(), (torch.rand(B, D),)


@illegal("observed outside the support", "warning")
def grey_pixels_with_validation_off():
    def model(x):
        with data(x):
            pyro.sample("x", dist.Bernoulli(logits=prior(x), validate_args=False).to_event(1), obs=x)

    return model, good_guide(), (torch.rand(B, D),)


@illegal("observed outside the support", mentions=("Poisson", "-1"))
def negative_counts():
    def model(x):
        with data(x):
            pyro.sample("x", dist.Poisson(prior(x).exp()).to_event(1), obs=x)

    return model, good_guide(), (-torch.ones(B, D),)


@illegal("guide ignores the data")
def guide_ignores_x():
    def guide(x):
        loc = pyro.param("loc", torch.zeros(D))
        with data(x):
            pyro.sample("z", normal(loc, 1.0).to_event(1))

    return good_model, guide, params()


@illegal("guide ignores the data", "warning")
def parameters_per_row():
    def guide(x):
        loc = pyro.param("loc", lambda: torch.randn(B, D))
        with data(x):
            pyro.sample("z", normal(loc, 1.0).to_event(1))

    return good_model, guide, params()


@illegal("one batch size", "warning")
def batch_size_written_into_the_program():
    def model(x):
        with pyro.plate("data", B):
            pyro.sample("x", normal(prior(x), 1.0).to_event(1), obs=x)

    net = nn.Linear(D, D)

    def guide(x):
        with pyro.plate("data", B):
            pyro.sample("z", normal(net(x), 1.0).to_event(1))

    return model, guide, params()


@illegal("no gradient", mentions=("unused",))
def unused_layer():
    class Guide(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.unused = nn.Linear(D, D), nn.Linear(D, D)

        def forward(self, x):
            with data(x):
                pyro.sample("z", normal(self.net(x), 1.0).to_event(1))

    return good_model, Guide(), params()


@illegal("no gradient")
def detached_encoder():
    net = nn.Linear(D, D)

    def guide(x):
        with data(x):
            pyro.sample("z", normal(net(x).detach(), 1.0).to_event(1))

    return good_model, guide, params()


@illegal("no gradient", mentions=("pyro.param 'idle'", "test_lint.py"))
def unused_param():
    net = nn.Linear(D, D)

    def guide(x):
        pyro.param("idle", torch.zeros(2))
        with data(x):
            pyro.sample("z", normal(net(x), 1.0).to_event(1))

    return good_model, guide, params()


@illegal("autoguide over local latents", mentions=("derived",))
def autonormal_over_local_latents():
    return good_model, AutoNormal(good_model), params()


@illegal("autoguide over local latents")
def joint_autoguide_over_local_latents():
    return good_model, AutoDiagonalNormal(good_model), params()


@illegal("autoguide over local latents")
def guide_messenger_over_local_latents():
    return good_model, AutoNormalMessenger(good_model), params()


@illegal("scale on one side", mentions=("0.1",))
def beta_in_the_model_only():
    def model(x):
        with data(x):
            with poutine.scale(scale=0.1):
                z = prior(x)
            pyro.sample("x", normal(z, 1.0).to_event(1), obs=x)

    return model, good_guide(), params()


@illegal("mask on one side")
def mask_in_the_guide_only():
    net = nn.Linear(D, D)

    def guide(x):
        with data(x), poutine.mask(mask=torch.arange(x.shape[0]) < 2):
            pyro.sample("z", normal(net(x), 1.0).to_event(1))

    return good_model, guide, params()


@illegal("minibatch scale by hand", "warning")
def scaled_by_hand():
    net = nn.Linear(D, D)

    def model(x):
        w = prior(x, "w")
        with data(x):
            z = prior(x)
            with poutine.scale(scale=100 / x.shape[0]):
                pyro.sample("x", normal(z + w, 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.sample("w", normal(pyro.param("loc", torch.zeros(D)), 1.0).to_event(1))
        with data(x):
            pyro.sample("z", normal(net(x), 1.0).to_event(1))

    return model, guide, params()


@illegal("mean-field assumption", "warning", objective=lambda: pv.objectives.ELBO(kl="analytic"))
def analytic_kl_of_a_bottom_up_guide():
    lower, upper = nn.Linear(D, D), nn.Linear(D, D)

    def model(x):
        with data(x):
            z2 = prior(x, "z2")
            z1 = pyro.sample("z1", normal(z2, 1.0).to_event(1))
            pyro.sample("x", normal(z1, 1.0).to_event(1), obs=x)

    def guide(x):
        with data(x):
            z1 = pyro.sample("z1", normal(lower(x), 1.0).to_event(1))
            pyro.sample("z2", normal(upper(z1), 1.0).to_event(1))

    return model, guide, params()


@illegal("discrete site without an estimator", mentions=("enumerate",))
def discrete_latent_in_the_model_only():
    def model(x):
        with data(x):
            k = pyro.sample("k", dist.Categorical(torch.ones(2)))
            pyro.sample("x", normal(prior(x) + k[..., None], 1.0).to_event(1), obs=x)

    return model, good_guide(), params()


def _discrete():
    net = nn.Linear(D, 2)
    locs = nn.Parameter(torch.randn(2, D))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.locs = locs

        def forward(self, x):
            with data(x):
                k = pyro.sample("k", dist.Categorical(x.new_ones(2)))
                pyro.sample("x", normal(self.locs[k], 1.0).to_event(1), obs=x)

    def guide(x):
        with data(x):
            pyro.sample("k", dist.Categorical(logits=net(x)))

    return Model(), guide, params()


@illegal(
    "discrete site without an estimator",
    mentions=("Pathwise",),
    pair=lambda: {"estimators": {"k": pv.estimators.Pathwise()}},
)
def pathwise_at_a_discrete_site():
    return _discrete()


@illegal("refused", mentions=("'zz'",), pair=lambda: {"estimators": {"zz": pv.estimators.Pathwise()}})
def estimator_of_an_unknown_site():
    return good_model, good_guide(), params()


@illegal(
    "objective",
    pair=lambda: {"estimators": {"*": pv.estimators.StickingTheLanding()}},
    objective=lambda: pv.objectives.ELBO(kl="analytic"),
)
def sticking_the_landing_with_analytic_kl():
    return good_model, good_guide(), params()


@illegal("not finite")
def logarithm_of_zero():
    def model(x):
        with data(x):
            pyro.sample("x", normal(prior(x) + x.new_zeros(()).log(), 1.0).to_event(1), obs=x)

    return model, good_guide(), params()


@illegal("no parameters", "warning")
def nothing_to_train():
    def guide(x):
        with data(x):
            pyro.sample("z", normal(x, 1.0).to_event(1))

    return good_model, guide, params()


def run_check(build, known):
    pyro.set_rng_seed(0)
    model, guide, batch = build()
    vae = pv.VAE(model, guide, **known.get("pair", dict)())
    objective = known["objective"]() if "objective" in known else None
    return vae, batch, objective


@pytest.mark.parametrize("name", ILLEGAL)
def test_finds(name):
    """Each defect is found, named, placed in the user's file and given a fix; errors raise, warnings return."""
    build, kind, severity, mentions, known = ILLEGAL[name]
    vae, batch, objective = run_check(build, known)
    if severity == "error":
        with pytest.raises(CheckError) as caught:
            pv.check(vae, batch, objective)
        findings, told = caught.value.findings, str(caught.value)
    else:
        report = pv.check(vae, batch, objective)
        findings, told = report.warnings, str(report)
    found = [f for f in findings if f.kind == kind and f.severity == severity]
    assert found, told
    assert all(f.why and f.fix and f.what and f.where for f in findings)
    for part in mentions:
        assert part in told
    if "site" in kind:
        assert "test_lint.py:" in told


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
    return _discrete()


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
    model, guide, batch = _discrete()
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
    model, guide, batch = _discrete()
    report = pv.check(pv.VAE(model, guide), batch)
    assert report.estimators["k"][0] == "Enumerate"
    assert "finite support" in report.estimators["k"][1]
    assert report.data_plates == {"data"}
    model, guide, *batches = CASES["convolutions_and_batch_norm"].build()
    report = pv.check(pv.VAE(model, guide), batches[0])
    assert report.strategy == "tile"
    assert "conv" in report.reasons["plate"]


def test_full_batch_may_be_guided_row_by_row():
    report = pv.check(pv.VAE(good_model, AutoNormal(good_model)), params(), total=B)
    assert "autoguide over local latents" in {f.kind for f in report.warnings}


def test_a_guide_whose_weights_start_at_zero_reads_the_data_all_the_same():
    class Zero(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 2)
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

        def forward(self, x):
            with pyro.plate("data", x.shape[0]):
                pyro.sample("z", dist.Normal(self.head(x), 1.0).to_event(1))

    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.decode = nn.Linear(2, 3)

        def forward(self, x):
            with pyro.plate("data", x.shape[0]):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(self.decode(z), 1.0).to_event(1), obs=x)

    vae = pv.VAE(Decoder(), Zero())
    before = {name: p.clone() for name, p in vae.named_parameters()}
    report = pv.check(vae, torch.randn(6, 3))
    assert "guide ignores the data" not in {finding.kind for finding in report.warnings}
    assert all(torch.equal(p, before[name]) for name, p in vae.named_parameters())
