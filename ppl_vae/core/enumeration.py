"""Exact sums over discrete sites.

A site that the *guide* enumerates keeps an axis of its own, left of the particles, in every log-density that depends
on it. The ELBO takes Σ_c q(c)(log p − log q) over these axes, weighted bounds logsumexp_c(log p − log q_rest).
A site that only the *model* enumerates is summed out of the model here, by tensor variable elimination within its
plates, and leaves one term in its place:

    log Σ_c p(c) ∏ p(· | c)

References:
    Tensor Variable Elimination for Plated Factor Graphs (Obermeyer et al., 2019), https://arxiv.org/abs/1902.03210
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from opt_einsum import shared_intermediates
from pyro.ops import packed
from pyro.ops.contract import contract_tensor_tree
from pyro.ops.rings import LogRing
from pyro.poutine import Trace
from pyro.poutine.enum_messenger import EnumMessenger
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.runtime import _ENUM_ALLOCATOR
from torch import Tensor

from ppl_vae.core.plates import PlateStructure, sample_sites
from ppl_vae.core.site import PARTICLES, Axes, Site, marginal_site
from ppl_vae.errors import CheckError

if TYPE_CHECKING:
    from ppl_vae.core.terms import Terms


@contextmanager
def enumerating_guide(layout: PlateStructure) -> Iterator[None]:
    """Within, sites marked for enumeration take axes left of the particles."""
    if not layout.enumerates:
        yield
        return
    with EnumMessenger(first_available_dim=layout.particle_dim - 1):
        yield


@contextmanager
def enumerating_model(layout: PlateStructure, guide: Trace) -> Iterator[None]:
    """Within, the model's own enumerated sites take axes left of those of this run of the guide."""
    if not layout.enumerates:
        yield
        return
    _ENUM_ALLOCATOR.set_first_available_dim(layout.particle_dim - 1)
    for msg in sample_sites(guide).values():
        dim = msg["infer"].get("_enumerate_dim")
        if dim is not None:
            _ENUM_ALLOCATOR.next_available_dim = min(_ENUM_ALLOCATOR.next_available_dim, dim - 1)
            _ENUM_ALLOCATOR.dim_to_id.update(msg["infer"]["_dim_to_id"])
    _ENUM_ALLOCATOR.next_available_id = max(_ENUM_ALLOCATOR.dim_to_id.values(), default=-1) + 1
    with EnumMessenger():
        yield


Expectation = Callable[[Tensor, dict[str, Any]], Tensor]


def inner_expectation(guide: Trace, layout: PlateStructure) -> Expectation | None:
    """The expectation of a log-density over sites that the guide enumerates within plates beside the one over data.

    Such a plate is summed when a site is read, so the expectation within it must be taken before.
    """
    inner = []
    for msg in sample_sites(guide).values():
        plates = {f.name for f in msg["cond_indep_stack"] if f.vectorized}
        plates -= {PARTICLES, *layout.data_plates}
        dim = msg["infer"].get("_enumerate_dim")
        if dim is not None and plates:
            inner.append((dim, plates, msg["fn"].log_prob(msg["value"])))
    if not inner:
        return None

    def expect(log_prob: Tensor, msg: dict[str, Any]) -> Tensor:
        plates = {f.name for f in msg["cond_indep_stack"] if f.vectorized}
        within = [(dim, log_q) for dim, needed, log_q in inner if needed <= plates]
        if not any(log_prob.dim() >= -dim and log_prob.shape[dim] > 1 for dim, _ in within):
            return log_prob
        log_weight = within[0][1]
        for _, log_q in within[1:]:
            log_weight = log_weight + log_q
        return _weighted(log_prob, log_weight).sum([dim for dim, _ in within], keepdim=True)

    return expect


def _weighted(f: Tensor, log_q: Tensor) -> Tensor:
    """q·f, where 0·(−∞) is 0."""
    q = log_q.exp()
    return q * f.masked_fill((q == 0) & torch.isinf(f), 0.0)


