"""The laws that every pair of the catalogue keeps, held against plain Pyro and against single runs."""

import warnings

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO, TraceMeanField_ELBO, config_enumerate
from pyro.poutine.messenger import Messenger

import ppl_vae as pv
from ppl_vae.objectives import ELBO
from tests.catalogue import CASES, Case

PLAIN = pytest.mark.parametrize("case", [c for c in CASES.values() if not (c.random or c.enumerated)], ids=str)
EVERY = pytest.mark.parametrize("case", CASES.values(), ids=str)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*was not registered in the param store because requires_grad=False:UserWarning"  # Pyro, of frozen layers
)


def build(case: Case, seed: int = 1):
    pyro.set_rng_seed(seed)
    model, guide, *batches = case.build()
    return model, guide, batches


def pair(case: Case, seed: int = 1):
    model, guide, batches = build(case, seed)
    return pv.VAE(model, guide, **case.pair), batches


class At(Messenger):
    """Gives latent sites, and the indices that plates draw, given values, and observes nothing."""

    def __init__(self, values):
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg):
        if not msg["is_observed"] and msg["name"] in self.values:
            msg["value"], msg["done"] = self.values[msg["name"]], True


def at(values, program):
    def run(*batch):
        with At(values):
            return program(*batch)

    return run


def latents(t):
    return {n: s.raw.detach() for n, s in t.guide.items() if not s.is_observed}


def weighted_bound(t):
    """(particles,) values of the sampled ELBO, scaled and weighted, in nats of the whole batch."""
    local = t.sum(t.model, True, weighted=True) - t.sum(t.guide, True, weighted=True)
    joint = t.sum(t.model, False, weighted=True) - t.sum(t.guide, False, weighted=True)
    return joint + t.data_scale * local.sum(-1)


