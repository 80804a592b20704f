"""A seeded generator of linear-Gaussian models of any structure, with their exact evidence by algebra.

A site's mean is a constant plus linear maps of earlier sites. Sites lie in any of three plates, one of which is over
data; a sum is taken over a plate that a child does not share. So every value is an affine function of independent
standard normals, and what is observed is jointly normal.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from math import log, pi, prod

import torch
from torch import Tensor

F64 = torch.float64
NAMES = ("z", "z.loc", "z/loc", "a b", "forward", "training", "keys", "ž", "0", "_modules", "w", "loc", "h", "data ")
IMPORTS = "import pyro\nimport pyro.distributions as dist\nimport torch\nfrom pyro import poutine\n\n\n"


@dataclass(frozen=True)
class Site:
    """A sample site.

    Args:
        name: of it.
        plates: it lies in.
        event: entries of one event, 0 for a scalar.
        parents: earlier sites, each with a matrix `(entries of the parent, entries)`.
        bias: what is added.
        scale: of its noise; with `tril`, of a noise whose factor has ones on and this below the diagonal.
        tril: whether it is a `MultivariateNormal`.
        affine: location and scale by which a draw is moved and stretched, as a transform; None for none.
        column: the first column of x that it observes; None for a latent, -1 for a constant.
    """

    name: str
    plates: tuple[str, ...]
    event: int
    parents: tuple[tuple[str, tuple[tuple[float, ...], ...]], ...]
    bias: float
    scale: float
    tril: bool = False
    column: int | None = None
    affine: tuple[float, float] | None = None

    @property
    def entries(self) -> int:
        return max(self.event, 1)


@dataclass(frozen=True)
class Program:
    """A model and its batch.

    Args:
        seed: where it came from.
        sites: in their order.
        dims: axis and size of each plate but that of the data, whose size is that of x.
        x: `(data, columns)`.
        mask: `(data,)`; None for none.
        masked: "rows" for all local sites, or the name of an observed one.
        weight: of `poutine.scale`.
        scaled: "rows" for all local sites, or the name of an observed one.
    """

    seed: int
    sites: tuple[Site, ...]
    dims: dict[str, tuple[int, int]]
    x: Tensor
    mask: Tensor | None = None
    masked: str = ""
    weight: float = 1.0
    scaled: str = ""
    families: dict[str, str] = field(default_factory=dict)

    @property
    def batch(self) -> tuple[Tensor, ...]:
        return (self.x,) if self.mask is None else (self.x, self.mask)

    @property
    def depth(self) -> int:
        return len(self.dims)

    def size(self, plate: str) -> int:
        return len(self.x) if plate == "data" else self.dims[plate][1]

    def shape(self, site: Site) -> list[int]:
        """Lengths of all axes of plates, one where the site has none."""
        at = {self.dims[p][0]: self.size(p) for p in site.plates}
        return [at.get(dim, 1) for dim in range(-self.depth, 0)]


def generate(seed: int, anywhere: bool = False) -> Program:
    """The program of a seed: of four latents at most, the first in the plate over data; or of five, `anywhere`."""
    rng, most = random.Random(seed), 5 if anywhere else 4
    chance = lambda p: rng.random() < p  # noqa: E731
    plates = ["data", *rng.sample(["inner", "other"], rng.choices((0, 1, 2), (5, 3, 1))[0])]
    order = rng.sample(range(1, len(plates) + 1), len(plates))
    dims = {p: (-d, {"data": 0, "inner": 2, "other": 3}[p]) for p, d in zip(plates, order, strict=True)}
    names = rng.sample(NAMES, most + 2)
    sites: list[Site] = []
    columns, size = 0, rng.choice((2, 3))

    def weights(parent: Site, entries: int) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(round(rng.uniform(-0.8, 0.8), 2) for _ in range(entries)) for _ in range(parent.entries))

    def site(name: str, inside: tuple[str, ...], column: int | None, above: list[Site]) -> Site:
        event = rng.choices((0, 1, 2, 3), (5, 1, 3, 1))[0]
        able = [s for s in above if "data" in inside or "data" not in s.plates]
        parents = tuple((s.name, weights(s, max(event, 1))) for s in able if chance(0.6))
        bias, scale = round(rng.uniform(-0.5, 0.5), 2), round(rng.uniform(0.6, 1.4), 2)
        return Site(name, inside, event, parents, bias, scale, event > 1 and chance(0.3), column)

    def places() -> tuple[str, ...]:
        inside = [p for p in plates if p != "data" and chance(0.4)]
        return tuple(rng.sample(["data", *inside], len(inside) + 1) if chance(0.75) else inside)

    for i in range(rng.choices(range(1, most + 1), (2, 4, 3, 1, 1)[:most])[0]):
        inside = ("data",) if i == 0 and not anywhere else places()
        sites.append(site(names[i], inside, None, sites))
    for i in range(rng.choices((1, 2), (3, 1))[0]):
        inside = places() if i else ("data", *(p for p in plates if p != "data" and chance(0.5)))
        made = site(f"x{i}", inside, -1, [s for s in sites if s.column is None])
        if "data" in inside:
            others = prod(dims[p][1] for p in inside if p != "data")
            made = replace(made, column=columns)
            columns += others * made.entries
        sites.append(made)
    rng.shuffle(sites) if all(not s.parents for s in sites) else None
    torch.manual_seed(seed)
    program = Program(seed, tuple(sites), dims, torch.randn(size, columns, dtype=F64).round(decimals=2))
    observed = [s for s in sites if s.column is not None and "data" in s.plates]
    if chance(0.3):
        mask = torch.tensor([i > 0 and chance(0.6) for i in range(size)])
        program = replace(program, mask=mask, masked=rng.choice(("rows", rng.choice(observed).name)))
    if chance(0.25):
        able = [s.name for s in observed if not s.tril]
        whole = all("data" in s.plates for s in sites)
        program = replace(program, weight=0.5, scaled=rng.choice([*able, *(["rows"] if whole else [])] or [""]))
    return program if program.scaled else replace(program, weight=1.0)


def transformed(program: Program) -> Program:
    """The program with some of its normals moved and stretched by an affine transform; a mirror image now and then."""
    rng, sites = random.Random(-1 - program.seed), list[Site]()
    for site in program.sites:
        affine = round(rng.uniform(-1.0, 1.0), 2), round(rng.choice((-1, 1)) * rng.uniform(0.5, 1.5), 2)
        sites.append(site if site.tril or rng.random() < 0.6 else replace(site, affine=affine))
    return replace(program, sites=tuple(sites))


def source(program: Program) -> str:
    """The model as Python."""
    lines = [f"def model({'x, m' if program.mask is not None else 'x'}):"]
    for plate, (dim, size) in program.dims.items():
        length = "x.shape[0]" if plate == "data" else str(size)
        lines.append(f"    plate_{plate} = pyro.plate({plate!r}, {length}, dim={dim})")
    for i, site in enumerate(program.sites):
        around = [f"plate_{p}" for p in site.plates]
        mask = "data" in site.plates and program.masked in ("rows", site.name)
        if mask:
            shape = [len(program.x) if d == program.dims["data"][0] else 1 for d in range(-program.depth, 0)]
            text = ", ".join("x.shape[0]" if d == program.dims["data"][0] else "1" for d in range(-program.depth, 0))
            assert prod(shape) == len(program.x)
            around.append(f"poutine.mask(mask=m.reshape({text}))")
        if program.scaled and program.scaled in ("rows", site.name) and "data" in site.plates:
            around.append(f"poutine.scale(scale={program.weight})")
        indent = "    "
        if around:
            lines.append(f"    with {', '.join(around)}:")
            indent = "        "
        lines.append(f"{indent}v{i} = pyro.sample({site.name!r}, {_law(program, site)}{_obs(program, site)})")
    return "\n".join(lines) + "\n"


def _law(program: Program, site: Site) -> str:
    terms = [f"torch.full(({site.event},), {site.bias})" if site.event else f"torch.tensor({site.bias})"]
    for name, matrix in site.parents:
        at = next(i for i, s in enumerate(program.sites) if s.name == name)
        parent, value = program.sites[at], f"v{at}"
        e = 1 if parent.event else 0
        for plate in parent.plates:
            if plate not in site.plates:
                value = f"{value}.sum({program.dims[plate][0] - e}, keepdim=True)"
        if parent.event and site.event:
            terms.append(f"{value} @ torch.tensor({[list(row) for row in matrix]})")
        elif parent.event:
            terms.append(f"{value} @ torch.tensor({[row[0] for row in matrix]})")
        elif site.event:
            terms.append(f"{value}.unsqueeze(-1) * torch.tensor({list(matrix[0])})")
        else:
            terms.append(f"{matrix[0][0]} * {value}")
    mean = " + ".join(terms)
    if site.tril:
        return f"dist.MultivariateNormal({mean}, scale_tril=torch.tensor({factor(site).tolist()}))"
    law = f"dist.Normal({mean}, {site.scale})"
    if site.affine is not None:
        way = f"dist.transforms.AffineTransform({site.affine[0]}, {site.affine[1]})"
        law = f"dist.TransformedDistribution({law}, [{way}])"
    return law + (".to_event(1)" if site.event else "")


def _obs(program: Program, site: Site) -> str:
    if site.column is None:
        return ""
    event = [site.event] if site.event else []
    if site.column < 0:
        return f", obs=torch.full({(*_own(program.shape(site)), *event)}, 0.3)"
    others = [n for d, n in zip(range(-program.depth, 0), program.shape(site), strict=True)]
    at = program.depth + program.dims["data"][0]
    others.pop(at)
    stop = site.column + prod(others) * site.entries
    sizes = ", ".join(map(str, ["x.shape[0]", *others, *event]))
    return f", obs=x[:, {site.column}:{stop}].reshape({sizes}).movedim(0, {at})"


def _own(shape: list[int]) -> list[int]:
    """Without ones on the left."""
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape


def factor(site: Site) -> Tensor:
    """The factor of the covariance of a site's noise."""
    eye = site.scale * torch.eye(site.entries, dtype=F64)
    whole = eye + (0.5 * torch.ones_like(eye)).tril(-1) if site.tril else eye
    return whole if site.affine is None else site.affine[1] * whole


