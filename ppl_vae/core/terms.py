"""Run a pair, and give the log-density of every site, per particle and datum.

Everything that is a number about a VAE is a short function of these terms: the ELBO, importance-weighted bounds,
evidence estimates, Pareto k̂, KL per site. Log-densities carry masks and no scale; two scales are kept beside them:

- `plate_scale`: subsampling, N/B for the data plate;
- `weight`: the user's `poutine.scale`, which weights a training bound and nothing else.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppl_vae import rng
from ppl_vae.core.assign import assign
from ppl_vae.core.batch import batch_length, structure
from ppl_vae.core.data import take_batch
from ppl_vae.core.enumeration import expect_global, expect_local, marginalize_local, squeezed
from ppl_vae.core.kl import site_kl
from ppl_vae.core.particles import Runner, choose, own_noise
from ppl_vae.core.plates import PlateStructure, probe, unchanged
from ppl_vae.core.programs import exclusive
from ppl_vae.core.site import Site
from ppl_vae.errors import CheckError
from ppl_vae.estimators.baselines import Neural

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


@dataclass(frozen=True)
class Terms:
    """The sites of a pair on one batch.

    Attributes:
        vae: The pair.
        batch: What its programs were given.
        guide: Sites of the guide by name, in the order of the program.
        model: Sites of the model by name.
        num_particles: K.
        batch_size: B, the data in the batch; 1 if the pair has no data plate.
        total: N, the data in the data set: nats per datum are nats divided by N.
        strategy: How the particles were drawn.
        layout: The shape of the pair's programs on this batch.
        noise: The state of the generators before the guide ran, kept where the guide has noise of its own (dropout).
        leaves: The latent values at which the graph was cut, as leaves of autograd (see `cut`).
        data_scale: By how much sums over local terms are scaled: N/B, or what a plate that subsamples itself says.
    """

    vae: "VAE"
    batch: tuple[Any, ...]
    guide: dict[str, Site]
    model: dict[str, Site]
    num_particles: int
    batch_size: int
    total: float
    data_scale: float | Tensor
    strategy: str
    layout: PlateStructure
    noise: dict[str, Any] | None = None
    leaves: dict[str, Tensor] = field(default_factory=dict)

    @cached_property
    def guide_path(self) -> dict[str, Site]:
        """The guide replayed on its own draws with all its parameters constant: log q as a function of z alone."""
        values = {name: site.raw for name, site in self.latents.items()}
        return guide_path(self._runner, values, self.noise)

    @cached_property
    def leaf_guide(self) -> dict[str, Site]:
        """The guide at the leaves, with constant parameters: log q as a function of the cut latents."""
        return guide_path(self._runner, self.leaves, self.noise)

    @property
    def _runner(self) -> Runner:
        return Runner(self.vae, self.batch, self.num_particles, self.strategy, self.total)

    @property
    def latents(self) -> dict[str, Site]:
        """Sites of the guide that are drawn."""
        return {name: site for name, site in self.guide.items() if not site.is_observed}

    @property
    def has_global_latents(self) -> bool:
        """Whether a latent site stands outside the data plate."""
        return any(not site.is_local for site in self.latents.values())

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
            `(particles, data)` if `local`, else `(particles,)`; in nats.
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

    @cached_property
    def log_weights(self) -> Tensor:
        """Σ over local sites of log p − log q, `(particles, data)`: log importance weights, unweighted.

        Sites that the guide enumerates are summed out of the weights.
        """
        self.require_data_plate("log_weights")
        drawn = self.sum(self.guide, True, where=lambda site: site.enum_dim is None)
        return marginalize_local(self.sum(self.model, True) - drawn, self)

    @cached_property
    def global_log_weights(self) -> Tensor:
        """Σ over global sites of log p − log q, `(particles,)`, unweighted."""
        return self.expect(None, self.sum(self.model, False) - self.sum(self.guide, False))

    @cached_property
    def log_likelihood(self) -> Tensor:
        """Σ over observed local sites of log p(x | z), `(particles, data)`, unweighted."""
        likelihood = self.sum(self.model, True, where=lambda site: site.is_observed)
        return squeezed(expect_local(likelihood, self), 2)

    @cached_property
    def elbo(self) -> Tensor:
        """The unweighted ELBO by sampling, a 0-d tensor in nats per datum."""
        local = self.sum(self.model, True) - self.sum(self.guide, True)
        joint = self.sum(self.model, False) - self.sum(self.guide, False)
        return self.expect(local, joint).mean() / self.total

    def expect(self, local: Tensor | None, joint: Tensor) -> Tensor:
        """G + (N/B) Σᵢ fᵢ, its expectation taken over all sites that the guide enumerates, per particle.

        Args:
            local: f, `(enumerated…, particles, data)`.
            joint: g, `(enumerated…, particles)`.
        """
        if local is not None:
            joint = joint + self.data_scale * expect_local(local, self).sum(-1)
        return expect_global(joint, self)

    def kl(self) -> dict[str, Tensor]:
        """KL(q ‖ p) per latent site: analytic where the two distributions allow it, else the sampled estimate.

        `(particles, data)` for a local site, `(particles,)` for a global one, in nats. Auxiliary sites of the guide
        have no counterpart; they are charged together as `"auxiliary"`.
        """
        return site_kl(self)

    def require_data_plate(self, what: str) -> None:
        """Refuse a quantity per datum where the batch is one joint observation."""
        if not self.layout.data_plates:
            raise CheckError(
                f"{what} is a quantity per datum, but no plate of the pair follows the batch, which is therefore one "
                "joint observation. Put the data in `with pyro.plate('data', x.shape[0])`, or name your plate: "
                "VAE(model, guide, data_plate='…')."
            )


@exclusive
def prepare(vae: "VAE", batch: Any, particles: int = 1) -> PlateStructure:
    """Learn once how a pair is run: its parameters, its data plate, and how its particles are drawn.

    Batches of another structure (labelled and unlabelled ones, sequences of another length) are learnt apart, since
    their sites may differ. `terms` and `fit` call it when needed. It leaves random number generators and buffers as
    they were.
    """
    batch = take_batch(vae, batch)
    vae.structure = structure(batch)
    if vae.layout is None:
        with unchanged(vae):
            layout = probe(vae, batch)
            estimators, enumerates = assign(vae, batch, layout)
            vae.layout = replace(layout, estimators=estimators, enumerates=enumerates)
            with torch.no_grad():
                for module in vae.modules():
                    if isinstance(module, Neural):
                        module.predict(batch)  # lazy networks take their size before an optimizer sees them
            vae.template = batch if len(vae.layouts) == 1 else vae.template
    if particles > 1 and not vae.layout.strategy:
        with unchanged(vae):
            strategy, reasons = choose(vae, batch)
        vae.layout = replace(vae.layout, strategy=strategy, reasons=reasons)
    return vae.layout


def terms(
    vae: "VAE",
    batch: Any,
    particles: int = 1,
    *,
    total: float | None = None,
    values: Mapping[str, Tensor] | None = None,
    shared_global: bool = False,
    strategy: str | None = None,
    cut: bool = False,
) -> Terms:
    """Run the guide, then the model replayed on it, and give the log-density of every site.

    Args:
        vae: The pair.
        batch: A tensor, or a tuple of what the programs take.
        particles: K, the number of joint draws.
        total: N, the size of the data set that the batch is a part of; by default the batch is the data set.
        values: Latent values to use in place of draws, in the shape the program gives them.
        shared_global: Draw global latents once for all particles.
        strategy: How particles are drawn: `"plate"`, `"tile"` or `"loop"`; by default the first that gives right
            values for this pair, found by a check made once.
        cut: Run the model on copies of the latent values that are leaves of the graph (`Terms.leaves`), so that the
            direct gradient of the model and the gradient that enters each latent can be weighted apart.

    Raises:
        CheckError: A latent site of one program has no counterpart in the other.

    Example:
        >>> import ppl_vae as pv, pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", x.shape[0]):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", x.shape[0]):
        ...         pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))
        >>> t = pv.terms(pv.VAE(model, guide), torch.tensor([0.0, 1.0]), particles=3)
        >>> t.log_weights.mean(0)  # the exact posterior: log p(x) in every draw
        tensor([-1.2655, -1.5155])
    """
    if particles < 1:
        raise ValueError(f"Expected particles ≥ 1, got {particles}.")
    batch = take_batch(vae, batch)
    layout = prepare(vae, batch, particles)
    if strategy is None:
        strategy = layout.strategy if particles > 1 else "single"
    runner = Runner(vae, batch, particles, strategy, total)
    noise = rng.capture(vae.device) if own_noise(vae.guide) else None
    traces, guide = runner.guide(values=values, shared_global=shared_global)
    leaves = _leaves(guide) if cut else {}
    model = runner.model(traces, values=leaves or None)
    _match(guide, model)

    local = next((s for s in (*model.values(), *guide.values()) if s.is_local), None)
    size = 1 if local is None else local.log_prob.shape[-1]
    scale = 1.0 if local is None else local.plate_scale / local.inner_scale
    count: Any = (batch_length(batch) or 1) if local is None else size * scale
    if total is not None:
        count = total
    return Terms(vae, batch, guide, model, particles, size, count, scale, strategy, layout, noise, leaves)


def _leaves(guide: Mapping[str, Site]) -> dict[str, Tensor]:
    """The latent values as leaves, where a gradient can be taken."""
    return {
        name: site.raw.detach().requires_grad_() if site.raw.is_floating_point() else site.raw
        for name, site in guide.items()
        if not site.is_observed
    }


def guide_path(runner: Runner, values: Mapping[str, Tensor], noise: dict[str, Any] | None = None) -> dict[str, Site]:
    """The guide at given draws, with every parameter constant.

    Args:
        runner: As the draws were made.
        values: The draws, as the program sees them.
        noise: The state of the generators before they were drawn, where the guide has noise of its own.
    """
    program = runner.vae.detached_guide()
    if noise is None:
        return runner.guide(program, values=values)[1]
    with rng.forked(runner.vae.device):
        rng.restore(noise, runner.vae.device)
        return runner.guide(program, values=values, redraw=True)[1]


def _match(guide: Mapping[str, Site], model: Mapping[str, Site]) -> None:
    """Every latent site of the model has one in the guide; every one of the guide, unless auxiliary, in the model."""
    drawn = {n for n, s in guide.items() if not s.is_observed}
    latent = {n for n, s in model.items() if not s.is_observed}
    missing = latent - drawn
    extra = {n for n in drawn - latent if not guide[n].is_auxiliary}
    if not missing and not extra:
        return
    lines = []
    for name in sorted(missing):
        near = difflib.get_close_matches(name, extra, 1)
        hint = f"; did the guide's {near[0]!r} mean it?" if near else ""
        lines.append(f"the model samples {name!r}, which the guide does not{hint}")
    lines += [f"the guide samples {name!r}, which is no latent site of the model" for name in sorted(extra)]
    raise CheckError(
        "Model and guide do not match: "
        + "; ".join(lines)
        + ". Give each latent site of the model one of the same name in "
        "the guide, observe it (obs=…), or mark a site that only serves others infer={'is_auxiliary': True}."
    )
