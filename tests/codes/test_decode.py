"""What is decoded is the model's own p(x | z) at the given latents."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import ArgumentError
from tests.codes.test_encode import X, two_levels


def conditional():
    """x | z, c ~ N(z + 10 c, 1)."""

    def model(x, c):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z + 10 * c[:, None], 1.0).to_event(1), obs=x)

    def guide(x, c):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal((x - 10 * c[:, None]) / 2, 0.5).to_event(1))

    return pv.VAE(model, guide)


def test_inputs_are_given_by_name_or_by_a_batch():
    vae, z = conditional(), torch.randn(5, 2)
    batch = X, torch.tensor([0.0, 1.0, 2.0])
    torch.testing.assert_close(pv.decode(vae, z, given={"c": 2.0}, like=batch), z + 20)
    cycled = torch.tensor([0.0, 1.0, 2.0, 0.0, 1.0])
    torch.testing.assert_close(pv.decode(vae, {"z": z}, like=batch), z + 10 * cycled[:, None])
    pv.terms(vae, batch)  # now it has seen data
    with pytest.raises(ArgumentError, match=r"no c for a model that takes c"):
        pv.decode(vae, z)


def test_a_draw_is_of_the_likelihood_and_seeded():
    vae, z = conditional(), torch.zeros(20_000, 2)
    drawn = pv.decode(vae, z, given={"c": 0.0}, like=(X, torch.zeros(3)), mean=False, seed=1)
    assert torch.equal(drawn, pv.decode(vae, z, given={"c": 0.0}, like=(X, torch.zeros(3)), mean=False, seed=1))
    assert abs(float(drawn.mean())) < 5 / 40_000**0.5
    assert abs(float(drawn.var()) - 1) < 5 * (2 / 40_000) ** 0.5


def test_lower_latents_are_drawn_given_upper_ones():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            upper = pyro.sample("z2", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            lower = pyro.sample("z1", dist.Normal(3 * upper, 0.1).to_event(1))
            pyro.sample("x", dist.Normal(lower, 1.0).to_event(1), obs=x)

    vae = pv.VAE(model, two_levels().guide)
    x = pv.decode(vae, {"z2": torch.ones(1000, 2)}, like=X, seed=0)
    assert abs(float(x.mean()) - 3) < 5 * 0.1 / 2000**0.5


def test_latents_that_all_data_share_are_the_guides():
    def model(x):
        w = pyro.sample("w", dist.Normal(0.0, 100.0))
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(w * z, 1.0), obs=x)

    def guide(x):
        pyro.sample("w", dist.Normal(7.0, 1e-4))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x / 7, 0.1))

    x = pv.decode(pv.VAE(model, guide), torch.ones(4), like=torch.zeros(2))
    torch.testing.assert_close(x, torch.full((4,), 7.0), atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("latents", "words"),
    [
        ({"y": torch.zeros(2, 2)}, "Got a latent 'y', expected one of the model's: z"),
        (torch.zeros(2, 3), r"Got latents 'z' of shape \(2, 3\), expected \('n', 2\)"),
        ({"z": torch.zeros(0, 2)}, "Got latents of 0 data"),
        (torch.full((1, 2), torch.nan), "outside of the support"),
        ("z", "no numbers"),
        (3.0, "Got latents of no data"),
    ],
)
def test_latents_that_the_model_has_not_are_refused(latents, words):
    with pytest.raises(ArgumentError, match=words):
        pv.decode(conditional(), latents, like=(X, torch.zeros(3)))


def test_several_latents_are_told_by_name():
    with pytest.raises(ArgumentError, match="z2, z1"):
        pv.decode(two_levels(), torch.zeros(2, 2), like=X)


def sequences():
    """A pair for sequences of other lengths, and data."""
    torch.manual_seed(0)
    data = pv.datasets.from_arrays(torch.randn(6, 5, 2), lengths=torch.tensor([5, 2, 3, 4, 1, 5]))
    model = pv.models.StateSpace(data.spec, latent_dim=2, hidden=[4])
    return pv.VAE(model, pv.guides.Recurrent(data.spec, model)), data.train


def test_codes_of_sequences_are_decoded_up_to_their_ends():
    vae, data = sequences()
    codes = pv.encode(vae, data)
    x = pv.decode(vae, {name: code.loc for name, code in codes.items()}, like=data.batch())
    assert x.isnan().any(-1).sum(1).tolist() == [0, 3, 2, 1, 4, 0]
    filled = pv.decode(vae, {name: code.loc.nan_to_num() for name, code in codes.items()}, like=data.batch())
    torch.testing.assert_close(x, filled, equal_nan=True)


def test_a_step_that_a_sequence_has_needs_a_value():
    vae, data = sequences()
    codes = pv.encode(vae, data)
    with pytest.raises(ArgumentError, match=r"Got latents 'z_2' with NaN for datum 1, whose sequence has this step"):
        pv.decode(vae, codes, like=data[[0, 0, 2, 3, 4, 5]])
    codes["z_0"].loc[3] = torch.nan
    with pytest.raises(ArgumentError, match=r"Got latents 'z_0' with NaN for datum 3.*like=data"):
        pv.decode(vae, codes, like=data)


def test_codes_stand_for_their_means():
    vae, data = sequences()
    codes = pv.encode(vae, data)
    means = {name: code.loc for name, code in codes.items()}
    torch.testing.assert_close(pv.decode(vae, codes, like=data), pv.decode(vae, means, like=data), equal_nan=True)
    pair, batch = conditional(), (torch.zeros(3, 2), torch.ones(3))
    code = pv.encode(pair, batch)["z"]
    assert torch.equal(pv.decode(pair, code, like=batch), pv.decode(pair, code.loc, like=batch))
