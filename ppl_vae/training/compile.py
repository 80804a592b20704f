"""Training steps without Pyro: the objective captured once as a graph, verified, then run in its place."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppl_vae import rng
from ppl_vae.objectives.bound import Bound
from ppl_vae.schedules import Schedule
from ppl_vae.training.checkpoint import put_tensors, take_tensors

Batch = tuple[Any, ...]

# steps ahead from which `auto` captures: seconds of capture against tenths of milliseconds a step
WORTHWHILE = 3000


class CaptureError(Exception):
    """Why a program is run eagerly after all."""


class Compiler:
    """Gives bounds of batches: by the program itself, or by a verified graph of it, one per shape of a batch.

    Capture is verified, never assumed. On other noise, other data and other values of every schedule than
    those it was captured with, a graph must give the eager bound, metrics, gradients, buffers and random
    state: exactly for `export`, which runs the same kernels in the same order, and to rounding for
    `inductor`, which fuses them. Where it does not, or nothing can be captured, the program is run eagerly,
    and `description` says why.

    Args:
        vae: the pair, in training mode.
        objective: what is maximized.
        total: N.
        mode: `"off"`, `"auto"`, `"export"` or `"inductor"`.
        steps: steps ahead, by which `auto` chooses.
        schedules: those that move.
        device: of the pair.
    """

    def __init__(
        self,
        vae: nn.Module,
        objective: Any,
        total: int,
        *,
        mode: str,
        steps: int,
        schedules: Sequence[Schedule],
        device: torch.device,
    ) -> None:
        self.vae, self.objective, self.total = vae, objective, total
        self.schedules, self.device = schedules, device
        self.mode, self.description = _choose(mode, steps)
        self.gave_up = False
        self._graphs: dict[Any, Callable[..., Any]] = {}
        self._names: dict[Any, list[str]] = {}

    def eager(self, batch: Batch) -> Bound:
        """The bound by the program itself."""
        return self.objective(self.vae, batch, total=self.total)

    def __call__(self, batch: Batch) -> Bound:
        """The bound of a batch, for training."""
        if self.mode == "eager":
            return self.eager(batch)
        shape = tuple((tuple(x.shape), x.dtype) if isinstance(x, Tensor) else None for x in batch)
        if shape not in self._graphs:
            try:
                self._graphs[shape], self._names[shape] = self._capture(batch)
            except CaptureError as reason:
                self.mode, self.description, self.gave_up = "eager", f"eager: {reason}", True
                return self.eager(batch)
        value, surrogate, *metrics = self._graphs[shape](*batch)
        return Bound(value.detach(), surrogate, dict(zip(self._names[shape], metrics, strict=True)))

    def _capture(self, batch: Batch) -> tuple[Callable[..., Any], list[str]]:
        if not all(isinstance(x, Tensor) for x in batch):
            raise CaptureError("the batch holds more than tensors")
        before = self._state()
        try:
            step = _Step(self.vae, self.objective, self.total)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    graph: Any = _plain(torch.export.export(step, batch, strict=False))
                    if self.mode == "inductor":
                        graph = _inductor(graph)
                        graph(*batch)
            except Exception as error:
                raise CaptureError(f"it cannot be captured ({_first_line(error)})") from error
            for _ in range(2):  # a constant that was baked in may fit once by chance
                names = self._verify(graph, tuple(x.flip(0) if x.dim() else x for x in batch))
            return graph, names
        finally:
            self._put(before)
            for parameter in self._parameters().values():
                parameter.grad = None

    def _verify(self, graph: Callable[..., Any], batch: Batch) -> list[str]:
        """Compare with the eager program where everything that may change has changed; give the names of metrics."""
        torch.rand(1)  # another place in the stream than that of the capture
        for schedule in self.schedules:
            schedule.value.mul_(0.75).add_(0.125)
        rng.seed_all(int(torch.randint(2**31, ())), self.device)  # of Python and NumPy too
        start = self._state()
        expected = self.eager(batch)
        eager = self._seen(expected.value, expected.surrogate, *expected.metrics.values())
        self._put(start)
        captured = self._seen(*graph(*batch))
        if eager.keys() != captured.keys():
            raise CaptureError(f"captured, {min(eager.keys() ^ captured.keys())} is missing")
        for name, value in eager.items():
            if not self._same(value, captured[name]):
                raise CaptureError(f"captured, {name} differs from the eager one")
        return list(expected.metrics)

    def _seen(self, value: Tensor, surrogate: Tensor, *metrics: Tensor) -> dict[str, Tensor]:
        """All that a step leaves behind."""
        parameters = self._parameters()
        gradients = torch.autograd.grad(-surrogate, list(parameters.values()), allow_unused=True)
        return {
            **{f"result {i}": v.detach() for i, v in enumerate((value, *metrics))},
            **{f"the gradient of {n}": g for n, g in zip(parameters, gradients, strict=True) if g is not None},
            **{f"buffer {n}": b.clone() for n, b in self.vae.named_buffers()},
            "the random state": torch.default_generator.get_state(),
        }

    def _same(self, expected: Tensor, found: Tensor) -> bool:
        if self.mode == "export" or not expected.is_floating_point():
            return torch.equal(expected, found)
        eps = torch.finfo(expected.dtype).eps
        scale = expected.abs().max().clamp_min(1e-30) if expected.numel() else expected.sum()
        return bool(((expected - found).abs() <= 1e3 * eps * (expected.abs() + scale)).all())

    def _parameters(self) -> dict[str, nn.Parameter]:
        parts = [self.vae, *([self.objective] if isinstance(self.objective, nn.Module) else [])]
        return {n: p for part in parts for n, p in part.named_parameters() if p.requires_grad}

    def _state(self) -> Any:
        return copy.deepcopy((take_tensors(self.vae), take_tensors(self.objective), rng.capture(self.device)))

    def _put(self, state: Any) -> None:
        vae, objective, generators = state
        put_tensors(self.vae, vae, "memory")
        put_tensors(self.objective, objective, "memory")
        rng.restore(generators, self.device)


class _Step(nn.Module):
    """What is captured: tensors in, tensors out."""

    def __init__(self, vae: nn.Module, objective: Any, total: int) -> None:
        super().__init__()
        self.vae, self.objective, self.total = vae, objective, total

    def forward(self, *batch: Tensor) -> tuple[Tensor, ...]:
        bound = self.objective(self.vae, batch, total=self.total)
        return (bound.value, bound.surrogate, *bound.metrics.values())


def _choose(mode: str, steps: int) -> tuple[str, str]:
    if mode == "off":
        return "eager", "eager: asked for"
    if mode == "auto":
        if steps < WORTHWHILE:
            return "eager", f"eager: {steps} steps ahead do not pay for a capture"
        return "export", f"export: {steps} steps ahead pay for a capture"
    return mode, f"{mode}: asked for"


def _plain(program: torch.export.ExportedProgram) -> torch.fx.GraphModule:
    """The captured operations alone: no guards (shapes are our keys), and none whose result nobody reads."""
    guarded = "check_guards" in inspect.signature(program.module).parameters
    graph: Any = program.module(check_guards=False) if guarded else program.module()
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _inductor(graph: nn.Module) -> Callable[..., Any]:
    """Compile a captured graph; random numbers stay torch's own, so that equal seeds give equal noise."""
    import torch._inductor.config as inductor

    compiled = torch.compile(graph, fullgraph=True, dynamic=False)

    def run(*batch: Tensor) -> Any:
        return compiled(*batch)

    first = True

    def configured(*batch: Tensor) -> Any:
        nonlocal first
        if not first:
            return run(*batch)
        with inductor.patch(fallback_random=True):
            out = run(*batch)
        first = False
        return out

    return configured


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].strip() if lines else ''}"[:200]
