"""A seeded generator of linear-Gaussian models of any structure, with their exact evidence by algebra.

A site's mean is a constant plus linear maps of earlier sites. Sites lie in any of three plates, one of which is over
data; a sum is taken over a plate that a child does not share. So every value is an affine function of independent
standard normals, and what is observed is jointly normal.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
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

    @property
    def in_family(self) -> bool:
        """Whether a derived guide with full rank inside vectors, of linear networks, holds the posterior.

        Local sites see all that was drawn before them and their own datum; a global latent sees nothing, so that there
        must be one at most, and none before it. Further plates, and data of which a part is masked, are left out.
        """
        globals_ = [s for s in self.sites if s.column is None and "data" not in s.plates]
        latents = [s for s in self.sites if s.column is None]
        flat = all(set(s.plates) <= {"data"} for s in latents)
        whole = self.masked in ("", "rows") and not (globals_ and self.scaled == "rows")
        return flat and whole and globals_ in ([], latents[:1])


def generate(seed: int) -> Program:
    """The program of a seed."""
    rng = random.Random(seed)
    chance = lambda p: rng.random() < p  # noqa: E731
    plates = ["data", *rng.sample(["inner", "other"], rng.choices((0, 1, 2), (5, 3, 1))[0])]
    order = rng.sample(range(1, len(plates) + 1), len(plates))
    dims = {p: (-d, {"data": 0, "inner": 2, "other": 3}[p]) for p, d in zip(plates, order, strict=True)}
    names = rng.sample(NAMES, 6)
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

    for i in range(rng.choices((1, 2, 3, 4), (2, 4, 3, 1))[0]):
        inside = ("data",) if i == 0 else places()
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
    return f"dist.Normal({mean}, {site.scale})" + (".to_event(1)" if site.event else "")


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
    return eye + (0.5 * torch.ones_like(eye)).tril(-1) if site.tril else eye


def log_evidence(program: Program) -> float:
    """log p(x) of all data, in nats, from the joint normal of what is observed; scaled as the model scales it."""
    noises = {s.name: prod(program.shape(s)) * s.entries for s in program.sites}
    total, first, values = sum(noises.values()), 0, {}
    means, maps, extra = [], [], 0.0
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
                each = 0.5 * (1 - power) * log(2 * pi * site.scale**2) - 0.5 * log(power)
                extra += each * int(kept.sum()) * site.entries
            x = torch.full((*shape, site.entries), 0.3, dtype=F64)
            if site.column >= 0:
                axis = program.depth + program.dims["data"][0]
                others = [n for i, n in enumerate(shape) if i != axis]
                x = program.x[:, site.column : site.column + prod(others) * site.entries]
                x = x.reshape(len(x), *others, site.entries).movedim(0, axis)
            means.append((x - constant)[kept].flatten())
            maps.append(values[site.name][1][kept].flatten(0, 1))
    if not sum(len(m) for m in means):
        return 0.0
    residual, linear = torch.cat(means), torch.cat(maps)
    law = torch.distributions.MultivariateNormal(torch.zeros_like(residual), linear @ linear.mT)
    found = float(law.log_prob(residual)) + extra
    return found * (program.weight if program.scaled == "rows" else 1.0)


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
        if site.tril:
            yield replace(program, sites=(*program.sites[:i], replace(site, tril=False), *program.sites[i + 1 :]))


def shrunk(program: Program, fails: Callable[[Program], bool]) -> Program:
    """The smallest program found by greedy removal that still fails."""
    for candidate in simpler(program):
        if fails(candidate):
            return shrunk(candidate, fails)
    return program
