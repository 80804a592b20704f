"""Several particles of a pair: in a plate, tiled along the data, or one after the other.

A plate left of the programs' own plates is fastest, and silently wrong for programs that count axes from the left
(`w.unsqueeze(-2)`, convolutions, batch norm). So a strategy is used only after a check: single particles' values, run
alone, must give the same log-densities. The loop is always right.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyro
import torch
from pyro import poutine
from pyro.poutine import Trace
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from ppl_vae.core.axes import PARTICLES, Axes
from ppl_vae.core.batch import batch_length, take
from ppl_vae.core.enumeration import Expectation, contracted, enumerating_guide, enumerating_model, inner_expectation
from ppl_vae.core.plates import follow, sample_sites
from ppl_vae.core.prepared import Prepared
from ppl_vae.core.programs import exclusive
from ppl_vae.core.site import Site, read_site, stack_sites
from ppl_vae.distributions.unwrap import support_of
from ppl_vae.errors import CheckError
from ppl_vae.estimators.messenger import Draw

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE

Sites = dict[str, Site]
Program = Callable[..., Any]


@dataclass(frozen=True)
class Runner:
    """Runs the programs of a prepared pair on a batch, for K particles.

    Args:
        vae: The pair.
        batch: What the programs take.
        prepared: What is known of the pair, and how its sites are drawn.
        particles: K.
        strategy: `"single"` (for K = 1), `"plate"`, `"tile"` or `"loop"`.
        total: N, for the scale of the data plate.
    """

    vae: "VAE"
    batch: tuple[Any, ...]
    prepared: Prepared
    particles: int = 1
    strategy: str = "single"
    total: float | None = None

    @exclusive
    def guide(
        self,
        program: Program | None = None,
        *,
        values: Mapping[str, Tensor] | None = None,
        redraw: bool = False,
        shared_global: bool = False,
    ) -> tuple[list[Trace], Sites]:
        """Trace the guide: one trace, or one per particle where these are looped over.

        Args:
            program: What to run in its place (the guide with constant parameters).
            values: Latent values to use in place of draws, as the program sees them (`Site.raw`).
            redraw: Draw all the same, so that the random number generator goes on as if no values were given.
            shared_global: Draw global latents once for all particles.
        """
        program = self.vae.run_guide if program is None else program
        plates = self.prepared.plates
        noise: dict[str, list[Tensor]] = {}

        def shared(msg: Any) -> bool:
            return shared_global and plates.data_frame(msg["cond_indep_stack"]) is None

        traces: list[Trace] = []
        for k in range(self.runs):
            given = _particle(values, k) if self.strategy == "loop" else dict(values or {})
            if shared_global and traces:
                for name, msg in sample_sites(traces[0]).items():
                    if plates.data_frame(msg["cond_indep_stack"]) is None and not msg["is_observed"]:
                        given[name] = msg["value"]
            draw = Draw(self._estimator, partial(self._axes_of_draw, k, noise), shared, given, redraw)
            with _subsets_of(traces[0] if traces else None), draw, enumerating_guide(self.prepared):
                traces.append(poutine.trace(self.run).get_trace(program))
        expects = [inner_expectation(trace, plates) if self.prepared.summed else None for trace in traces]
        return traces, self.stack([self.read(t, e, drawn=True) for t, e in zip(traces, expects, strict=True)])

    @exclusive
    def model(self, guide: list[Trace], *, values: Mapping[str, Tensor] | None = None) -> tuple[Sites, Sites]:
        """Trace the model replayed on the guide, or on `values` in place of the guide's.

        Returns:
            Its sites, with sums in the place of what is summed out; and the sites that the sums took the place of.
        """
        runs: list[tuple[Sites, Sites]] = []
        first: Trace | None = None
        for k, trace in enumerate(guide):
            if values is not None:
                given = _particle(values, k) if self.strategy == "loop" else values
                trace = trace.copy()
                for name, value in given.items():
                    trace.nodes[name] = {**trace.nodes[name], "value": value}
            with poutine.replay(trace=trace), _subsets_of(first), enumerating_model(self.prepared, trace):
                model = poutine.trace(self.run).get_trace(self.vae.run_model)
            first = first or model
            if self.prepared.enumerates:
                summed, made = contracted(trace, model, self._axes, self.total, self.prepared)
                sites = self.read(model, inner_expectation(trace, self.prepared.plates))
                kept = {name: site for name, site in sites.items() if name not in summed}
                runs.append(({**kept, **made}, {name: sites[name] for name in summed}))
            else:
                runs.append((self.read(model), {}))
        return self.stack([run[0] for run in runs]), self.stack([run[1] for run in runs])

    @property
    def runs(self) -> int:
        """The number of runs of a program."""
        return self.particles if self.strategy == "loop" else 1

    def _estimator(self, msg: Any) -> Any:
        """The estimator that draws a site; None: its distribution does."""
        return self.prepared.estimator(msg) if self.prepared.mode == "estimate" else None

    def run(self, program: Program) -> Any:
        """One run of a program, for all particles that it takes at a time."""
        if self.strategy == "plate":
            with pyro.plate(PARTICLES, self.particles, dim=self.prepared.plates.particle_dim):
                return program(*self.batch)
        return program(*(tile(self.batch, self.particles) if self.strategy == "tile" else self.batch))

    def _axes(self, stack: tuple[CondIndepStackFrame, ...], k: int = 0, earlier: list[Tensor] | None = None) -> Axes:
        """The axes of a site in run k, of which there are several if particles are looped over."""
        return Axes(
            stack,
            self.prepared.plates,
            self.particles,
            tiled=self.strategy == "tile",
            particle=k if self.strategy == "loop" else None,
            earlier=[] if earlier is None else earlier,
        )

    def _axes_of_draw(self, k: int, noise: dict[str, list[Tensor]], msg: Any) -> Axes:
        return self._axes(msg["cond_indep_stack"], k, noise.setdefault(msg["name"], []))

    def axes_of(self, msg: Any) -> Axes:
        """Where the axes of a site of a trace lie."""
        return self._axes(msg["cond_indep_stack"])

    def released(self) -> Sites:
        """The sites of the model with its observations released, for latents of the guide; not for a loop."""
        latents = {n: site.raw for n, site in self.guide()[1].items() if not (site.is_observed or site.is_auxiliary)}
        program = poutine.condition(poutine.uncondition(self.vae.run_model), data=latents)
        return self.read(poutine.trace(self.run).get_trace(program))

    def read(self, trace: Trace, expect: Expectation | None = None, drawn: bool = False) -> Sites:
        """The sites of a trace."""
        return {
            name: read_site(
                msg,
                self._axes(msg["cond_indep_stack"]),
                total=self.total,
                expect=expect,
                relaxed=name in self.prepared.relaxed,
                drawn=drawn,
                estimator=self.prepared.estimator(msg) if drawn and not msg["is_observed"] else None,
            )
            for name, msg in sample_sites(trace).items()
        }

    def stack(self, runs: list[Sites]) -> Sites:
        """The sites of all runs as those of all particles."""
        if self.strategy != "loop":
            return runs[0]
        if any(run.keys() != runs[0].keys() for run in runs):
            raise CheckError(
                "The sites of the programs differ from run to run, as in a sequential plate that subsamples, so that "
                "several particles cannot be laid side by side. Use num_particles=1, or a vectorized plate."
            )
        return {name: stack_sites([run[name] for run in runs]) for name in runs[0]}


def _particle(values: Mapping[str, Tensor] | None, k: int) -> dict[str, Tensor]:
    return {} if values is None else {name: value[k] for name, value in values.items()}


def tile(batch: tuple[Any, ...], particles: int) -> tuple[Any, ...]:
    """The batch `particles` times, one copy after the other along its first axis."""
    return take(batch, torch.arange(batch_length(batch) or 0).repeat(particles))


def _subsets_of(first: Trace | None) -> AbstractContextManager[Any]:
    """Within, plates that subsample by themselves draw what they drew in the first run, if there was one.

    Where particles are looped over, a bound is over particles of one datum, which has to be the same in each.
    """
    if first is None:
        return nullcontext()
    subsets = Trace()
    for name, msg in first.nodes.items():
        if msg["type"] == "sample" and site_is_subsample(msg):
            subsets.add_node(name, **{key: value for key, value in msg.items() if key != "name"})
    replay: Messenger = poutine.replay(trace=subsets)
    return replay


CHANCES = 8
"""Looks at a pair with discrete draws: a few coins of two particles are alike by chance, and hide what differs."""


def choose(vae: "VAE", batch: tuple[Any, ...], prepared: Prepared) -> tuple[str, dict[str, str]]:
    """The first strategy that gives, for two particles, what each gives alone; and why others were passed over."""
    reasons: dict[str, str] = {}
    dropout = own_noise(vae)
    for module in dropout:  # its masks differ from run to run, rightly
        module.eval()
    try:
        with torch.no_grad(), pyro.validation_enabled(False):
            looks = CHANCES if _draws_discrete(vae, batch, prepared) else 1
            for strategy in ("plate", "tile"):
                found = (_differs(vae, batch, prepared, strategy) for _ in range(looks))
                reason = next((r for r in found if r is not None), None)
                if reason is None:
                    return strategy, reasons
                reasons[strategy] = reason
    finally:
        for module in dropout:
            module.train()
    return "loop", reasons


def _draws_discrete(vae: "VAE", batch: tuple[Any, ...], prepared: Prepared) -> bool:
    """True if a latent site of the guide is drawn from a discrete distribution."""
    try:
        sites = Runner(vae, batch, prepared).guide()[1].values()
    except Exception:  # an estimator that cannot draw its site, say: whoever runs the pair next tells of it
        return False
    supports = [support_of(s.fn) for s in sites if not s.is_observed and s.enum_dim is None]
    return any(support is not None and support.is_discrete for support in supports)


def own_noise(program: nn.Module) -> list[nn.Module]:
    """The modules of a program that draw random numbers beside its sites."""
    return [m for m in program.modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.training]


def _differs(vae: "VAE", batch: tuple[Any, ...], prepared: Prepared, strategy: str, particles: int = 2) -> str | None:
    """The reason that a strategy is wrong for this pair; None where it is right."""
    if strategy == "tile" and (not prepared.plates.data_plates or batch_length(batch) is None):
        return "no data plate follows the first axis of the batch"
    alone_runner = Runner(vae, batch, prepared)
    together = Runner(vae, batch, prepared, particles, strategy)
    try:
        traces, guide = together.guide()
        model = together.model(traces)[0]
    except Exception as error:  # whatever a program may raise when its values have an axis more
        return f"{type(error).__name__}: {error}".splitlines()[0]
    alone = alone_runner.guide()[1]
    latents = {name: site for name, site in guide.items() if not (site.is_observed or site.enum_dim is not None)}
    if latents.keys() != {name for name, s in alone.items() if not (s.is_observed or s.enum_dim is not None)}:
        return "its latent sites differ from those of a single run"
    if strategy == "tile" and any(not site.is_local for site in latents.values()):
        return "a global latent would have one draw for all particles"
    for name, site in latents.items():
        if site.raw.numel() != alone[name].raw.numel() * particles:
            return f"site {name!r} has {site.raw.numel()} values, expected {alone[name].raw.numel()} a particle"
    for k in range(particles):
        values = {
            name: _alone(site, k, prepared.plates.particle_dim, strategy, particles).reshape(alone[name].raw.shape)
            for name, site in latents.items()
        }
        traces, expected_guide = alone_runner.guide(values=values)
        for program, expected in ((guide, expected_guide), (model, alone_runner.model(traces)[0])):
            if program.keys() != expected.keys():
                return "its sites differ from those of a single run"
            for name, site in program.items():
                got = site.log_prob[..., k : k + 1, :] if site.is_local else site.log_prob[..., k : k + 1]
                want = expected[name].log_prob
                if got.shape != want.shape or not torch.allclose(got, want, rtol=1e-3, atol=1e-4, equal_nan=True):
                    return f"log-densities at site {name!r} differ from those of a single run"
    return None


def released_strategy(vae: "VAE", batch: tuple[Any, ...], prepared: Prepared) -> str:
    """The way to draw particles of the model where its observations are drawn too, and differ between particles.

    A program may be right for particles of its latents and wrong for those of its data: `y[:, None]` of a label.
    """
    if prepared.strategy == "loop" or not _feeds_on(vae, batch):
        return prepared.strategy
    with torch.no_grad(), pyro.validation_enabled(False):
        return prepared.strategy if all(_released_agrees(vae, batch, prepared) for _ in range(CHANCES)) else "loop"


def _feeds_on(vae: "VAE", batch: tuple[Any, ...]) -> bool:
    """True if a site of the model depends on the value of an observed one, or that cannot be told."""
    released = poutine.uncondition(vae.run_model)
    try:
        with torch.no_grad(), pyro.validation_enabled(False):
            observed = {
                n
                for n, s in sample_sites(poutine.trace(released).get_trace(*batch)).items()
                if s["infer"].get("was_observed")
            }
        return any(above & observed for above in follow(released, batch).values())
    except Exception:  # any operation may refuse the tensors that carry provenance
        return True


def _released_agrees(vae: "VAE", batch: tuple[Any, ...], prepared: Prepared, particles: int = 2) -> bool:
    """True if each particle of the released model has the log-densities that it has alone."""
    alone, together = Runner(vae, batch, prepared), Runner(vae, batch, prepared, particles, prepared.strategy)
    single = alone.released()
    try:
        drawn = together.released()
        for k in range(particles):
            values = {
                name: particle_of(site, k, prepared, particles).reshape(single[name].raw.shape)
                for name, site in drawn.items()
                if not site.is_deterministic
            }
            conditioned = poutine.condition(poutine.uncondition(vae.run_model), data=values)
            expected = alone.read(poutine.trace(alone.run).get_trace(conditioned))
            for name, site in drawn.items():
                got = site.log_prob[..., k : k + 1, :] if site.is_local else site.log_prob[..., k : k + 1]
                want = expected[name].log_prob
                if got.shape != want.shape or not torch.allclose(got, want, rtol=1e-3, atol=1e-4, equal_nan=True):
                    return False
    except Exception:  # whatever a program may raise when its values have an axis more
        return False
    return True


def particle_of(site: Site, k: int, prepared: Prepared, particles: int) -> Tensor:
    """Particle k's value of a site, without an axis for particles."""
    return _alone(site, k, prepared.plates.particle_dim, prepared.strategy, particles)


def _alone(site: Site, k: int, particle_dim: int, strategy: str, particles: int) -> Tensor:
    event_dim = getattr(site.fn, "event_dim", 0)
    if strategy == "plate":
        axis = particle_dim - event_dim
        return site.raw.select(axis, k) if site.raw.dim() >= -axis else site.raw
    assert site.data_dim is not None
    axis = site.data_dim - event_dim
    return site.raw.unflatten(axis, (particles, -1)).select(axis - 1, k)
