"""Training steps without Pyro: the objective captured once as a graph, verified, then run in its place."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ppl_vae import rng
from ppl_vae.schedules import Schedule
from ppl_vae.training.checkpoint import put_tensors, take_tensors
from ppl_vae.training.graphs import State, compiled, trace

Batch = tuple[Any, ...]
Metrics = dict[str, Tensor]

# steps ahead from which `auto` captures: half a second of capture against half a millisecond and more a step
WORTHWHILE = 1000


class CaptureError(Exception):
    """Why a program is run eagerly after all."""


class Compiler:
    """Gives gradients of batches: by the program itself, or by a verified graph of it, one per shape of a batch.

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
        batch_size: of a full batch; the shorter last ones are not worth Inductor's time.
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
        batch_size: int,
        schedules: Sequence[Schedule],
        device: torch.device,
    ) -> None:
        self.vae, self.objective, self.total = vae, objective, total
        self.batch_size, self.schedules, self.device = batch_size, schedules, device
        self.mode, self.description = _choose(mode, steps)
        self.measured = mode == "auto"  # both ways give the same bits, so that the clock may choose
        self.gave_up = False
        self._graphs: dict[Any, _Captured] = {}

    def eager(self, batch: Batch) -> Metrics:
        """Put the gradient of a batch into `.grad`, by the program itself; give the bound and its metrics."""
        for parameter in self._trained:
            parameter.grad = None
        bound = self.objective(self.vae, batch, total=self.total)
        (-bound.surrogate).backward()
        return {"bound": bound.value, **bound.metrics}

    def __call__(self, batch: Batch) -> Metrics:
        """The same by the fastest way that gives the same; `"grad_norm"` among the metrics where it is known."""
        if self.mode == "eager":
            return self.eager(batch)
        shape = tuple((x.shape, x.dtype) if isinstance(x, Tensor) else None for x in batch)
        captured = self._graphs.get(shape)
        if captured is None:
            try:
                captured = self._graphs[shape] = self._capture(batch)
            except CaptureError as reason:
                self.mode, self.description, self.gave_up = "eager", f"eager: {reason}", True
                return self.eager(batch)
        return captured(batch)

    def _capture(self, batch: Batch) -> _Captured:
        if not all(isinstance(x, Tensor) for x in batch):
            raise CaptureError("the batch holds more than tensors")
        before = self._state()
        try:
            step = _Step(self.vae, self.objective, self.total)
            exact = self.mode == "export" or len(batch[0]) < self.batch_size
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    graph, state = trace(step, batch)
                    run: Callable[..., Any] = graph
                    if not exact:
                        run = compiled(graph, [*(t.detach() for t in state.tensors), *batch])
            except Exception as error:
                raise CaptureError(f"it cannot be captured ({_first_line(error)})") from error
            captured = _Captured(run, state, ["bound", *step.names, "grad_norm"])
            for _ in range(2):  # a constant that was baked in may fit once by chance
                self._verify(captured, tuple(x.flip(0) if x.dim() else x for x in batch), exact)
            if self.measured and len(batch[0]) == self.batch_size:
                program, recorded = _seconds(self.eager, batch), _seconds(captured, batch)
                if recorded > 1.1 * program:
                    told = f"{1e3 * recorded:.3g} against {1e3 * program:.3g} ms a step"
                    raise CaptureError(f"its graph is slower, {told}")
            return captured
        finally:
            self._put(before)
            for parameter in self._parameters().values():
                parameter.grad = None

    def _verify(self, captured: _Captured, batch: Batch, exact: bool) -> None:
        """Compare with the eager program where everything that may change has changed."""
        torch.rand(1)  # another place in the stream than that of the capture
        for schedule in self.schedules:
            schedule.value.mul_(0.75).add_(0.125)
        rng.seed_all(int(torch.randint(2**31, ())), self.device)  # of Python and NumPy too
        start = self._state()
        expected = self._seen(self.eager(batch))
        self._put(start)
        found = self._seen(captured(batch))
        found.pop("grad_norm")
        if expected.keys() != found.keys():
            raise CaptureError(f"captured, {min(expected.keys() ^ found.keys())} is missing")
        for name, value in expected.items():
            if not (torch.equal(value, found[name]) if exact else _close(value, found[name])):
                raise CaptureError(f"captured, {name} differs from the eager one")

    def _seen(self, metrics: Metrics) -> dict[str, Tensor]:
        """All that a step leaves behind."""
        return {
            **{name: value.clone() for name, value in metrics.items()},
            **{f"the gradient of {n}": p.grad for n, p in self._parameters().items() if p.grad is not None},
            **{f"buffer {n}": b.clone() for n, b in self.vae.named_buffers()},
            "the random state": torch.default_generator.get_state(),
        }

    @cached_property
    def _trained(self) -> tuple[nn.Parameter, ...]:
        return tuple(self._parameters().values())

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


class _Captured:
    """A graph, the state that it reads, and the names of its results."""

    def __init__(self, run: Callable[..., Any], state: State, names: list[str]) -> None:
        self.run, self.names = run, names
        self.inputs = tuple(t.detach() for t in state.tensors)
        self.trained = tuple(state.trained.values())

    def __call__(self, batch: Batch) -> Metrics:
        with torch.no_grad():
            value, _, *rest = self.run(*self.inputs, *batch)
        for parameter, gradient in zip(self.trained, rest[len(self.names) - 1 :], strict=True):
            # Fused optimizers go by memory, not by index: a gradient laid out otherwise would train other elements.
            if gradient is not None and gradient.stride() != parameter.stride():
                gradient = torch.empty_like(parameter).copy_(gradient)
            parameter.grad = gradient
        return dict(zip(self.names, (value, *rest), strict=False))


class _Step(nn.Module):
    """What is captured: tensors in, tensors out."""

    def __init__(self, vae: nn.Module, objective: Any, total: int) -> None:
        super().__init__()
        self.vae, self.objective, self.total = vae, objective, total
        self.names: list[str] = []

    def forward(self, *batch: Tensor) -> tuple[Tensor, ...]:
        bound = self.objective(self.vae, batch, total=self.total)
        self.names = list(bound.metrics)
        return (bound.value, bound.surrogate, *bound.metrics.values())


def _seconds(step: Callable[[Batch], Metrics], batch: Batch) -> float:
    """The shortest of three steps."""
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        float(step(batch)["bound"])  # waits for a device
        times.append(time.perf_counter() - begin)
    return min(times)


def _choose(mode: str, steps: int) -> tuple[str, str]:
    if mode == "off":
        return "eager", "eager: asked for"
    if mode == "auto":
        if steps < WORTHWHILE:
            return "eager", f"eager: {steps} steps ahead do not pay for a capture"
        return "export", f"export: {steps} steps ahead pay for a capture"
    return mode, f"{mode}: asked for"


def _close(expected: Tensor, found: Tensor) -> bool:
    if not expected.is_floating_point():
        return torch.equal(expected, found)
    eps = torch.finfo(expected.dtype).eps
    scale = expected.abs().max().clamp_min(1e-30) if expected.numel() else expected.sum()
    return bool(((expected - found).abs() <= 1e3 * eps * (expected.abs() + scale)).all())


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].strip() if lines else ''}"[:200]
