"""Pictures of pairs: images, tables, autoencoders, discrete latents."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppl_vae.core.pair import VAE
from ppl_vae.datasets import Spec
from ppl_vae.datasets.split import Split
from ppl_vae.guides import Amortized, SemiSupervisedAmortized
from ppl_vae.models import VAE as Model
from ppl_vae.models import SemiSupervised
from ppl_vae.reports.gallery import encodings, gallery
from tests import oracles


@pytest.fixture
def images():
    spec = Spec((1, 6, 6), "binary", class_names=("a", "b"))
    model = Model(spec, latent_dim=3, hidden=[16])
    split = Split((torch.randint(2, (30, 1, 6, 6)).float(),), labels=torch.arange(30) % 2)
    return VAE(model, Amortized(spec, model)), split, spec


def test_images(images):
    before = torch.get_rng_state()
    found = gallery(*images)
    assert set(found.figures) == {"samples", "reconstructions", "latent_map", "kl_per_unit", "traversals"}
    assert found.notes == {}
    assert torch.equal(before, torch.get_rng_state())


def test_images_of_a_model_that_observes_classes_too():
    spec = Spec((1, 6, 6), "binary", num_classes=2)
    model = SemiSupervised(spec, latent_dim=2, hidden=[8])
    split = Split((torch.randint(2, (30, 1, 6, 6)).float(), torch.arange(30) % 2))
    found = gallery(VAE(model, SemiSupervisedAmortized(spec, model, hidden=[8])), split, spec)
    assert {"samples", "reconstructions", "traversals"} <= set(found.figures)


def test_table():
    oracle = oracles.linear_gaussian(num_data=40, orthogonal=True)
    found = gallery(VAE(*oracle.pair(diagonal=True)), oracle.x)
    assert set(found.figures) == {"sample_marginals", "reconstructions", "latent_map", "kl_per_unit", "traversals"}


def test_encodings_are_the_posterior_means():
    """64 draws for 40 data: mean within 5 standard errors of 80 numbers."""
    oracle = oracles.linear_gaussian(num_data=40, orthogonal=True)
    (code,) = encodings(VAE(*oracle.pair(diagonal=True)), oracle.x, draws=64)
    mean, covariance = oracle.posterior()
    assert (torch.from_numpy(code.mean) - mean).abs().max() < 5 * covariance.diagonal().max().sqrt() / 8
    exact = 0.5 * (covariance.diagonal() + mean.square() - 1 - covariance.diagonal().log()).mean(0)
    assert code.kl == pytest.approx(exact.numpy())


def test_autoencoder_has_no_samples():
    down, up = nn.Linear(4, 2), nn.Linear(2, 4)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.ImproperUniform(dist.constraints.real_vector, (), (2,)))
            pyro.sample("x", dist.Normal(up(z), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Delta(down(x), event_dim=1))

    found = gallery(VAE(model, guide), torch.randn(20, 4))
    assert "'z' is improper" in found.notes["samples"]
    assert {"reconstructions", "latent_map", "traversals"} <= set(found.figures)
    assert "kl_per_unit" not in found.figures


def test_discrete_codes_have_no_map():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            c = pyro.sample("c", dist.Categorical(torch.ones(3)))
            pyro.sample("x", dist.Normal(c[..., None].float(), 1.0).expand([*c.shape, 2]).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("c", dist.Categorical(torch.ones(x.shape[0], 3)))

    found = gallery(VAE(model, guide), torch.randn(20, 2))
    assert "latent_map" not in found.figures
    assert "discrete" in found.notes["latents"]
    assert "sample_marginals" in found.figures
