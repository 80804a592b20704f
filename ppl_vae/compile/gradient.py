"""The gradient of an objective on a batch, left in `.grad`: by the program, or by a graph of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.optim import Optimizer

from ppl_vae.compile.adam import Group, clip_gradients, total_norm
from ppl_vae.compile.capture import State, compiled, trace
from ppl_vae.compile.precision import computing
from ppl_vae.compile.recall import Recorded
from ppl_vae.compile.verify import GRADIENT, CaptureError
from ppl_vae.core.pair import VAE

Batch = tuple[Any, ...]
Metrics = dict[str, Tensor]


class Gradient:
    """∇ objective(batch) by the program itself, clipped.

    Args:
        vae: the pair, in training mode.
        objective: what is maximized.
        total: N.
        parameters: those that are trained, by name.
        clip: the longest gradient.
        clip_value: the largest element of a gradient.
        precision: in which programs compute, see `ppl_vae.compile.precision`.
    """

    def __init__(
        self,
        vae: VAE,
        objective: Any,
        total: int,
        parameters: Mapping[str, Tensor],
        clip: float | None = None,
        clip_value: float | None = None,
        precision: str = "full",
    ) -> None:
        self.vae, self.objective, self.total, self.precision = vae, objective, total, precision
        self.parameters, self.clip, self.clip_value = dict(parameters), clip, clip_value

    def __call__(self, batch: Batch) -> Metrics:
        """Put the gradient of a batch into `.grad`; give the bound, its metrics, and the norm before clipping."""
        self.forget()
        with computing(self.precision), self.vae.params.closed():
            bound = self.objective(self.vae, batch, total=self.total)
        (-bound.surrogate).backward()
        for parameter in self.parameters.values():
            if parameter.grad is not None and parameter.grad.layout is torch.sparse_coo:
                parameter.grad = parameter.grad.coalesce()  # each row once, so that norm and clipping are of the sum
        norm = total_norm(p.grad for p in self.parameters.values())
        return self.clipped({"bound": bound.value, **bound.metrics, "grad_norm": norm})

    def clipped(self, metrics: Metrics) -> Metrics:
        """Clip what is in `.grad`, whose norm is one of the metrics; give these."""
        gradients = [p.grad for p in self.parameters.values()]
        clip_gradients(gradients, metrics["grad_norm"], self.clip, self.clip_value)
        return metrics

    def forget(self) -> None:
        """Leave no gradient."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def adopt(self, optimizer: Optimizer) -> None:
        """Take in what somebody has given the optimizer to train: its gradients are clipped and forgotten, too."""
        known = {parameter: name for name, parameter in self.parameters.items()}
        trained = known.keys() | {p for group in optimizer.param_groups for p in group["params"]}
        if len(trained) > len(known):
            parts = [part for part in (self.vae, self.objective) if isinstance(part, nn.Module)]
            found = {p: name for part in parts for name, p in part.named_parameters() if p in trained}
            # in the order of the parts, in which a graph adds up the norm, too
            self.parameters = {known.get(p, name): p for p, name in (found | known).items()}

    def told(self, run: Callable[[Batch], Metrics]) -> Callable[[Batch], Metrics]:
        """Give the gradients that a run leaves in `.grad` with its metrics."""

        def tell(batch: Batch) -> Metrics:
            metrics = run(batch)
            return metrics | {GRADIENT + n: p.grad for n, p in self.parameters.items() if p.grad is not None}

        return tell

    def recorded(self, batch: Batch) -> RecordedGradient:
        """Record what the program does with a batch, and take the gradient by that.

        Raises:
            CaptureError: there is more to it than tensors.
        """
        return self.by(self.record(batch))

    def by(self, recorded: Recorded) -> RecordedGradient:
        """The same by a graph, of this program or of one of its kind."""
        graph, names = recorded
        state = State.of(Bound(self.vae, self.objective, self.total, self.precision))
        return RecordedGradient(self, graph, state, list(names))

    def record(self, batch: Batch) -> Recorded:
        """Record what the program does with a batch, and name its results.

        Raises:
            CaptureError: there is more to it than tensors.
        """
        if not all(isinstance(x, Tensor) for x in batch):
            raise CaptureError("the batch holds more than tensors")
        if any(p._backward_hooks or p._post_accumulate_grad_hooks for p in self.parameters.values()):
            raise CaptureError("a hook on a parameter changes its gradient")
        bound = Bound(self.vae, self.objective, self.total, self.precision)
        graph, _ = trace(bound, batch)
        return graph, ("bound", *bound.names, "grad_norm")