@dataclass(frozen=True)
class Joint:
    """All sites as affine functions of independent standard normals.

    Args:
        latents: by site, the map `(*plates, entries, normals)`.
        residual: what is observed, less its mean, `(observed,)`.
        linear: its map `(observed, normals)`.
        extra: what a power of a density is above the normal that it is proportional to, in nats.
    """

    latents: dict[str, Tensor]
    residual: Tensor
    linear: Tensor
    extra: float


def joint(program: Program) -> Joint:
    """The joint normal of a program; a site that is scaled is the normal to which its power is proportional."""
    noises = {s.name: prod(program.shape(s)) * s.entries for s in program.sites}
    total, first, values = sum(noises.values()), 0, {}
    means, maps, extra = [torch.zeros(0, dtype=F64)], [torch.zeros(0, total, dtype=F64)], 0.0
    for site in program.sites:
        shape = program.shape(site)
        constant = torch.full((*shape, site.entries), site.bias, dtype=F64)
        linear = torch.zeros(*shape, site.entries, total, dtype=F64)
        for name, matrix in site.parents:
            parent = next(s for s in program.sites if s.name == name)
            c, a = values[name]
            for plate in parent.plates:
                if plate not in site.plates:
                    axis = program.depth + program.dims[plate][0]
                    c, a = c.sum(axis, keepdim=True), a.sum(axis, keepdim=True)
            w = torch.tensor(matrix, dtype=F64)
            constant = constant + c @ w
            linear = linear + torch.einsum("...em,ef->...fm", a, w)
        if site.affine is not None:
            constant, linear = site.affine[0] + site.affine[1] * constant, site.affine[1] * linear
        noise = torch.zeros(prod(shape), site.entries, total, dtype=F64)
        kept = torch.ones(shape, dtype=torch.bool)
        if program.mask is not None and "data" in site.plates and program.masked in ("rows", site.name):
            axis = program.depth + program.dims["data"][0]
            kept = program.mask.reshape([-1 if i == axis else 1 for i in range(program.depth)]).expand(shape)
        power = program.weight if site.column is not None and program.scaled == site.name else 1.0
        for j in range(prod(shape)):
            at = first + j * site.entries
            noise[j, :, at : at + site.entries] = factor(site) / power**0.5
        first += noises[site.name]
        values[site.name] = constant, linear + noise.reshape(linear.shape)
        if site.column is not None:
            if power != 1.0:  # N(x; μ, σ²)ˢ = N(x; μ, σ²/s) (2πσ²)^((1-s)/2) / √s
                width = float(factor(site)[0, 0].abs())
                each = 0.5 * (1 - power) * log(2 * pi * width**2) - 0.5 * log(power)
                extra += each * int(kept.sum()) * site.entries
            x = torch.full((*shape, site.entries), 0.3, dtype=F64)
            if site.column >= 0:
                axis = program.depth + program.dims["data"][0]
                others = [n for i, n in enumerate(shape) if i != axis]
                x = program.x[:, site.column : site.column + prod(others) * site.entries]
                x = x.reshape(len(x), *others, site.entries).movedim(0, axis)
            means.append((x - constant)[kept].flatten())
            maps.append(values[site.name][1][kept].flatten(0, 1))
    latents = {s.name: values[s.name][1] for s in program.sites if s.column is None}
    return Joint(latents, torch.cat(means), torch.cat(maps), extra)


