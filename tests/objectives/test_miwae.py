"""MIWAE, CIWAE and PIWAE: between the ELBO and the importance-weighted bound."""

import pyro
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.estimators import Enumerate
from ppl_vae.objectives import CIWAE, ELBO, IWAE, MIWAE, PIWAE
from ppl_vae.objectives.iwae import grouped
from tests.objectives.pairs import Coin, Gaussian, X, log_mean_exp


def run(objective: nn.Module) -> tuple[float, dict[str, float]]:
    pair = Gaussian()
    pyro.set_rng_seed(0)
    bound = objective(pv.VAE(pair.model, pair.guide), X)
    bound.surrogate.backward()
    return float(bound.value), {n: float(p.grad) for n, p in pair.parameters().items()}


LIMITS = {
    "miwae, one group": (MIWAE(6, 1), IWAE(6)),
    "miwae, groups of one": (MIWAE(6, 6), ELBO(6)),
    "ciwae, beta 0": (CIWAE(6, 0.0), IWAE(6)),
    "ciwae, beta 1": (CIWAE(6, 1.0), ELBO(6)),
    "piwae, one group": (PIWAE(6, 1), IWAE(6)),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name: str) -> None:
    """Value and gradient, draw by draw."""
    ours, theirs = (run(objective) for objective in LIMITS[name])
    assert ours[0] == pytest.approx(theirs[0], rel=1e-12)
    assert ours[1] == pytest.approx(theirs[1], rel=1e-9)


def test_groups_are_means_of_bounds() -> None:
    log_w = torch.randn(6, 4, dtype=torch.float64)
    want = (log_mean_exp(log_w[:2]) + log_mean_exp(log_w[2:4]) + log_mean_exp(log_w[4:])) / 3
    torch.testing.assert_close(grouped(log_w, 3), want)


def test_order() -> None:
    """ELBO ≤ MIWAE ≤ IWAE, and CIWAE half-way, for the same draws."""
    elbo, miwae, iwae, ciwae = (run(o)[0] for o in (ELBO(12), MIWAE(12, 4), IWAE(12), CIWAE(12, 0.5)))
    assert elbo < miwae < iwae
    assert ciwae == pytest.approx((elbo + iwae) / 2, rel=1e-9)


def test_piwae_gives_each_program_its_own_bound() -> None:
    """The model's gradient is that of IWAE, the guide's that of MIWAE, from the same draws; the value is IWAE's."""
    value, found = run(PIWAE(12, 4))
    tight, loose = run(IWAE(12)), run(MIWAE(12, 4))
    assert value == pytest.approx(tight[0], rel=1e-12)
    for name in ("w", "b", "s"):
        assert found[name] == pytest.approx(tight[1][name], rel=1e-9)
    for name in ("a", "c", "r"):
        assert found[name] == pytest.approx(loose[1][name], rel=1e-9)


def test_piwae_with_shared_parameters_gives_the_sum() -> None:
    """A parameter of both programs gets the model's part of one bound and the guide's of the other."""
    _, apart = run_with_equal_numbers()
    pair = Gaussian()
    pair.guide.p["a"] = pair.model.p["w"]
    pyro.set_rng_seed(0)
    PIWAE(12, 4)(pv.VAE(pair.model, pair.guide), X).surrogate.backward()
    assert float(pair.model.p["w"].grad) == pytest.approx(apart["w"] + apart["a"], rel=1e-9)


def run_with_equal_numbers() -> tuple[float, dict[str, float]]:
    pair = Gaussian()
    pair.guide.p["a"] = nn.Parameter(pair.model.p["w"].detach().clone())
    pyro.set_rng_seed(0)
    bound = PIWAE(12, 4)(pv.VAE(pair.model, pair.guide), X)
    bound.surrogate.backward()
    return float(bound.value), {n: float(p.grad) for n, p in pair.parameters().items()}


@pytest.mark.parametrize("objective", [MIWAE(4, 2), CIWAE(3, 0.5)], ids=["miwae", "ciwae"])
def test_enumerated_sites_are_summed_out(objective: nn.Module) -> None:
    pair = Coin()
    value = objective(pv.VAE(pair.model, pair.guide, estimators={"z": Enumerate()}), X).value
    assert float(value) == pytest.approx(float(pair.log_evidence().mean().detach()))


@pytest.mark.parametrize("make", [lambda: MIWAE(5, 2), lambda: PIWAE(4, 3), lambda: CIWAE(2, 1.5), lambda: MIWAE(0, 1)])
def test_nonsense_is_refused(make: object) -> None:
    with pytest.raises(ValueError, match="Expected"):
        make()  # type: ignore[operator]
