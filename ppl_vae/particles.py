"""Several particles of a pair: in a plate, tiled along the data, or one after the other.

A plate left of the programs' own plates is fastest, and silently wrong for programs that count axes from the left
(`w.unsqueeze(-2)`, convolutions, batch norm). So a strategy is used only after a check: single particles' values, run
alone, must give the same log-densities. The loop is always right.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.runtime import Message
from torch import Tensor, nn

from ppl_vae.estimators.messenger import Draw
from ppl_vae.layout import Layout, batch_length, sample_sites
from ppl_vae.sites import PARTICLES, Site, read_site, stack_sites

if TYPE_CHECKING:
    from ppl_vae.vae import VAE

Sites = dict[str, Site]
STRATEGIES = ("plate", "tile", "loop")


def draw_pair(
    vae: "VAE",
    batch: tuple[Any, ...],
    particles: int,
    strategy: str,
    *,
    total: float | None = None,
    values: Mapping[str, Tensor] | None = None,
    shared_global: bool = False,
) -> tuple[Sites, Sites]:
    """The sites of the guide and of the model replayed on it, for K particles.

    Args:
        vae: A prepared pair.
        batch: What the programs take.
        particles: K.
        strategy: `"single"` (for K = 1), `"plate"`, `"tile"` or `"loop"`.
        total: N, for the scale of the data plate.
        values: Latent values to use in place of draws, as the programs see them (`Site.raw`).
        shared_global: Draw global latents once for all particles.
    """
    if strategy == "loop":
        return _loop(vae, batch, particles, total=total, values=values, shared_global=shared_global)
    inputs, run = _inputs(vae.layout, batch, particles, strategy)
    guide = _trace_guide(vae, vae.run_guide, inputs, run, strategy, values, shared_global=shared_global)
    model = poutine.trace(poutine.replay(run, trace=guide)).get_trace(vae.run_model, inputs)
    return tuple(  # type: ignore[return-value]
        _read(trace, vae.layout, particles, strategy, total) for trace in (guide, model)
    )


def replay_guide(
    vae: "VAE", batch: tuple[Any, ...], particles: int, strategy: str, guide: Sites, rng: Tensor | None = None
) -> Sites:
    """The guide at its own draws, with every parameter constant: log q as a function of z alone.

    Args:
        vae: The pair.
        batch: What the guide was given.
        particles: K.
        strategy: The strategy by which `guide` was drawn.
        guide: Its sites.
        rng: The state of the generator before the guide was drawn, if the guide uses noise of its own (dropout).
    """
    program = vae.detached_guide()
    latents = {name: site for name, site in guide.items() if not site.is_observed}
    with torch.random.fork_rng(enabled=rng is not None, devices=[]):
        if rng is not None:
            torch.set_rng_state(rng)
        if strategy == "loop":
            runs = []
            for k in range(particles):
                values = {name: site.raw[k] for name, site in latents.items()}
                inputs, run = _inputs(vae.layout, batch, 1, "single")
                trace = _trace_guide(vae, program, inputs, run, "single", values, rng is not None)
                runs.append(_read(trace, vae.layout, 1, "single", None))
            return {name: stack_sites([r[name] for r in runs]) for name in runs[0]}
        inputs, run = _inputs(vae.layout, batch, particles, strategy)
        values = {name: site.raw for name, site in latents.items()}
        trace = _trace_guide(vae, program, inputs, run, strategy, values, rng is not None)
        return _read(trace, vae.layout, particles, strategy, None)


Run = Callable[[Callable[..., Any], tuple[Any, ...]], Any]


def _inputs(
    layout: Layout, batch: tuple[Any, ...], particles: int, strategy: str
) -> tuple[tuple[Any, ...], Run]:
    """What a program is given, and how it is run, under a strategy."""
    if strategy != "plate":
        return (tile(batch, particles) if strategy == "tile" else batch), lambda program, inputs: program(
            *inputs
        )

    def run(program: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
        with pyro.plate(PARTICLES, particles, dim=layout.particle_dim):
            return program(*inputs)

    return batch, run


def _trace_guide(
    vae: "VAE",
    program: Callable[..., Any],
    inputs: tuple[Any, ...],
    run: Run,
    strategy: str,
    values: Mapping[str, Tensor] | None,
    redraw: bool = False,
    shared_global: bool = False,
) -> Any:
    layout: Layout = vae.layout
    parallel = layout.particle_dim if strategy == "plate" else None

    def shared(msg: Message) -> bool:
        return shared_global and layout.data_frame(msg) is None  # type: ignore[arg-type]

    with Draw(layout.estimators, parallel, shared, values or {}, redraw):
        return poutine.trace(run).get_trace(program, inputs)


def _read(trace: Any, layout: Layout, particles: int, strategy: str, total: float | None) -> Sites:
    return {
        name: read_site(msg, layout, particles, tiled=strategy == "tile", total=total)
        for name, msg in sample_sites(trace).items()
    }


def _loop(
    vae: "VAE",
    batch: tuple[Any, ...],
    particles: int,
    *,
    total: float | None,
    values: Mapping[str, Tensor] | None,
    shared_global: bool,
) -> tuple[Sites, Sites]:
    guides: list[Sites] = []
    models: list[Sites] = []
    for k in range(particles):
        given = {} if values is None else {name: value[k] for name, value in values.items()}
        if shared_global and guides:
            given |= {n: s.raw for n, s in guides[0].items() if not (s.is_local or s.is_observed)}
        guide, model = draw_pair(vae, batch, 1, "single", total=total, values=given or None)
        guides.append(guide)
        models.append(model)

    def stack(runs: list[Sites]) -> Sites:
        return {name: stack_sites([run[name] for run in runs]) for name in runs[0]}

    return stack(guides), stack(models)


def tile(batch: tuple[Any, ...], particles: int) -> tuple[Any, ...]:
    """The batch `particles` times, one copy after the other along its first axis."""
    length = batch_length(batch)
    return tuple(
        t.expand(particles, *t.shape).reshape(particles * t.shape[0], *t.shape[1:])
        if isinstance(t, Tensor) and t.dim() and t.shape[0] == length
        else t
        for t in batch
    )


def choose(vae: "VAE", batch: tuple[Any, ...]) -> tuple[str, dict[str, str]]:
    """The first strategy that gives, for two particles, what each gives alone; and why others were passed over."""
    reasons: dict[str, str] = {}
    dropout = [m for m in vae.modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.training]
    for module in dropout:  # its masks would differ from run to run, rightly
        module.eval()
    try:
        with torch.no_grad(), pyro.validation_enabled(False):
            for strategy in ("plate", "tile"):
                reason = _differs(vae, batch, strategy)
                if reason is None:
                    return strategy, reasons
                reasons[strategy] = reason
    finally:
        for module in dropout:
            module.train()
    return "loop", reasons


def _differs(vae: "VAE", batch: tuple[Any, ...], strategy: str, particles: int = 2) -> str | None:
    """Why a strategy is wrong for this pair, or None where it is right."""
    if strategy == "tile":
        if not vae.layout.data_plates or batch_length(batch) is None:
            return "no data plate that follows the first axis of the batch"
    try:
        guide, model = draw_pair(vae, batch, particles, strategy)
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    alone = draw_pair(vae, batch, 1, "single")[0]
    latents = {name: site for name, site in guide.items() if not site.is_observed}
    if latents.keys() != {name for name, site in alone.items() if not site.is_observed}:
        return "its latent sites differ from those of a single run"
    if strategy == "tile" and any(not site.is_local for site in latents.values()):
        return "a global latent would have one draw for all particles"
    sizes = {n: s.raw.numel() * particles for n, s in alone.items()}
    odd = [n for n, s in latents.items() if s.raw.numel() != sizes[n]]
    if odd:
        return f"site {odd[0]!r} has {latents[odd[0]].raw.numel()} values, expected {sizes[odd[0]]}"
    for k in range(particles):
        values = {
            name: _alone(site, k, vae.layout, strategy, particles, alone[name].raw.shape)
            for name, site in latents.items()
        }
        single = draw_pair(vae, batch, 1, "single", values=values)
        for program, expected in zip((guide, model), single, strict=True):
            if program.keys() != expected.keys():
                return "its sites differ from those of a single run"
            for name, site in program.items():
                got = site.log_prob[..., k : k + 1, :] if site.is_local else site.log_prob[..., k : k + 1]
                want = expected[name].log_prob
                if got.shape != want.shape or not torch.allclose(
                    got, want, rtol=1e-3, atol=1e-4, equal_nan=True
                ):
                    return f"log-densities at site {name!r} differ from those of a single run"
    return None


def _alone(site: Site, k: int, layout: Layout, strategy: str, particles: int, shape: torch.Size) -> Tensor:
    """Particle k's value as the program would give it alone."""
    event_dim = getattr(site.fn, "event_dim", 0)
    if strategy == "plate":
        axis = layout.particle_dim - event_dim
        value = site.raw.select(axis, k) if site.raw.dim() >= -axis else site.raw
    else:
        assert site.data_dim is not None
        axis = site.data_dim - event_dim
        value = site.raw.unflatten(axis, (particles, -1)).select(axis - 1, k)
    return value.reshape(shape)
