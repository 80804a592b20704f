"""Steps whose batch is divided into shares: taken one after the other by one process, or each by another one.

A batch of n data is cut into S shares of nearly equal size n₁ … n_S, in order. Share s is a batch by itself, with noise
from a stream that seed, step and s fix, whoever takes it. The gradient is the sum of theirs:

    ∇ = Σₛ (nₛ/n) ∇ objective(share s)

which for an objective that is a mean over data is the gradient of the batch. It is summed over processes once, then
clipped once, then every process takes the same step. So the number of shares makes a run what it is, and the number of
processes does not: rank r of W takes shares r, r + W, r + 2W, ….
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyro
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ppl_vae import rng
from ppl_vae.compile.adam import Updater, total_norm
from ppl_vae.compile.gradient import Batch, Gradient, Metrics, length
from ppl_vae.compile.meter import Meter
from ppl_vae.compile.stepper import Stepper
from ppl_vae.core.batch import take
from ppl_vae.core.plates import unchanged
from ppl_vae.core.run import terms
from ppl_vae.errors import CheckError
from ppl_vae.linter import Finding
from ppl_vae.schedules import Schedule
from ppl_vae.training.group import Group
from ppl_vae.training.signals import PostponedSignals

SHARES = 3  # purpose of the streams of random numbers of shares, beside those of `training.setup`

FAILED = -1  # what a process says in place of the number of a signal

Way = Callable[[Batch], None]


class SharedStepper:
    """Takes steps as a `Stepper` does, each of them in shares.

    Args:
        gradient: of a batch; by it the sum is clipped.
        updater: changes the parameters.
        number: S.
        seed: of the noise.
        group: the processes that take part; S is a multiple of how many they are.
        signals: those of this process.
        at: gives the number of the step ahead.
        stepper: makes what takes the gradient of a share: given a `Gradient`, and what stands for updater and meter.
        device: of the pair.

    Attributes:
        shares: takes the gradient of each share, in the fastest way that gives the same.
    """

    def __init__(
        self,
        gradient: Gradient,
        updater: Updater,
        *,
        number: int,
        seed: int,
        group: Group,
        signals: PostponedSignals,
        at: Callable[[], int],
        stepper: Callable[[Gradient, Any], Stepper],
        device: torch.device,
    ) -> None:
        self.gradient, self.updater = gradient, updater
        self.number, self.seed, self.group, self.signals, self.at = number, seed, group, signals, at
        self.device = device
        parts = [part for part in (gradient.vae, gradient.objective) if isinstance(part, nn.Module)]
        self._sum = _Sum(list(gradient.parameters.values()), parts, group.size, device)
        whole = Gradient(gradient.vae, gradient.objective, gradient.total, gradient.parameters)
        whole.precision = gradient.precision
        self.shares = stepper(whole, self._sum)

    @property
    def description(self) -> str:
        """Words on the way in which the gradient of a share is taken, and by how many."""
        ranks = f" on {self.group.size} processes" if self.group.size > 1 else ""
        return f"{self.shares.description}; each batch in {self.number} shares{ranks}"

    @property
    def aside(self) -> str:
        """The same for shorter shares, where that is another way."""
        return self.shares.aside

    @property
    def captures(self) -> bool:
        """True if steps are taken by graphs."""
        return self.shares.captures

    @property
    def gave_up(self) -> bool:
        """True if a graph was wanted and could not be had."""
        return self.shares.gave_up

    def __call__(self, batch: Batch, meter: Meter, step: int) -> None:
        """Take step number `step`; metrics are added of the shares that this process took."""
        self._step(batch, meter, lambda share: self.shares(share, self._sum, step))  # type: ignore[arg-type]

    def by_program(self, batch: Batch, meter: Meter) -> None:
        """Take a step by the program itself."""
        self._step(batch, meter, self._by_program)

    def replay(self, batch: Batch) -> Metrics:
        """The gradient of a step by the program, left in `.grad`; its bound is that of all shares."""
        return self._gradient(batch, self._by_program)

    def dry_run(self, batch: Batch) -> None:
        """Compute gradients as the program does, and leave nothing of it."""
        with self.group.agreed():
            for place in self._places():
                if (share := self._cut(batch, place)) is not None:
                    self.shares.dry_run(share)

    def parts(self, batch: Batch) -> Iterator[Batch]:
        """The shares of a batch; noise is drawn as in the step."""
        for place in range(self.number):
            if (share := self._cut(batch, place)) is not None:
                self._seed(place)
                yield share

    @property
    def has_recorded(self) -> bool:
        """True where steps are taken by what was recorded of the pair, which holds for it as it was."""
        return self.shares.has_recorded

    def forget(self) -> None:
        """Capture anew: the pair is another one than was captured."""
        self.shares.forget()

    def _by_program(self, share: Batch) -> None:
        self.shares.by_program(share, self._sum)  # type: ignore[arg-type]

    def _step(self, batch: Batch, meter: Meter, way: Way) -> None:
        self.updater.keep()
        found = self._gradient(batch, way)
        self.updater.step(found)
        for metrics, count in self._sum.told:
            meter.add({**metrics, "grad_norm": found["grad_norm"]}, count, self.updater.ok)

    def _gradient(self, batch: Batch, way: Way) -> Metrics:
        """The clipped gradient of a batch, of all processes together.

        Raises:
            RanksError: another process failed.
        """
        total, failure = self._sum, None
        total.begin()
        try:
            for place in self._places():
                if (share := self._cut(batch, place)) is not None:
                    self._seed(place)
                    total.weight, total.place = length(share) / length(batch), place
                    way(share)
                    total.end_share()
        except BaseException as error:
            failure = error
        self._seed(self.number)  # what is drawn between steps is the same on all processes
        total.put_back()
        if self.group.size > 1:
            pending = 0 if self.signals.pending is None else self.signals.pending
            codes = total.join(self.group, FAILED if failure is not None else pending)
            if FAILED in codes:
                self.gradient.forget()
                self.group.raise_any(failure)
            if max(codes) > 0:
                self.signals.agree(max(codes))
        elif failure is not None:
            self.gradient.forget()
            raise failure
        found = total.finish()
        norm = total_norm(found)
        return self.gradient.clipped({"bound": total.bound[0], "grad_norm": norm})

    def _places(self) -> range:
        """The shares of this process."""
        return range(self.group.rank, self.number, self.group.size)

    def _cut(self, batch: Batch, place: int) -> Batch | None:
        """Share number `place` of a batch; None if there are fewer data than shares."""
        count = length(batch)
        size, more = divmod(count, self.number)
        start = place * size + min(place, more)
        end = start + size + (place < more)
        if start == end:
            return None
        if all(isinstance(part, Tensor) for part in batch):
            return tuple(part[start:end] if part.dim() and len(part) == count else part for part in batch)
        return take(batch, torch.arange(start, end))

    def _seed(self, place: int) -> None:
        rng.seed_all(rng.derive(self.seed, SHARES, self.at(), place), self.device)


class _Sum:
    """Σₛ (nₛ/n) of gradients, bound and changes of buffers, in one flat tensor that processes add up at once.

    It takes the place of the optimizer and the averages of whatever takes a step on a share.

    A buffer that programs change (a baseline's average, the running statistics of batch norm) begins each share as it
    was before the step, and goes on as the mean of what shares made of it; one of whole numbers as the first made it.

    Attributes:
        weight: nₛ/n of the share at hand.
        place: s.
        told: the metrics of each share, and how many data it has.
        flat: all of it, and marks: which parameters have a gradient, a code a process.
        bound: that of the batch.
    """

    groups = None  # of an optimizer whose update could be a part of the graph: there is none here
    ok = None  # whether a step is taken is asked of all its shares together

    def __init__(
        self, parameters: Sequence[Tensor], modules: Sequence[nn.Module], ranks: int, device: torch.device
    ) -> None:
        self.parameters = list(parameters)
        owners = {id(m): m for module in modules for m in module.modules() if not isinstance(m, Schedule)}
        held = [(m, name, b) for m in owners.values() for name, b in m._buffers.items() if b is not None]
        held = [(m, name, b) for m, name, b in held if not b.numel() or all(b.stride(k) for k in range(b.dim()))]
        self.buffers = [(m, name) for m, name, _ in {id(place[2]): place for place in held}.values()]
        sizes = [tensor.numel() for tensor in (*self.parameters, *self._now())]
        dtype = torch.float32
        for parameter in self.parameters:
            dtype = torch.promote_types(dtype, parameter.dtype)
        self.marks = len(self.parameters) + ranks
        self.flat = torch.zeros(sum(sizes) + 1 + self.marks, dtype=dtype, device=device)
        *parts, self.bound, _ = self.flat.split([*sizes, 1, self.marks])
        self.gradients = [v.view(p.shape) for v, p in zip(parts, self.parameters, strict=False)]
        self.changes = parts[len(self.parameters) :]
        self.weight, self.place = 0.0, 0
        self.told: list[tuple[Metrics, int]] = []
        self._found: set[int] = set()  # numbers of parameters with a gradient
        self._before: list[tuple[Tensor, Tensor]] = []  # buffers, and their values before the step

    def begin(self) -> None:
        """A step begins."""
        self.flat.zero_()
        self.told.clear()
        self._found.clear()
        self._before = [(b, b.detach().clone()) for b in self._now()]

    def keep(self) -> None:
        """A share is undone by nobody: its step may be."""

    def step(self, metrics: Metrics) -> None:
        """The gradient of a share lies in `.grad`."""
        for number, parameter in enumerate(self.parameters):
            if parameter.grad is not None:
                self.gradients[number].add_(parameter.grad, alpha=self.weight)
                self._found.add(number)

    def add(self, metrics: Metrics, count: int, ok: Tensor | None) -> None:
        """The metrics of a share of `count` data."""
        self.told.append((metrics, count))
        self.bound.add_(metrics["bound"].detach(), alpha=self.weight)

    def end_share(self) -> None:
        """Note what the share made of buffers, which are then as before the step again."""
        first = self.place == 0
        with torch.no_grad():
            for change, now, (_, start) in zip(self.changes, self._now(), self._before, strict=True):
                # by value: the kernels of batch norm count no version of what they change
                if start.is_floating_point():
                    less = torch.where(now == start, 0.0, now - start)  # −∞ stays −∞
                    change.add_(less.flatten().to(change.dtype), alpha=self.weight)
                elif first:
                    change.add_((now.long() - start.long()).flatten().to(change.dtype))
        self.put_back()

    def put_back(self) -> None:
        """Let all buffers be as before the step."""
        with torch.no_grad():
            for (module, name), (before, start) in zip(self.buffers, self._before, strict=True):
                before.copy_(start)
                module._buffers[name] = before

    def join(self, group: Group, code: int) -> list[int]:
        """Add up what all processes have; give the code of each.

        Args:
            group: the processes.
            code: of this one.
        """
        marks = [float(number in self._found) for number in range(self.marks - group.size)]
        codes = [float(code) if rank == group.rank else 0.0 for rank in range(group.size)]
        self.flat[-self.marks :] = torch.tensor([*marks, *codes], dtype=self.flat.dtype)
        group.sum(self.flat)
        marks = self.flat[-self.marks :].tolist()  # here the device is waited for
        self._found = {number for number, mark in enumerate(marks[: -group.size]) if mark}
        return [int(code) for code in marks[-group.size :]]

    def finish(self) -> list[Tensor]:
        """Put gradients into `.grad` and changes into buffers; the gradients that there are."""
        found = []
        for number, (parameter, gradient) in enumerate(zip(self.parameters, self.gradients, strict=True)):
            parameter.grad = None
            if number in self._found:
                if gradient.dtype != parameter.dtype or gradient.stride() != parameter.stride():
                    gradient = torch.empty_like(parameter).copy_(gradient)
                parameter.grad = gradient
                found.append(gradient)
        with torch.no_grad():
            for change, (buffer, start) in zip(self.changes, self._before, strict=True):
                if start.is_floating_point():
                    buffer.add_(change.view(start.shape).to(start.dtype))
                else:
                    buffer.copy_((start.long() + change.view(start.shape).round().long()).to(start.dtype))
        return found

    def _now(self) -> list[Tensor]:
        found = [module._buffers[name] for module, name in self.buffers]
        return [b for b in found if b is not None]


def require_divisible(vae: Any, objective: Any, batch: Batch, total: int, number: int) -> None:
    """Refuse to divide batches of what is no mean over data: its shares would give another gradient.

    Args:
        vae: the pair.
        objective: what is maximized.
        batch: a full one.
        total: N.
        number: of shares.

    Raises:
        CheckError: with what to do.
    """
    count = length(batch)
    told = f"{number} shares of a batch (trainer.accumulate times the processes of engine=distributed)"
    if count < number:
        raise CheckError(
            f"Got {told}, which has {count} data; expected a datum for each at least: take larger batches."
        )
    if not getattr(objective, "mean_over_data", False):
        name = type(getattr(objective, "function", objective)).__name__
        raise CheckError(
            f"Got {told} under {name}, expected an objective that is a mean over data: a term of all codes of a batch "
            "together is another one on a part of it. Take accumulate=1 in one process, or ELBO, IWAE and their kin. A "
            "function or class of your own that is such a mean says so: mean_over_data = True."
        )
    if any(not p.is_floating_point() for p in vae.parameters()):
        raise CheckError(f"Got {told} and parameters that are not real numbers, expected real ones: take one share.")
    with torch.no_grad(), pyro.validation_enabled(False), unchanged(vae):  # a NaN is the steps' own affair
        t = terms(vae, batch, 1, total=total, mode="draw")
    why = ""
    if not t.prepared.plates.data_plates or t.batch_size != count:
        why = "no plate of the programs is over the data of a batch"
    elif t.coupling:
        why = f"{t.coupling[0]!r}, outside the plate over data, depends on latents of all data together"
    elif float(t.data_scale) != total / count:
        why = "the plate over data subsamples by itself"
    if why:
        raise CheckError(f"Got {told}, which cannot be divided: {why}. Take accumulate=1 in one process.")


def shared_norms(vae: nn.Module, number: int) -> tuple[Finding, ...]:
    """Warnings of batch norms in training mode, which normalize over a share."""
    return tuple(
        Finding(
            kind="batch norm over shares",
            where=f"{name} ({type(module).__name__})",
            what=f"each of {number} shares of a batch is normalized by its own mean and variance, not by the batch's.",
            why="Running statistics are the mean of the shares', and depend on how many there are.",
            fix="Take accumulate=1 in one process for the same numbers, or a norm over features, such as nn.LayerNorm.",
            severity="warning",
        )
        for name, module in vae.named_modules()
        if isinstance(module, _BatchNorm) and module.training
    )
