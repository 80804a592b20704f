"""Every group of Pyro's catalogue has a verdict: legal ones are right or refused with the reason, illegal ones refused.

Truth is the sum over every assignment of the finite sites (`brute_force`), values and gradients; where these are too
many, Pyro's own value. Pyro's side of the table is run, too.
"""

from importlib.util import find_spec

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppl_vae as pv
from catalogue.pyro_verdict import GROUPS, OPEN, agrees, by_pyro, checked, drawn, judged, ours

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pyro's doubts are part of what is read here

NAMES = [
    pytest.param(
        group,
        marks=[pytest.mark.xfail(reason=OPEN[group.name], strict=True)] if group.name in OPEN else [],
        id=group.name,
    )
    for group in GROUPS.values()
]


@pytest.mark.parametrize("group", GROUPS.values(), ids=str)
def test_pyro_says_so(group):
    """What the table claims of Pyro holds for the Pyro that is installed, under each ELBO it names."""
    if group.name.startswith("collapse") and find_spec("funsor"):
        pytest.skip("with funsor these are legal")
    for elbo in group.elbos:
        verdict, _ = by_pyro(group, elbo)
        assert verdict.word == group.pyro, f"{elbo}: {verdict}"


@pytest.mark.parametrize("group", NAMES)
def test_the_verdict_is_the_declared_one(group):
    """The objective gives the right number, or refuses with the reason; `check` says the same beforehand."""
    verdict, enumerates = ours(group)
    assert agrees(verdict, group), f"the objective: {verdict}"
    if judged(group, enumerates):
        verdict, _ = ours(group, drawn())
        assert agrees(verdict, group), f"the objective, with draws in place of enumeration: {verdict}"
    verdict, estimators = checked(group)
    assert agrees(verdict, group), f"check: {verdict}"
    assert estimators.items() >= group.estimators.items()


def test_the_catalogue_is_whole():
    """It has a group for each of the 104 tests of Pyro's file, and what is open names groups that exist."""
    assert len({group.name.split(" [")[0] for group in GROUPS.values()}) == 104
    assert set(OPEN) <= set(GROUPS)


def test_a_loop_over_a_subsample_is_enumerated_in_every_run():
    """Its sites have other names in each run: each is summed out by default, so every step has the exact gradient."""

    def program(p):
        for i in pyro.plate("turns", 6, 2):
            pyro.sample(f"x_{i}", dist.Bernoulli(p))

    vae = pv.VAE(
        lambda: program(0.4),
        lambda: program(pyro.param("p", torch.tensor(0.3), constraint=dist.constraints.unit_interval)),
    )
    total = pv.terms(vae, ()).total
    [parameter] = vae.parameters()
    u = parameter.detach().clone().requires_grad_()
    q, p = dist.Bernoulli(logits=u), dist.Bernoulli(torch.tensor(0.4))
    exact = -6 * torch.distributions.kl_divergence(q, p)
    [slope] = torch.autograd.grad(exact, u)
    for _ in range(10):
        bound = pv.objectives.ELBO()(vae, ())
        torch.testing.assert_close(bound.value * total, exact.detach())
        torch.testing.assert_close(torch.autograd.grad(bound.surrogate * total, parameter)[0], slope)