def log_evidence(program: Program) -> float:
    """log p(x) of all data, in nats, from the joint normal of what is observed; scaled as the model scales it."""
    found = joint(program)
    if not len(found.residual):
        return 0.0
    law = torch.distributions.MultivariateNormal(torch.zeros_like(found.residual), found.linear @ found.linear.mT)
    total = float(law.log_prob(found.residual)) + found.extra
    return total * (program.weight if program.scaled == "rows" else 1.0)


def posterior_precision(program: Program) -> Tensor:
    """The precision of p(z | x), `(numbers, numbers)`: of all latents in their order, plates first, then entries."""
    found = joint(program)
    latents = torch.cat([a.flatten(0, -2) for a in found.latents.values()])
    both = latents @ found.linear.mT
    told = both @ torch.linalg.solve(found.linear @ found.linear.mT, both.mT)
    return torch.linalg.inv(latents @ latents.mT - told)


def least_gap(program: Program, full_rank: bool, condition: bool = True) -> float:
    r"""The least KL(q ‖ p(z | x)) of the family of a derived guide with linear networks, in nats, of all data together.

    Number k is fed to a set of others: a global latent to all later local ones, a local one to those of its own datum,
    an entry of a vector of full rank to those after it. Whoever is fed by k is fed by what feeds k. So q has any mean
    and the covariance L Lᵀ, L triangular, whose column k is free on T_k: k, and all that it is fed to. In

    $$2\,\mathrm{KL} = \mathrm{tr}(\Lambda L L^	op) - 2 \sum_k \log L_{kk} - \log |\Lambda| - K$$

    each column stands alone, and its best is $L_{kk}^2 = [(\Lambda_{T_k T_k})^{-1}]_{kk}$, so that

    $$\mathrm{KL} = -	frac12 \Bigl(\sum_k \log [(\Lambda_{T_k T_k})^{-1}]_{kk} + \log |\Lambda|\Bigr).$$

    Of a mean field it is ½ (Σ log Λ_kk - log |Λ|). Networks have the same weights for all data, which loses nothing:
    the problem is convex, and the same when data change places. Of masked data that is not so.
    """
    assert program.mask is None
    latents = [s for s in program.sites if s.column is None]
    axis = program.depth + program.dims["data"][0]
    # Of each number: its site, the datum or -1, its place in plates, its entry.
    numbers = [
        (i, place[axis] if "data" in site.plates else -1, place, entry)
        for i, site in enumerate(latents)
        for place in product(*map(range, program.shape(site)))
        for entry in range(site.entries)
    ]

    def is_fed(k: int, to: int) -> bool:
        (i, datum, place, entry), (j, its_datum, its_place, its_entry) = numbers[k], numbers[to]
        if i == j:
            return full_rank and place == its_place and entry < its_entry
        return condition and i < j and its_datum >= 0 and datum in (-1, its_datum)

    precision = posterior_precision(program)
    total = torch.linalg.slogdet(precision)[1]
    for k in range(len(numbers)):
        t = [k, *(j for j in range(len(numbers)) if is_fed(k, j))]
        total = total + torch.linalg.inv(precision[t][:, t])[0, 0].log()
    return -0.5 * float(total)


