"""Ready-made pairs on data of which some values are missing: what is there counts, element by element."""

import functools

import pyro
import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import DataError
from ppl_vae.likelihoods.known import of_known
from tests.training.pairs import quiet

ADAM = functools.partial(torch.optim.Adam, lr=1e-2)


def holed(n=200, columns=6, share=0.2, seed=0):
    """Data of a plane in some dimensions, standardized; the same with holes; where the holes are."""
    generator = torch.Generator().manual_seed(seed)
    z, w = torch.randn(n, 2, generator=generator), torch.randn(2, columns, generator=generator)
    x = z @ w + 0.2 * torch.randn(n, columns, generator=generator)
    x = (x - x.mean(0)) / x.std(0)
    holes = torch.rand(n, columns, generator=generator) < share
    return x, torch.where(holes, torch.nan, x), holes


def test_the_density_is_that_of_the_values_that_are_there():
    _, x, holes = holed(5)
    data = pv.datasets.from_arrays(x)
    assert data.spec.missing
    model = pv.models.VAE(data.spec, latent_dim=2, hidden=(8,))
    vae = pv.VAE(model, pv.guides.Amortized(data.spec, model, hidden=(8,)))
    t = pv.terms(vae, x)
    elements = model.likelihood(model.decoder(t.guide["z"].value[0])).base_dist.log_prob(x.nan_to_num())
    torch.testing.assert_close(t.model["x"].log_prob[0], torch.where(holes, 0.0, elements).sum(1))


def test_a_whole_datum_has_the_numbers_of_a_pair_that_knows_no_missing_values():
    x, _, _ = holed(5)
    numbers = []
    for missing in (None, True):
        torch.manual_seed(0)
        data = pv.datasets.from_arrays(x, missing=missing)
        assert data.spec.missing is bool(missing)
        model = pv.models.VAE(data.spec, latent_dim=2, hidden=(8,))
        vae = pv.VAE(model, pv.guides.Amortized(data.spec, model, hidden=(8,)))
        numbers.append(pv.evaluate(vae, x, num_particles=10).table["elbo"].to_numpy())
    assert (numbers[0] == numbers[1]).all()


FAMILIES = {
    "vae": (lambda s: pv.models.VAE(s, latent_dim=2, hidden=(8,)), pv.guides.Amortized),
    "vamp": (
        lambda s: pv.models.Vamp(s, latent_dim=2, hidden=(8,), components=3),
        lambda s, m: pv.guides.VampPosterior(m),
    ),
    "hierarchical": (
        lambda s: pv.models.Hierarchical(s, latent_dim=(3, 2), hidden=(8, 8)),
        lambda s, m: pv.guides.BottomUp(s, m, hidden=(8, 8)),
    ),
    "gmvae": (lambda s: pv.models.GMVAE(s, latent_dim=2, hidden=(8,), components=3), pv.guides.MixtureAmortized),
    "tabular": (lambda s: pv.models.Tabular(s, latent_dim=2, hidden=(8,), components=3), pv.guides.MixtureAmortized),
    "derived guide": (
        lambda s: pv.models.VAE(s, latent_dim=2, hidden=(8,)),
        lambda s, m: pv.guides.Derived(m, s, hidden=(8,)),
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_families_train_on_what_is_there(name):
    model_of, guide_of = FAMILIES[name]
    _, x, _ = holed(60)
    data = pv.datasets.from_arrays(x, validation=0.2)
    torch.manual_seed(0)
    model = model_of(data.spec)
    vae = pv.VAE(model, guide_of(data.spec, model))
    history = quiet(vae, data, epochs=3, batch_size=16, optimizer=ADAM, compile="off")
    assert all(torch.isfinite(torch.tensor(history[key])).all() for key in ("train/elbo", "validation/elbo"))


def test_images_with_holes_train_by_convolutions():
    x = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    x[:10, :, 2:4] = torch.nan
    data = pv.datasets.from_arrays(x, support="unit")
    model = pv.models.ConvVAE(data.spec, latent_dim=2, channels=(4, 4), hidden=(8,))
    vae = pv.VAE(model, pv.guides.ConvAmortized(data.spec, model, channels=(4, 4), hidden=(8,)))
    history = quiet(vae, data, epochs=1, batch_size=10, compile="off")
    assert torch.isfinite(torch.tensor(history["train/elbo"])).all()


def test_imputations_are_nearer_than_means():
    """A plane of two dimensions in six: what is there says nearly all; means leave the whole deviation of 1."""
    whole, x, holes = holed(400)
    data = pv.datasets.from_arrays(x)
    torch.manual_seed(0)
    model = pv.models.VAE(data.spec, latent_dim=2, hidden=(32,))
    vae = pv.VAE(model, pv.guides.Amortized(data.spec, model, hidden=(32,)))
    quiet(vae, data, epochs=60, batch_size=50, optimizer=ADAM)
    filled = pv.impute(vae, x, num_particles=200).x
    assert torch.equal(filled[~holes], x[~holes])
    error = (filled - whole)[holes].square().mean().sqrt()
    assert error < 0.6, error


def test_recorded_steps_see_the_same_values():
    _, x, _ = holed(60)
    data = pv.datasets.from_arrays(x)
    bounds = []
    for how in ("off", "export"):
        torch.manual_seed(0)
        model = pv.models.VAE(data.spec, latent_dim=2, hidden=(8,))
        vae = pv.VAE(model, pv.guides.Amortized(data.spec, model, hidden=(8,)))
        bounds.append(quiet(vae, data, epochs=2, batch_size=20, compile=how, seed=1)["train/elbo"])
    assert list(bounds[0]) == list(bounds[1])


def test_what_cannot_leave_out_values_refuses_them():
    _, x, _ = holed(5)
    spec = pv.datasets.from_arrays(x).spec
    with pytest.raises(DataError, match="model=autoregressive"):
        pv.models.AutoregressiveVAE(spec)
    counts = torch.poisson(torch.ones(5, 4))
    counts[0, 0] = torch.nan
    with pytest.raises(DataError, match="model=topics"):
        pv.models.Topics(pv.datasets.from_arrays(counts, support="counts").spec)
    joint = pyro.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
    with pytest.raises(DataError, match="one density together"):
        of_known(joint, torch.zeros(1, 2))
    with pytest.raises(DataError, match="columns or elements of x without a single value in the training data"):
        pv.datasets.from_arrays(torch.tensor([[torch.nan, 1.0], [torch.nan, 2.0]]))
    with pytest.raises(DataError, match="missing=False"):
        pv.datasets.from_arrays(x, missing=False)
