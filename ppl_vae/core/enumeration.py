"""Exact sums over discrete sites.

A site that the *guide* enumerates keeps an axis of its own, left of the particles, in every log-density that depends
on it; what is made of these axes is defined in `terms`. A site that only the *model* enumerates is summed out of the
model here, by tensor variable elimination within its plates, and leaves terms in its place:

    log Σ_c p(c) ∏ p(· | c)

A site that is summed out has a mass of one, masked or not: a mask takes away what the site costs, and not its law.

References:
    Obermeyer et al. (2019), Tensor Variable Elimination for Plated Factor Graphs, https://arxiv.org/abs/1902.03210
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from opt_einsum import shared_intermediates
from pyro.ops import packed
from pyro.ops.contract import contract_tensor_tree
from pyro.ops.rings import LogRing
from pyro.poutine import Trace
from pyro.poutine.enum_messenger import EnumMessenger
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import _ENUM_ALLOCATOR
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ppl_vae.core.axes import PARTICLES, Axes
from ppl_vae.core.half import wide_log_prob
from ppl_vae.core.plates import PlateStructure, sample_sites
from ppl_vae.core.prepared import Prepared
from ppl_vae.core.site import Site, marginal_site, site_log_prob
from ppl_vae.errors import CheckError, PplVaeError

_OF_SHAPES = re.compile(r"shape|size|dimension|expand|broadcast", re.IGNORECASE)


@contextmanager
def enumerating_guide(prepared: Prepared) -> Iterator[None]:
    """Within, the sites that the guide sums over take axes left of the particles.

    Each takes an axis of its own, inside `pyro.markov` too, where Pyro would use axes again: expectations over the
    guide are sums over all its axes together.
    """
    if not prepared.enumerates:
        yield
        return
    messenger = EnumMessenger(first_available_dim=prepared.plates.particle_dim - 1)
    with _explained(prepared), messenger, _Mark(prepared.sums, markov=False):
        yield


@contextmanager
def enumerating_model(prepared: Prepared, guide: Trace) -> Iterator[None]:
    """Within, the model's own sums take axes left of those of this run of the guide."""
    if not prepared.enumerates:
        yield
        return
    first = prepared.plates.particle_dim - 1
    _ENUM_ALLOCATOR.set_first_available_dim(first)
    for msg in sample_sites(guide).values():
        dim = msg["infer"].get("_enumerate_dim")
        if dim is not None:
            _ENUM_ALLOCATOR.next_available_dim = min(_ENUM_ALLOCATOR.next_available_dim, dim - 1)
            _ENUM_ALLOCATOR.dim_to_id.update(msg["infer"]["_dim_to_id"])
    _ENUM_ALLOCATOR.next_available_id = max(_ENUM_ALLOCATOR.dim_to_id.values(), default=-1) + 1
    with _explained(prepared), _Enumerating(first), _Mark(lambda msg: msg["name"] in prepared.marginal):
        yield


@contextmanager
def _explained(prepared: Prepared) -> Iterator[None]:
    """Say of shapes that do not fit, in a program that runs with single draws, what the sums do to them."""
    try:
        yield
    except (RuntimeError, ValueError, IndexError) as error:
        if isinstance(error, PplVaeError) or not _OF_SHAPES.search(str(error)):
            raise
        names = [name for name, how in prepared.estimators.items() if getattr(how, "enumerates", False)]
        draws = f", or take draws: VAE(…, estimators={{{names[0]!r}: pv.estimators.ScoreFunction()}})" if names else ""
        summed = ", ".join(map(repr, names or sorted(prepared.marginal)))
        raise CheckError(
            f"{type(error).__name__}: {str(error).splitlines()[0]}. Of {summed} all values are summed over, which have "
            "an axis of their own left of all plates. Count axes from the right (z[..., None], not z[:, None]) and let "
            f"shapes broadcast (without expand or reshape to those of x){draws}."
        ) from error


class _Mark(Messenger):
    """Tells the messenger around it which sites are enumerated, whatever the program says itself."""

    def __init__(self, sums: Callable[[Any], bool], markov: bool = True) -> None:
        super().__init__()
        self.sums, self.markov = sums, markov

    def _pyro_sample(self, msg: Any) -> None:
        if not (msg["done"] or msg["is_observed"] or site_is_subsample(msg)) and self.sums(msg):
            msg["infer"]["enumerate"] = "parallel"
        else:
            msg["infer"].pop("enumerate", None)
        if not self.markov:
            msg["infer"].pop("_markov_scope", None)
            msg["infer"].pop("num_samples", None)  # the sum is exact


