"""The statistics that an evaluation takes of a tile, by the programs or by a verified graph of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from ppl_vae.compile import cost
from ppl_vae.compile.capture import State, compiled, recorded
from ppl_vae.compile.kernels.products import takes_onednn, with_onednn
from ppl_vae.compile.kind import kind
from ppl_vae.compile.recall import Recorded, layout, recalled
from ppl_vae.compile.substitute import Original, attempt, verify
from ppl_vae.compile.verify import CaptureError
from ppl_vae.core.data import pair_dtype
from ppl_vae.core.series import series_of, summed
from ppl_vae.diagnostics.latents import unit_kl, unit_values

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE
    from ppl_vae.core.terms import Terms


@dataclass(frozen=True)
class TileStatistics:
    """Tensors of one tile of data and particles.

    Attributes:
        log_weights: `(particles, data)`.
        local_elbo: What the ELBO averages, `(particles, data)`.
        log_likelihood: Its mean over particles, `(data,)`.
        local_kl: Per local site, or series of sites, its mean over particles, `(data,)`.
        shared_kl: Per other site, its mean over particles, 0-d.
        unit_kl: Per site, `(data, units)`; of a series summed over time.
        values: Per site, the draws, `(particles, data, units)`; `(particles, data, units, time)` of a series, NaN where
            a step is masked.
    """

    log_weights: Tensor
    local_elbo: Tensor
    log_likelihood: Tensor
    local_kl: dict[str, Tensor]
    shared_kl: dict[str, Tensor]
    unit_kl: dict[str, Tensor]
    values: dict[str, Tensor]

    @staticmethod
    def of(t: "Terms") -> "TileStatistics":
        """Take them from terms."""
        local_kl: dict[str, Tensor] = {}
        shared_kl: dict[str, Tensor] = {}
        units, values = {}, {}
        found = series_of(t)
        for name, kl in summed(t, t.kl()).items():
            local = name not in t.latents or t.latents[name].is_local
            (local_kl if local and kl.dim() == 2 else shared_kl)[name] = kl.double().mean(0)
        for name, site in t.latents.items():
            if not site.is_local or site.is_auxiliary:
                continue
            if (unit := unit_kl(t, name)) is not None:
                units[name] = unit.double()
            if site.value.is_floating_point():
                values[name] = unit_values(t, name)
        for stem, names in found.items():
            if names[0] in values:
                values[stem] = torch.stack([values.pop(name) for name in names], -1)
            if all(name in units for name in names):
                units[stem] = torch.stack([units[name] for name in names]).sum(0)
            for name in names:
                units.pop(name, None)
        mean = t.log_likelihood.double().mean(0)
        return TileStatistics(t.log_weights, t.local_elbo, mean, local_kl, shared_kl, units, values)

    def named(self) -> dict[str, Tensor]:
        """All tensors in order, each with a name."""
        found: dict[str, Tensor] = {}
        for f in fields(self):
            part = getattr(self, f.name)
            found |= {f"{f.name} of {n}": t for n, t in part.items()} if isinstance(part, dict) else {f.name: part}
        return found

    def like(self, tensors: Iterable[Tensor]) -> "TileStatistics":
        """The same with other tensors."""
        rest = iter(tensors)
        parts: dict[str, Any] = {}
        for f in fields(self):
            part = getattr(self, f.name)
            parts[f.name] = {name: next(rest) for name in part} if isinstance(part, dict) else next(rest)
        return TileStatistics(**parts)


class _Program(nn.Module):
    """The statistics of a tile as tensors, by the programs."""

    def __init__(self, vae: "VAE", draw: Callable[..., "Terms"], particles: int) -> None:
        super().__init__()
        self.vae, self.draw, self.particles = vae, draw, particles

    def forward(self, *batch: Tensor) -> tuple[Tensor, ...]:
        return tuple(TileStatistics.of(self.draw(batch, self.particles)).named().values())


Tile = Callable[..., TileStatistics]
"""Takes a batch, gives its statistics."""


class Measure:
    """Draws particles of a batch, and gives the pieces.

    A Pyro program costs milliseconds a tile beside its arithmetic. So where many tiles of one shape lie ahead, what
    it does is recorded without Pyro (once for pairs of a kind), verified, and compiled where that pays; or its
    large products go to oneDNN. See `ppl_vae.compile`: a graph has the bits of the program, the rest agrees to
    rounding.

    Args:
        vae: the pair, in evaluation mode.
        draw: gives its terms.
        tiles: tiles ahead.

    Attributes:
        how: what computes the tiles, with the reason where that is less than what would pay; empty: the program.
    """

    def __init__(self, vae: "VAE", draw: Callable[..., "Terms"], tiles: int) -> None:
        self.vae, self.draw, self.tiles = vae, draw, tiles
        self._ways: dict[Any, Tile | None] = {}
        self.how = ""

    def __call__(self, batch: tuple[Any, ...], particles: int) -> TileStatistics:
        """The pieces of a tile."""
        shape = (particles, *((x.shape, x.dtype) if isinstance(x, Tensor) else None for x in batch))
        if (way := self._ways.get(shape)) is not None:
            return way(*batch)
        found = self._by_program(batch, particles)
        if shape not in self._ways:
            self._ways[shape] = None  # a shape that comes once is not worth a graph
        elif self.tiles >= cost.CAPTURE_TILES and None not in shape:
            original = Original(
                lambda batch: self._by_program(batch, particles).named(),
                [self.vae],
                self.vae.device,
                least=1.0,  # nats: smaller differences are of no interest
                dtype=pair_dtype(self.vae) or torch.get_default_dtype(),
            )
            self._ways[shape] = original.kept(lambda: self._way(original, batch, particles, found))
        return found

    def _by_program(self, batch: tuple[Any, ...], particles: int) -> TileStatistics:
        return TileStatistics.of(self.draw(batch, particles))

    def _way(self, original: Original, batch: tuple[Any, ...], particles: int, found: TileStatistics) -> Tile:
        """The fastest of what is made of a verified graph and gives the same to rounding; or the program."""
        names, program = tuple(found.named()), _Program(self.vae, self.draw, particles)
        weights = State.of(program).inputs

        def told(run: Callable[..., Any]) -> Callable[[tuple[Any, ...]], dict[str, Tensor]]:
            return lambda batch: dict(zip(names, run(*weights, *batch), strict=True))

        def record() -> Recorded:
            return attempt("captured", lambda: recorded(program, batch))[0], names

        def holds(made: Recorded) -> fx.GraphModule:
            verify(original, told(made[0]), [original.perturbed(batch)], "captured", exact=True)
            return made[0]

        try:
            graph = recalled(kind(self.vae), ("tile", particles, names, layout(batch)), record, holds)
        except CaptureError as error:
            self.how = self.how or f"the program: {error}"
            return lambda *batch: self._by_program(batch, particles)
        ways: dict[str, tuple[str, Callable[[], Callable[..., list[Tensor]]]]] = {}
        if self.tiles > cost.runs_to_pay(graph, self.vae.device):
            ways["its graph, compiled"] = "compiled", lambda: compiled(graph, [*weights, *batch])
        if self.vae.device.type == "cpu" and takes_onednn():
            ways["its graph, products by oneDNN"] = "with products by oneDNN", lambda: with_onednn(graph)
        run: Callable[..., Any] = graph
        told_of: list[str] = []
        for name, (how, make) in ways.items():
            try:
                faster = attempt(how, make)
                verify(replace(original, run=told(graph)), told(faster), [original.perturbed(batch)], how)
            except CaptureError as error:
                told_of.append(str(error))
            else:
                run = faster
                told_of.insert(0, name)
                break
        else:
            told_of.insert(0, "its graph")
        self.how = self.how or "; ".join(told_of)  # the first shape is that of nearly all tiles
        return lambda *batch: found.like(run(*weights, *batch))
