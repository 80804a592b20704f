"""Pictures of pairs: images, tables, autoencoders, discrete latents."""

import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from ppl_vae import datasets
from ppl_vae.core.pair import VAE
from ppl_vae.datasets import Spec
from ppl_vae.datasets.split import Split
from ppl_vae.diagnostics.predictive_checks import predictive_checks
from ppl_vae.guides import Amortized, BottomUp, SemiSupervisedAmortized
from ppl_vae.models import VAE as Model
from ppl_vae.models import Hierarchical, SemiSupervised
from ppl_vae.plots.of_pair import Pixels, encodings, gallery
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


def test_kl_per_unit_is_told_of_every_site_of_a_hierarchy():
    """Of its first layer alone it says little: 0 of 2 active where 3 of 5 are."""
    spec = Spec((1, 6, 6), "binary")
    model = Hierarchical(spec, latent_dim=[3, 2], hidden=[8, 8])
    split = Split((torch.randint(2, (30, 1, 6, 6)).float(),))
    axes = gallery(VAE(model, BottomUp(spec, model)), split, spec).figures["kl_per_unit"].axes[0]
    assert "of 2 sites" in axes.get_title(loc="left")
    assert "of 5 active" in axes.get_title(loc="left")
    assert {label.get_text() for label in axes.get_xticklabels()} == {"z1[0]", "z1[1]", "z1[2]", "z2[0]", "z2[1]"}


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
    assert {"sample_marginals", "traversals"} <= found.figures.keys()


@pytest.mark.parametrize("binarization", ["dynamic", "static"])
def test_grey_images_stand_beside_what_is_drawn_of_them(binarization, monkeypatch):
    """Where x is drawn anew at every visit; what is drawn once is all that is stored."""
    seen = {}
    monkeypatch.setattr("ppl_vae.plots.reconstructions", lambda *given: seen.update(given=given) or Figure())
    data = datasets.load("digits", binarization=binarization)
    model = Model(data.spec, latent_dim=2, hidden=[8])
    gallery(VAE(model, Amortized(data.spec, model)), data.test[:9], data.spec)
    x, _, source = seen["given"]
    assert set(x.flat) == {0.0, 1.0}
    if binarization == "static":
        assert source is None
    else:
        assert source == pytest.approx(data.test.tensors[0][:9].numpy() / 16)


def test_images_of_means_are_not_called_samples(images):
    axes = gallery(*images).figures["samples"].axes[0]
    assert axes.get_title(loc="left") == "Means of p(x | z), z from the prior"


def gamma_pair(size=3):
    """Positive latents: −2.5 standard deviations of them is no value they have."""

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Gamma(torch.ones(size), 1.0).to_event(1))
            pyro.sample("x", dist.Poisson(z + 0.1).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Gamma(x + 1.0, 2.0).to_event(1))

    return VAE(model, guide)


def test_units_are_traversed_inside_their_support(monkeypatch):
    """Each through its own quantiles: increasing, positive, another range for each."""
    seen = {}
    monkeypatch.setattr(
        "ppl_vae.plots.feature_traversals", lambda means, values, *_: seen.update(values=values) or Figure()
    )
    x = torch.poisson(torch.tensor([0.5, 3.0, 20.0]).expand(200, 3), generator=torch.Generator().manual_seed(0))
    found = gallery(gamma_pair(), x)
    assert "traversals" in found.figures
    assert found.failed == []
    values = seen["values"]
    assert values.shape == (3, 9)
    assert (values > 0).all()
    assert (values[:, 1:] > values[:, :-1]).all()
    assert values.max() > 10 > values.max(1).min()


def test_units_of_a_simplex_make_room_for_one_another(monkeypatch):
    rows = {}

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Dirichlet(torch.ones(3)))
            rows.setdefault("z", []).append(z.detach())
            pyro.sample("x", dist.Poisson(10 * z).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Dirichlet(x + 1.0))

    found = gallery(VAE(model, guide), torch.poisson(torch.full((50, 3), 3.0)))
    assert "traversals" in found.figures, found.notes
    assert torch.allclose(rows["z"][-1].sum(-1), torch.ones(()))


@pytest.mark.parametrize("name", ["samples", "reconstructions", "latent_map", "kl_per_unit", "traversals"])
def test_a_figure_that_fails_says_so_and_the_others_stand(images, monkeypatch, name):
    functions = {"samples": "image_grid"}

    def broken(*_, **__):
        raise RuntimeError("no picture")

    monkeypatch.setattr(f"ppl_vae.plots.{functions.get(name, name)}", broken)
    found = gallery(*images)
    everything = {"samples", "reconstructions", "latent_map", "kl_per_unit", "traversals"}
    assert set(found.figures) == everything - {name}
    assert found.failed == [name]
    assert found.notes == {name: "RuntimeError: no picture"}


def test_missing_values_are_left_out_of_figures_and_checks():
    """A tenth of a table is masked; the figures and the checks are those of what is there."""
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.rand(60, 3, generator=torch.Generator().manual_seed(1)) > 0.1
    mask[7] = False

    def model(x, mask):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            loc = torch.cat([z, z.sum(-1, keepdim=True)], -1)
            pyro.sample("x", dist.Normal(loc, 1.0).mask(mask).to_event(1), obs=x)

    def guide(x, mask):
        with pyro.plate("data", x.shape[0]):
            scale = pyro.param("scale", torch.tensor(1.0))
            pyro.sample("z", dist.Normal((x.nan_to_num() * mask)[..., :2] / 2, scale).to_event(1))

    vae = VAE(model, guide)
    checks, figures = [], []
    for hidden in (torch.nan, 1e6):
        data = (torch.where(mask, x, hidden), mask)
        found = predictive_checks(vae, data, draws=20)
        assert len(found.pit["mean"]) == 59
        checks.append(found.table)
        made = gallery(vae, data)
        axes = made.figures["sample_marginals"].axes[0]
        figures.append(axes.get_xlim())
        assert made.figures["reconstructions"].axes
    pd.testing.assert_frame_equal(*checks)
    assert figures[0] == figures[1]
    assert abs(figures[1][1]) < 10


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_levels_are_shown_by_their_share_of_the_largest_there_can_be(channels):
    """Whatever these data hold: a dark photograph stays dark."""
    levels = torch.tensor([0, 51, 102, 60], dtype=torch.uint8).reshape(1, 1, 2, 2).expand(5, channels, 2, 2)
    shown = Pixels(Spec((channels, 2, 2), "integers", levels=256), levels)
    assert shown(levels)[0, 0].flatten().tolist() == pytest.approx([0, 0.2, 0.4, 60 / 255])
    assert shown(levels.float() + 0.5).max() == pytest.approx(102.5 / 255)
    assert shown(torch.full((1, channels, 2, 2), 300.0)).max() == 1.0
