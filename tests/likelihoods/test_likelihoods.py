"""Every likelihood is a density: it adds up to one, agrees with scipy, keeps its digits at the extremes."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch

from ppl_vae import likelihoods
from ppl_vae.datasets.spec import ColumnKind, Spec
from ppl_vae.distributions.continuous_bernoulli import ContinuousBernoulliLogits
from ppl_vae.distributions.counts import NegativeBinomialLog, PoissonLog, ZeroInflatedNegativeBinomialLog
from ppl_vae.distributions.integers import BinomialLogits, DiscretizedLogisticLevels
from ppl_vae.errors import DataError, PplVaeError
from ppl_vae.likelihoods.base import REMEDY

LEVELS = 17
MEAN = {"binary": 0.3, "integers": 5.0, "counts": 4.0, "unit": 0.3, "positive": 2.0, "real": -1.5}
LIKELIHOODS = [
    (likelihoods.Bernoulli, "binary"),
    (likelihoods.ContinuousBernoulli, "unit"),
    (likelihoods.Beta, "unit"),
    (likelihoods.Gamma, "positive"),
    (likelihoods.LogNormal, "positive"),
    (likelihoods.Normal, "real"),
    (likelihoods.Laplace, "real"),
    (likelihoods.StudentT, "real"),
    (likelihoods.Categorical, "integers"),
    (likelihoods.Binomial, "integers"),
    (likelihoods.DiscretizedLogistic, "integers"),
    (likelihoods.Poisson, "counts"),
    (likelihoods.NegativeBinomial, "counts"),
    (likelihoods.ZeroInflatedNegativeBinomial, "counts"),
]
named = pytest.mark.parametrize(("kind", "support"), LIKELIHOODS, ids=lambda v: getattr(v, "__name__", v))


def spec_of(support: str, shape: tuple[int, ...] = (), mean: bool = False) -> Spec:
    if support == "mixed":
        return Spec((1,), support, columns=(ColumnKind("count"),))
    value = torch.full(shape, MEAN[support]) if mean else None
    return Spec(shape=shape, support=support, levels=LEVELS if support == "integers" else None, mean=value)


def total_mass(px, support: str) -> torch.Tensor:
    """The density of a scalar distribution (batch,), summed or integrated over its support."""
    if support in ("binary", "integers"):
        return px.log_prob(torch.arange(2 if support == "binary" else LEVELS).double()[:, None]).exp().sum(0)
    if support == "counts":
        return px.log_prob(torch.arange(20_000).double()[:, None]).exp().sum(0)
    # Map the line or half-line to (-30, 30), where the trapezoidal rule converges geometrically.
    t = torch.linspace(-30, 30, 60_001, dtype=torch.float64)[:, None]
    x, slope = {
        "real": (t.sinh(), t.cosh()),
        "positive": (t.exp(), t.exp()),
        "unit": (t.sigmoid(), t.sigmoid() * (-t).sigmoid()),
    }[support]
    return torch.trapezoid(px.log_prob(x).exp() * slope, t, dim=0)


@named
def test_densities_integrate_to_one(kind, support):
    likelihood = kind(spec_of(support)).double()
    params = 1 + 0.5 * torch.randn(40, likelihood.num_params, dtype=torch.float64)
    torch.testing.assert_close(total_mass(likelihood(params), support), torch.ones(40).double(), atol=2e-6, rtol=0)


@named
def test_event_shape_and_leading_axes(kind, support):
    likelihood = kind(spec_of(support, (3, 5, 4)))
    px = likelihood(torch.randn(7, 2, likelihood.num_params, 3, 5, 4))
    assert (px.batch_shape, px.event_shape) == ((7, 2), (3, 5, 4))
    x = px.sample()
    assert px.log_prob(x).shape == (7, 2)
    assert px.expand([6, 7, 2]).log_prob(x).shape == (6, 7, 2)
    assert px.support.check(x).all()


@named
def test_sample_mean_is_the_mean(kind, support):
    """20,000 draws, tolerance 5 standard errors: false alarm below 1e-5 over all cases."""
    likelihood = kind(spec_of(support))
    px = likelihood(0.5 * torch.randn(8, likelihood.num_params))
    x = px.sample((20_000,)).double()
    assert ((x.mean(0) - _mean(px, support)).abs() < 5 * x.std(0) / math.sqrt(20_000) + 1e-6).all()


def _mean(px, support: str) -> torch.Tensor:
    if support == "integers":  # Categorical has no mean of its own
        k = torch.arange(LEVELS).double()[:, None]
        return (k * px.log_prob(k).exp()).sum(0).double()
    return px.mean.double()


@named
def test_fresh_bias_gives_the_training_mean(kind, support):
    likelihood = kind(spec_of(support, (2,), mean=True))
    bias = likelihood.initial_bias()
    if kind is likelihoods.Categorical:
        assert bias is None
        return
    assert bias.shape == (likelihood.num_params, 2)
    mean = _mean(likelihood(bias).base_dist, support)
    zero_inflated = 1 / (1 + math.exp(-2)) if kind is likelihoods.ZeroInflatedNegativeBinomial else 1.0
    tolerance = 0.06 if kind is likelihoods.DiscretizedLogistic else 1e-4
    torch.testing.assert_close(
        mean, torch.full((2,), MEAN[support] * zero_inflated).double(), rtol=tolerance, atol=1e-4
    )


@named
def test_extreme_parameters_stay_finite_in_float32(kind, support):
    """Values and gradients of the log density, for raw network outputs up to ±80."""
    likelihood = kind(spec_of(support))
    params = torch.cartesian_prod(*[torch.tensor([-80.0, -20.0, 0.0, 20.0, 80.0])] * min(2, likelihood.num_params))
    params = params.reshape(len(params), -1)[:, torch.arange(likelihood.num_params) % 2].requires_grad_()
    x = {
        "binary": [0.0, 1.0],
        "integers": [0.0, 8.0, 16.0],
        "counts": [0.0, 1.0, 500.0],
        "unit": [0.01, 0.5, 0.99],
        "positive": [0.1, 1.0, 50.0],
        "real": [-50.0, 0.0, 50.0],
    }[support]
    density = likelihood(params).log_prob(torch.tensor(x)[:, None])
    assert density.isfinite().all()
    (gradient,) = torch.autograd.grad(density.sum(), params)
    assert gradient.isfinite().all()


@named
def test_unfit_support_is_refused_with_the_fix(kind, support):
    for other in set(REMEDY) - set(kind.accepts):
        with pytest.raises(DataError, match="likelihood=auto") as refusal:
            kind(spec_of(other))
        assert REMEDY[other] in str(refusal.value)


def test_bernoulli_on_grey_pixels_names_binarization():
    with pytest.raises(DataError, match=r"binary.*'unit'.*dataset\.binarization=dynamic"):
        likelihoods.Bernoulli(Spec(shape=(1, 8, 8), support="unit"))


@pytest.mark.parametrize("support", MEAN)
def test_auto_fits_every_support(support):
    likelihood = likelihoods.likelihood_for(spec_of(support, (4,), mean=True))
    assert support in likelihood.accepts


def test_a_scale_is_positive():
    with pytest.raises(PplVaeError, match="value=0"):
        likelihoods.Normal(Spec((4,), "real"), value=0.0)


SCALES = ["network", "element", "shared", "fixed"]


@pytest.mark.parametrize("mode", SCALES)
@pytest.mark.parametrize("kind", [likelihoods.Normal, likelihoods.Laplace, likelihoods.StudentT])
def test_scale_modes(kind, mode):
    likelihood = kind(Spec(shape=(3, 2), support="real", mean=torch.zeros(3, 2)), scale=mode, value=0.3)
    assert likelihood.num_params == (2 if mode == "network" else 1)
    learned = sum(p.numel() for p in likelihood.parameters())
    assert learned == {"network": 0, "element": 6, "shared": 1, "fixed": 0}[mode]
    px = likelihood(likelihood.initial_bias().float())
    torch.testing.assert_close(px.base_dist.scale, torch.full((3, 2), 0.3), atol=1e-5, rtol=0)


def test_fixed_normal_is_squared_error():
    likelihood = likelihoods.Normal(Spec(shape=(4,), support="unit"), scale="fixed", value=1.0)
    x, loc = torch.rand(5, 4), torch.rand(5, 4)
    expected = -0.5 * ((x - loc) ** 2).sum(-1) - 2 * math.log(2 * math.pi)
    torch.testing.assert_close(likelihood(loc.unsqueeze(1)).log_prob(x), expected)


def test_student_t_learns_its_degrees_of_freedom():
    likelihood = likelihoods.StudentT(Spec(shape=(), support="real"), df=7.0, learn_df=True)
    likelihood(torch.zeros(1)).log_prob(torch.tensor(3.0)).backward()
    assert likelihood.df.grad is not None
    torch.testing.assert_close(likelihood(torch.zeros(1)).df, torch.tensor(7.0), atol=1e-4, rtol=0)


# Each with scipy in float64, at parameters where naive formulas lose their digits.


def test_negative_binomial_equals_scipy_in_float32():
    log_mean, log_r = torch.cartesian_prod(torch.tensor([-3.0, 0.0, 4.0]), torch.linspace(-10, 12, 45)).T
    k = torch.tensor([0.0, 1.0, 7.0, 60.0])[:, None]
    got = NegativeBinomialLog(log_mean, log_r).log_prob(k)
    r, mean = log_r.double().exp().numpy(), log_mean.double().exp().numpy()
    np.testing.assert_allclose(got, scipy.stats.nbinom(r, r / (r + mean)).logpmf(k), rtol=2e-5, atol=2e-5)


def test_negative_binomial_goes_over_into_poisson():
    log_mean = torch.linspace(-5, 5, 11)
    k = torch.arange(100.0)[:, None]
    got = NegativeBinomialLog(log_mean, torch.full((11,), 80.0)).log_prob(k)
    torch.testing.assert_close(got, PoissonLog(log_mean).log_prob(k), rtol=1e-5, atol=1e-4)


def test_zero_inflation_equals_its_definition():
    log_mean, log_r, gate = torch.randn(3, 50, dtype=torch.float64)
    k = torch.arange(6.0, dtype=torch.float64)[:, None]
    r, mean, drop = log_r.exp(), log_mean.exp(), gate.sigmoid()
    mass = (1 - drop) * torch.as_tensor(scipy.stats.nbinom(r, r / (r + mean)).pmf(k)) + drop * (k == 0)
    got = ZeroInflatedNegativeBinomialLog(log_mean, log_r, gate).log_prob(k)
    torch.testing.assert_close(got, mass.log(), rtol=1e-9, atol=1e-9)


def test_poisson_where_the_rate_rounds_to_zero():
    assert PoissonLog(torch.tensor(-200.0)).log_prob(torch.tensor(3.0)) == pytest.approx(-600 - math.log(6))


def test_binomial_keeps_its_digits_where_torch_does_not():
    logits = torch.tensor([-1e4, -30.0, 0.3, 30.0, 1e4])
    got = BinomialLogits(logits, total_count=255).log_prob(torch.tensor(255.0))
    exact = 255 * torch.nn.functional.logsigmoid(logits.double())
    torch.testing.assert_close(got.double(), exact, rtol=1e-6, atol=1e-3)
    k = torch.arange(256.0)
    expected = scipy.stats.binom(255, scipy.special.expit(0.3)).logpmf(k)
    np.testing.assert_allclose(BinomialLogits(torch.tensor(0.3), total_count=255).log_prob(k), expected, rtol=1e-4)


def test_continuous_bernoulli_equals_torch_where_torch_is_exact():
    logits = torch.linspace(-8, 8, 161, dtype=torch.float64)
    x = torch.linspace(0, 1, 11, dtype=torch.float64)[:, None]
    torchs = torch.distributions.ContinuousBernoulli(logits=logits, lims=(0.4999, 0.5001))
    torch.testing.assert_close(ContinuousBernoulliLogits(logits).log_prob(x), torchs.log_prob(x), rtol=1e-5, atol=1e-7)


def test_continuous_bernoulli_extremes():
    """At η = 1000 the density at 1 is η / (1 - e^-η); torch's is bounded by its clipping at e^16."""
    px = ContinuousBernoulliLogits(torch.tensor([-1000.0, 1000.0]))
    torch.testing.assert_close(px.log_prob(torch.tensor([0.0, 1.0])), torch.full((2,), math.log(1000.0)))
    torch.testing.assert_close(px.mean, torch.tensor([0.001, 0.999]))


