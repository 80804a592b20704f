"""Pairs for tables of mixed columns: what they learn beyond single columns, what they fill in, their capture."""

import functools

import numpy as np
import pandas as pd
import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import DataError
from ppl_vae.runs.export import export

ADAM = functools.partial(torch.optim.Adam, lr=5e-3)
KINDS = {"visits": "count", "income": "positive"}


def people(n, seed, holes=0.0):
    """One number behind all columns."""
    draw = np.random.default_rng(seed)
    z = draw.normal(size=n)
    noisy = [z + 0.4 * draw.normal(size=n) for _ in range(3)]
    grades = pd.Categorical.from_codes(np.digitize(noisy[1], [-0.7, 0.7]), ["low", "middle", "high"], ordered=True)
    frame = pd.DataFrame(
        {
            "age": 40 + 10 * noisy[2],
            "town": np.array(["Kiel", "Bonn", "Hamm"])[np.digitize(noisy[0], [-0.5, 0.5])],
            "grade": grades,
            "smokes": np.where(z + 0.5 * draw.normal(size=n) > 0, "yes", "no"),
            "visits": draw.poisson(np.exp(1 + 0.7 * z)).astype(float),
            "income": np.exp(8 + 0.8 * z + 0.3 * draw.normal(size=n)),
        }
    )
    gone = pd.DataFrame(draw.random(frame.shape) < holes, columns=frame.columns)
    return frame, frame.mask(gone), gone.to_numpy()


PAIRS = {
    "tabular": lambda s: _pair(
        pv.models.Tabular(s, latent_dim=2, components=3, hidden=(32,)), s, pv.guides.MixtureAmortized
    ),
    "vae": lambda s: _pair(pv.models.VAE(s, latent_dim=2, hidden=(32,)), s, pv.guides.Amortized),
    "derived": lambda s: _pair(
        pv.models.Tabular(s, latent_dim=2, components=3, hidden=(32,)), s, lambda s, m, hidden: pv.guides.Derived(m, s)
    ),
}


def _pair(model, spec, guide):
    return pv.VAE(model, guide(spec, model, hidden=(32,)))


