"""Exact numbers of a random pair, without any code of ppl_vae or of Pyro.

Every latent element has an axis of its own: the values of a finite support, or the nodes of a grid on which the
trapezoid rule is exact to rounding for densities as smooth as these. Log-densities are tensors over all axes, then
`(inner plate, data)`; every expectation is a sum, and its gradient is autograd's. Data share the axes of local latents,
of which each datum has its own sum.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch import distributions as td

from .program import (
    BINARY,
    CIRCLE,
    COUNT,
    FEW,
    FINITE,
    INDEX,
    INNER,
    OFFSETS,
    ONE_HOT,
    POSITIVE,
    REAL,
    TABLE,
    UNIT,
    Law,
    Program,
    Site,
)

F64 = torch.float64


def _line(low: float, high: float, count: int) -> tuple[Tensor, Tensor]:
    u = torch.linspace(low, high, count, dtype=F64)
    return u, torch.full_like(u, math.log((high - low) / (count - 1)))


def nodes(support: str) -> tuple[Tensor, Tensor]:
    """Values of a latent, and the logarithms of their widths (0 for values that are counted)."""
    if support == REAL:
        return _line(-8.4, 8.4, 43)
    if support == POSITIVE:  # even in log z
        u, width = _line(-9.0, 7.2, 55)
        return u.exp(), width + u
    if support == UNIT:  # even in logit z
        u, width = _line(-14.0, 14.0, 57)
        return torch.sigmoid(u), width + td.transforms.SigmoidTransform().log_abs_det_jacobian(u, torch.sigmoid(u))
    if support == CIRCLE:
        z = torch.arange(24, dtype=F64) * (2 * math.pi / 24) - math.pi
        return z, torch.full_like(z, math.log(2 * math.pi / 24))
    count = {BINARY: 2, INDEX: 3, ONE_HOT: 3, FEW: 3, COUNT: 40}[support]
    return torch.arange(count, dtype=F64), torch.zeros(count, dtype=F64)


def log_prob(law: Law, eta: Tensor, scale: Tensor, z: Tensor) -> Tensor:
    """The log-density of a scalar element; classes are numbered."""
    match law.family:
        case "normal":
            return td.Normal(eta, scale, validate_args=False).log_prob(z)
        case "lognormal":
            return td.LogNormal(eta, scale, validate_args=False).log_prob(z)
        case "gamma":
            return td.Gamma(torch.tensor(2.5, dtype=F64), eta.exp(), validate_args=False).log_prob(z)
        case "beta":
            return td.Beta(1.5 + eta.exp(), torch.tensor(2.0, dtype=F64), validate_args=False).log_prob(z)
        case "von_mises":
            return 1.5 * torch.cos(z - eta) - math.log(
                2 * math.pi * float(torch.special.i0(torch.tensor(1.5, dtype=F64)))
            )
        case "bernoulli":
            return z * eta - torch.nn.functional.softplus(eta)
        case "categorical" | "one_hot":
            classes = torch.tensor([1.0, 0.2, -1.0], dtype=F64)
            return eta * classes[z.long()] - torch.logsumexp(eta[..., None] * classes, -1)
        case "binomial":
            return math.log(2) * (z == 1) + z * eta - 2 * torch.nn.functional.softplus(eta)
        case "poisson":
            return z * eta - eta.exp() - torch.lgamma(z + 1)
    raise AssertionError(law.family)


def feature(family: str, z: Tensor) -> Tensor:
    """The number by which a site enters the laws of others."""
    match family:
        case "categorical" | "one_hot":
            return torch.tensor(TABLE, dtype=F64)[z.long()]
        case "lognormal" | "gamma":
            return z.log()
        case "beta":
            return 2 * z - 1
        case "von_mises":
            return z.sin()
        case "binomial":
            return z - 1
        case "poisson":
            return 0.5 * z - 0.5
    return z


@dataclass
class Axis:
    site: str
    values: Tensor
    log_width: Tensor


class Exact:
    """The exact numbers of a program.

    Args:
        program: The pair.
        training: Whether modules of the guide are in training mode.
    """

    def __init__(self, program: Program, training: bool = True, grad: bool = True) -> None:
        self.program, self.training = program, training
        self.model_parameters, self.guide_parameters = (
            {n: torch.tensor(v, dtype=F64, requires_grad=grad) for n, v in program.parameters} for _ in range(2)
        )
        self.columns = {n: _tensor(v) for n, v in program.columns}
        self.axes: list[Axis] = []
        self.where: dict[str, list[list[list[int]]]] = {}  # per site, the axes of its elements: data × copies × entries
        for local in (False, True):
            for site in program.sites:
                if site.is_latent and site.is_local == local:
                    self._add(site)
        self._run()

    # --- the joint densities --------------------------------------------------------------------------------------

    def _add(self, site: Site) -> None:
        copies = INNER if site.place in ("inner", "outer") else 1
        shape = (self.program.size if self.program.crossed and site.is_local else 1, copies, site.event or 1)
        count = math.prod(shape)
        first = len(self.axes)
        self.axes += [Axis(site.name, *nodes(site.law.support)) for _ in range(count)]
        self.where[site.name] = torch.arange(first, first + count).reshape(shape).tolist()

    def _along(self, axis: int, values: Tensor) -> Tensor:
        """A vector as a tensor over all axes, `(axes…, 1, 1)`."""
        shape = [1] * (len(self.axes) + 2)
        shape[axis] = len(values)
        return values.reshape(shape)

    def _values(self, site: Site) -> list[Tensor]:
        """Per entry of the event: `(axes…, copies, 1)`, or `(axes…, copies, data)` where each datum has its axes."""

        def along(axis: int) -> Tensor:
            return self._along(axis, self.axes[axis].values)

        return [
            _stack([_stack([along(copy[e]) for copy in datum], -2) for datum in self.where[site.name]], -1)
            for e in range(site.event or 1)
        ]

    def _axes_at(self, site: str) -> list[int]:
        return [a for datum in self.where[site] for copy in datum for a in copy]

    def _column(self, name: str) -> Tensor:
        value = self.columns[name]
        return (value.mT if value.dim() == 2 else value[None]).reshape([1] * len(self.axes) + [-1, self.program.size])

    def _feature(self, name: str, here: Site, guide: bool) -> Tensor:
        one = torch.ones([1] * (len(self.axes) + 2), dtype=F64)
        if name == "1":
            return one
        if name == "j":
            return one * torch.tensor(OFFSETS, dtype=F64)[:, None]
        if name in self.columns:
            x = self._column(name)
            return self._net(x) if guide and name == "x" else x
        site = self.program[name]
        values = self.values[name]
        if not guide and site.law.mask == "missing":  # model sites see the observed value where there is one
            twin = self.program[name.removesuffix("_unobserved")]
            values = [
                torch.where(self._column(site.law.masked_by), self._column(twin.column).to(F64), v) for v in values
            ]
        total = sum(feature(site.law.family, v) for v in values)
        if here.place == "below" and site.is_local:
            return total.sum((-2, -1), keepdim=True)
        if site.place in ("inner", "outer") and here.place != site.place:
            total = total.sum(-2, keepdim=True)
        return total

    def _net(self, x: Tensor) -> Tensor:
        if not self.program.net:
            return x
        if self.program.net == "batch norm":
            if self.training:
                return (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()
            return x / math.sqrt(1 + 1e-5)
        assert not self.training, "dropout has no single value in training mode"
        return x

    def _eta(self, law: Law, here: Site, guide: bool) -> Tensor:
        parameters = self.guide_parameters if guide else self.model_parameters
        eta = torch.zeros([1] * (len(self.axes) + 2), dtype=F64)
        for name, weight in law.terms:
            w = parameters[weight] if isinstance(weight, str) else weight
            eta = eta + w * self._feature(name, here, guide)
        return eta

    def _log_prob(self, site: Site, guide: bool) -> tuple[Tensor, Tensor]:
        """The log-density with and without its mask, `(axes…, 1, data or 1)`."""
        law = site.guide if guide else site.model
        assert law is not None
        eta = self._eta(law, site, guide)
        if site.column == "factor":
            plain = eta
        elif law.family == "delta":
            plain = torch.zeros_like(eta)
        else:
            parameters = self.guide_parameters if guide else self.model_parameters
            scale = parameters[law.scale].exp() if isinstance(law.scale, str) else torch.tensor(law.scale, dtype=F64)
            if site.place == "below":
                entries = [torch.tensor(float(site.column), dtype=F64)]
            elif site.column:
                value = self._column(site.column)
                entries = [value] if not site.event else [self._entry(site.column, e) for e in range(site.event)]
            else:
                entries = self.values[site.name]
            plain = sum(log_prob(law, eta + 0.4 * e, scale, v) for e, v in enumerate(entries))
        masked = self._mask(law, plain)
        if site.only_model and masked is not plain:  # a masked site that is summed out sums to one
            shift = sum(math.log(len(self.axes[a].values)) for a in self.where[site.name][0][0])
            masked = masked - shift * self._masked_out(law, plain)
        if site.place in ("inner", "outer"):
            full = [max(n, m) for n, m in zip(plain.shape, [1] * len(self.axes) + [INNER, 1], strict=True)]
            plain, masked = (
                t.expand(torch.broadcast_shapes(t.shape, full)).sum(-2, keepdim=True) for t in (plain, masked)
            )
        if site.is_local:
            plain, masked = (t.expand(*t.shape[:-1], self.program.size) for t in (plain, masked))
        return plain, masked

    def _entry(self, column: str, entry: int) -> Tensor:
        return self.columns[column][:, entry].reshape([1] * (len(self.axes) + 1) + [-1])

    def _mask(self, law: Law, plain: Tensor) -> Tensor:
        if not law.mask:
            return plain
        if law.mask.endswith("off"):
            return torch.zeros_like(plain)
        mask = self._column(law.masked_by)
        return torch.where(~mask if law.mask == "missing" else mask, plain, 0.0)

    def _masked_out(self, law: Law, plain: Tensor) -> Tensor:
        return 1.0 - self._mask(law, torch.ones_like(plain))

    def _run(self) -> None:
        program = self.program
        self.values = {s.name: self._values(s) for s in program.sites if s.is_latent}
        for site in program.sites:  # a Delta has the one value that its guide gives it
            if site.guide is not None and site.guide.family == "delta":
                axis = self.where[site.name][0][0][0]
                self.axes[axis] = Axis(site.name, torch.zeros(1, dtype=F64), torch.zeros(1, dtype=F64))
        for site in program.latents:
            if site.guide is not None and site.guide.family == "delta":
                self.values[site.name] = [self._eta(site.guide, site, True)]
        self.log_p, self.log_q, self.draw = {}, {}, {}
        for site in program.sites:
            if site.model is not None and site.column != "deterministic":
                self.log_p[site.name] = self._log_prob(site, False)[1]
            if site.guide is not None:
                self.draw[site.name], self.log_q[site.name] = self._log_prob(site, True)

    # --- sums -----------------------------------------------------------------------------------------------------

    @cached_property
    def only_model_axes(self) -> list[int]:
        return [a for s in self.program.sites if s.only_model for a in self._axes_at(s.name)]

    def _local(self, site: Site) -> bool:
        """Whether each datum has its own sum over a site: not where a site couples the data."""
        return site.is_local and not self.program.crossed

    def _axes_of(self, local: bool) -> list[int]:
        return [a for s in self.program.latents if self._local(s) == local for a in self._axes_at(s.name)]

    def _total(self, parts: dict[str, Tensor], local: bool, weighted: bool, where=lambda site: True) -> Tensor:
        """Σ over sites, `(axes…, data)` if local, else `(axes…, 1)`."""
        total = torch.zeros([1] * (len(self.axes) + 1) + [self.program.size if local else 1], dtype=F64)
        for name, value in parts.items():
            site = self.program[name]
            law = site.guide if parts is not self.log_p else site.model
            if self._local(site) == local and where(site):
                value = value.sum(-1, keepdim=True) if site.is_local and not local else value
                total = total + (law.weight if weighted else 1.0) * value
        return total.squeeze(-2)

    def _log_model(self, weighted: bool, where: Callable[[Site], bool] = lambda site: True) -> Tensor:
        """Log p of local sites with those summed out that only the model has.

        Of latents alone it is the log-density of what the guide draws: then log p(x | z) is what is left.
        """
        if not self.only_model_axes:
            return self._total(self.log_p, True, weighted, where)
        below = self._below()
        rest = self._total(self.log_p, True, weighted, lambda s: s.name not in below and where(s))
        summed = self._total(self.log_p, True, False, lambda s: s.name in below and where(s))
        summed = torch.logsumexp(summed, self.only_model_axes, keepdim=True)
        weights = {self.program[n].model.weight for n in below} if weighted else {1.0}
        assert len(weights) == 1
        return rest + weights.pop() * summed

    def _below(self) -> set[str]:
        """The sites whose density depends on one that is summed out, and those themselves."""
        names = {s.name for s in self.program.sites if s.only_model}
        return names | {
            s.name for s in self.program.sites if s.model is not None and names & {f for f, _ in s.model.terms}
        }

    def _flat(self, x: Tensor) -> Tensor:
        """`(global…, local…, [only model], data)` as `(global, local, data)`."""
        n = len(self.axes)
        shape = [len(a.values) for a in self.axes]
        for a in self.only_model_axes:
            shape[a] = 1
        x = x.expand(*shape, x.shape[-1])
        ahead, behind = self._axes_of(False), self._axes_of(True)
        x = x.permute(*ahead, *behind, *self.only_model_axes, n)
        outer = math.prod(shape[a] for a in ahead)
        return x.reshape(outer, -1, x.shape[-1])

    def _log_weight(self, local: bool) -> Tensor:
        """The log-probability of a node under the guide."""
        total = self._total(self.draw, local, False)
        for a in self._axes_of(local):
            total = total + self._along(a, self.axes[a].log_width).squeeze(-2)
        return total

    def cost(self, weighted: bool, beta: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log-weights and their probabilities: l and log d of local, g and log d of global latents.

        `(global, local, data)` twice, then `(global,)` twice.
        """
        l = self._log_model(weighted) - self._total(self.log_q, True, weighted)  # noqa: E741
        if beta != 1.0:
            prior = self._log_model(weighted, lambda s: s.is_latent)
            l = l + (beta - 1) * (prior - self._total(self.log_q, True, weighted))  # noqa: E741
        seen = self._total(self.log_p, False, weighted, lambda s: not s.is_latent)
        g = seen + beta * (
            self._total(self.log_p, False, weighted, lambda s: s.is_latent) - self._total(self.log_q, False, weighted)
        )
        g, dg = (self._flat(x)[:, 0, 0] for x in (g, self._log_weight(False)))
        return self._flat(l), self._flat(self._log_weight(True)), g, dg

    def mean(self, f: Tensor, draw: Tensor | None = None) -> Tensor:
        """E over local latents of `(global, local, data)`, `(global, data)`."""
        return (f * (self._flat(self._log_weight(True)) if draw is None else draw).exp()).sum(1)

    @property
    def scale(self) -> float:
        return (self.program.total or self.program.size) / self.program.size

    @property
    def total(self) -> float:
        return self.program.total or self.program.size

    def elbo(self, weighted: bool = True, beta: float = 1.0) -> Tensor:
        """The ELBO in nats per datum."""
        l, d, g, dg = self.cost(weighted, beta)  # noqa: E741
        return (dg.exp() * (g + self.scale * self.mean(l, d).sum(-1))).sum() / self.total

    def multisample(self, particles: int, bound: Callable[[Tensor], Tensor]) -> Tensor | None:
        """E[g + (N/B) Σᵢ L(l₁ᵢ … l_Kᵢ)] / N, or None where the guide draws below what it enumerates.

        Args:
            particles: K.
            bound: L, from `(K, …)` to `(…)`.
        """
        l, d, g, dg = self.cost(True)  # noqa: E741
        summed = [s.name for s in self.program.latents if enumerated(self.program, s)]
        if summed:
            drawn = [s for s in self.program.latents if s.name not in summed]
            if any(f in summed for s in drawn for f, _ in s.guide.terms):
                return None
            l, d = self._rao_blackwell(set(summed))  # noqa: E741
        draws, log_prob = [l], d
        if particles > 1:
            n = l.shape[1]
            index = torch.cartesian_prod(*[torch.arange(n)] * particles)
            draws = [l[:, index[:, k]] for k in range(particles)]
            log_prob = sum(d[:, index[:, k]] for k in range(particles))
        value = bound(torch.stack(draws))
        return (dg.exp() * (g + self.scale * (value * log_prob.exp()).sum(1).sum(-1))).sum() / self.total

    def _rao_blackwell(self, summed: set[str]) -> tuple[Tensor, Tensor]:
        """Log-weights with these sites of the guide summed out, and the probabilities of the others."""
        l = self._log_model(True) - self._total(self.log_q, True, True)  # noqa: E741
        shape = [len(a.values) for a in self.axes]
        q = self._total(self.draw, True, False, lambda s: s.name in summed)
        over = [a for name in summed for a in self._axes_at(name)]
        n = len(self.axes)
        ahead = self._axes_of(False)
        behind = [a for a in self._axes_of(True) if a not in over]
        joint = (l + q).expand(*[1 if a in self.only_model_axes else m for a, m in enumerate(shape)], l.shape[-1])
        joint = torch.logsumexp(joint, over, keepdim=True)
        d = self._total(self.draw, True, False, lambda s: s.name not in summed)
        for a in behind:
            d = d + self._along(a, self.axes[a].log_width).squeeze(-2)
        d = d.expand_as(joint)
        outer = math.prod(shape[a] for a in ahead)
        flat = [
            t.permute(*ahead, *behind, *over, *self.only_model_axes, n).reshape(outer, -1, l.shape[-1])
            for t in (joint, d)
        ]
        return flat[0], flat[1]

    # --- what an evaluation reports ---------------------------------------------------------------------------------

    @cached_property
    def evaluation(self) -> dict[str, Tensor]:
        """Per datum: `elbo`, `nll`, `kl`, `reconstruction` (`log_likelihood`), and standard deviations of a draw."""
        with torch.no_grad():
            l, d, _, dg = self.cost(False)  # noqa: E741
            w = dg.exp()[:, None]

            def moments(f: Tensor) -> tuple[Tensor, Tensor]:
                first = (w * self.mean(f, d)).sum(0)
                return first, ((w * self.mean((f - first) ** 2, d)).sum(0)).sqrt()

            evidence = torch.logsumexp((l + d + dg[:, None, None]).flatten(0, 1), 0)
            elbo, sd = moments(l)
            fourth = (w * self.mean((l - elbo) ** 4, d)).sum(0)
            found = {"elbo": elbo, "elbo_sd": sd, "elbo_kurtosis": fourth / sd.clamp_min(1e-6) ** 4}
            # Of weights w / E[w], by their raw moments: large weights are rare ones, not large numbers times 0.
            m2, m3, m4 = (
                torch.logsumexp((k * (l - evidence) + d + dg[:, None, None]).flatten(0, 1), 0).exp() for k in (2, 3, 4)
            )
            variance = (m2 - 1).clamp_min(0)
            found |= {"nll": -evidence, "nll_sd": variance.sqrt()}
            found["nll_kurtosis"] = (m4 - 4 * m3 + 6 * m2 - 3) / variance.clamp_min(1e-12) ** 2
            prior = self._log_model(False, lambda s: s.is_latent)
            seen, charge = self._flat(self._log_model(False) - prior), self._total(self.log_q, True, False) - prior
            found["log_likelihood"], found["log_likelihood_sd"] = moments(seen)
            found["kl"], found["kl_sd"] = moments(self._flat(charge))
            return found

    def site_moments(self, name: str) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of a latent's first entry under the guide, `(copies, data)`; classes numbered."""
        with torch.no_grad():
            _, d, _, dg = self.cost(False)
            w = dg.exp()[:, None]
            site = self.program[name]
            found = []
            for copy in range(len(self.where[name][0])):
                z = self.values[name][0]
                z = z.select(-2, copy) if z.shape[-2] > 1 else z.select(-2, 0)
                z = self._flat(z.expand(*z.shape[:-1], self.program.size))
                first = (w * self.mean(z, d)).sum(0)
                found.append((first, (w * self.mean((z - first) ** 2, d)).sum(0).clamp_min(0).sqrt()))
            del site
            return torch.stack([m for m, _ in found]), torch.stack([s for _, s in found])

    def likelihood_moments(self, name: str) -> tuple[Tensor, Tensor]:
        """The same of log p(x | z) of an observed site, `(data,)`."""
        with torch.no_grad():
            _, d, _, dg = self.cost(False)
            w = dg.exp()[:, None]
            f = self._flat(self.log_p[name].squeeze(-2))
            first = (w * self.mean(f, d)).sum(0)
            return first, (w * self.mean((f - first) ** 2, d)).sum(0).clamp_min(0).sqrt()

    def parts(self, value: Tensor) -> tuple[dict[str, float], dict[str, float]]:
        """The gradient by autograd: in the model's parameters, and in the guide's; shared ones have a part in each."""
        groups = []
        for leaves in (self.model_parameters, self.guide_parameters):
            found = [None] * len(leaves)  # where all is masked, the value is a constant
            if value.requires_grad:
                found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True, retain_graph=True)
            groups.append({n: 0.0 if g is None else float(g) for n, g in zip(leaves, found, strict=True)})
        return groups[0], groups[1]

    def gradient(self, value: Tensor) -> dict[str, float]:
        """The sum of both parts."""
        model, guide = self.parts(value)
        return {n: model[n] + guide[n] for n in model}


