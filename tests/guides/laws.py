"""What holds of a derived guide whatever the model: against exact evidence, the model, and its own source."""

import math
from contextlib import nullcontext

import pyro
import torch
from pyro import poutine

import ppl_vae as pv
from ppl_vae.errors import PplVaeError
from ppl_vae.guides import Derived, source

PARTICLES = 10_000
ERRORS = 5.0
"""Standard errors that are allowed: of 10,000 looks at means of as many bounded draws, one in a hundred errs."""


def sites(trace, latent=True):
    """The sites of a trace that are no plate's."""
    nodes = ((n, s) for n, s in trace.nodes.items() if s["type"] == "sample" and n != "_particles")
    return {n: s for n, s in nodes if type(s["fn"]).__name__ != "_Subsample" and (not latent or not s["is_observed"])}


def frames(site):
    """Names and axes of the vectorized plates around a site."""
    return sorted((f.name, f.dim) for f in site["cond_indep_stack"] if f.vectorized)


def drawn(guide, batch, particles, dim, seed=None):
    """A trace of a program, with particles if there are any."""
    if seed is not None:
        pyro.set_rng_seed(seed)
    around = pyro.plate("_particles", particles, dim=dim) if particles else nullcontext()
    with torch.no_grad(), pyro.validation_enabled(False), around:
        trace = poutine.trace(guide).get_trace(*batch)
        trace.compute_log_prob()
    return trace


def built(model, batch, family="diagonal", **options):
    """A derived guide with weights that are not those of its first moment, as wide as the prior; None if refused.

    Any other error than a refusal in words is the caller's.
    """
    guide = Derived(model, hidden=[4], activation="tanh", family=family, **options)
    try:
        pv.prepare(pv.VAE(model, guide), batch)
    except PplVaeError:
        return None
    with torch.no_grad():
        for head in guide.heads.values():
            for name, parameter in head.named_parameters():
                parameter.zero_() if name == "raw" else parameter.add_(0.1 * torch.randn_like(parameter))
    return guide


def densities(model, guide, batch, depth, weight=1.0):
    """Log p(z), log p(x | z) and log q(z), `(3, draws)`, half of the draws the guide's and half the prior's.

    Sites, shapes and plates of the two are compared on the way.
    """
    found = []
    for seed, (mine, theirs) in enumerate(((guide, model), (model, guide))):
        first = drawn(mine, batch, PARTICLES, -1 - depth, seed)
        second = drawn(poutine.replay(theirs, first), batch, PARTICLES, -1 - depth)
        q, p = (first, second) if mine is guide else (second, first)
        _require_alike(sites(q), sites(p))
        parts = [sites(p), {n: s for n, s in sites(p, latent=False).items() if s["is_observed"]}, sites(q)]
        found.append(torch.stack([_sum(part, depth) for part in parts]) / weight)
    return torch.cat(found, -1)


def _require_alike(mine, theirs):
    assert list(mine) == list(theirs)
    for name, site in mine.items():
        other = theirs[name]
        assert site["fn"].event_shape == other["fn"].event_shape, name
        assert site["log_prob"].shape == other["log_prob"].shape, name
        assert frames(site) == frames(other), name
        log_p = other["log_prob"]  # minus infinity where the tail of a guide rounds to a bound of the support
        assert (log_p.isfinite() | (log_p == -torch.inf)).all(), name
        assert log_p.isfinite().double().mean() > 0.999, name


def _sum(part, depth):
    total = torch.zeros(PARTICLES)
    for site in part.values():
        value = site["log_prob"]
        whole = value.ndim > depth and value.shape[0] == PARTICLES
        total = total + (value.reshape(PARTICLES, -1).sum(-1) if whole else value.sum())
    return total


def require_bound(found, evidence):
    """The ELBO is no more than the evidence, the guide's density integrates to one, p(x, z) to the evidence.

    Integrals are by draws of r(z) = (p(z) + q(z)) / 2, whose weights are bounded: q / r by 2, p(x, z) / r by
    2 p(x | z). Returns the ELBO and its standard error, and True where the evidence was told to 5 %.
    """
    prior, likelihood, q = found
    elbos = (prior + likelihood - q)[:PARTICLES]
    elbo, error = _mean(elbos)
    assert math.isfinite(elbo)
    assert elbo <= evidence + ERRORS * error + 1e-5, ("elbo", elbo, error, evidence)
    r = torch.logaddexp(prior, q) - math.log(2)
    one = (q - r).exp()
    mass, mass_error = _mean(one)
    assert abs(mass - 1) <= ERRORS * mass_error + 1e-4, ("mass of the guide", mass, mass_error)
    ratio = (prior + likelihood - r - evidence).exp()
    mean, ratio_error = _mean(ratio)
    told = ratio_error < 0.05 and float(ratio.max()) / len(ratio) < 0.01
    assert not told or abs(mean - 1) <= ERRORS * ratio_error + 1e-4, ("evidence", mean, ratio_error, evidence)
    return elbo, error, told


def _mean(values):
    """The mean of draws of which each half has its own mean, and its standard error."""
    halves = values.split(PARTICLES)
    error = sum(float(h.var()) / len(h) for h in halves) ** 0.5 / len(halves)
    return float(values.mean()), error


def require_source(guide, batch, depth, alike=True):
    """The source, executed as it stands, draws and weighs as the guide does; False where it is refused in words.

    `alike` says that the two draw the same numbers from one seed; latents that the model sums over are drawn, too, when
    the guide runs the model.
    """
    try:
        text = source(guide, *batch)
    except PplVaeError:
        return False
    names = {"__name__": "my_guide"}
    exec(compile(text, "my_guide.py", "exec"), names)
    other = names["Guide"]()
    assert list(other.state_dict()) == list(guide.state_dict())
    other.load_state_dict(guide.state_dict())
    for particles in (0, 3):
        first = drawn(guide, batch, particles, -1 - depth, seed=1)
        second = drawn(other if alike else poutine.replay(other, first), batch, particles, -1 - depth, seed=1)
        assert list(sites(first)) == list(sites(second))
        for name, site in sites(first).items():
            mine = second.nodes[name]
            assert torch.equal(site["value"], mine["value"]), name
            torch.testing.assert_close(site["log_prob"], mine["log_prob"], rtol=1e-12, atol=1e-12)
            assert frames(site) == frames(mine), name
    return True


def require_clean(model, guide, batch):
    """The linter finds nothing in the pair."""
    report = pv.check(pv.VAE(model, guide), batch)
    assert report.clean, report
