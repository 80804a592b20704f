"""Estimator × objective × family: every legal combination is unbiased against exact gradients.

Each case averages 40 batches of 400 independent data (16,000 draws of each of 2 particles) and asks that each gradient
coordinate, and the value, lie within 5 standard errors (estimated from the 40 batch means) of the exact one: for 39
degrees of freedom a false alarm has probability 1.2e-5 a coordinate, 0.4% for the whole table of 85 cases. Seeded.
"""

import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import CheckError
from ppl_vae.estimators import (
    Concrete,
    DecayingAverage,
    DoublyReparameterized,
    Enumerate,
    Implicit,
    LeaveOneOut,
    Neural,
    Pathwise,
    ScoreFunction,
    StickingTheLanding,
)
from tests.estimators.families import BY_NAME, FAMILIES, Guide, Model, X, exact_gradient

BATCHES, DATA = 40, 400

SCORE = {
    "score": lambda: ScoreFunction(None),
    "score_others": lambda: ScoreFunction(),
    "score_average": lambda: ScoreFunction(DecayingAverage()),
    "score_leave_one_out": lambda: ScoreFunction(LeaveOneOut()),
    "score_neural": lambda: ScoreFunction(Neural(inputs=lambda x: x[:, None])),
}
PATH = {"pathwise": Pathwise, "sticking": StickingTheLanding}


def cases():
    for family in FAMILIES:
        path = dict(PATH) if family.reparameterized else {"enumerate": Enumerate}
        if family.explicit and family.reparameterized:
            path |= {"antithetic": lambda: Pathwise(antithetic=True), "common": lambda: Pathwise(common=True)}
        if family.name == "von_mises":
            path["implicit"] = Implicit
        for label, make in {**SCORE, **path}.items():
            yield pytest.param(family, make, pv.objectives.ELBO, id=f"{family.name}-{label}-elbo")
        weighted = {k: v for k, v in {**SCORE, **path}.items() if k not in ("sticking", "common", "enumerate")}
        if family.reparameterized:
            weighted["doubly"] = DoublyReparameterized
        for label, make in weighted.items():
            if label != "antithetic":  # the two draws are then not independent: another bound
                yield pytest.param(family, make, pv.objectives.IWAE, id=f"{family.name}-{label}-iwae")


def batch_means(vae, objective, data=DATA, batches=BATCHES):
    """Values and gradients of `batches` batches, `(batches, coordinates)`."""
    torch.manual_seed(20)
    x = torch.full((data,), X, dtype=torch.float64)
    parameters = [vae.guide.phi, vae.model.scale]
    rows = []
    for _ in range(batches):
        bound = objective(vae, x)
        grads = torch.autograd.grad(bound.surrogate, parameters)
        rows.append(torch.cat([bound.value.reshape(1), *(g.reshape(-1) for g in grads)]).detach())
    return torch.stack(rows)


@pytest.mark.parametrize(("family", "make", "objective"), list(cases()))
def test_unbiased(family, make, objective):
    vae = pv.VAE(Model(family), Guide(family), estimators={"z": make()}).double()
    rows = batch_means(vae, objective(num_particles=2))
    value, phi, scale = exact_gradient(family, 1 if objective is pv.objectives.ELBO else 2)
    expected = torch.cat([value.reshape(1), phi, scale.reshape(1)])
    error = rows.std(0) / BATCHES**0.5
    exactly = error < 1e-12  # enumeration has no noise
    assert torch.allclose(rows.mean(0)[exactly], expected[exactly], atol=1e-7)
    z = ((rows.mean(0) - expected) / error)[~exactly]
    assert (z.abs() < 5).all(), f"standardized errors {z.tolist()}"


def test_enumeration_sums_the_site_out_of_importance_weights():
    family = BY_NAME["categorical"]
    vae = pv.VAE(Model(family), Guide(family), estimators={"z": Enumerate()}).double()
    x = torch.full((3,), X, dtype=torch.float64)
    log_p = family.prior.logits + torch.distributions.Normal(torch.arange(3) - 1.0, 0.8).log_prob(x[:1])
    assert torch.allclose(pv.objectives.IWAE(2)(vae, x).value, log_p.logsumexp(0))


@pytest.mark.parametrize("strategy", ["plate", "tile", "loop"])
def test_antithetic_draws_mirror_under_every_strategy(strategy):
    family = BY_NAME["normal"]
    vae = pv.VAE(Model(family), Guide(family), estimators={"z": Pathwise(antithetic=True)}).double()
    t = pv.terms(vae, torch.zeros(3, dtype=torch.float64), particles=5, strategy=strategy)
    eps = (t.guide["z"].value - vae.guide.phi[0]) / vae.guide.phi[1].exp()
    assert torch.allclose(eps[3:], -eps[:2])
    assert not torch.allclose(eps[0], eps[1])


@pytest.mark.parametrize("strategy", ["plate", "tile", "loop"])
def test_common_noise_is_one_draw_for_all_data(strategy):
    family = BY_NAME["normal"]
    vae = pv.VAE(Model(family), Guide(family), estimators={"z": Pathwise(common=True)}).double()
    value = pv.terms(vae, torch.zeros(4, dtype=torch.float64), particles=3, strategy=strategy).guide["z"].value
    assert torch.equal(value, value[:, :1].expand_as(value))
    assert value[:, 0].unique().numel() == 3


def test_variance_falls_from_score_function_to_sticking_the_landing():
    family = BY_NAME["normal"]
    variances = []
    for estimator in (ScoreFunction(None), ScoreFunction(LeaveOneOut()), Pathwise()):
        vae = pv.VAE(Model(family), Guide(family), estimators={"z": estimator}).double()
        variances.append(batch_means(vae, pv.objectives.ELBO(2))[:, 1].var().item())
    assert variances[0] > 2 * variances[1] > 2 * variances[2]


@pytest.mark.parametrize(
    ("family", "estimator", "objective", "names"),
    [
        ("normal", Enumerate(), pv.objectives.ELBO(), "no finite support"),
        ("categorical", Pathwise(), pv.objectives.ELBO(), "ScoreFunction"),
        ("categorical", Concrete(), pv.objectives.ELBO(), "OneHotCategorical"),
        ("normal", StickingTheLanding(), pv.objectives.IWAE(2), "DoublyReparameterized"),
        ("normal", StickingTheLanding(), pv.objectives.ELBO(kl="analytic"), "sampled"),
        ("normal", DoublyReparameterized(), pv.objectives.ELBO(2), "StickingTheLanding"),
        ("gamma", Pathwise(antithetic=True), pv.objectives.ELBO(2), "explicit"),
        ("normal", ScoreFunction(LeaveOneOut()), pv.objectives.ELBO(1), "at least 2"),
    ],
)
def test_illegal_combinations_say_what_is_legal(family, estimator, objective, names):
    vae = pv.VAE(Model(BY_NAME[family]), Guide(BY_NAME[family]), estimators={"z": estimator}).double()
    with pytest.raises((CheckError, ValueError), match=names):
        objective(vae, torch.full((3,), X, dtype=torch.float64))