def test_continuous_bernoulli_samples_carry_the_gradient_of_the_mean():
    """100,000 draws; tolerance 5 standard errors: false alarm below 1e-5."""
    logits = torch.tensor([-30.0, -1.0, 1e-6, 2.0, 30.0], dtype=torch.float64).repeat(100_000, 1).requires_grad_()
    (pathwise,) = torch.autograd.grad(ContinuousBernoulliLogits(logits).rsample().sum(), logits)
    theta = logits[0].detach().requires_grad_()
    (exact,) = torch.autograd.grad(ContinuousBernoulliLogits(theta).mean.sum(), theta)
    assert ((pathwise.mean(0) - exact).abs() < 5 * pathwise.std(0) / math.sqrt(100_000) + 1e-7).all()


def test_discretized_logistic_keeps_its_digits_in_the_tails():
    loc, scale = torch.tensor([0.0, 100.0, 254.0]), torch.tensor([0.05, 1.0, 60.0])
    k = torch.arange(256.0)[:, None]
    got = DiscretizedLogisticLevels(loc, scale, levels=256).log_prob(k)
    z, s = (k.double() - loc.double()).numpy(), scale.double().numpy()
    above, below = scipy.special.log_expit((z + 0.5) / s), scipy.special.log_expit(-(z - 0.5) / s)
    inside = above + below + np.log(-np.expm1(-1 / s))  # = log(σ(b) - σ(a))
    expected = np.where(k == 0, above, np.where(k == 255, below, inside))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    direct = scipy.special.expit((z + 0.5) / s) - scipy.special.expit((z - 0.5) / s)  # exact near the middle
    np.testing.assert_allclose(got[100, 1].exp(), direct[100, 1], rtol=1e-6)
