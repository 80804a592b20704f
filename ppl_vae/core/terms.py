"""The log-density of every site of a pair, per particle and datum, and what is defined by it.

Everything that is a number about a VAE is a short function of these terms, written here once: log-weight, ELBO,
KL per site, reconstruction. Log-densities carry masks and no scale; two scales are kept beside them:

- `plate_scale`: subsampling, N/B for the data plate;
- `weight`: the user's `poutine.scale`, which weights a training bound and nothing else.

With sites c that the guide enumerates, the ELBO takes Σ_c q(c)(log p − log q), and a log-weight logsumexp_c(log q(c) +
log p − log q). The mass q(c) is the distribution's own: a mask takes away log p − log q of the site, and never q(c).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from ppl_vae.core.closed_kl import closed_kl
from ppl_vae.core.enumeration import expectation
from ppl_vae.core.prepared import Prepared
from ppl_vae.core.site import Site, is_one
from ppl_vae.display import Displayed, View
from ppl_vae.distributions.unwrap import family, mask_of
from ppl_vae.errors import CheckError

Replay = Callable[[Mapping[str, Tensor]], dict[str, Site]]


@dataclass(frozen=True, repr=False)
class Terms(Displayed):
    """The sites of a pair on one batch.

    Attributes:
        batch: What the programs were given.
        prepared: How they were run.
        guide: Sites of the guide by name, in the order of the program.
        model: Sites of the model by name.
        num_particles: K.
        batch_size: B, the data in the batch; 1 if the pair has no data plate.
        total: N, the data in the data set: nats per datum are nats divided by N.
        data_scale: By how much sums over local terms are scaled: N/B, or what a plate that subsamples itself says.
        strategy: How the particles were drawn.
        replay: The guide at given latent values, with constant parameters.
        contracted: Sites of the model that others took the place of, as sites that only the model has were summed out.
        leaves: The latent values at which the graph was cut, as leaves of autograd.
    """

    batch: tuple[Any, ...]
    prepared: Prepared
    guide: dict[str, Site]
    model: dict[str, Site]
    num_particles: int
    batch_size: int
    total: float
    data_scale: float | Tensor
    strategy: str
    replay: Replay = field(repr=False)
    contracted: dict[str, Site] = field(default_factory=dict)
    leaves: dict[str, Tensor] = field(default_factory=dict)

    def _view(self) -> View:
        programs = {"guide": self.guide, "model": self.model}
        return View(
            f"Terms({self.num_particles} particles, {self.batch_size} of {self.total:g} data)",
            ("program", "site", "values", "log_prob"),
            [
                (program, f"{name} ~ {family(site.fn)}", str(tuple(site.value.shape)), str(tuple(site.log_prob.shape)))
                for program, sites in programs.items()
                for name, site in sites.items()
            ],
        )

    @cached_property
    def guide_path(self) -> dict[str, Site]:
        """The guide replayed on its own draws with all its parameters constant: log q as a function of z alone."""
        return self.replay({name: site.raw for name, site in self.latents.items()})

    @cached_property
    def leaf_guide(self) -> dict[str, Site]:
        """The guide at the leaves, with constant parameters: log q as a function of the cut latents."""
        return self.replay(self.leaves)

    @property
    def estimators(self) -> Mapping[str, Any]:
        """The gradient estimator of each latent site of the guide, as it was drawn here."""
        return {name: site.estimator for name, site in self.latents.items()}

    @property
    def latents(self) -> dict[str, Site]:
        """Sites of the guide that are drawn."""
        return {name: site for name, site in self.guide.items() if not site.is_observed}

    @property
    def observed(self) -> dict[str, Site]:
        """Sites of the model whose values are data, as the model gave them."""
        found = {**self.model, **self.contracted}
        return {n: s for n, s in found.items() if s.is_observed and s.fn is not None and not s.is_deterministic}

    def prior(self, name: str) -> Site:
        """The site of the model by which a latent is drawn.

        Raises:
            CheckError: Another site is summed out of it.
        """
        if name in self.contracted:
            raise CheckError(
                f"The prior of {name!r} is a sum over sites that only the model has, and no single distribution. "
                "Let the guide draw these sites, or use the ELBO."
            )
        return self.model[name]

    @property
    def has_global_latents(self) -> bool:
        """True if a latent site stands outside the data plate."""
        return any(not site.is_local for site in self.latents.values())

    @property
    def coupling(self) -> list[str]:
        """Sites of the model outside the data plate that depend on latents inside it: they tie the data together."""
        local = {name for name, site in self.latents.items() if site.is_local}
        local |= self.prepared.marginal & self.prepared.plates.local
        parents = self.prepared.plates.parents
        return [
            name
            for name, site in self.model.items()
            if not (site.is_local or site.is_deterministic) and parents.get(name, frozenset()) & local
        ]

    # --- sums over sites ---------------------------------------------------------------------------------------

    def sum(
        self,
        program: Mapping[str, Site],
        local: bool,
        *,
        where: Callable[[Site], bool] = lambda site: True,
        weight: Callable[[Site], float | Tensor] | None = None,
        weighted: bool = False,
    ) -> Tensor:
        """Σ of log-densities over the local (or the global) sites of a program.

        Args:
            program: `self.guide` or `self.model`.
            local: Which sites.
            where: Sites to take.
            weight: A factor per site.
            weighted: Whether to apply the user's `poutine.scale`.

        Returns:
            `(particles, data)` if `local`, else `(particles,)`; in nats; with the axes that the guide enumerates.
        """
        parts = [
            site.term(weighted) if weight is None else weight(site) * site.term(weighted)
            for site in program.values()
            if site.is_local == local and where(site)
        ]
        if not parts:
            shape = (self.num_particles, self.batch_size) if local else (self.num_particles,)
            known = next(iter((*self.guide.values(), *self.model.values())), None)
            return torch.zeros(shape) if known is None else known.log_prob.new_zeros(shape)
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def ratio(self, local: bool, *, weighted: bool = False) -> Tensor:
        """Log p − log q of the local (or the global) sites, with the axes that the guide enumerates."""
        return self.sum(self.model, local, weighted=weighted) - self.sum(self.guide, local, weighted=weighted)

    # --- expectations over what the guide enumerates ------------------------------------------------------------

    def _enumerated(self, local: bool) -> list[Site]:
        return [s for s in self.guide.values() if s.enum_dim is not None and s.is_local == local and not s.plates]

    def axis(self, site: Site, local: bool) -> int:
        """The axis of an enumerated site in `(enumerated…, particles, data)`, or in the same without data."""
        assert site.enum_dim is not None
        return site.enum_dim + self.prepared.plates.depth - (1 if local else 0)

    def expect_local(self, f: Tensor, but: Tensor | None = None) -> Tensor:
        """E over the local sites that the guide enumerates, given the global ones; `(enumerated…, particles, data)`.

        Args:
            f: What is averaged.
            but: Keep the axes that this one has.
        """
        return self._expect(f, True, but)

    def expect_global(self, f: Tensor, but: Tensor | None = None) -> Tensor:
        """E over the global sites that the guide enumerates: `(enumerated…, particles)` → `(particles,)`."""
        return squeezed(self._expect(f, False, but), 1)

    def _expect(self, f: Tensor, local: bool, but: Tensor | None) -> Tensor:
        sites = [s for s in self._enumerated(local) if but is None or not _has_axis(but, self.axis(s, local))]
        if not sites:
            return f
        return expectation(
            f, [s.log_mass for s in sites if s.log_mass is not None], [self.axis(s, local) for s in sites]
        )

    def expect(self, local: Tensor | None, joint: Tensor) -> Tensor:
        """G + (N/B) Σᵢ fᵢ, its expectation taken over all sites that the guide enumerates, per particle.

        Args:
            local: f, `(enumerated…, particles, data)`.
            joint: g, `(enumerated…, particles)`.
        """
        if local is not None:
            joint = joint + self.data_scale * self.expect_local(local).sum(-1)
        return self.expect_global(joint)

    # --- the quantities ----------------------------------------------------------------------------------------

    @cached_property
    def local_ratio(self) -> Tensor:
        """Log p − log q of the local sites, `(enumerated…, particles, data)`."""
        return self.ratio(True)

    @cached_property
    def local_elbo(self) -> Tensor:
        """E_q(c)[Σ over local sites of log p − log q], `(particles, data)`: its mean is the datum's ELBO, unweighted.

        With `kl` and `log_likelihood`, draw by draw: local_elbo = log_likelihood − Σ over local sites of KL.
        """
        self.require_data_plate("local_elbo")
        return squeezed(self.expect_local(self.local_ratio), 2)

    @cached_property
    def elbo(self) -> Tensor:
        """The unweighted ELBO, a 0-d tensor in nats per datum."""
        return self.expect(self.local_ratio, self.ratio(False)).mean() / self.total

    @cached_property
    def log_weights(self) -> Tensor:
        """Σ over local sites of log p − log q, `(particles, data)`: log importance weights, unweighted.

        Sites that the guide enumerates are summed out of the weights.
        """
        return self.weights()

    def weights(self, *, weighted: bool = False) -> Tensor:
        r"""Log importance weights per datum, $\log \sum_c q(c)\, p(x, z, c) / q(z, c)$, `(particles, data)`.

        Args:
            weighted: Whether to apply the user's `poutine.scale`.

        Raises:
            CheckError: The data have no weights of their own.
        """
        self.require_weights()
        sites = self._enumerated(True)
        if not sites:
            return self.ratio(True, weighted=True) if weighted else self.local_ratio
        f = self.sum(self.model, True, weighted=weighted)
        f = f - self.sum(self.guide, True, where=lambda s: s.enum_dim is None, weighted=weighted)
        for site in sites:
            if site.is_masked or (weighted and not is_one(site.weight)):
                assert site.log_mass is not None
                left = site.log_mass - site.term(weighted)  # 0 where the site is neither masked nor weighted
                f = f + torch.where(site.log_mass.isinf(), site.log_mass, left)
        axes = [self.axis(s, True) for s in sites]
        return squeezed(torch.logsumexp(f, axes, keepdim=True), 2)

    def require_weights(self) -> None:
        """Refuse weights per datum where the pair has none.

        Raises:
            CheckError: No plate follows the data, a plate within a datum subsamples, data are tied together, or the
                guide enumerates within a plate of its own.
        """
        self.require_data_plate("log_weights")
        self.require_whole(local_only=True)
        for site in self.guide.values():
            if site.is_local and site.log_mass is not None and site.enum_dim is not None and site.plates:
                raise CheckError(
                    f"Site {site.name!r} is enumerated by the guide within a plate of its own; an importance weight "
                    "sums it out in the model only. Drop it from the guide and mark it "
                    "infer={'enumerate': 'parallel'} in the model."
                )
        shared = [s.name for s in self.guide.values() if s.enum_dim is not None and not s.is_local]
        if shared:
            raise CheckError(
                f"Enumerate at the global site {shared[0]!r} has no bound with several particles per datum. "
                "Use ELBO, or ScoreFunction at this site."
            )
        if self.coupling:
            raise CheckError(
                f"Site {self.coupling[0]!r} of the model stands outside the data plate and depends on latents inside "
                "it: the data are tied together, and none has a weight of its own. Use the ELBO on all data, a joint "
                "bound (IWAE(joint=True)), or put the site into the plate."
            )

    @cached_property
    def global_log_weights(self) -> Tensor:
        """Σ over global sites of log p − log q, `(particles,)`, unweighted."""
        return self.expect(None, self.ratio(False))

    @cached_property
    def log_likelihood(self) -> Tensor:
        """Σ over observed local sites of log p(x | z), `(particles, data)`, unweighted: minus the reconstruction."""
        likelihood = self.sum(self.model, True, where=lambda site: site.is_observed)
        return squeezed(self.expect_local(likelihood), 2)

    def kl(self) -> dict[str, Tensor]:
        r"""KL(q ‖ p) of each latent site on these draws, in nats.

        $$\mathrm{KL}_s = \mathbb{E}_{q(c)}[\log q(z_s \mid \cdot) - \log p(z_s \mid \cdot)]$$

        `(particles, data)` for a local site, `(particles,)` for a global one or a group of both. Its mean over draws
        is the divergence; draw by draw it may be negative. Sites that have no KL of their own share one: auxiliary
        sites of a guide and those that they serve, as `"auxiliary"`; latents whose prior is a sum over one site, by
        their names.
        """
        groups: dict[str, list[tuple[int, Site]]] = {}
        priors = [s for s in self.model.values() if s.stands_for and not s.is_observed]
        shared = {name: ", ".join(s.stands_for) for s in priors for name in s.stands_for}
        auxiliary = any(site.is_auxiliary for site in self.latents.values())
        for name, q in self.guide.items():
            if q.is_deterministic:
                continue
            p = self.model.get(name)
            alone = p is None or (auxiliary and isinstance(q.fn, dist.Delta))
            key = shared.get(name) or ("auxiliary" if alone and not q.is_observed else name)
            groups.setdefault(key, []).append((1, q))
            if p is not None and not p.is_observed:
                groups[key].append((-1, p))
        for p in priors:
            groups[", ".join(p.stands_for)].append((-1, p))
        return {key: self._group(members) for key, members in groups.items()}

    def _group(self, members: list[tuple[int, Site]]) -> Tensor:
        sums: dict[bool, Tensor] = {}
        for sign, site in members:
            term = sign * site.term()
            sums[site.is_local] = sums[site.is_local] + term if site.is_local in sums else term
        if False not in sums:
            return squeezed(self.expect_local(sums[True]), 2)
        local = self.data_scale * self.expect_local(sums[True]).sum(-1) if True in sums else 0.0
        return self.expect_global(sums[False] + local)

    def require_whole(self, local_only: bool = False) -> None:
        """Refuse sites in a plate beside the one over data that subsamples, where they would stand in a logarithm."""
        for site in (*self.guide.values(), *self.model.values()):
            if not is_one(site.inner_scale) and (site.is_local or not local_only):
                raise CheckError(
                    f"Site {site.name!r} stands in a plate beside the one over data that subsamples: its scale would "
                    "stand inside the logarithm of an importance weight, which is then no estimate of the evidence. "
                    "Use all of that plate (no subsample_size), or the ELBO, which is linear in log p."
                )

    def require_elbo(self) -> None:
        """Refuse an ELBO that the batch does not determine.

        Raises:
            CheckError: Data are tied together by a site outside their plate, and the batch is a part of them, or the
                guide enumerates a latent that the site depends on.
        """
        if not self.coupling:
            return
        name = self.coupling[0]
        if not is_one(self.data_scale):
            raise CheckError(
                f"Site {name!r} of the model stands outside the data plate and depends on latents inside it, of which "
                "this batch has a part only. Train on all data at once, or put the site into the plate."
            )
        if enumerated := self._enumerated(True):
            raise CheckError(
                f"Site {name!r} of the model stands outside the data plate and depends on latents inside it, and "
                f"{enumerated[0].name!r} is enumerated for each datum apart. Use ScoreFunction there."
            )

    def require_data_plate(self, what: str) -> None:
        """Refuse a quantity per datum where the batch is one joint observation."""
        if not self.prepared.plates.data_plates:
            raise CheckError(
                f"{what} is a quantity per datum, but no plate of the pair follows the batch, which is therefore one "
                "joint observation. Put the data in `with pyro.plate('data', x.shape[0])`, or name your plate: "
                "VAE(model, guide, data_plate='…')."
            )


def _has_axis(x: Tensor, axis: int) -> bool:
    return x.dim() >= -axis and x.shape[axis] > 1


def squeezed(x: Tensor, dims: int) -> Tensor:
    """`x` without leading axes of size 1, down to `dims` axes."""
    while x.dim() > dims and x.shape[0] == 1:
        x = x.squeeze(0)
    return x


def analytic_kl(t: Terms, name: str) -> Tensor | None:
    """The closed form of a site's KL, or None where there is none or where it may not be used.

    It may be used for a site whose parents in the model are drawn before it in the guide: then they are given when the
    expectation over the site is taken. (If z₂ is a parent of z₁ in the model, and the guide draws z₁ first, then
    log p(z₁ | z₂) depends on z₁ through z₂ too.) Of a relaxed site it is that of the discrete distributions.
    """
    q, p = t.guide[name], t.model.get(name)
    if p is None or p.is_observed or q.is_auxiliary or isinstance(q.fn, dist.Delta):
        return None  # a Delta's log_density is no part of torch's KL
    if not (same(q.mask, p.mask) and same(mask_of(q.fn), mask_of(p.fn))):
        return None  # log p − log q is then no KL
    before = list(t.guide)
    before = before[: before.index(name)]
    if not t.prepared.plates.parents.get(name, frozenset()) <= set(before):
        return None
    value = closed_kl(q.fn, p.fn)
    if value is None:
        return None
    value = q.reduce(scale_and_mask(value, 1.0, q.mask))
    return value if is_one(q.inner_scale) else value * q.inner_scale


def same(a: Any, b: Any) -> bool:
    """True if two masks, or two scales, are equal."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a is b or (a.shape == b.shape and bool((a == b).all()))
    return not isinstance(a, Tensor) and not isinstance(b, Tensor) and a == b


def latent_names(sites: Iterable[Site]) -> set[str]:
    """The latent sites of the guide that sites of the model stand for."""
    return {name for site in sites if not site.is_observed for name in (site.stands_for or (site.name,))}