def simpler(program: Program) -> Iterator[Program]:
    """Programs with one thing less."""
    for gone in program.sites:
        left = [
            replace(s, parents=tuple(p for p in s.parents if p[0] != gone.name)) for s in program.sites if s is not gone
        ]
        kept = (gone.column is None or sum(s.column is not None for s in left)) and any(s.column is None for s in left)
        if kept and gone.name not in (program.masked, program.scaled):
            yield replace(program, sites=tuple(left))
    if program.masked:
        yield replace(program, mask=None, masked="")
    if program.scaled:
        yield replace(program, weight=1.0, scaled="")
    for i, site in enumerate(program.sites):
        for j in range(len(site.parents)):
            fewer = replace(site, parents=site.parents[:j] + site.parents[j + 1 :])
            yield replace(program, sites=(*program.sites[:i], fewer, *program.sites[i + 1 :]))
        for less in ({"tril": False}, {"affine": None}):
            if any(getattr(site, key) for key in less):
                yield replace(program, sites=(*program.sites[:i], replace(site, **less), *program.sites[i + 1 :]))


def shrunk(program: Program, fails: Callable[[Program], bool]) -> Program:
    """The smallest program found by greedy removal that still fails."""
    for candidate in simpler(program):
        if fails(candidate):
            return shrunk(candidate, fails)
    return program