class _Enumerating(EnumMessenger):
    """Enumerates, and refuses values that `pyro.markov` has forgotten: their axis may be another site's by then."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first

    def _pyro_sample(self, msg: Any) -> None:
        super()._pyro_sample(msg)
        known = self._param_dims.get(msg["name"], {})
        shape = getattr(msg["fn"], "batch_shape", ())
        if any(shape[dim] > 1 and dim not in known for dim in range(-len(shape), self.first + 1)):
            raise CheckError(
                f"Site {msg['name']!r} depends on an enumerated site that pyro.markov has forgotten: one further back "
                "than its history, or one of a loop that has ended. Give the history that the site needs "
                "(pyro.markov(…, history=2) for two steps back), and put it into the loop."
            )


Sites = dict[str, Site]
Expectation = Callable[[Tensor, dict[str, Any]], Tensor]


def inner_expectation(guide: Trace, plates: PlateStructure) -> Expectation | None:
    """The expectation of a log-density over sites that the guide enumerates within plates beside the one over data.

    Such a plate is summed when a site is read, so the expectation within it must be taken before.
    """

    def around(msg: Any) -> set[str | None]:
        """The plates of a site; the one over data may have a name in each program."""
        names = {f.name for f in msg["cond_indep_stack"] if f.vectorized} - {PARTICLES}
        return names - plates.data_plates | ({None} if names & plates.data_plates else set())

    inner = []
    for msg in sample_sites(guide).values():
        dim = msg["infer"].get("_enumerate_dim")
        if dim is not None and (names := around(msg)) - {None}:
            inner.append((dim, names, wide_log_prob(msg["fn"], msg["value"])))
    if not inner:
        return None

    def expect(log_prob: Tensor, msg: dict[str, Any]) -> Tensor:
        names = around(msg)
        within = [(dim, log_q) for dim, needed, log_q in inner if needed <= names]
        if not any(log_prob.dim() >= -dim and log_prob.shape[dim] > 1 for dim, _ in within):
            return log_prob
        return expectation(log_prob, [log_q for _, log_q in within], [dim for dim, _ in within])

    return expect


def expectation(f: Tensor, log_mass: list[Tensor], axes: list[int]) -> Tensor:
    """Σ_c q(c) f(c) over some axes, which stay with size 1; where q is 0, an infinite f counts for nothing."""
    total = log_mass[0]
    for part in log_mass[1:]:
        total = total + part
    q = total.exp()
    return (q * f.masked_fill((q == 0) & f.isinf(), 0.0)).sum(axes, keepdim=True)


def contracted(
    guide: Trace,
    model: Trace,
    axes: Callable[[tuple[CondIndepStackFrame, ...]], Axes],
    total: float | None,
    prepared: Prepared,
) -> tuple[set[str], Sites]:
    """Sum out the sites that only the model enumerates.

    With latents z that are drawn and data x among the sites that depend on the sum, p(x, z) is kept as the prior
    p(z) = Σ_c p(c) p(z | c), which a KL is taken against, and p(x | z) = p(x, z) / p(z).

    Args:
        guide: The trace of the guide.
        model: The trace of the model replayed on it.
        axes: Where a stack of plates has its axes.
        total: N, for the data plate's scale.
        prepared: How the pair was run.

    Returns:
        The names of the sites that took part in a sum, and the sites in their place.
    """
    sites = sample_sites(model)
    summed = [n for n, s in sites.items() if n not in guide.nodes and s["infer"].get("_enumerate_dim") is not None]
    if not summed:
        return set(), {}
    relaxed = prepared.relaxed
    _require_own_axes(sites, prepared.plates)
    for name, site in sites.items():
        site["unscaled_log_prob"] = site_log_prob(site, relaxed=name in relaxed, masked=name not in summed)
        site["log_prob"] = site["unscaled_log_prob"]
    guide.pack_tensors()
    model.pack_tensors(guide.plate_to_symbol)
    symbols = {sites[name]["infer"]["_enumerate_symbol"] for name in summed}

    frames: dict[str, CondIndepStackFrame] = {}
    factors: dict[str, tuple[frozenset[str], Tensor]] = {}
    sizes: dict[str, int] = {}
    for name, site in sites.items():
        log_prob = site["packed"]["unscaled_log_prob"]
        if name not in summed and symbols.isdisjoint(log_prob._pyro_dims):
            continue
        stack = {model.plate_to_symbol[f.name]: f for f in site["cond_indep_stack"] if f.vectorized}
        frames.update(stack)
        sizes.update(zip(log_prob._pyro_dims, log_prob.shape, strict=True))
        factors[name] = (frozenset(stack), log_prob)
    scales = {name: sites[name]["scale"] for name in factors}
    if len({float(scale) for scale in scales.values()}) > 1:
        raise CheckError(
            "Sites that are summed out together need one scale, but they have "
            + ", ".join(f"{name!r}: {float(scale):.4g}" for name, scale in scales.items())
            + ". Apply poutine.scale, or a plate that subsamples, to all of them or to none."
        )
    scale = next(iter(scales.values()))

    def contract(names: Iterable[str]) -> list[tuple[Axes, Tensor]]:
        tree: OrderedDict[frozenset[str], list[Tensor]] = OrderedDict()
        for name in names:
            tree.setdefault(factors[name][0], []).append(factors[name][1])
        try:
            with shared_intermediates() as cache:
                result = contract_tensor_tree(tree, symbols, ring=LogRing(cache=cache, dim_to_size=sizes))
        except (ValueError, NotImplementedError) as error:
            raise CheckError(
                f"The model's sites {summed} cannot be summed out: {str(error).splitlines()[0]} A site outside a plate "
                "may not depend on one that is summed out inside it. Draw the sites in the guide."
            ) from None
        found = []
        for ordinal, tensors in result.items():
            for tensor in tensors:
                place = axes(tuple(frames[symbol] for symbol in sorted(ordinal)))
                found.append((place, packed.unpack(tensor, model.symbol_to_dim)))
        return found

    label = "sum over " + ", ".join(summed)
    made: Sites = {}
    drawn = tuple(n for n in factors if n not in summed and not sites[n]["is_observed"])
    observed = tuple(n for n in factors if sites[n]["is_observed"])

    def keep(suffix: str, terms: list[tuple[Axes, Tensor]], sign: int, stands_for: tuple[str, ...]) -> None:
        for number, (place, log_prob) in enumerate(terms, 1):
            name = label + suffix + (f" ({number})" if number > 1 else "")
            made[name] = marginal_site(name, sign * log_prob, scale, place, total, stands_for, suffix != ": prior")

    whole = contract(factors)
    if not all(place.data is not None for place, _ in whole):
        _require_all_data(label, [axes(sites[n]["cond_indep_stack"]) for n in factors], total)
    if drawn and not observed:
        keep(": prior", whole, 1, drawn)
        return set(factors), made
    keep("", whole, 1, observed)
    if drawn:
        prior = contract(n for n in factors if n in summed or n in drawn)
        keep(": prior", prior, 1, drawn)
        keep(": data given the rest", prior, -1, observed)
    return set(factors), made


def _require_own_axes(sites: dict[str, Any], plates: PlateStructure) -> None:
    """Refuse a site two of whose parents lie on one axis, as `pyro.markov` gives axes out again."""
    if not plates.followed:
        return
    for name in sites:
        seen: dict[int, str] = {}
        for parent in sorted({name, *plates.parents.get(name, ())} & sites.keys()):
            dim = sites[parent]["infer"].get("_enumerate_dim")
            if dim is not None and seen.setdefault(dim, parent) != parent:
                raise CheckError(
                    f"Site {name!r} depends on {seen[dim]!r} and {parent!r}, which pyro.markov has put on one axis. "
                    "Give the history that it needs (pyro.markov(…, history=2)), or mark fewer loops as markov."
                )


def _require_all_data(label: str, places: list[Axes], total: float | None) -> None:
    """Refuse a sum over data inside a logarithm, where the batch is a part of them."""
    for place in places:
        if place.data is not None and float(place.scales(total)[2]) != 1:
            raise CheckError(
                f"The {label} stands outside the data plate, so that all data belong inside its logarithm, and this "
                "batch is a part of them. Train on all data at once (batch_size=None), or let the guide draw the site."
            )
