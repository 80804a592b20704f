"""The likelihood of mixed columns against scipy, kind by kind, and what is missing of them."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from ppl_vae.datasets.spec import ColumnKind, Spec
from ppl_vae.errors import DataError
from ppl_vae.likelihoods import Mixed, likelihood_for
from ppl_vae.likelihoods.known import of_known

SPEC = Spec(
    (8,),
    "mixed",
    columns=(
        ColumnKind("ordinal", ("a", "b", "c", "d")),
        ColumnKind("count", (), 1.0, 0.5),
        ColumnKind("category", ("a", "b", "c")),
        ColumnKind("binary"),
        ColumnKind("positive", (), 2.0, 3.0),
        ColumnKind("real", (), -1.0, 2.0),
        ColumnKind("ordinal", ("a", "b")),
        ColumnKind("category", ("a", "b")),
    ),
    missing=True,
)


@pytest.fixture(params=["element", "network", "shared", "fixed"])
def drawn(request):
    torch.manual_seed(0)
    likelihood = Mixed(SPEC, scale=request.param).double()
    for parameter in likelihood.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    params = torch.randn(6, likelihood.num_params).double()
    return likelihood, params, likelihood(params).base_dist


def level(k):
    """A datum whose codes are k, as far as a column has so many."""
    return torch.tensor([float(min(k, column.levels - 1)) if column.levels else 1.0 for column in SPEC.columns])


def own(likelihood, params, column):
    return params[:, likelihood.columns == column].numpy()


def sigma_of(likelihood, params, place):
    scale = likelihood.scale
    n = sum(likelihood.numbers)
    raw = [params[:, n : 2 * n]] if scale.num_params else []
    return scale(*raw).expand(6, n)[:, place].detach().numpy()


def test_numbers(drawn):
    likelihood, params, px = drawn
    x = px.sample()
    found = px.log_prob(x).detach().numpy()
    eta, sigma = own(likelihood, params, 5)[:, 0], sigma_of(likelihood, params, 0)
    np.testing.assert_allclose(found[:, 5], scipy.stats.norm(-1 + 2 * eta, 2 * sigma).logpdf(x[:, 5]), rtol=1e-6)
    eta, sigma = own(likelihood, params, 4)[:, 0], sigma_of(likelihood, params, 1)
    log_normal = scipy.stats.lognorm(3 * sigma, scale=np.exp(2 + 3 * eta))
    np.testing.assert_allclose(found[:, 4], log_normal.logpdf(x[:, 4]), rtol=1e-6)
    np.testing.assert_allclose(px.mean[:, 4].detach(), log_normal.mean(), rtol=1e-6)
    eta, r = own(likelihood, params, 1)[:, 0], sigma_of(likelihood, params, 2) ** -2
    mean = np.exp(1 + 0.5 * eta)
    np.testing.assert_allclose(found[:, 1], scipy.stats.nbinom(r, r / (r + mean)).logpmf(x[:, 1]), rtol=1e-6)


def test_codes(drawn):
    likelihood, params, px = drawn
    by_level = [px.log_prob(level(k).double().expand(6, 8)).detach().numpy() for k in range(4)]
    logit = own(likelihood, params, 3)[:, 0]
    np.testing.assert_allclose(by_level[1][:, 3], scipy.stats.bernoulli(scipy.special.expit(logit)).logpmf(1))
    for column, levels in ((2, 3), (7, 2)):
        logits = own(likelihood, params, column)
        expected = scipy.special.log_softmax(logits, 1)
        np.testing.assert_allclose(np.stack([by_level[k][:, column] for k in range(levels)], 1), expected)
    for row, (column, levels) in enumerate(((0, 4), (6, 2))):
        theta = likelihood.thresholds[row].detach().numpy()[: levels - 1]
        below = scipy.special.expit(theta - own(likelihood, params, column))  # P(x ≤ r)
        expected = np.diff(np.concatenate([np.zeros((6, 1)), below, np.ones((6, 1))], 1), axis=1)
        np.testing.assert_allclose(np.exp([by_level[k][:, column] for k in range(levels)]), expected.T, rtol=1e-9)


def test_codes_keep_their_digits_and_gradients_far_out():
    likelihood = Mixed(SPEC)
    params = torch.full((2, likelihood.num_params), 80.0)
    params[1] = -80.0
    params.requires_grad_()
    density = likelihood(params).base_dist.log_prob(level(0))
    codes = density[:, [0, 2, 3, 6, 7]]
    assert codes.isfinite().all()
    (gradient,) = torch.autograd.grad(codes.sum(), params)
    assert gradient.isfinite().all()
    assert abs(float(codes[0, 0].detach()) - (-80 + float(likelihood.thresholds[0, 0].detach()))) < 1e-3


def test_what_is_missing_counts_nothing(drawn):
    likelihood, params, px = drawn
    x = px.sample()
    whole = px.log_prob(x).detach()
    for column in range(8):
        holed = x.clone()
        holed[:, column] = torch.nan
        found = of_known(likelihood(params), holed).log_prob(torch.where(holed.isnan(), 1.0, holed))
        torch.testing.assert_close(found.detach(), whole.sum(1) - whole[:, column])


def test_levels_are_as_probable_and_numbers_at_their_mean_to_begin_with():
    spec = Spec((8,), "mixed", columns=SPEC.columns, mean=torch.full((8,), 0.25))
    likelihood = likelihood_for(spec)
    px = likelihood(likelihood.initial_bias()).base_dist
    levels = torch.stack([px.log_prob(level(k)).exp() for k in range(4)])
    torch.testing.assert_close(levels[:, 0], torch.full((4,), 0.25), atol=2e-3, rtol=0)
    torch.testing.assert_close(levels[1, 3], torch.tensor(0.25))
    assert px.mean[5] == -1.0


def test_one_kind_alone():
    for column in SPEC.columns:
        likelihood = Mixed(Spec((1,), "mixed", columns=(column,)))
        px = likelihood(torch.zeros(3, likelihood.num_params))
        assert px.log_prob(px.sample()).shape == (3,)


def test_other_data_are_refused():
    with pytest.raises(DataError, match="Mixed is a density over mixed data"):
        Mixed(Spec((3,), "real"))