def enumerated(program: Program, site: Site) -> bool:
    """Whether the guide enumerates a site: asked for, or by default for a finite support that has sums of its own."""
    if site.estimator:
        return site.estimator.startswith("Enumerate")
    if site.infer in ("guide", "both"):
        return True
    own = site.law.support in FINITE and not site.event and site.step is None
    return own and not (site.place in ("inner", "outer") and _leaves_its_plate(program, site))


def _leaves_its_plate(program: Program, site: Site) -> bool:
    """Whether a site outside its inner plate depends on it, through others or not, in either program."""
    below = {site.name}
    for _ in program.sites:
        for s in program.sites:
            if any(f in below for law in (s.model, s.guide) if law is not None for f, _ in law.terms):
                below.add(s.name)
    if any(program[name].place != site.place and program[name].column != "deterministic" for name in below):
        return True
    summed = {s.name for s in program.sites if s.only_model and s.place != site.place}
    factors = [{s.name, *(f for f, _ in s.model.terms)} for s in program.sites if s.model is not None]
    return any(site.name in factor and factor & summed for factor in factors)  # a part of one sum over all its elements


def _tensor(values: tuple) -> Tensor:
    first = values[0][0] if isinstance(values[0], tuple) else values[0]
    return torch.tensor(values, dtype=F64 if isinstance(first, float) else None)


def _stack(parts: list[Tensor], dim: int) -> Tensor:
    if len(parts) == 1:
        return parts[0]
    shape = torch.broadcast_shapes(*[p.shape for p in parts])
    return torch.cat([p.expand(shape) for p in parts], dim)


def log_mean_exp(log_w: Tensor) -> Tensor:
    return torch.logsumexp(log_w, 0) - math.log(log_w.shape[0])


def size(program: Program) -> tuple[int, int, int]:
    """Nodes over global and local latents, and over those only the model has."""
    sizes = [1, 1, 1]
    for s in program.sites:
        if s.is_latent:
            count = 1 if s.guide is not None and s.guide.family == "delta" else len(nodes(s.law.support)[0])
            copies = (INNER if s.place in ("inner", "outer") else 1) * (s.event or 1)
            copies *= program.size if program.crossed and s.is_local else 1
            sizes[2 if s.only_model else 1 if s.is_local and not program.crossed else 0] *= count**copies
    return sizes[0], sizes[1], sizes[2]
