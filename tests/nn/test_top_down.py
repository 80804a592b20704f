"""Groups of spatial latents: sizes, the KL relative to the prior, and what is refused."""

import pyro.distributions as dist
import pytest
import torch

from ppl_vae.datasets.spec import Spec
from ppl_vae.errors import DataError, PplVaeError
from ppl_vae.nn.heads import positive
from ppl_vae.nn.top_down import ONE, TopDownGroups, relative


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 6), (1, 28, 28), (2, 1, 5)])
def test_the_last_state_has_the_sides_of_x(shape):
    groups = TopDownGroups(Spec(shape, "unit"), latent_channels=[1, 2, 3], channels=4, out=5)
    h = groups.top
    for group in reversed(groups.each):
        p = group.p(h)
        assert p.event_shape[1:] == h.shape[-2:]
        h = group(h, p.expand([7, 2]).sample())
    assert h.shape == (7, 2, 5, *shape[1:])


def test_zeros_are_the_prior_whatever_it_is():
    p = dist.Normal(torch.randn(2, 3, 3), torch.rand(2, 3, 3) + 0.1).to_event(3)
    q = relative(p, torch.zeros(5, 4, 3, 3))
    torch.testing.assert_close(q.mean, p.mean.expand(5, 2, 3, 3))
    torch.testing.assert_close(q.stddev, p.stddev.expand(5, 2, 3, 3), rtol=1e-5, atol=0)


def test_the_kl_depends_on_the_change_alone():
    change = torch.randn(4, 3, 3, dtype=torch.float64)
    a, b = change[:2], positive(change[2:] + ONE)
    formula = (0.5 * (a**2 + b**2 - 1) - b.log()).sum()
    for _ in range(3):
        loc, scale = torch.randn(2, 3, 3, dtype=torch.float64), torch.rand(2, 3, 3, dtype=torch.float64) + 0.1
        p = dist.Normal(loc, scale).to_event(3)
        torch.testing.assert_close(torch.distributions.kl_divergence(relative(p, change), p), formula)


def test_priors_start_standard_normal():
    groups = TopDownGroups(Spec((1, 8, 8), "unit"), latent_channels=[1, 2], channels=4, out=1)
    for group, size in zip(groups.each, (4, 2), strict=True):
        p = group.p(torch.randn(6, 4, size, size))
        torch.testing.assert_close((p.mean, p.stddev), (torch.zeros_like(p.mean), torch.ones_like(p.mean)))


def test_what_is_no_image_and_sizes_that_cannot_be():
    with pytest.raises(DataError, match="needs images"):
        TopDownGroups(Spec((6,), "real"), latent_channels=[1], channels=4, out=1)
    with pytest.raises(PplVaeError, match="at least 1"):
        TopDownGroups(Spec((1, 8, 8), "unit"), latent_channels=[0], channels=4, out=1)
    with pytest.raises(PplVaeError, match=r"latent_channels=\[\].*latent_channels=\[2,4,8\]"):
        TopDownGroups(Spec((1, 8, 8), "unit"), latent_channels=[], channels=4, out=1)
