"""The decomposition of the KL against closed forms of Gaussian codes."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import ppl_vae as pv
from ppl_vae.errors import CheckError
from ppl_vae.objectives import ELBO, BetaTCVAE
from ppl_vae.objectives.beta_tcvae import decompose, log_shares, pairwise_log_q
from tests.oracles import linear_gaussian

F64 = torch.float64


def gaussian_codes(num_data: int, seed: int = 17) -> tuple[pv.VAE, Tensor, dict[str, float]]:
    """q(z | x) = N(x, s² I) with x ~ N(0, A): the aggregated posterior is N(0, A + s² I) as N → ∞."""
    # A seed of its own: data of the same stream as the draws' noise would be correlated with it.
    s, A = 0.5, torch.tensor([[1.0, 0.6], [0.6, 0.8]], dtype=F64)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num_data, 2, generator=generator, dtype=F64) @ torch.linalg.cholesky(A).mT

    def model(x: Tensor) -> None:
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2, dtype=F64), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x, s).to_event(1))

    C = A + s**2 * torch.eye(2, dtype=F64)
    variances = C.diagonal()
    exact = {
        "mutual_information": float(0.5 * (torch.logdet(C) - 4 * math.log(s))),
        "total_correlation": float(0.5 * (variances.log().sum() - torch.logdet(C))),
        "dimension_wise_kl": float(0.5 * (variances - 1 - variances.log()).sum()),
    }
    return pv.VAE(model, guide), x, exact


def test_full_data_give_the_closed_form() -> None:
    """4,000 data are the data set, so that q(z) is no estimate; a standard error is about 0.02 nats."""
    vae, x, exact = gaussian_codes(4000)
    with torch.no_grad():
        metrics = BetaTCVAE()(vae, x).metrics
    for name, value in exact.items():
        assert float(metrics[name]) == pytest.approx(value, abs=0.08), name
    assert sum(exact.values()) == pytest.approx(float(metrics["kl/z"]), abs=0.1)


@pytest.mark.parametrize("sampling", ["stratified", "weighted"])
def test_minibatches(sampling: str) -> None:
    """Batches of 400 from 4,000: stratified sampling stays near; the weighted bound of E log q(z) is far lower.

    Weighted, E log q(z) is low by at most log N, and E log q(zⱼ) for each dimension: the total correlation is off by
    up to (dimensions − 1) log N, which is known of this estimator.
    """
    vae, x, exact = gaussian_codes(4000)
    objective = BetaTCVAE(sampling=sampling)
    with torch.no_grad():
        found = [objective(vae, batch, total=4000).metrics for batch in x.split(400)]
    means = {name: sum(float(m[name]) for m in found) / len(found) for name in exact}
    if sampling == "stratified":
        assert means == pytest.approx(exact, abs=0.1)
    else:
        assert means["mutual_information"] - exact["mutual_information"] == pytest.approx(math.log(4000), abs=0.3)
        assert means["total_correlation"] - exact["total_correlation"] == pytest.approx(math.log(4000), abs=0.3)


def test_parts_add_up_draw_by_draw() -> None:
    """I + TC + dimension-wise KL = mean of log q(z | x) − log p(z), under either estimate of q(z)."""
    oracle = linear_gaussian(orthogonal=True)
    vae = pv.VAE(*oracle.pair(diagonal=True))
    t = pv.terms(vae, oracle.x[:5], total=12)
    kl = (t.guide["z"].log_prob - t.model["z"].log_prob).mean()
    for sampling in ("stratified", "weighted"):
        torch.testing.assert_close(sum(decompose(t, t.guide["z"], sampling)), kl)


@pytest.mark.parametrize("sampling", ["stratified", "weighted"])
def test_unit_weights_give_the_elbo(sampling: str) -> None:
    oracle = linear_gaussian(orthogonal=True)
    found = []
    for objective in (BetaTCVAE(1.0, sampling=sampling), ELBO()):
        model, guide = oracle.pair(diagonal=True)
        pyro.set_rng_seed(0)
        bound = objective(pv.VAE(model, guide), oracle.x[:5], total=12)
        found.append((bound.value, *torch.autograd.grad(bound.surrogate, [guide.gain, model.weight])))
    torch.testing.assert_close(found[0], found[1])


def test_each_part_has_its_weight() -> None:
    oracle = linear_gaussian(orthogonal=True)
    vae = pv.VAE(*oracle.pair(diagonal=True))
    pyro.set_rng_seed(0)
    bound = BetaTCVAE(beta=3.0, alpha=0.0, gamma=2.0)(vae, oracle.x)
    m = bound.metrics
    pyro.set_rng_seed(0)
    elbo = ELBO()(vae, oracle.x).value
    want = elbo + m["mutual_information"] - 2 * m["total_correlation"] - m["dimension_wise_kl"]
    torch.testing.assert_close(bound.value, want)


def test_pairs_of_codes_and_data() -> None:
    """Entry (i, j) is the density of the code of datum i under the posterior of datum j, per dimension."""
    oracle = linear_gaussian(orthogonal=True)
    model, guide = oracle.pair(diagonal=True)
    site = pv.terms(pv.VAE(model, guide), oracle.x).guide["z"]
    pairs = pairwise_log_q(site)
    assert pairs.shape == (12, 12, 2)
    mean, scale = guide.mean(oracle.x), guide.log_diagonal.exp()
    torch.testing.assert_close(pairs[3, 7], dist.Normal(mean[7], scale).log_prob(site.value[0, 3]))
    torch.testing.assert_close(pairs.diagonal().sum(0), site.log_prob[0])


def test_shares_of_a_batch() -> None:
    """They sum to one (stratified), give 1/N each on the full data, and their mean over batches is unbiased."""
    for batch, total in ((5, 5), (5, 50), (2, 1000), (1, 10)):
        assert float(log_shares(batch, total).exp().sum(1).max()) == pytest.approx(1.0)
    torch.testing.assert_close(log_shares(4, 4).exp(), torch.full((4, 4), 0.25))
    torch.testing.assert_close(log_shares(4, 8, "weighted").exp(), torch.full((4, 4), 1 / 32))
    # The mean over all batches of 3 out of 5 that hold datum 0 is 1/5 of every density.
    densities = torch.tensor([0.3, 0.1, 0.7, 0.2, 0.5])
    shares, estimates = log_shares(3, 5).exp()[0], []
    for a in range(1, 5):
        for b in range(a + 1, 5):
            estimates.append(float((shares * densities[[0, a, b]]).sum()))
    assert sum(estimates) / len(estimates) == pytest.approx(float(densities.mean()))


def test_codes_that_do_not_factorize_are_refused() -> None:
    oracle = linear_gaussian()
    with pytest.raises(CheckError, match="MultivariateNormal"):
        BetaTCVAE()(pv.VAE(*oracle.pair()), oracle.x)


def test_one_of_several_sites_must_be_named() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", x.shape[0]):
            u = pyro.sample("u", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            z = pyro.sample("z", dist.Normal(u, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x, 1.0).to_event(1))
            pyro.sample("u", dist.Normal(z / 2, 1.0).to_event(1))

    vae, x = pv.VAE(model, guide), torch.randn(6, 2)
    assert bool(BetaTCVAE(site="z")(vae, x).value.isfinite())
    for site in (None, "y"):
        with pytest.raises(CheckError, match=r"\['z', 'u'\]"):
            BetaTCVAE(site=site)(vae, x)
