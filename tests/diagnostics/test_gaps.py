"""The two gaps against the closed form of the linear-Gaussian model."""

import torch

from ppl_vae.core.pair import VAE
from ppl_vae.diagnostics.gaps import gaps
from tests import oracles


def test_gaps_are_the_exact_ones():
    """Posterior with correlated units, mean-field guide shifted by 0.5 posterior deviations.

    The best mean-field q has the posterior mean and the precision's diagonal; its KL to the posterior is the
    approximation gap, the rest amortization. Tolerance 0.03 nats: 2,000 draws and an optimizer's last steps.
    """
    oracle = oracles.linear_gaussian(num_data=5)
    mean, covariance = oracle.posterior()
    best = torch.diag(1 / torch.linalg.inv(covariance).diagonal())
    approximation = oracle.log_evidence() - oracle.elbo(mean, best)
    guide = oracle.guide(diagonal=True)
    with torch.no_grad():
        shift = 0.5 * covariance.diagonal().sqrt()
        guide.offset += shift
    amortized = oracle.elbo(mean + shift, torch.diag(covariance.diagonal()))
    found = gaps(VAE(oracle.model(), guide), oracle.x, samples=32)
    exact = {
        "log_evidence": oracle.log_evidence(),
        "elbo_local": oracle.elbo(mean, best),
        "approximation": approximation,
        "amortization": oracle.elbo(mean, best) - amortized,
    }
    for name, value in exact.items():
        tolerance = 0.08 if name == "amortization" else 0.03  # the amortized ELBO's own sampling error is larger
        torch.testing.assert_close(torch.tensor(found[name].to_numpy()), value, atol=tolerance, rtol=0, msg=name)


def test_a_full_covariance_closes_the_approximation_gap():
    oracle = oracles.linear_gaussian(num_data=4)
    vae = VAE(*oracle.pair(diagonal=True))
    before = torch.get_rng_state()
    found = gaps(vae, oracle.x, family="full", samples=32)
    assert torch.equal(before, torch.get_rng_state())
    assert found["approximation"].abs().max() < 0.01
    assert (found["amortization"] > 0).all()
    assert all(p.grad is None for p in vae.parameters())
