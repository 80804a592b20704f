"""The picture of a derived guide shows its latents, what each of them sees, and its plates."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import PplVaeError
from ppl_vae.guides import Derived
from ppl_vae.plots import derived_guide, gallery, render


def model(x):
    w = pyro.sample("w", dist.Gamma(2.0, 1.0))
    with pyro.plate("data", x.shape[0], dim=-1):
        z = pyro.sample("$z", dist.Normal(torch.zeros(2), w).to_event(1))
        y = pyro.sample("y", dist.Delta(z.sum(-1)))
        with pyro.plate("time", 3, dim=-2):
            u = pyro.sample("u", dist.Normal(y, 1.0))
        pyro.sample("x", dist.Normal(u.sum(-2), 1.0), obs=x)


def dots(figure):
    """Columns and rows of the boxes that are joined."""
    lines = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    return {(round(line.get_xdata()[0] / 2.1), round(-line.get_ydata()[0])) for line in lines}


@pytest.mark.parametrize("condition", [True, False])
def test_boxes_dots_and_plates(condition):
    guide = Derived(model, family="full_rank", condition=condition)
    with pytest.raises(PplVaeError, match=r"pv\.prepare"):
        derived_guide(guide)
    guide(torch.zeros(4))
    figure = derived_guide(guide)
    words = [text.get_text() for text in figure.axes[0].texts]
    assert [w for w in words if w in ("w", "batch", "$z", "y", "u")] == ["w", "batch", "$z", "y", "u"]
    assert {"data", "time: 3", "full_rank (2,)", "the model's own"} <= set(words)
    # w, batch, $z, y, u: y is the model's own, and sees nothing of the guide
    seen = {(0, 2), (1, 2), (0, 4), (1, 4), (2, 4), (3, 4)} if condition else {(1, 2), (1, 4)}
    assert dots(figure) == seen
    assert render(figure).startswith(b"\x89PNG")


def test_global_latents_alone_and_no_latent():
    guide = Derived(lambda x: pyro.sample("w", dist.Normal(0.0, 1.0)))
    guide(torch.zeros(3))
    assert not dots(derived_guide(guide))
    guide = Derived(lambda x: None)
    guide(torch.zeros(3))
    render(derived_guide(guide))


def test_it_is_among_the_pictures_of_a_pair():
    data = pv.datasets.load("digits")
    pair = pv.models.VAE(data.spec)
    vae = pv.VAE(pair, Derived(pair, data.spec, hidden=[8]))
    found = gallery(vae, data.test[:20], data.spec)
    assert "derived_guide" in found.figures
    assert not found.failed