class RecordedGradient:
    """The same, by a graph.

    Args:
        gradient: whose graph it is.
        graph: from `trace`.
        state: what it reads beside its batch.
        names: of its results.
        run: what runs the graph, if not itself.
    """

    def __init__(
        self,
        gradient: Gradient,
        graph: fx.GraphModule,
        state: State,
        names: list[str],
        run: Callable[..., Any] | None = None,
    ) -> None:
        self.gradient, self.graph, self.state, self.names = gradient, graph, state, names
        self.run: Callable[..., Any] = graph if run is None else run
        self._inputs, self._trained = state.inputs, tuple(state.trained.values())
        self._count = len(names) - 1

    def __call__(self, batch: Batch) -> Metrics:
        """As `Gradient` does."""
        with torch.no_grad():
            value, _, *rest = self.run(*self._inputs, *batch)
        for parameter, found in zip(self._trained, rest[self._count :], strict=True):
            parameter.grad = laid_out_as(parameter, found)
        return self.gradient.clipped(dict(zip(self.names, (value, *rest), strict=False)))

    @property
    def derived(self) -> list[bool]:
        """Of each tensor that may be trained, whether it gets a gradient."""
        results: Any = next(iter(reversed(self.graph.graph.nodes))).args[0]
        return [found is not None for found in results[-len(self._trained) :]]

    def places(self, groups: Sequence[Group]) -> list[list[int]]:
        """Where the parameters of each group of an optimizer stand among those that may be trained.

        Raises:
            CaptureError: it trains other parameters than get a gradient.
        """
        at = {id(parameter): place for place, parameter in enumerate(self._trained)}
        found = [[at.get(id(parameter), -1) for parameter in group.parameters] for group in groups]
        if {place for group in found for place in group} != {i for i, gets in enumerate(self.derived) if gets}:
            raise CaptureError("the optimizer trains other parameters than get a gradient")
        return found

    def compiled(self, batch: Batch) -> RecordedGradient:
        """The same compiled by Inductor, for batches like this one."""
        return self.by(compiled(self.graph, [*self.state.inputs, *batch]))

    def by(self, run: Callable[..., Any]) -> RecordedGradient:
        """The same by what runs the graph in its place."""
        return RecordedGradient(self.gradient, self.graph, self.state, self.names, run)


def length(batch: Sequence[Any]) -> int:
    """The data in a batch."""
    return next(len(part) for part in batch if isinstance(part, Tensor) and part.dim())


def laid_out_as(parameter: Tensor, gradient: Tensor | None) -> Tensor | None:
    """A gradient in the memory order of its parameter.

    Fused optimizers go by memory, not by index: a gradient laid out otherwise would train other elements.
    """
    if gradient is None or gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


class Bound(nn.Module):
    """An objective as a function of tensors: bound, surrogate and metrics of a batch."""

    def __init__(self, vae: VAE, objective: Any, total: int, precision: str = "full") -> None:
        super().__init__()
        self.vae, self.objective, self.total, self.precision = vae, objective, total, precision
        self.names: list[str] = []

    def forward(self, *batch: Tensor) -> tuple[Tensor, ...]:
        """The results, the second of which is to be maximized."""
        with computing(self.precision), self.vae.params.closed():
            bound = self.objective(self.vae, batch, total=self.total)
        self.names = list(bound.metrics)
        return (bound.value, bound.surrogate, *bound.metrics.values())
