"""Moving a latent gives the mean of x where it is known: others are held, or follow as the model has it."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae.core.pair import VAE
from ppl_vae.core.tiles import inference
from ppl_vae.diagnostics.latents import encodings
from ppl_vae.plots import traverse

MEANS = torch.tensor([[0.0, 1.0], [5.0, -2.0], [7.0, 7.0]])
LEVELS = np.array([0.1, 0.5, 0.9])


def drawn(vae, x):
    with inference(vae, (x,)) as terms:
        torch.manual_seed(0)
        return terms((x,))


def mixture(one_hot=False):
    """A class, and an offset beside it: E[x | c, z] = μ_c + z."""
    classes = dist.OneHotCategorical if one_hot else dist.Categorical

    def model(x):
        with pyro.plate("data", x.shape[0]):
            c = pyro.sample("c", classes(torch.ones(3)))
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            mean = c @ MEANS if one_hot else MEANS[c]
            pyro.sample("x", dist.Normal(mean + z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("c", classes(torch.ones(x.shape[0], 3)))
            pyro.sample("z", dist.Normal(x, 0.1).to_event(1))

    return VAE(model, guide)


@pytest.mark.parametrize("one_hot", [False, True])
def test_a_column_is_a_category_and_a_row_a_datum_whose_other_codes_are_held(one_hot):
    vae, x = mixture(one_hot), torch.randn(9, 2, generator=torch.Generator().manual_seed(0))
    t = drawn(vae, x)
    found = traverse.categories(vae, t, "c", 10, seed=0)
    assert found.values == ["0", "1", "2"]
    assert found.rows == [f"datum {i}" for i in range(traverse.ROWS)]
    exact = MEANS[None] + t.latents["z"].value[0][: traverse.ROWS, None]
    torch.testing.assert_close(found.mean, exact)


def test_numbers_are_moved_with_the_class_held():
    vae, x = mixture(), torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    t = drawn(vae, x)
    (code,) = encodings(vae, x)
    found = traverse.continuous(vae, t, code, 5, LEVELS, seed=0)
    unit = int(found.rows[0][2])
    mean = MEANS[t.latents["c"].value[0, 0]]
    assert found.mean[0, :, unit].numpy() == pytest.approx(mean[unit].item() + found.values[0], rel=1e-5)
    assert found.mean[0, :, 1 - unit].numpy() == pytest.approx(mean[1 - unit].item() + code.mean[0, 1 - unit], rel=1e-5)
    assert traverse.categories(vae, t, "z", 5, seed=0) is None


def test_units_of_bits_are_moved_one_at_a_time():
    """E[x | z] = z: only the unit of the row changes, from 0 to 1."""

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Bernoulli(torch.full((4,), 0.5)).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Bernoulli(torch.full((x.shape[0], 4), 0.5)).to_event(1))

    vae = VAE(model, guide)
    t = drawn(vae, torch.zeros(6, 4))
    found = traverse.categories(vae, t, "z", 3, seed=0)
    assert found.mean.shape == (3, 2, 4)
    for row, name in enumerate(found.rows):
        unit = int(name[2])
        assert found.mean[row, :, unit].tolist() == [0.0, 1.0]
        others = [i for i in range(4) if i != unit]
        assert (found.mean[row, :, others] == t.latents["z"].value[0, 0, others]).all()


def test_what_depends_on_the_moved_latent_follows_it():
    """top → low → x, both with unit noise: E[x | top] = 3 top, from 32 draws of low with 4.5 standard errors (1e-5)."""

    def model(x):
        with pyro.plate("data", x.shape[0]):
            top = pyro.sample("top", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            low = pyro.sample("low", dist.Normal(3 * top, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(low, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            low = pyro.sample("low", dist.Normal(x, 0.1).to_event(1))
            pyro.sample("top", dist.Normal(low / 3, 0.1).to_event(1))

    vae, x = VAE(model, guide), 3 * torch.randn(200, 1, generator=torch.Generator().manual_seed(0))
    t = drawn(vae, x)
    codes = {code.name: code for code in encodings(vae, x)}
    moved = traverse.continuous(vae, t, codes["top"], 1, LEVELS, seed=0)
    error = 4.5 / traverse.COPIES**0.5
    assert moved.mean[0, :, 0].numpy() == pytest.approx(3 * moved.values[0], abs=error)
    held = traverse.continuous(vae, t, codes["low"], 1, LEVELS, seed=0)
    assert held.mean[0, :, 0].numpy() == pytest.approx(held.values[0], rel=1e-5)


def test_many_values_are_not_columns():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            c = pyro.sample("c", dist.Categorical(torch.ones(21)))
            pyro.sample("x", dist.Normal(c.float(), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("c", dist.Categorical(torch.ones(x.shape[0], 21)))

    vae = VAE(model, guide)
    assert traverse.categories(vae, drawn(vae, torch.zeros(4)), "c", 5, seed=0) is None
