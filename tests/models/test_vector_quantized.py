"""Vector quantization: bound and evidence by hand, commitment in no report, a codebook that moves once a step."""

import itertools
import math

import pytest
import torch

import ppl_vae as pv
from ppl_vae.codes.densities import fit_autoregressive
from ppl_vae.errors import ArgumentError, CheckError, DataError

SIZES = {"codes": 4, "positions": 3, "dim": 2, "hidden": [32]}


@pytest.fixture(scope="module")
def data():
    return pv.datasets.load("digits")


def pair(data, commitment=0.25, **sizes):
    torch.manual_seed(0)
    model = pv.models.VectorQuantized(data.spec, **SIZES | sizes)
    return pv.VAE(model, pv.guides.VectorQuantizedAmortized(data.spec, model, hidden=[32], commitment=commitment))


def trained(data, epochs=2, how=None, **sizes):
    vae = pair(data, **sizes)
    history = pv.fit(vae, data, epochs=epochs, seed=0, progress=False, **{"compile": "off"} | (how or {}))
    return vae, history


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("prior", [None, "categorical", "autoregressive"])
def test_the_evidence_is_the_sum_over_all_codes(data, prior):
    vae, _ = trained(data)
    if prior is not None:
        vae = pv.fit_prior(vae, data, prior).vae
    (x,) = data.test[:40].batch()
    found = pv.evaluate(vae, x, 2)
    every = torch.tensor(list(itertools.product(range(4), repeat=3)), dtype=torch.float32)
    code = pv.encode(vae, x)["z"].loc
    with torch.no_grad():
        logits = vae.model.decoder(vae.model.codebook(every).flatten(1)).squeeze(1)
        joint = torch.distributions.Bernoulli(logits=logits[:, None]).log_prob(x).flatten(2).sum(-1)
        joint = joint + vae.model.prior().log_prob(every)[:, None]
    exact = joint.logsumexp(0)
    mine = (every[:, None] == code).all(-1).float().argmax(0)
    elbo = joint.gather(0, mine[None])[0]
    torch.testing.assert_close(-torch.tensor(found.table["nll"].to_numpy()).float(), exact, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(torch.tensor(found.table["elbo"].to_numpy()).float(), elbo, rtol=1e-4, atol=1e-3)
    assert found.summary["reason"] is None
    assert pv.generate(vae, 3, seed=0).shape == (3, 1, 8, 8)


def test_the_commitment_is_a_part_of_the_gradient_alone(data):
    (x,) = data.train[:16].batch()
    gradients, values = [], []
    for commitment in (0.0, 2.0):
        vae = pair(data, commitment).eval()
        bound = pv.objectives.ELBO()(vae, x, total=160)
        values.append((bound.value, *bound.metrics.values()))
        (-bound.surrogate).backward()
        gradients.append([p.grad for p in vae.guide.encoder.parameters()])
    assert values[0] == values[1]
    vae = pair(data).eval()
    h = vae.guide.h(vae.guide.encoder(x)).unflatten(-1, (3, 2))
    e = vae.model.codebook(torch.cdist(h, vae.model.codebook.table).argmin(-1))
    by_hand = torch.autograd.grad(2.0 * (h - e).square().sum((1, 2)).mean(), list(vae.guide.encoder.parameters()))
    for without, with_it, expected in zip(*gradients, by_hand, strict=True):
        torch.testing.assert_close(with_it - without, expected, rtol=1e-3, atol=1e-5)


def test_the_gradient_of_the_encoder_is_that_at_the_vectors(data):
    (x,) = data.train[:16].batch()
    vae = pair(data, 0.0).eval()
    (-pv.objectives.ELBO()(vae, x, total=16).surrogate).backward()
    h = vae.guide.h(vae.guide.encoder(x))
    e = vae.model.codebook(torch.cdist(h.unflatten(-1, (3, 2)), vae.model.codebook.table).argmin(-1))
    e = e.flatten(1).detach().requires_grad_()
    logits = vae.model.decoder(e).squeeze(1)
    cost = -torch.distributions.Bernoulli(logits=logits).log_prob(x).flatten(1).sum(1).mean()
    (at_vectors,) = torch.autograd.grad(cost, e)
    expected = torch.autograd.grad(h, vae.guide.h.weight, at_vectors)[0]
    torch.testing.assert_close(vae.guide.h.weight.grad, expected, rtol=1e-4, atol=1e-6)
    assert all(name not in dict(vae.named_parameters()) for name in ("model.codebook.total", "model.codebook.share"))


def test_the_codebook_moves_once_a_step_and_in_no_evaluation(data, monkeypatch):
    calls = []
    update = pv.nn.Codebook.update
    monkeypatch.setattr(pv.nn.Codebook, "update", lambda self, h, z: (calls.append(len(h)), update(self, h, z))[1])
    vae, history = trained(data, epochs=1)
    steps = history.rows[-1]["step"]
    (x,) = data.test[:10].batch()
    moved = []
    original = vae.model.codebook.total.clone()
    monkeypatch.setattr(pv.nn.Codebook, "update", lambda *_: moved.append(1))
    pv.evaluate(vae, x, 2)
    pv.encode(vae, x)
    with torch.no_grad():
        pv.objectives.ELBO()(vae.eval(), x)
    assert not moved
    assert torch.equal(vae.model.codebook.total, original)
    # Runs that are looked at and undone (how particles are drawn, what can be recorded) draw no step of their own.
    fresh = pair(data).train()
    monkeypatch.setattr(pv.nn.Codebook, "update", update)
    before = fresh.model.codebook.total.clone()
    pv.prepare(fresh, x, 2)
    assert torch.equal(fresh.model.codebook.total, before)
    assert steps <= len(calls) <= steps + 2


def test_a_resumed_run_has_the_bits_of_an_unbroken_one(data, tmp_path):
    whole, _ = trained(data, 3, {"directory": tmp_path / "whole", "keep": "last"})
    trained(data, 1, {"directory": tmp_path / "parts", "keep": "last"})
    vae = pair(data)
    pv.fit(vae, data, epochs=3, seed=0, progress=False, compile="off", keep="last", resume=True,
           directory=tmp_path / "parts")  # fmt: skip
    assert same(vae, whole)


def test_recorded_steps_have_the_bits_of_the_program(data):
    (eager, first), (recorded, second) = trained(data), trained(data, how={"compile": "export"})
    assert same(eager, recorded)
    assert first.rows[-1]["train/elbo"] == second.rows[-1]["train/elbo"]


def test_shares_of_a_batch_move_the_averages_as_the_batch_does(data):
    (x,) = data.train[:40].batch()
    books = []
    for accumulate in (1, 2):
        vae = pair(data, restart=0.0)
        pv.fit(vae, x, epochs=1, batch_size=40, seed=0, progress=False, accumulate=accumulate, compile="off")
        books.append(vae.model.codebook)
    torch.testing.assert_close(books[0].share, books[1].share)
    torch.testing.assert_close(books[0].table, books[1].table)


def test_other_bounds_are_refused_in_words(data):
    with pytest.raises(CheckError, match="Quantize at site 'e' cannot be used with IWAE"):
        pv.objectives.IWAE(num_particles=2)(pair(data), data.train[:8].batch())


def test_between_codes_nothing_lies(data):
    vae, _ = trained(data, 1)
    with pytest.raises(pv.errors.ArgumentError, match=r"latent 'z', between .* pv.decode\(vae, \{'e': …\}\)"):
        pv.interpolate(vae, data.test[:1], data.test[1:2])
    ends = pv.encode(vae, data.test[:2])
    halfway = pv.decode(vae, {"e": ends["e"].loc.mean(0, keepdim=True)})  # as said: the decoder sees e alone
    with torch.no_grad():
        by_hand = vae.model.decoder(ends["e"].loc.mean(0).flatten()).sigmoid()
    torch.testing.assert_close(halfway, by_hand, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_it_learns_more_than_its_baselines_and_uses_its_codes(data):
    # 359 test data. Independent pixels give −log p(x) with a standard error of about 0.2 nats over data; the margin
    # of a nat is some five of them.
    vae, history = trained(data, 15, codes=16)
    (x,), (seen,) = data.test.batch(), data.train.batch()
    mean = ((seen.sum(0) + 1) / (len(seen) + 2)).clamp(1e-6, 1 - 1e-6)
    pixels = -torch.distributions.Bernoulli(mean).log_prob(x).flatten(1).sum(1).mean()
    fitted = pv.fit_prior(vae, data, "autoregressive").vae
    nll = pv.evaluate(fitted, data.test, 2).summary["nll"]
    assert nll < float(pixels) - 1
    untrained = pair(data, codes=16, restart=0.0)
    assert nll < pv.evaluate(untrained, data.test, 2).summary["nll"] - 1
    assert history.rows[-1]["validation/perplexity/e"] > 16 / 4
    assert len(pv.encode(vae, data.train)["z"].loc.unique()) == 16


def test_codes_of_places_are_of_patches():
    """What is far from a place changes neither its code nor what is made of it."""
    torch.manual_seed(0)
    data = pv.datasets.from_arrays(torch.rand(64, 1, 33, 20).round())
    model = pv.models.ConvVectorQuantized(data.spec, codes=8, channels=[8, 8])
    vae = pv.VAE(model, pv.guides.ConvVectorQuantizedAmortized(data.spec, model, channels=[8, 8]))
    pv.fit(vae, data, epochs=1, batch_size=32, seed=0, progress=False)
    assert model.positions == 9 * 5
    x = data.train.batch()[0][:5]
    changed = x.clone()
    changed[..., 20:, :] = 1 - changed[..., 20:, :]
    codes, others = (pv.encode(vae, y)["z"].loc.unflatten(-1, (9, 5)) for y in (x, changed))
    assert torch.equal(codes[:, :5], others[:, :5])
    assert not torch.equal(codes[:, 5:], others[:, 5:])
    with torch.no_grad():
        one, other = (model.decoder(model.codebook(z.flatten(1)).flatten(1)) for z in (codes, others))
    torch.testing.assert_close(one[..., :14, :], other[..., :14, :])
    assert not torch.allclose(one[..., 20:, :], other[..., 20:, :])


@pytest.mark.parametrize("channels", [[8], [8, 8, 8]])
def test_a_guide_of_other_places_names_the_fix(data, channels):
    model = pv.models.ConvVectorQuantized(data.spec, channels=[8, 8])
    with pytest.raises(ArgumentError, match=r"places, for a model of 4 positions: take as many channels"):
        pv.guides.ConvVectorQuantizedAmortized(data.spec, model, channels=channels)


def test_places_are_of_images_and_divide_the_features():
    table = pv.datasets.from_arrays(torch.rand(20, 6)).spec
    with pytest.raises(DataError, match="needs images"):
        pv.models.ConvVectorQuantized(table)
    spec = pv.datasets.from_arrays(torch.rand(20, 1, 8, 8).round()).spec
    with pytest.raises(ArgumentError, match=r"features=7, expected a multiple of 4"):
        pv.nn.PlacesDecoder(spec, pv.likelihoods.Bernoulli(spec), 7)


def test_a_prior_over_names_sees_which_and_not_how_large():
    """z2 is a permutation of z1 without an order: -log p = 2 log 16 - log 16 where that is found."""
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(16, generator=generator)
    first = torch.randint(16, (4000,), generator=generator)
    z = torch.stack([first, order[first]], -1).float()
    found = fit_autoregressive(z[:3000], z[3000:], [16, 16], epochs=30, seed=0)
    assert not found.arguments["ordered"]
    assert found.held_out == pytest.approx(-math.log(16), abs=0.05)
    assert max(v for name, v in found.tried.items() if "size" in name) < found.held_out - 0.1
