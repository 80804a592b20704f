"""Beta without its ends."""

import pytest
import scipy.stats
import torch

import ppl_vae as pv
from ppl_vae.distributions import OpenBeta
from ppl_vae.errors import DataError


def test_density_and_shapes() -> None:
    x = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    q = OpenBeta(torch.tensor(0.7, dtype=torch.float64), torch.tensor(2.5, dtype=torch.float64))
    torch.testing.assert_close(q.expand((50,)).log_prob(x), torch.from_numpy(scipy.stats.beta(0.7, 2.5).logpdf(x)))
    assert isinstance(q.expand((3, 2)), OpenBeta)
    assert q.expand((3, 2)).to_event(1).event_shape == (2,)


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_data_that_touch_an_end_are_refused(end: float) -> None:
    x = torch.rand(40, 3, generator=torch.Generator().manual_seed(0)).clamp(0.01, 0.99)
    x[7, 1] = end
    data = pv.datasets.from_arrays(x, validation=0.2)
    model = pv.models.VAE(data.spec, pv.likelihoods.Beta(data.spec), latent_dim=2, hidden=(4,))
    vae = pv.VAE(model, pv.guides.Amortized(data.spec, model))
    with pytest.raises(DataError, match=r"open interval 0 to 1.*continuous_bernoulli"):
        pv.fit(vae, data, epochs=1, progress=False)


def test_dequantized_grey_levels_touch_no_end() -> None:
    step = pv.datasets.from_arrays(torch.arange(16).repeat(4, 1), levels=16, dequantization="uniform").train.transform
    (dequantize,) = step.steps
    ends = [dequantize(torch.tensor([0, 15]), lambda x, u=u: torch.full(x.shape, u)) for u in (0.0, 1 - 2**-24)]
    assert all(bool((y > 0).all() and (y < 1).all()) for y in ends)
