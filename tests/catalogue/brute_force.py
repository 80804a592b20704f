"""The exact ELBO of a small pair: plain runs of its programs at every assignment of its finite sites.

No axis is enumerated and no estimator is involved: each run has one value per site, so it can share no mistake with
code that enumerates in parallel. A masked site costs nothing, and its own probabilities still sum to one.
"""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

Values = Mapping[str, Tensor]
MOST = 200


class Undecided(Exception):
    """A finite site that has no value yet."""

    def __init__(self, name: str, fn: Any) -> None:
        super().__init__(name)
        self.name, self.fn = name, fn


class At(Messenger):
    """Gives latent sites, and the indices that plates draw, their values; a finite site without one stops the run."""

    def __init__(self, values: Values, finite: Callable[[str, Any], bool] = lambda name, fn: False) -> None:
        super().__init__()
        self.values, self.finite = values, finite

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] or msg["done"]:
            return
        if msg["name"] in self.values:
            msg["value"], msg["done"] = self.values[msg["name"]], True
        elif not site_is_subsample(msg) and self.finite(msg["name"], msg["fn"]):
            raise Undecided(msg["name"], msg["fn"])


def plain(fn: Any) -> Any:
    """A distribution without the masks it carries."""
    if isinstance(fn, dist.MaskedDistribution):
        return plain(fn.base_dist)
    if isinstance(fn, dist.Independent):
        return dist.Independent(plain(fn.base_dist), fn.reinterpreted_batch_ndims)
    return fn


def assignments(fn: Any) -> Iterator[Tensor]:
    """Every value of a finite site, all elements of its batch taken apart."""
    support = plain(fn).enumerate_support(expand=False)
    support = support.reshape((support.shape[0], *fn.event_shape))
    for index in itertools.product(range(len(support)), repeat=fn.batch_shape.numel()):
        yield support[torch.tensor(index, dtype=torch.long)].reshape((*fn.batch_shape, *fn.event_shape))


def runs(program: Callable[..., Any], batch: tuple[Any, ...], values: Values, finite: Callable[[str, Any], bool]):
    """A trace per assignment of the finite sites, each with the names of the sites that were assigned."""
    todo: list[tuple[dict[str, Tensor], tuple[str, ...]]] = [(dict(values), ())]
    count = 0
    while todo:
        given, chosen = todo.pop()
        try:
            with poutine.trace() as tracer, At(given, finite):
                program(*batch)
        except Undecided as site:
            todo += [({**given, site.name: v}, (*chosen, site.name)) for v in assignments(site.fn)]
            continue
        count += 1
        assert count <= MOST, f"more than {MOST} assignments: make the pair smaller"
        yield tracer.trace, chosen


def log_prob(trace: Trace, names: Collection[str]) -> Tensor:
    """Σ log-density of the named sites, neither masked nor scaled."""
    sites = trace.nodes
    total = torch.zeros(())
    for name in names:
        total = total + plain(sites[name]["fn"]).log_prob(sites[name]["value"]).sum()
    return total


def cost(trace: Trace, without: Collection[str] = ()) -> Tensor:
    """Σ log-density of all other sites, masked and scaled as their program says."""
    return torch.as_tensor(trace.log_prob_sum(lambda name, site: name not in without))


def elbo(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    batch: tuple[Any, ...],
    drawn: Values,
    enumerated: Collection[str],
) -> Tensor:
    """Σ_c q(c) (log p − log q) at given values of what is drawn, in nats of the whole.

    Args:
        model: The model.
        guide: The guide.
        batch: What they take.
        drawn: Values of the sites that are drawn, and of the indices of plates.
        enumerated: The guide's sites to sum over. The model's own finite sites are summed out.
    """
    total = torch.zeros(())
    for q, chosen in runs(guide, batch, drawn, lambda name, fn: name in enumerated):
        weight = log_prob(q, chosen).exp()
        if float(weight) == 0:
            continue
        latents = {n: s["value"] for n, s in q.nodes.items() if s["type"] == "sample" and not s["is_observed"]}
        inner = []
        for p, summed in runs(model, batch, {**drawn, **latents}, lambda name, fn: fn.has_enumerate_support):
            if summed:
                scales = {float(s["scale"]) for s in p.nodes.values() if s["type"] == "sample"}
                assert scales == {1.0}, "a scale within the logarithm has no meaning"
            inner.append(cost(p, summed) + log_prob(p, summed))
        total = total + weight * (torch.stack(inner).logsumexp(0) - cost(q))
    return total
