"""The comparer catches what is planted: it is no test that cannot fail."""

from dataclasses import replace

import pytest
import torch

import ppl_vae as pv
from generated.compare import Comparison, double
from generated.generate import generate
from generated.program import Law, Program, Site, tidy
from generated.shrink import shrink, simpler

COLUMNS = (("x", (0.7, -1.1, 0.2)),)
Z = Site("z0", "data", Law("normal", (), 1.0), Law("normal", (("1", "a"), ("x", 0.5)), "s"), estimator="Pathwise()")
C = Site(
    "z1",
    "data",
    Law("bernoulli", (("z0", "w"),)),
    Law(
        "bernoulli",
        (("x", "b"), ("z0", 0.4)),
    ),
)
SEEN = Site("x", "data", Law("normal", (("z0", 0.8), ("z1", "w")), 1.0), column="x")
PARAMETERS = (("a", 0.3), ("s", -0.2), ("w", 0.7), ("b", 0.4))
SCORED = replace(C, estimator="ScoreFunction()")
RIGHT = Program((Z, SCORED, SEEN), ("z0", "z1"), COLUMNS, PARAMETERS, "ELBO(2)")


def compared(program, plant=lambda comparison: None):
    program = tidy(program)
    with double():
        comparison = Comparison(program, 0)
        plant(comparison)
        return comparison.verdict()


def objective_that(change):
    def plant(comparison):
        plain = comparison.names["objective"]

        class Planted(torch.nn.Module):
            num_particles = 2

            def forward(self, vae, batch, total=None):
                return change(plain(vae, batch, total=total), vae)

        comparison.names["objective"] = Planted()
        comparison._check = lambda: True  # the linter looks at real objectives

    return plant


def bound(value=lambda v: v, surrogate=lambda s, vae: s):
    return lambda b, vae: replace(b, value=value(b.value), surrogate=surrogate(b.surrogate, vae))


OBJECTIVES = {
    "a value off by 15 %": bound(value=lambda v: 1.15 * v),
    "a constant in the value": bound(value=lambda v: v + 0.693),
    "a gradient of half the size": bound(surrogate=lambda s, vae: 0.5 * s),
    "no gradient": bound(surrogate=lambda s, vae: 0 * s),
    "a term of one parameter": bound(surrogate=lambda s, vae: s + 0.5 * next(iter(vae.parameters()))),
}


def test_the_pair_is_right_by_itself():
    assert compared(RIGHT).kind == "right", str(compared(RIGHT))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_that_is_wrong(name):
    verdict = compared(RIGHT, objective_that(OBJECTIVES[name]))
    assert verdict.kind == "wrong"
    assert {w.part for w in verdict.wrong} == {"objective"}


def test_an_objective_that_crashes():
    verdict = compared(RIGHT, objective_that(lambda b, vae: vae("no such program")))
    assert verdict.kind == "wrong"
    assert "AttributeError" in verdict.crashed["objective"]


@pytest.mark.parametrize("column", ["elbo", "nll", "kl", "log_likelihood", "nll_se", "elbo_se"])
def test_an_evaluation_that_is_wrong(column, monkeypatch):
    plain = pv.evaluate

    def planted(*args, **options):
        found = plain(*args, **options)
        found.table[column] = found.table[column] * (0.5 if column.endswith("_se") else 1.5)
        return found

    monkeypatch.setattr(pv, "evaluate", planted)
    verdict = compared(RIGHT)
    assert any(w.part == "evaluate" and w.what.startswith(column) for w in verdict.wrong), str(verdict)


@pytest.mark.parametrize("site", ["z0", "z1"])
def test_draws_that_are_wrong(site, monkeypatch):
    plain = pv.posterior

    def planted(*args, **options):
        drawn = plain(*args, **options)
        values = drawn["posterior"][site].values
        values[...] = values + 0.4 if site == "z0" else 1.0
        return drawn

    monkeypatch.setattr(pv, "posterior", planted)
    assert any(w.part == "posterior" for w in compared(RIGHT).wrong)


def without(program, **changes):
    """The oracle is asked about another program than the one that runs."""
    return lambda comparison: setattr(comparison, "program", tidy(replace(program, **changes)))


def test_a_mask_that_is_left_out():
    """The enumeration weight of a masked site, say."""
    columns = (*COLUMNS, ("m", (True, False, False)))
    masked = replace(C, model=replace(C.model, mask="handler"), guide=replace(C.guide, mask="handler"))
    program = replace(RIGHT, sites=(Z, masked, SEEN), columns=columns)
    verdict = compared(program, without(program, sites=(Z, C, SEEN)))
    assert verdict.kind == "wrong"


def test_a_term_that_is_left_out():
    factor = Site("f", "data", Law("normal", (("z0", 0.3),)), column="factor")
    program = replace(RIGHT, sites=(Z, SCORED, SEEN, factor))
    assert compared(program, without(program, sites=RIGHT.sites)).kind == "wrong"


@pytest.mark.slow
def test_any_smaller_program_is_another_one():
    """Of programs that differ in one thing, and whose exact ELBO then differs by ½ nat, each is told apart: 6."""
    from generated.oracle import Exact

    told = 0
    for seed in range(4000, 4100):
        program = tidy(replace(generate(seed), objective="ELBO(1)"))
        half = any(s.law.mask == "obs_mask" for s in program.sites)
        if half or program.net or program.crossed or any(s.estimator.startswith("Concrete") for s in program.sites):
            continue
        for other in simpler(program):
            if (other.columns, other.order, other.parameters) != (program.columns, program.order, program.parameters):
                continue
            if abs(Exact(other).elbo().item() - Exact(program).elbo().item()) < 0.5:
                continue
            verdict = compared(program, without(other))
            assert verdict.kind in ("wrong", "refused"), (seed, str(verdict))
            told += verdict.kind == "wrong"
            break
        if told == 6:
            return
    raise AssertionError(f"only {told} differences")


def test_a_failing_program_is_shrunk():
    """What is left is the site that fails, and no other."""
    extra = Site("z2", "data", Law("normal", (), 1.0), Law("normal", (("x", 0.3),), 1.0))
    program = tidy(replace(RIGHT, sites=(Z, SCORED, extra, SEEN), order=("z0", "z1", "z2"), total=7.0))
    wrong = compared(program)
    wrong.right.clear()

    def fails(candidate):
        verdict = type(wrong)()
        if any(s.name == "z1" for s in candidate.sites):
            verdict.crashed["objective"] = "IndexError: planted"
        return verdict

    wrong.crashed["objective"] = "IndexError: planted"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("generated.shrink.judge", fails)
        smallest, _ = shrink(program, wrong)
    assert [s.name for s in smallest.sites] == ["z1", "x"]
    assert smallest.total is None