def contracted(
    guide: Trace, model: Trace, axes: Callable[[tuple[CondIndepStackFrame, ...]], Axes], total: float | None
) -> tuple[set[str], dict[str, Site]]:
    """Sum out the sites that only the model enumerates.

    Args:
        guide: The trace of the guide.
        model: The trace of the model replayed on it.
        axes: Where a stack of plates has its axes.
        total: N, for the data plate's scale.

    Returns:
        The names of the sites that took part in a sum, and one site per sum in their place.
    """
    sites = sample_sites(model)
    summed = [n for n, s in sites.items() if n not in guide.nodes and s["infer"].get("_enumerate_dim") is not None]
    if not summed:
        return set(), {}
    guide.compute_log_prob()
    guide.pack_tensors()
    model.compute_log_prob()
    model.pack_tensors(guide.plate_to_symbol)
    symbols = {sites[name]["infer"]["_enumerate_symbol"] for name in summed}

    frames: dict[str, CondIndepStackFrame] = {}
    factors: OrderedDict[frozenset[str], list[Any]] = OrderedDict()
    involved: dict[str, Any] = {}
    sizes: dict[str, int] = {}
    for name, site in sites.items():
        log_prob = packed.scale_and_mask(site["packed"]["unscaled_log_prob"], mask=site["packed"]["mask"])
        if name not in summed and symbols.isdisjoint(log_prob._pyro_dims):
            continue
        stack = {model.plate_to_symbol[f.name]: f for f in site["cond_indep_stack"] if f.vectorized}
        frames.update(stack)
        factors.setdefault(frozenset(stack), []).append(log_prob)
        sizes.update(zip(log_prob._pyro_dims, log_prob.shape, strict=True))
        involved[name] = site["scale"]
    if len({float(scale) for scale in involved.values()}) > 1:
        raise CheckError(
            "Sites that are summed out together need one scale, but they have "
            + ", ".join(f"{name!r}: {float(scale):.4g}" for name, scale in involved.items())
            + ". Apply poutine.scale, or a plate that subsamples, to all of them or to none."
        )
    with shared_intermediates() as cache:
        result = contract_tensor_tree(factors, symbols, ring=LogRing(cache=cache, dim_to_size=sizes))
    made: dict[str, Site] = {}
    for ordinal, tensors in result.items():
        for tensor in tensors:
            name = "sum over " + ", ".join(summed) + (f" ({len(made) + 1})" if made else "")
            log_prob = packed.unpack(tensor, model.symbol_to_dim)
            stack_axes = axes(tuple(frames[symbol] for symbol in sorted(ordinal)))
            made[name] = marginal_site(name, log_prob, next(iter(involved.values())), stack_axes, total)
    return set(involved), made


def expect_local(f: Tensor, t: "Terms") -> Tensor:
    """E over the local sites that the guide enumerates, given the global ones; `(enumerated…, particles, data)`."""
    return _expect(f, [s for s in t.guide.values() if s.is_local and s.enum_dim is not None], t, True)


def expect_global(f: Tensor, t: "Terms") -> Tensor:
    """E over the global sites that the guide enumerates: `(enumerated…, particles)` → `(particles,)`."""
    return squeezed(_expect(f, [s for s in t.guide.values() if not s.is_local and s.enum_dim is not None], t, False), 1)


def _expect(f: Tensor, sites: list[Site], t: "Terms", local: bool) -> Tensor:
    sites = [s for s in sites if not s.plates]
    if not sites:
        return f
    log_q = sites[0].log_prob
    for site in sites[1:]:
        log_q = log_q + site.log_prob
    axes = [_axis(s, t.layout, local) for s in sites]
    return _weighted(f, log_q).sum(axes, keepdim=True)


def marginalize_local(log_weights: Tensor, t: "Terms") -> Tensor:
    """Logsumexp over the local sites that the guide enumerates; the log-weights must not hold their log q."""
    sites = [s for s in t.guide.values() if s.is_local and s.enum_dim is not None]
    if any(s.plates for s in sites):
        raise CheckError(
            f"Site {next(s.name for s in sites if s.plates)!r} is enumerated by the guide within a plate of its own; a "
            "bound with importance weights sums it out in the model only. Drop it from the guide and mark it "
            "infer={'enumerate': 'parallel'} in the model."
        )
    if not sites:
        return log_weights
    return squeezed(torch.logsumexp(log_weights, [_axis(s, t.layout, True) for s in sites], keepdim=True), 2)


def squeezed(x: Tensor, dims: int) -> Tensor:
    """`x` without leading axes of size 1, down to `dims` axes."""
    while x.dim() > dims and x.shape[0] == 1:
        x = x.squeeze(0)
    return x


def _axis(site: Site, layout: PlateStructure, local: bool) -> int:
    """Where a site's enumerated axis lies in `(enumerated…, particles, data)` or `(enumerated…, particles)`."""
    assert site.enum_dim is not None
    return site.enum_dim + layout.depth - (1 if local else 0)
