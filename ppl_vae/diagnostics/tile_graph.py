"""The statistics that an evaluation takes of a tile, by the programs or by a verified graph of them."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppl_vae import rng
from ppl_vae.diagnostics.latents import unit_kl, unit_values

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE
    from ppl_vae.core.terms import Terms

WORTHWHILE = 16
"""Tiles ahead from which a graph is made: it takes as long as some ten tiles."""


@dataclass(frozen=True)
class TileStatistics:
    """Tensors of one tile of data and particles.

    Attributes:
        log_weights: `(particles, data)`.
        local_elbo: What the ELBO averages, `(particles, data)`.
        log_likelihood: Its mean over particles, `(data,)`.
        local_kl: Per local site, its mean over particles, `(data,)`.
        shared_kl: Per other site, its mean over particles, 0-d.
        unit_kl: Per site, `(data, units)`.
        values: Per site, the draws, `(particles, data, units)`.
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
        for name, kl in t.kl().items():
            local = name not in t.latents or t.latents[name].is_local
            (local_kl if local and kl.dim() == 2 else shared_kl)[name] = kl.double().mean(0)
        for name, site in t.latents.items():
            if not site.is_local or site.is_auxiliary:
                continue
            if (unit := unit_kl(t, name)) is not None:
                units[name] = unit.double()
            if site.value.is_floating_point():
                values[name] = unit_values(t, name)
        mean = t.log_likelihood.double().mean(0)
        return TileStatistics(t.log_weights, t.local_elbo, mean, local_kl, shared_kl, units, values)

    def flat(self) -> list[Tensor]:
        """All tensors in order."""
        parts = [getattr(self, f.name) for f in fields(self)]
        return [t for part in parts for t in (part.values() if isinstance(part, dict) else [part])]

    def like(self, tensors: list[Tensor]) -> "TileStatistics":
        """The same with other tensors."""
        rest = iter(tensors)
        parts: dict[str, Any] = {}
        for f in fields(self):
            part = getattr(self, f.name)
            parts[f.name] = {name: next(rest) for name in part} if isinstance(part, dict) else next(rest)
        return TileStatistics(**parts)


class Measure:
    """Draws particles of a batch, and gives the pieces.

    A Pyro program costs milliseconds a tile beside its arithmetic. So where many tiles of one shape lie ahead, what
    it does is recorded once without Pyro (the weights are constants now); the graph is used if on another tile than
    it was recorded on it gives the same bits and leaves the same random state. Where it pays, the graph is then
    compiled, or its large products go to oneDNN (see `ppl_vae.compile.cost` and `products`): the same to rounding.

    Args:
        vae: the pair, in evaluation mode.
        draw: gives its terms.
        tiles: tiles ahead.

    Attributes:
        how: what computes the tiles, with the reason where that is less than what would pay; empty: the program.
    """

    def __init__(self, vae: "VAE", draw: Callable[..., "Terms"], tiles: int) -> None:
        self.vae, self.draw, self.tiles = vae, draw, tiles
        self._graphs: dict[Any, Callable[..., TileStatistics] | None] = {}
        self._seen: set[Any] = set()
        self.how = ""

    def __call__(self, batch: tuple[Any, ...], particles: int) -> TileStatistics:
        """The pieces of a tile."""
        shape = (particles, *((x.shape, x.dtype) if isinstance(x, Tensor) else None for x in batch))
        graph = self._graphs.get(shape)
        if graph is not None:
            return graph(*batch)
        if shape not in self._seen or shape in self._graphs or self.tiles < WORTHWHILE or None in shape:
            self._seen.add(shape)
            return TileStatistics.of(self.draw(batch, particles))
        return self._capture(batch, particles, shape)

    def _capture(self, batch: tuple[Any, ...], particles: int, shape: Any) -> TileStatistics:
        from ppl_vae.compile.capture import record

        device = self.vae.device
        before = rng.capture(device)
        self._graphs[shape] = graph = None
        # Other noise and another order, so that nothing of them can be baked in unseen.
        other = tuple(x.flip(0) for x in batch)
        rng.seed_all(1, device)
        with contextlib.suppress(Exception):  # whatever a program does that cannot be recorded: it is run as it is
            graph = record(lambda *batch: TileStatistics.of(self.draw(batch, particles)).flat(), other)
        rng.restore(before, device)
        # Last, so that it keeps tensors with values if any.
        expected = TileStatistics.of(self.draw(batch, particles))
        after = rng.capture(device)
        if graph is None:
            return expected
        try:
            rng.restore(before, device)
            found = graph(*batch)
            same = all(torch.equal(a, b) for a, b in zip(expected.flat(), found, strict=True))
            if same and torch.equal(torch.default_generator.get_state(), after["torch"]):
                run = self._fast(graph, other, before)
                self._graphs[shape] = lambda *batch: expected.like(run(*batch))
        except Exception:
            self._graphs[shape] = None
        finally:
            rng.restore(after, device)
        return expected

    def _fast(self, graph: Any, batch: tuple[Tensor, ...], state: dict[str, Any]) -> Callable[..., list[Tensor]]:
        """The fastest of what is made of the graph and gives the same to rounding."""
        from ppl_vae.compile.capture import compiled
        from ppl_vae.compile.cost import compile_seconds, saved_seconds
        from ppl_vae.compile.kernels.products import mkl_is_slow, with_onednn

        ways: dict[str, Callable[[], Callable[..., list[Tensor]]]] = {}
        if self.tiles * saved_seconds(graph) > compile_seconds(graph):
            ways["its graph, compiled"] = lambda: compiled(graph, batch)
        if mkl_is_slow():
            ways["its graph, products by oneDNN"] = lambda: with_onednn(graph)
        ways["its graph"] = lambda: graph
        told: list[str] = []
        for name, make in ways.items():
            try:
                run = make()
                rng.restore(state, self.vae.device)
                expected, left = graph(*batch), torch.default_generator.get_state()
                rng.restore(state, self.vae.device)
                if all(map(_close, expected, run(*batch))) and torch.equal(left, torch.default_generator.get_state()):
                    told.insert(0, name)
                    break
                told.append(f"{name}, differs")
            except Exception as error:
                told.append(f"{name}, fails: {type(error).__name__}: {str(error).splitlines()[:1]}")
        self.how = self.how or "; ".join(told)  # the first shape is that of nearly all tiles
        return run


def _close(expected: Tensor, found: Tensor) -> bool:
    return torch.allclose(expected, found, rtol=1e-4, atol=1e-4, equal_nan=True)
