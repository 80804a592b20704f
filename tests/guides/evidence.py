"""Programs of `tests.generated` as models alone, whose exact evidence is known whatever the guide."""

import math
from dataclasses import replace

import torch

from tests.generated.oracle import Exact
from tests.generated.program import Program, tidy


def alone(program: Program) -> Program | None:
    """The model of a pair, with its own prior in the guide's place; None where the evidence depends on a guide.

    That is where a latent is masked whose children are not.
    """
    sites = [s for s in program.sites if s.model is not None]
    names = {s.name for s in sites}
    rows = {(s.law.mask.split(" ")[0] in ("handler", "method"), s.law.mask[-3:] == "off") for s in sites if s.is_local}
    as_one = rows == {(True, False)} and all(s.is_local for s in sites if s.law.mask)
    for s in sites:
        if s.is_latent and s.law.mask not in ("", "missing") and not as_one:
            return None
    plain = []
    for s in sites:
        model = replace(s.model, weight=1.0)
        guide = None if s.guide is None else replace(model, rsample=True)
        plain.append(replace(s, model=model, guide=guide, estimator=""))
    order = tuple(s.name for s in plain if s.name in program.order and s.name in names)
    kept = replace(program, sites=tuple(plain), order=order, objective="ELBO(2)", total=None, net="", guide_plate="")
    return tidy(kept) if order else None


def log_evidence(program: Program) -> float:
    """log p(x) of all data together, in nats, by sums and quadrature."""
    exact = Exact(program, training=False, grad=False)
    l, d, g, dg = exact.cost(False)  # noqa: E741
    local = torch.logsumexp(l + d, 1).sum(-1)
    total = float(torch.logsumexp(g + dg + local, 0))
    assert math.isfinite(total)
    return total
