"""Draws from a pair, in ArviZ's groups."""

import contextlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.core.data import take_data
from ppl_vae.core.evidence import StreamingEvidence, no_evidence, smooth
from ppl_vae.core.half import array_of
from ppl_vae.core.inputs import place_of
from ppl_vae.core.predict import predict
from ppl_vae.core.series import TIME, numbers, seen, series_of, stacked
from ppl_vae.core.terms import Terms
from ppl_vae.core.tiles import Block, blocks, first_data, inference, parse_bytes, plan
from ppl_vae.datasets.files import check_fits
from ppl_vae.distributions.bijections import bijection, is_real
from ppl_vae.distributions.unwrap import innermost, support_of
from ppl_vae.doors import checked
from ppl_vae.errors import ArgumentError, CheckError
from ppl_vae.inference_data.groups import DATUM, Dimensions, datatree, load
from ppl_vae.inference_data.names import STATISTICS, check_coords, check_dims, variable_names
from ppl_vae.inference_data.writer import PosteriorWriter
from ppl_vae.rng import derive

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE
    from ppl_vae.core.site import Site

Arrays = dict[str, dict[str, NDArray[Any]]]


@checked
def posterior(
    vae: "VAE",
    data: Any,
    draws: int = 1000,
    *,
    chains: int = 1,
    predictive_draws: int | None = None,
    spec: Any = None,
    dims: Mapping[str, Any] | None = None,
    coords: Mapping[str, Any] | None = None,
    resample: Literal["psis"] | None = None,
    path: str | os.PathLike[str] | None = None,
    memory: int | str = "1GB",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Any:
    """Draw latents from the guide, and data from the model, as ArviZ knows them.

    Groups: `posterior` and `prior` (latent sites), `posterior_predictive` and `prior_predictive` (observed
    sites), `log_likelihood` (log p(x | z), nats), `sample_stats` (`log_weight` = log p(x, z) − log q(z | x) of
    the local sites, and per datum `pareto_k` and `ess`), `observed_data`, `constant_data` (labels, further
    inputs), and `unconstrained_posterior` where a latent does not range over all reals.

    Dimensions: `chain`, `draw`, `datum` (labelled by the data's numbers), plates by their names, a latent's own
    as `<site>_dim`, pixels as `channel`, `height`, `width`, columns of a table as `feature`. A series of sites (`z_0`,
    `z_1`, …: at least three in the data plate, of one shape, drawn by the model in this order) is one variable `z` with
    the dimension `time`, labelled by their numbers; its density is a sum over time. A site whose name is a dimension's,
    or holds a slash, is renamed (see `variable_names`). What is masked is NaN: missing data, and the steps after the
    end of a sequence, of latents and of new data, too.
    Draws of a guide are independent: chains only divide them, and r̂ says nothing (use `az.summary(…, kind="stats")`).

    Args:
        vae: the pair.
        data: a `Split`, a tensor `(data, …)` or a tuple of them.
        draws: draws per chain.
        chains: number of chains.
        predictive_draws: draws per chain of new data and from the prior; by default as many as fit into half
            the memory, at most `draws`; 0 for none.
        spec: the data's `Spec`, for names of columns and inputs.
        dims: names of a site's own dimensions, in place of the default ones.
        coords: labels along dimensions, that of the data (`datum`) too, by their names.
        resample: `"psis"` resamples the draws of each datum by its Pareto-smoothed importance weights, so that they
            come closer to p(z | x), where k̂ allows it; predictive draws are resampled among themselves. Only for
            pairs without global latents.
        path: a file in `.nc` (netCDF) or `.zarr` that draws are written to, some data at a time, so that memory stays
            bounded whatever the number of data; the result is then read from it.
        memory: upper limit for a working tile, and for the predictive draws (of a block of data, with `path`) when
            their number is left open.
        seed: of the draws; the caller's random state is untouched.
        progress: called with the number of data done and of all data.

    Returns:
        `InferenceData` with ArviZ 0.23, `DataTree` with ArviZ ≥ 1.

    Raises:
        CheckError: if the pair has no data plate; or for `resample` with global latents or without a density.
        DataError: for data that `ppl_vae.core.data` refuses, for `dims` and `coords` that do not fit, and for more
            draws than the memory that is free holds: all before anything is drawn.

    References:
        Yao, Vehtari, Simpson and Gelman (2018), Yes, but Did It Work?: Evaluating Variational Inference,
            https://arxiv.org/abs/1802.02538

    >>> import torch, ppl_vae as pv, pyro, pyro.distributions as dist
    >>> def model(x):
    ...     with pyro.plate("data", x.shape[0]):
    ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
    ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
    >>> def guide(x):
    ...     with pyro.plate("data", x.shape[0]):
    ...         pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))
    >>> drawn = posterior(pv.VAE(model, guide), torch.tensor([0.0, 1.0]), draws=100)
    >>> drawn["posterior"]["z"].dims, drawn["posterior"]["z"].shape
    (('chain', 'draw', 'datum'), (1, 100, 2))
    """
    from ppl_vae.inference_data._arviz import from_tree

    options: dict[str, Any] = {"chains": chains, "predictive_draws": predictive_draws, "dims": dims, "coords": coords}
    options |= {"spec": spec, "resample": resample, "memory": memory, "seed": seed, "progress": progress}
    tree = draw_tree(vae, data, draws, path=path, **options)
    return from_tree(tree if path is None else load(path))


def draw_tree(
    vae: "VAE",
    data: Any,
    draws: int,
    *,
    chains: int = 1,
    predictive_draws: int | None = None,
    spec: Any = None,
    dims: Mapping[str, Any] | None = None,
    coords: Mapping[str, Any] | None = None,
    resample: Literal["psis"] | None = None,
    path: str | os.PathLike[str] | None = None,
    memory: int | str = "1GB",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Any:
    """Do as `posterior`, and import no ArviZ: give a `DataTree`; None where draws are in a file, which is not read."""
    if draws < 1 or chains < 1:
        raise ArgumentError(f"Got draws={draws}, chains={chains}, expected at least 1 of each.")
    if resample not in (None, "psis"):
        raise ArgumentError(f"Got resample={resample!r}, expected 'psis' or None.")
    split = take_data(vae, data)
    n, total = len(split), draws * chains
    index = split.indices.cpu().numpy()
    parts: list[Arrays] = []
    first = first_data(vae, split)
    with inference(vae, first) as draw:
        tiling = plan(vae, first, n, total, memory, seed)
        probe = draw(first)
        with_density = no_evidence(probe) is None
        if resample and (probe.has_global_latents or not with_density):
            raise CheckError(
                "Draws are resampled datum by datum, with weights of their own: that takes a density and local latents "
                "only. Leave out resample, or use pv.refine."
            )
        size = n if path is None else min(n, tiling.data)
        _require_room(probe, size, total, "" if path is not None else " or data, or give a path")
        kept = _predictive_draws(probe, size, draws, chains, parse_bytes(memory), predictive_draws)
        local = {name for program in (probe.guide, probe.model) for name, s in program.items() if s.is_local}
        local |= {name for name, s in probe.contracted.items() if s.is_local} | log_likelihoods(probe).keys()
        local |= series_of(probe).keys()
        inputs = constants(split, probe, spec)
        dimensions, variables = dimensions_of(probe, spec, dims, coords, index, chains, inputs.keys())
        index = np.asarray(dimensions.coords[DATUM])
        names = frozenset({variables.get(name, name) for name in local} | {*STATISTICS} | inputs.keys())
        attrs: dict[str, Any] = {"seed": seed, "draws": draws, "chains": chains}
        attrs |= {"predictive_draws": kept, "resample": resample or ""}
        if renamed := [f"{name} = {site}" for site, name in variables.items() if name != site]:
            attrs["renamed_sites"] = ", ".join(renamed)

        dimensions = Dimensions(names, dimensions.dims, dimensions.coords)

        def groups(parts: Sequence[Arrays], at: slice) -> Arrays:
            found = {
                group: values if group == "sample_stats" else {variables[site]: value for site, value in values.items()}
                for group, values in _join(parts, local, chains).items()
            }
            found["constant_data"] = {name: value[at] for name, value in inputs.items()}
            return {group: part for group, part in found.items() if part}

        shared: dict[int, dict[str, Tensor]] = {}
        with contextlib.nullcontext() if path is None else PosteriorWriter(path, dimensions, attrs) as stream:
            for block in blocks(vae, split, tiling, progress):
                arrays = _draws(vae, draw, block, total, chains * kept, shared, with_density, path is None)
                if resample:
                    _resample(arrays, derive(seed, block.at.start))
                if stream is None:
                    parts.append(arrays)
                else:
                    stream.write(groups([arrays], block.at), block.at.start)
    return datatree(groups(parts, slice(None)), dimensions, attrs) if path is None else None


def _resample(block: Arrays, seed: int) -> None:
    """Draw the draws anew, per datum with its smoothed weights; those of new data among themselves."""
    rng = np.random.default_rng(seed)
    log_weight = block["sample_stats"]["log_weight"]
    for groups in (
        ("posterior", "unconstrained_posterior", "log_likelihood", "sample_stats"),
        ("posterior_predictive",),
    ):
        parts = [(group, name) for group in groups for name in block.get(group, {}) if not _by_datum(group, name)]
        if not parts:
            continue
        count = len(block[parts[0][0]][parts[0][1]])
        cumulative = np.exp(smooth(log_weight[:count])).cumsum(0)
        points = rng.uniform(size=cumulative.shape) * cumulative[-1]
        chosen = np.stack(
            [np.searchsorted(c, p).clip(max=count - 1) for c, p in zip(cumulative.T, points.T, strict=True)], axis=1
        )
        for group, name in parts:
            value = block[group][name]
            at = chosen.reshape(chosen.shape + (1,) * (value.ndim - 2))
            block[group][name] = np.take_along_axis(value, at, axis=0)


def _draws(
    vae: "VAE",
    draw: Callable[..., Terms],
    block: Block,
    total: int,
    kept: int,
    shared: dict[int, dict[str, Tensor]],
    with_density: bool,
    shrink: bool,
) -> Arrays:
    """All draws for one block of data; arrays start with the axis of draws."""
    parts: dict[str, dict[str, list[NDArray[Any]]]] = {}

    def put(group: str, name: str, value: Tensor, as_array: Callable[[Tensor], NDArray[Any]] | None = None) -> None:
        if value.numel():  # a pyro.factor has no value
            array = (as_array or (_small if shrink else array_of))(value)
            parts.setdefault(group, {}).setdefault(name, []).append(array)

    evidence = StreamingEvidence(total)
    done = 0
    for number, chunk in block.chunks(total):
        # A global latent is drawn once for all data, not anew for each block.
        t = draw(block.batch, chunk, values=shared.get(number))
        for name, site in t.latents.items():
            if name not in t.model and name not in t.contracted:
                continue
            if not site.is_local:
                shared.setdefault(number, {})[name] = site.raw
            put("posterior", name, seen(t, name))
            real = _unconstrained(site)
            if real is not None:
                real = real if (shown := seen(t, name)).shape != real.shape else real.where(~shown.isnan(), torch.nan)
                put("unconstrained_posterior", name, real)
        for name, log_prob in log_likelihoods(t).items():
            put("log_likelihood", name, log_prob)
        if with_density:
            evidence.update(t.log_weights)
            put("sample_stats", "log_weight", t.log_weights)
        if done < kept:
            latents = {name: site.raw for name, site in t.latents.items() if not site.is_auxiliary}
            drawn, _ = predict(vae, block.batch, chunk, values=latents)
            for name, site in drawn.items():
                put("posterior_predictive", name, site.seen[: kept - done], _as_bytes if _is_binary(site) else None)
            if with_density:
                drawn, latent = predict(vae, block.batch, chunk)
                for name, site in drawn.items():
                    put("prior_predictive", name, site.seen[: kept - done], _as_bytes if _is_binary(site) else None)
                for name, site in latent.items():
                    put("prior", name, site.seen[: kept - done])
        done += chunk
    found = series_of(t)
    result = {
        g: stacked({n: np.concatenate(values) for n, values in part.items()}, found, 2) for g, part in parts.items()
    }
    if with_density:
        e = evidence.result()
        result["sample_stats"] |= {"pareto_k": e.pareto_k.numpy(), "ess": e.ess.cpu().numpy()}
    result["observed_data"] = observations(t) if shrink else observations(t, array_of)
    return result


def observations(t: Terms, array: Callable[[Tensor], NDArray[Any]] | None = None) -> dict[str, NDArray[Any]]:
    """Give the data that the model observes, by site or series of sites; NaN where it masks them."""
    shown = {n: site.seen[0] for n, site in t.observed.items() if site.is_local and _has_value(site)}
    return stacked({name: (array or _small)(value) for name, value in shown.items()}, series_of(t), 1)


def log_likelihoods(t: Terms) -> dict[str, Tensor]:
    """Log p(x | z) of each observed local site, `(particles, data)`.

    Sites with which others are summed out have one together, by their names, and so have those of a series.
    """
    found: dict[str, Tensor] = {}
    stems = {name: stem for stem, names in series_of(t).items() for name in names}
    for name, site in t.model.items():
        if site.is_observed and not site.is_deterministic and site.is_local:
            key = ", ".join(site.stands_for) or stems.get(name, name)
            found[key] = found[key] + site.log_prob if key in found else site.log_prob
    return found


def _join(parts: Sequence[Arrays], local: set[str], chains: int) -> Arrays:
    """Join blocks of data, and cut the axis of draws into chains."""
    groups: Arrays = {}
    for group, first in parts[0].items():
        groups[group] = {}
        for name, value in first.items():
            by_datum = _by_datum(group, name)
            if by_datum or name in local or (group, name) == ("sample_stats", "log_weight"):
                value = np.concatenate([part[group][name] for part in parts], axis=0 if by_datum else 1)
            groups[group][name] = value if by_datum else value.reshape(chains, -1, *value.shape[1:])
    return groups


def _by_datum(group: str, name: str) -> bool:
    """True if an array has an axis of data and none of draws."""
    return group == "observed_data" or (group == "sample_stats" and name in ("pareto_k", "ess"))


def _require_room(t: Terms, n: int, total: int, otherwise: str) -> None:
    """Refuse more draws than there is memory for: those of all data that are held at a time, and their weights."""
    latents = [site.value for site in t.latents.values() if site.is_local]
    row = 8 + sum(value[0, 0].numel() * value.element_size() for value in latents)
    check_fits(row * n * total, f"{total:,} draws of {n:,} data", f"Ask for fewer draws{otherwise}.")


def _predictive_draws(t: Terms, n: int, draws: int, chains: int, memory: int, wanted: int | None) -> int:
    if wanted is not None:
        return min(wanted, draws)
    every = {**t.latents, **t.model, **t.observed}.values()
    sites = [site for site in every if not site.is_deterministic and _has_value(site)]
    row = sum(s.value[0, 0].numel() * (1 if s.is_observed and _is_discrete(s) else 8) for s in sites if s.is_local)
    return int(min(draws, max(1, memory // 2 // max(2 * chains * n * row, 1))))


def _has_value(site: "Site") -> bool:
    """True if a site is a random variable: not a `pyro.factor`, nor what is left of sites that were summed out."""
    return site.fn is not None and site.value.numel() > 0


def _is_discrete(site: "Site") -> bool:
    return bool(getattr(support_of(site.fn), "is_discrete", False))


def _small(value: Tensor) -> NDArray[Any]:
    """As an array; whole numbers in the smallest type in which their differences cannot overflow."""
    array = array_of(value)
    if array.dtype.kind in "fiub" and array.size and bool((array == np.round(array)).all()):
        largest = np.abs(array).max()
        for kind in (np.int8, np.int16, np.int32):
            if largest <= np.iinfo(kind).max // 2:
                return array.astype(kind)
    return array


def _is_binary(site: "Site") -> bool:
    """True if what is drawn is 0 or 1 in every block of data: torch draws it, and nothing of it is masked."""
    own = getattr(type(innermost(site.fn)), "sample", None)
    return site.shown is None and own is torch.distributions.Bernoulli.sample


def _as_bytes(value: Tensor) -> NDArray[Any]:
    return np.asarray(value.detach().to(torch.int8).cpu().numpy())


def _unconstrained(site: "Site") -> Tensor | None:
    """The value mapped to all reals, where it does not range over them already."""
    support: Any = support_of(site.fn)
    if support is None or site.is_observed or support.is_discrete or not site.value.is_floating_point():
        return None
    if is_real(site.fn):
        return None
    try:
        return bijection(site.fn).inv(site.value)
    except NotImplementedError:
        return None


def dimensions_of(
    t: Terms,
    spec: Any,
    dims: Mapping[str, Sequence[str]] | None,
    coords: Mapping[str, Any] | None,
    index: NDArray[Any],
    chains: int = 1,
    others: Collection[str] = (),
) -> tuple[Dimensions, dict[str, str]]:
    """Name the dimensions of all sites (plates, pixels, features, units), and the variable of each site.

    Raises:
        DataError: for `dims` and `coords` of what is not there, or of another size.
    """
    longest = getattr(spec, "time", None)
    known = {**t.latents, **t.model, **t.contracted}
    every = {name: site for name, site in known.items() if not site.stands_for}
    steps = {names[0]: stem for stem, names in series_of(t).items()}
    later = {name for names in series_of(t).values() for name in names[1:]}
    sites = {steps.get(name, name): site for name, site in every.items() if name not in later}
    together = [key for key in log_likelihoods(t) if key not in sites]  # sites that have one density together
    plates = {plate for site in sites.values() for plate in site.plates}
    pictured = {"channel", "height", "width", "feature", "factor"} | ({TIME} if steps or longest is not None else set())
    given = {dim for named in (dims or {}).values() for dim in ([named] if isinstance(named, str) else named)}
    variables = variable_names([*sites, *together], {*others, *plates, *pictured, *given, *(coords or {})})
    names: dict[str, Sequence[str]] = {}
    labels: dict[str, Any] = {DATUM: index}
    sizes = {"chain": chains, DATUM: len(index)}
    observed = [name for name, site in t.observed.items() if site.is_local]
    times: dict[str, list[str]] = {}
    if longest is not None:
        labels[TIME] = tuple(range(longest))
    for stem, members in series_of(t).items():
        step = numbers(members)
        free = TIME not in plates and np.array_equal(labels.setdefault(TIME, step), step)
        times[stem] = [TIME if free else f"{TIME}_{variables[stem]}"]
        labels[times[stem][0]] = step
    for site_name, site in sites.items():
        name, time = variables[site_name], times.get(site_name, [])
        event = site.value.dim() - 1 - site.is_local - len(site.plates)
        if site.name in t.contracted and not site.is_observed:
            event = len(site.fn.event_shape)  # its value has axes of the sum
        own = [f"{name}_dim"] if event == 1 else [f"{name}_dim_{i}" for i in range(event)]
        if observed[:1] == [site.name] and event == 3:
            own = ["channel", "height", "width"]
        elif observed[:1] == [site.name] and (event == 1 or (event == 2 and longest is not None)):
            own = ["feature"] if event == 1 else [TIME, "feature"]
            if spec is not None and spec.feature_names:
                labels["feature"] = list(spec.feature_names)
        names[name] = [*time, *(plate.replace("/", ".") for plate in site.plates), *own]
    names |= {variables[key]: [] for key in together}
    by_site = {site: names[name] for site, name in variables.items()}
    check_dims(dims, {**by_site, **names})
    names |= {variables.get(name, name): list(named) for name, named in (dims or {}).items()}
    for site_name, site in sites.items():
        if site.name in t.contracted and not site.is_observed:
            continue
        shape = [len(labels[time]) for time in times.get(site_name, [])] + [*site.value.shape[1 + site.is_local :]]
        sizes |= dict(zip(names[variables[site_name]], map(int, shape), strict=True))
    if spec is not None and spec.factor_names:
        labels["factor"] = list(spec.factor_names)
    check_coords(coords, {**sizes, **({"factor": len(labels["factor"])} if "factor" in labels else {})})
    return Dimensions(frozenset(), {**names, "factors": ["factor"]}, {**labels, **(coords or {})}), variables


def constants(split: Any, t: Terms, spec: Any) -> dict[str, NDArray[Any]]:
    """Labels, known factors, and inputs that the model does not observe."""
    constants = {}
    if split.labels is not None:
        constants["label"] = split.labels.cpu().numpy()
    if getattr(split, "factors", None) is not None:
        constants["factors"] = split.factors.cpu().numpy()
    observed = [site.value[0] for site in t.observed.values() if site.is_local]
    for i, tensor in enumerate(split.tensors[1:], 1):
        head = tensor[: t.batch_size].to(t.log_weights.device)
        if all(place_of(value, [head]) is None for value in observed):
            name = spec.fields[i].name if spec is not None and len(spec.fields) > i else f"input_{i}"
            constants[name] = array_of(tensor)
    return constants