def independent(data):
    """Held-out log-likelihood of columns that know nothing of each other, fitted by maximum likelihood, in nats."""
    likelihood = pv.likelihoods.Mixed(data.spec)
    params = likelihood.initial_bias().requires_grad_()
    optimizer = torch.optim.Adam([params, *likelihood.parameters()], lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        (-likelihood(params).log_prob(data.train.batch()[0]).mean()).backward()
        optimizer.step()
    return likelihood(params).log_prob(data.test.batch()[0]).detach()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tabular", "vae"])
def test_it_knows_more_than_single_columns(name):
    """The evidence of 300 held-out data against independent columns: better by more than 5 standard errors, paired."""
    frame, _, _ = people(900, 0)
    data = pv.datasets.from_arrays(frame, validation=100, test=300, kinds=KINDS, standardization="zscore")
    torch.manual_seed(0)
    vae = PAIRS[name](data.spec)
    pv.fit(vae, data, epochs=60, batch_size=50, optimizer=ADAM, progress=False, seed=0)
    nll = torch.tensor(pv.evaluate(vae, data.test, num_particles=100).table["nll"].to_numpy())
    gain = -nll - independent(data)
    assert gain.mean() > 0.5
    assert gain.mean() > 5 * gain.std() / 300**0.5


@pytest.mark.slow
def test_what_is_filled_in_is_nearer_than_means_and_modes():
    whole, frame, gone = people(600, 1, holes=0.3)
    data = pv.datasets.from_arrays(frame, kinds=KINDS, standardization="zscore")
    torch.manual_seed(0)
    vae = PAIRS["tabular"](data.spec)
    pv.fit(vae, data, epochs=60, batch_size=50, optimizer=ADAM, progress=False, seed=0)
    found = pv.impute(vae, data.train, num_particles=200, draws=3)
    filled = pv.datasets.to_frame(data.spec, found.x)
    for i, name in enumerate(whole):
        there, lost = ~gone[:, i], gone[:, i]
        if name in ("town", "grade", "smokes"):
            assert (filled[name][there] == whole[name][there].astype(str)).all()
            right = (filled[name][lost] == whole[name][lost].astype(str)).mean()
            assert right > whole[name][lost].value_counts(normalize=True).max() + 0.1, name
        else:
            np.testing.assert_allclose(filled[name][there], whole[name][there], rtol=1e-5)
            scale = np.log if name == "income" else np.asarray
            errors = scale(filled[name][lost]) - scale(whole[name][lost])
            assert np.sqrt(np.mean(errors**2)) < 0.85 * np.std(scale(whole[name][lost])), name
    draws = pv.datasets.to_frame(data.spec, found.draws[0])
    assert set(draws["town"]) == {"Kiel", "Bonn", "Hamm"}
    assert (draws["visits"][gone[:, 4]] % 1 == 0).all()


@pytest.mark.parametrize("name", PAIRS)
def test_a_column_that_is_missing_counts_nothing(name):
    _whole, frame, gone = people(40, 2, holes=0.3)
    data = pv.datasets.from_arrays(frame, kinds=KINDS, standardization="zscore")
    torch.manual_seed(0)
    vae = PAIRS[name](data.spec)
    t = pv.terms(vae, data.train.batch()[0])
    assert t.model["x"].log_prob.isfinite().all()
    loss = pv.objectives.ELBO()(vae, data.train.batch()[0], total=40).surrogate
    loss.backward()
    assert all(p.grad.isfinite().all() for p in vae.parameters() if p.grad is not None)
    assert gone.any()
    assert t.observed["x"].seen.isnan().sum() == gone.sum()


@pytest.mark.parametrize("name", ["tabular", "vae"])
def test_reconstructions_are_means_and_the_most_probable(name):
    frame, _, _ = people(30, 3)
    data = pv.datasets.from_arrays(frame, kinds=KINDS, standardization="zscore")
    torch.manual_seed(0)
    vae = PAIRS[name](data.spec)
    made = pv.reconstruct(vae, data.train, num_particles=8)
    assert made.shape == (30, 6)
    codes = made[:, 1:4]
    assert torch.equal(codes, codes.round())
    assert (codes.amax(0) <= torch.tensor([2.0, 2.0, 1.0])).all()
    assert (codes >= 0).all()
    assert pv.reconstruct(vae, data.train, mean=False).shape == (30, 6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tabular", "vae"])
def test_exported_programs_give_the_parameters_of_each_kind(name):
    _, frame, _ = people(20, 4, holes=0.2)
    data = pv.datasets.from_arrays(frame, kinds=KINDS, standardization="zscore")
    vae = PAIRS[name](data.spec)
    (x,) = data.train.batch()
    programs = export(vae, (x,))
    q = programs["encoder"].module()(x)
    latents = {"z": q["z"]["loc"], **({"y": q["y"]["logits"].argmax(-1)} if "y" in q else {})}
    found = programs["decoder"].module()(latents)["x"]
    assert set(found) == {
        "real.loc", "real.scale", "positive.loc", "positive.scale", "count.log_mean", "count.log_r",
        "binary.logits", "category.logits", "ordinal.logits",
    }  # fmt: skip
    assert found["category.logits"].shape == (20, 1, 3)


@pytest.mark.slow
def test_recorded_steps_train_to_the_same_numbers():
    _, frame, _ = people(60, 5, holes=0.2)
    data = pv.datasets.from_arrays(frame, kinds=KINDS, standardization="zscore")
    bounds = []
    for how in ("off", "export"):
        torch.manual_seed(0)
        vae = PAIRS["tabular"](data.spec)
        history = pv.fit(vae, data, epochs=2, batch_size=20, compile=how, seed=1, progress=False)
        bounds.append(list(history["train/elbo"]))
    assert bounds[0] == bounds[1]


def test_images_are_refused():
    with pytest.raises(DataError, match="expected a table"):
        pv.models.Tabular(pv.datasets.Spec((1, 8, 8), "binary"))
