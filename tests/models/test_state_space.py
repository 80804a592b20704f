"""The deep Markov model against a linear-Gaussian one whose likelihood is known, and against itself without padding."""

from functools import partial

import numpy as np
import pytest
import torch
from pyro import poutine

import ppl_vae as pv
from ppl_vae.core.series import series_of
from ppl_vae.errors import ArgumentError, DataError
from ppl_vae.inference_data import _arviz

T, D, L = 8, 3, 2
TRANSITION = 0.9 * torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=torch.float64)
EMISSION = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, -1.0]], dtype=torch.float64)
Q = R = 0.5


def kalman(x):
    """log p(x) of `(steps, D)` by the Kalman filter, nats."""
    mean, covariance, total = torch.zeros(L).double(), torch.eye(L).double(), 0.0
    for step in x.double():
        spread = EMISSION @ covariance @ EMISSION.T + R**2 * torch.eye(D)
        seen = torch.distributions.MultivariateNormal(EMISSION @ mean, spread)
        total += float(seen.log_prob(step))
        gain = covariance @ EMISSION.T @ torch.linalg.inv(spread)
        mean, covariance = mean + gain @ (step - EMISSION @ mean), covariance - gain @ EMISSION @ covariance
        mean, covariance = TRANSITION @ mean, TRANSITION @ covariance @ TRANSITION.T + Q**2 * torch.eye(L)
    return total


def simulated(n, seed=0):
    source = np.random.default_rng(seed)
    z, x = source.normal(size=(n, L)), []
    for _ in range(T):
        x.append(z @ EMISSION.numpy().T + R * source.normal(size=(n, D)))
        z = z @ TRANSITION.numpy().T + Q * source.normal(size=(n, L))
    lengths = source.integers(3, T + 1, n)
    return [row[:m] for row, m in zip(np.stack(x, 1), lengths, strict=True)]


def pair(spec, latent_dim=L, likelihood=None, **options):
    torch.manual_seed(0)
    model = pv.models.StateSpace(spec, likelihood, latent_dim=latent_dim, hidden=[16], **options)
    return pv.VAE(model, pv.guides.Recurrent(spec, model, width=32))


DATA = pv.datasets.from_arrays(simulated(20))


@pytest.mark.slow
def test_the_bound_is_below_the_exact_likelihood_and_near_it():
    """400 held-out sequences: the difference of the means has a standard error of some 0.05 nats per datum.

    A fitted model lies above the true one by that error alone: 4 of them are passed with probability 3e-5.
    """
    data = pv.datasets.from_arrays(simulated(2400), validation=400)
    vae = pair(data.spec)
    history = pv.fit(
        vae, data, epochs=60, batch_size=100, optimizer=partial(torch.optim.Adam, lr=5e-3), seed=0, progress=False
    )
    assert history.compiled.startswith("export")
    x, lengths = data.validation.batch()
    exact = np.array([kalman(row[:n]) for row, n in zip(x, lengths.tolist(), strict=True)])
    elbo = pv.evaluate(vae, data.validation, num_particles=50).table["elbo"].to_numpy()
    gap = exact - elbo
    assert gap.mean() > -4 * gap.std() / len(gap) ** 0.5
    assert gap.sum() / int(lengths.sum()) < 0.1


def terms_of(vae, x, lengths, seed=0):
    torch.manual_seed(seed)
    return pv.terms(vae, (x, lengths))


@pytest.mark.parametrize("support", ["real", "binary", "counts"])
@pytest.mark.parametrize("n", [1, 3, T])
def test_padding_changes_no_bound(n, support):
    """A datum has its own bound, with the same noise, whatever follows its end: zeros, or anything else."""
    values = {"real": lambda x: x, "binary": lambda x: x > 0, "counts": lambda x: np.abs(x).round() + 1}[support]
    data = pv.datasets.from_arrays([values(row) for row in simulated(20)])
    assert data.spec.support == support
    vae = pair(data.spec).double()
    x = data.train.batch()[0][:1].double()
    lengths = torch.tensor([n])
    whole, cut = terms_of(vae, x, lengths), terms_of(vae, x[:, :n], lengths)
    other = x.clone()
    other[:, n:] = 1.0
    dirty = terms_of(vae, other, lengths)
    assert torch.equal(whole.log_weights, cut.log_weights)
    assert torch.equal(whole.log_weights, dirty.log_weights)