@PLAIN
def test_sums_are_those_of_plain_pyro(case):
    """With equal values, Σ log p − log q (scaled, weighted) is what the untouched programs give under plain Pyro."""
    vae, batches = pair(case)
    for i in range(len(batches)):
        model, guide, plain = build(case)
        pv.prepare(vae, batches[0])
        with pyro.get_param_store().scope():
            guide(*plain[0])  # creates its parameters as the pair did
            t = pv.terms(vae, batches[i])
            values = latents(t)
            q = poutine.trace(at(values, guide)).get_trace(*plain[i])
            p = poutine.trace(at(values, model)).get_trace(*plain[i])
        expected = p.log_prob_sum() - q.log_prob_sum()
        torch.testing.assert_close(weighted_bound(t)[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", [c for c in CASES.values() if c.kl and not c.random], ids=str)
def test_analytic_kl_is_that_of_plain_pyro(case):
    """With equal values, `ELBO(kl="analytic")` is `TraceMeanField_ELBO`, where Pyro's is right."""
    vae, batches = pair(case)
    pv.prepare(vae, batches[0])
    pyro.set_rng_seed(3)
    bound = ELBO(kl="analytic")(vae, batches[0])
    pyro.set_rng_seed(3)
    t = pv.terms(vae, batches[0])  # the same draws
    model, guide, plain = build(case)
    with pyro.get_param_store().scope(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pyro's doubts about legal pairs: other plate names, sites in another order
        guide(*plain[0])
        elbo = TraceMeanField_ELBO(strict_enumeration_warning=False)
        expected = -elbo.loss(at({}, model), at(latents(t), guide), *plain[0])
    torch.testing.assert_close(float(bound.value * t.total), float(expected), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("case", [c for c in CASES.values() if c.enumerated and not c.random], ids=str)
def test_enumerated_bound_is_that_of_plain_pyro(case):
    """With equal values of what is drawn, `ELBO` is `TraceEnum_ELBO`."""
    vae, batches = pair(case)
    pv.prepare(vae, batches[0])
    for i, batch in enumerate(batches):
        pv.prepare(vae, batch)
        pyro.set_rng_seed(3)
        bound = ELBO(kl="sampled")(vae, batch)
        pyro.set_rng_seed(3)
        t = pv.terms(vae, batch)
        values = {n: s.raw.detach() for n, s in t.guide.items() if not s.is_observed and s.enum_dim is None}
        model, guide, plain = build(case)
        with pyro.get_param_store().scope(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            guide(*plain[0])
            elbo = TraceEnum_ELBO(max_plate_nesting=t.prepared.plates.depth + 1)  # an axis for particles, as here
            expected = -elbo.loss(at({}, model), at(values, config_enumerate(guide)), *plain[i])
        torch.testing.assert_close(float(bound.value * t.total), float(expected), rtol=1e-4, atol=1e-3)


@EVERY
def test_particles_are_single_runs(case):
    """Under every strategy that the pair allows, each particle has the densities that its values have alone."""
    vae, batches = pair(case)
    vae.eval()
    for batch in batches:
        chosen = pv.terms(vae, batch, 3)
        for name in dict.fromkeys((chosen.strategy, "loop")):
            t = pv.terms(vae, batch, 3, strategy=name)
            if case.random:
                continue
            single = pv.terms(vae, batch, 3, strategy="loop", values=_split(vae, t, batch))
            for program in ("guide", "model"):
                for site, expected in getattr(single, program).items():
                    got = getattr(t, program)[site]
                    shape = (3, t.batch_size) if got.is_local else (3,)
                    assert got.log_prob.shape == shape or case.enumerated
                    torch.testing.assert_close(got.log_prob, expected.log_prob, rtol=1e-3, atol=1e-3)


def _split(vae, t, batch):
    """The raw values of each particle, stacked for the loop."""
    result = {}
    alone = pv.terms(vae, batch).guide
    for name, site in t.guide.items():
        if site.is_observed or site.enum_dim is not None:
            continue
        values, event_dim = site.raw.detach(), site.fn.event_dim
        if t.strategy == "plate":
            values = values.movedim(t.prepared.plates.particle_dim - event_dim, 0)
        elif t.strategy == "tile":
            axis = site.data_dim - event_dim
            values = values.unflatten(axis, (3, -1)).movedim(axis - 1, 0)
        result[name] = values.reshape(3, *alone[name].raw.shape)
    return result


@EVERY
@pytest.mark.parametrize("particles", [1, 2])
def test_training_moves_every_parameter(case, particles):
    """A few steps of Adam change each trainable parameter, no frozen one, and no parameter of Pyro's store."""
    vae, batches = pair(case)
    for batch in batches:
        pv.prepare(vae, batch, particles)
    before = {n: p.detach().clone() for n, p in vae.named_parameters()}
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-2)
    objective = ELBO(num_particles=particles)
    for step in range(4):
        optimizer.zero_grad()
        bound = objective(vae, batches[step % len(batches)])
        assert torch.isfinite(bound.value)
        (-bound.surrogate).backward()
        optimizer.step()
    assert {n for n, _ in vae.named_parameters()} == before.keys()
    for name, parameter in vae.named_parameters():
        moved = not torch.equal(parameter, before[name])
        assert moved != any(part in name for part in case.frozen), f"{name} {'moved' if moved else 'stayed'}"
    assert not list(pyro.get_param_store().keys())


@EVERY
def test_preparing_leaves_nothing_behind(case):
    """The warm-up moves no random number generator, no buffer and no gradient."""
    vae, batches = pair(case)
    state, buffers = torch.get_rng_state(), {n: b.clone() for n, b in vae.named_buffers()}
    pv.prepare(vae, batches[0], 2)
    assert torch.equal(torch.get_rng_state(), state)
    for name, buffer in vae.named_buffers():
        if name in buffers:
            torch.testing.assert_close(buffer, buffers[name])
    assert all(p.grad is None for p in vae.parameters())


@EVERY
@pytest.mark.parametrize("run", [True, False], ids=["prepared", "never run"])
def test_state_dict_round_trip(case, run):
    """A pair with the state of another gives its numbers, whether it has run before or not."""
    vae, batches = pair(case)
    pv.prepare(vae, batches[0])
    with torch.no_grad():
        for p in vae.parameters():
            p.add_(0.1 * torch.rand_like(p))
    state = {n: v.clone() for n, v in vae.state_dict().items()}
    other, _ = pair(case)
    if run:
        pv.prepare(other, batches[0])
    other.load_state_dict(state)
    vae.eval(), other.eval()
    pyro.set_rng_seed(7)
    expected = weighted_bound(pv.terms(vae, batches[0])).detach()
    pv.prepare(other, batches[0])
    pyro.set_rng_seed(7)
    torch.testing.assert_close(weighted_bound(pv.terms(other, batches[0])).detach(), expected)
    assert other.state_dict().keys() == state.keys()


@EVERY
def test_moves_with_its_tensors(case):
    """`.to(dtype)` and `.to(device)` take everything along."""
    vae, batches = pair(case)
    pv.prepare(vae, batches[0])
    vae.to(torch.float64)
    assert all(p.dtype == torch.float64 for p in vae.parameters())
    if case.generic:
        t = pv.terms(vae, _double(batches[0]), 2)
        assert torch.isfinite(weighted_bound(t)).all()
    vae.to("meta")
    assert all(t.is_meta for t in (*vae.parameters(), *vae.buffers()))


def _double(batch):
    return tuple(x.double() if torch.is_tensor(x) and x.is_floating_point() else x for x in batch)
