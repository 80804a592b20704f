"""The derived guide of generated models against exact evidence: by algebra, by quadrature and by enumeration.

Every guide is built, or refused in words that say what to do; its ELBO is no more than the evidence; the mean of
p(x, z) / q(z) is the evidence; its sites, shapes and plates are the model's; the linter finds nothing; its source,
executed, is equal to it; and where its family holds the posterior, a fit finds it. Seeds are fixed; integrals are
means of 20,000 draws, within 5 standard errors.
"""

import pyro
import pytest
import torch

import ppl_vae as pv
from tests.generated.compare import build, double
from tests.generated.generate import generate
from tests.guides import gaussian, moving
from tests.guides.evidence import alone, log_evidence
from tests.guides.laws import built, densities, require_bound, require_clean, require_source

FAMILIES = ("diagonal", "full_rank", "flow")


def program(text):
    names = {}
    exec(compile(gaussian.IMPORTS + text, "<program>", "exec"), names)
    return names["model"]


def hold(model, batch, depth, evidence, seed, text, weight=1.0):
    """All laws of one program; returns whether the evidence was told from draws, and whether there is a source."""
    pyro.set_rng_seed(seed)
    guide = built(model, batch, FAMILIES[seed % 3])
    assert guide is not None, text
    try:
        *_, told = require_bound(densities(model, guide, batch, depth, weight), evidence / weight)
        require_clean(model, guide, batch)
        return told, require_source(guide, batch, depth)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{text}") from error


def seeds(fast, slow, at_once=8):
    """Seeds one by one, then many at once, marked slow."""
    chunks = range(fast, slow, at_once)
    return [
        *([seed] for seed in range(fast)),
        *(pytest.param(range(s, s + at_once), marks=pytest.mark.slow) for s in chunks),
    ]


@pytest.mark.parametrize("chosen", seeds(8, 160), ids=str)
def test_linear_gaussian_models(chosen):
    """Plates, vectors, masks, scales, names; every one has a source. What fails is shown shrunk."""
    found = []
    for seed in chosen:
        with double():
            p = gaussian.generate(seed)
            try:
                found.append(gaussian_laws(p))
            except Exception:
                gaussian_laws(gaussian.shrunk(p, fails))
                raise
    assert sum(told for told, _ in found) >= len(found) // 2, found
    assert all(held for _, held in found), found


def gaussian_laws(p):
    text, evidence = gaussian.source(p), gaussian.log_evidence(p)
    weight = p.weight if p.scaled == "rows" else 1.0
    return hold(program(text), p.batch, p.depth, evidence, p.seed, text, weight)


def fails(p):
    try:
        gaussian_laws(p)
    except Exception:
        return True
    return False


def test_a_failing_program_is_shrunk():
    """Here one fails that has a mask: what is left is a latent, what is observed, and the mask."""
    p = next(p for p in map(gaussian.generate, range(100)) if p.masked == "rows" and len(p.sites) > 3)
    small = gaussian.shrunk(p, lambda p: "mask" in gaussian.source(p))
    assert small.masked == "rows"
    assert len(small.sites) == 2
    assert not any(s.parents for s in small.sites)
    small = gaussian.shrunk(p, lambda p: len([s for s in p.sites if s.column is None]) > 1)
    assert len(small.sites) == 3
    assert small.mask is None


@pytest.mark.parametrize("chosen", seeds(6, 72, 6), ids=str)
def test_supports_that_move(chosen):
    found = []
    for seed in chosen:
        with double():
            text, batch, evidence = moving.generate(seed)
            found.append(hold(program(text), batch, 1, evidence, seed, text))
    assert sum(told for told, _ in found) >= len(found) // 2, found
    assert all(held for _, held in found), found


@pytest.mark.parametrize("chosen", seeds(8, 160), ids=str)
def test_generated_models(chosen):
    """Those of `tests.generated`: discrete and continuous latents, chains, forks, colliders, parts observed."""
    tried = told = held = 0
    for seed in chosen:
        p = alone(generate(seed))
        summed = p is not None and any(s.only_model or s.infer in ("model", "both") for s in p.sites)
        if p is None or summed or not p.replicable or p.inner_subsample:
            continue
        with double():
            names = build(p)
            pyro.set_rng_seed(seed)
            guide = built(names["model"], names["batch"], FAMILIES[seed % 3])
            assert guide is not None, seed
            *_, found = require_bound(densities(names["model"], guide, names["batch"], 2), log_evidence(p))
            tried, told, held = tried + 1, told + found, held + require_source(guide, names["batch"], 2)
    assert tried >= len(chosen) // 3, tried
    assert held == tried, (held, tried)
    assert told >= tried // 2, (told, tried)


def fitted(model, batch, steps, weight):
    guide = pv.guides.Derived(model, hidden=[], head_hidden=[], family="full_rank")
    guide(*batch)
    stl = pv.estimators.StickingTheLanding()  # whose gradient vanishes at the posterior
    vae = pv.VAE(model, guide, estimators={site.name: stl for site in guide.prototype.sites})
    objective = pv.objectives.ELBO(kl="sampled", num_particles=8)
    pv.prepare(vae, batch)
    optimizer = torch.optim.Adam(vae.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        (-objective(vae, batch, total=len(batch[0])).surrogate / weight).backward()
        optimizer.step()
        schedule.step()
    return guide


IN_FAMILY = [seed for seed in range(200) if gaussian.generate(seed).in_family and gaussian.generate(seed).masked == ""]


@pytest.mark.slow
@pytest.mark.parametrize("i", range(24))
def test_a_fit_finds_the_posterior_that_the_family_holds(i):
    """Linear networks and full rank within vectors: after 250 steps the gap is below 0.02 nats per datum."""
    seed = IN_FAMILY[i]
    with double():
        p = gaussian.generate(seed)
        text, evidence = gaussian.source(p), gaussian.log_evidence(p)
        weight = p.weight if p.scaled == "rows" else 1.0
        pyro.set_rng_seed(seed)
        model = program(text)
        guide = fitted(model, p.batch, 250, weight)
        elbo, error, _ = require_bound(densities(model, guide, p.batch, p.depth, weight), evidence / weight)
        assert (evidence / weight - elbo) / len(p.x) < 0.02 + error, (evidence / weight, elbo, error, text)