def test_the_density_is_that_of_the_chain():
    """log p(x, z) of two sequences by hand, at the guide's draws."""
    vae = pair(DATA.spec).double()
    x, lengths = (part[:2] for part in DATA.train.batch())
    t = terms_of(vae, x.double(), lengths)
    model = vae.model
    expected = torch.zeros(2, dtype=torch.float64)
    for i, n in enumerate(lengths.tolist()):
        before = None
        for s in range(n):
            z = t.latents[f"z_{s}"].value[0, i]
            prior = model.initial() if before is None else model.transition(before)
            mean = model.emission(z)
            scale = torch.nn.functional.softplus(model.likelihood.scale.raw) + 1e-6
            expected[i] += prior.log_prob(z) + torch.distributions.Normal(mean, scale).log_prob(x[i, s].double()).sum()
            before = z
    assert torch.allclose(t.sum(t.model, True)[0], expected)


def test_the_guide_reads_from_the_end_of_each_sequence():
    """h_t is a function of what is at t and after it, up to the length."""
    vae = pair(DATA.spec)
    x = torch.randn(1, T, D)

    def locs(x, n):
        trace = poutine.trace(vae.guide).get_trace(x, torch.tensor([n]))
        return [trace.nodes[f"z_{t}"]["fn"].mean for t in (0,)]

    later, after = x.clone(), x.clone()
    later[:, 4] += 1
    after[:, 5:] += 1
    assert not torch.equal(locs(x, 5)[0], locs(later, 5)[0])
    assert torch.equal(locs(x, 5)[0], locs(after, 5)[0])


def test_posterior_samples_and_codes_end_with_the_sequence():
    vae, batch = pair(DATA.spec), DATA.train.batch()
    lengths = batch[1]
    absent = (torch.arange(T) >= lengths[:, None]).numpy()
    assert {k: len(v) for k, v in series_of(pv.terms(vae, batch)).items()} == {"z": T}
    drawn = _arviz.to_tree(pv.posterior(vae, batch, draws=3, spec=DATA.spec))
    for group, name in (("posterior", "z"), ("posterior_predictive", "x")):
        value = drawn[group][name]
        assert value.dims[2:4] == ("datum", "time")
        assert (value.isnull().all(("chain", "draw")).values == absent[..., None]).all()
    assert drawn["observed_data"]["x"].dims == ("datum", "time", "feature")
    assert (drawn["observed_data"]["x"].isnull().values == absent[..., None]).all()
    assert drawn["constant_data"]["lengths"].values.tolist() == lengths.tolist()
    made = pv.generate(vae, 3, like=batch, given={"lengths": [1, 4, 8]}, seed=0)
    assert (~made.isnan().any(-1)).sum(1).tolist() == [1, 4, 8]
    again = pv.reconstruct(vae, batch)
    assert (again.isnan().any(-1).numpy() == absent).all()


def test_two_programs_that_mask_alike_have_divergences_in_closed_form():
    vae, batch = pair(DATA.spec), DATA.train.batch()
    bound = pv.objectives.ELBO(kl="analytic")(vae, batch, total=20)
    exact = torch.stack(
        [pv.objectives.ELBO(kl="sampled", num_particles=500)(vae, batch, total=20).value for _ in range(5)]
    )
    assert abs(bound.value - exact.mean()) < 0.5
    evaluation = pv.evaluate(vae, batch, num_particles=200)
    assert evaluation.units["site"].tolist() == ["z"] * L
    assert evaluation.units["kl"].sum() == pytest.approx(evaluation.summary["kl"], rel=0.1)


def test_any_likelihood_of_independent_elements():
    spec = DATA.spec
    pair(spec, likelihood=pv.likelihoods.StudentT(spec, scale="network"))
    rows = [np.abs(row).round() for row in simulated(20)]
    data = pv.datasets.from_arrays(rows)
    vae = pair(data.spec, likelihood=pv.likelihoods.NegativeBinomial(data.spec))
    assert torch.isfinite(pv.terms(vae, data.train.batch()).log_weights).all()


def test_the_emission_begins_at_the_training_mean():
    data = pv.datasets.from_arrays([row + 7 for row in simulated(200)])
    made = pair(data.spec).model.emission[-1].bias
    assert torch.allclose(made, torch.full((D,), 7.0), atol=0.3)


def test_what_is_no_sequence_is_refused():
    with pytest.raises(DataError, match="sequences, \\(time, features\\)"):
        pv.models.StateSpace(pv.datasets.from_arrays(torch.rand(9, 4)).spec)


@pytest.mark.parametrize("lengths", [T + 1, 100, -1])
def test_lengths_that_x_has_no_steps_for_are_refused(lengths):
    """`generate` gave as many steps as the data have, in silence."""
    data = pv.datasets.from_arrays(simulated(30))
    vae = pair(data.spec)
    pv.prepare(vae, data.train.batch(slice(0, 4)))
    with pytest.raises(ArgumentError, match=rf"Got lengths from {lengths} to {lengths}, expected 0 to {T}"):
        pv.generate(vae, 3, given={"lengths": lengths})
    assert pv.generate(vae, 3, given={"lengths": T}).shape == (3, T, D)
