"""The small hierarchy of images in Python; what the command line does with it is in `tests/cli/test_hierarchies.py`."""

import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import PplVaeError

SMALL = {"latent_channels": [1, 2], "channels": 4}


def pair(data, **options):
    torch.manual_seed(0)
    model = pv.models.ConvHierarchy(data.spec, **(SMALL | options))
    return pv.VAE(model, pv.guides.ConvLadder(data.spec, model, channels=4))


def test_the_guide_starts_at_the_prior_and_shares_the_way_down():
    data = pv.datasets.load("digits")
    vae = pair(data)
    assert vae.guide.groups is vae.model.groups
    (x,) = data.test.batch(slice(0, 8))
    t = pv.terms(vae, x, particles=2)
    for site in ("z1", "z2"):
        torch.testing.assert_close(t.guide[site].log_prob, t.model[site].log_prob, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_recorded_steps_are_those_of_the_program():
    data = pv.datasets.load("digits")
    bounds = []
    for how in ("off", "export"):
        vae = pair(data)
        history = pv.fit(vae, data, epochs=2, batch_size=600, seed=0, progress=False, compile=how)
        bounds.append(history["train/bound"])
    assert bounds[0] == bounds[1]


def test_missing_pixels_are_masked():
    x = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    x[:10, :, 2:4] = torch.nan
    data = pv.datasets.from_arrays(x, support="unit")
    history = pv.fit(pair(data), data, epochs=1, batch_size=10, progress=False, compile="off")
    assert torch.isfinite(torch.tensor(history["train/elbo"])).all()


def test_tables_are_no_images():
    spec = pv.datasets.Spec((6,), "real")
    with pytest.raises(PplVaeError, match="needs images"):
        pv.models.ConvHierarchy(spec)
