"""Training finds what is known exactly."""

import functools

import torch

import ppl_vae as pv
from ppl_vae.training import schedulers
from tests.oracles import LinearGaussianGuide, LinearGaussianModel, linear_gaussian


def test_the_learned_elbo_is_the_exact_evidence():
    """Model and guide are learned from wrong values; the bound ends within 1% of the evidence of the learned model
    (its guide can be exact), and of that of the best linear-Gaussian model of these data."""
    truth = linear_gaussian(num_data=400, columns=5, latent=2, noise=0.7)
    generator = torch.Generator().manual_seed(1)
    start = 0.3 * torch.randn(5, 2, generator=generator, dtype=torch.float64)
    model = LinearGaussianModel(start, torch.zeros(5, dtype=torch.float64), 1.0)
    guide = LinearGaussianGuide(start.mT.clone(), torch.zeros(2).double(), torch.eye(2).double())
    vae = pv.VAE(model, guide)
    data = pv.datasets.from_arrays(truth.x, truth.x, dtype=torch.float64)
    history = pv.fit(
        vae,
        data,
        pv.objectives.ELBO(num_particles=4),
        functools.partial(torch.optim.Adam, lr=0.03),
        schedulers.cosine(),
        epochs=80,
        batch_size=50,
        progress=False,
    )
    with torch.no_grad():
        covariance = model.weight @ model.weight.mT + model.log_noise.exp() ** 2 * torch.eye(5)
        learned = torch.distributions.MultivariateNormal(model.bias, covariance).log_prob(truth.x).mean()
    true = truth.log_evidence().mean()
    # Sampled at 4 × 400 draws, the bound of a nearly exact guide has a standard error far below 1%.
    found = history.best["validation/elbo"]
    assert abs(found - learned) < 0.01 * abs(learned)
    assert found > true - 0.01 * abs(true)


def test_ppca_as_it_is_loaded():
    """The data set with a known truth: the learned ELBO on its validation data comes within 1% of the true evidence."""
    data = pv.datasets.load("ppca", num_data=2000, columns=6, latent_dim=2, dtype="float64")
    generator = torch.Generator().manual_seed(0)
    start = 0.3 * torch.randn(6, 2, generator=generator, dtype=torch.float64)
    model = LinearGaussianModel(start, torch.zeros(6, dtype=torch.float64), 1.0)
    guide = LinearGaussianGuide(start.mT.clone(), torch.zeros(2).double(), torch.eye(2).double())
    history = pv.fit(
        pv.VAE(model, guide),
        data,
        pv.objectives.ELBO(kl="analytic"),
        functools.partial(torch.optim.Adam, lr=0.03),
        schedulers.cosine(),
        epochs=30,
        batch_size=100,
        progress=False,
    )
    (x,) = data.validation.batch()
    evidence = float(data.truth.log_evidence(x).mean())
    # 200 validation data: the evidence of the learned model differs from the true one's by its training error
    # too.
    assert abs(history.best["validation/elbo"] - evidence) < 0.01 * abs(evidence)
