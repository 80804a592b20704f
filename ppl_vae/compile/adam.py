"""One update of the parameters, without the bookkeeping that torch does around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim import optimizer as of_torch


class Updater:
    """`optimizer.step()`; of a fused Adam the kernel alone.

    On small models the bookkeeping around the kernel takes several times as long as the kernel. State and options
    are read from the optimizer, and the update is the same to the bit.

    Args:
        optimizer: any; what is not a plain fused Adam (or AdamW) is stepped as usual.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.groups: list[Group] | None = None
        """Those of a plain fused Adam that has made its state; None before, and for any other optimizer."""
        self.ok: Tensor | None = None
        """Whether the last step was taken, where that is asked (see `ppl_vae.compile.guard`); None: it was."""

    def reset(self) -> None:
        """Take note that the optimizer's groups, state or hooks may be others."""
        self.groups = groups(self.optimizer)

    @property
    def lr(self) -> float:
        """The learning rate of the first group."""
        return float(self.optimizer.param_groups[0]["lr"])

    def state(self) -> dict[str, Any]:
        """The state of the optimizer; its tensors are those in use."""
        return self.optimizer.state_dict()

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.optimizer.load_state_dict(state)
        self.reset()

    def keep(self) -> None:
        """Keep what a step may change, where it may be undone; before the programs run."""

    def step(self, metrics: Mapping[str, Tensor] | None = None) -> None:
        """Change the parameters by their gradients.

        Args:
            metrics: of the step; what is here takes any step, whatever they are.
        """
        if self.groups is not None and all(group.is_complete() for group in self.groups):
            with torch.no_grad():
                for group in self.groups:
                    group.step()
            return
        self.optimizer.step()  # makes the state of parameters that it has not met
        self.reset()


class Group:
    """The tensors of one parameter group of a fused Adam.

    Attributes:
        options: learning rate and so on, as the optimizer holds them.
        parameters: those that have had a gradient; the others have no state, and stay as they are.
        averages: m, a tensor per parameter.
        squares: v, a tensor per parameter.
        steps: t, a 0-d tensor per parameter.
        count: t, where it is the same for all of them.
    """

    def __init__(self, options: dict[str, Any], state: dict[Tensor, Any]) -> None:
        self.options = options
        self.parameters: list[Tensor] = [p for p in options["params"] if p in state]
        self.others: list[Tensor] = [p for p in options["params"] if p not in state]
        self.averages: list[Tensor] = [state[p]["exp_avg"] for p in self.parameters]
        self.squares: list[Tensor] = [state[p]["exp_avg_sq"] for p in self.parameters]
        self.steps: list[Tensor] = [state[p]["step"] for p in self.parameters]
        counts = {int(t) for t in self.steps}
        self.count = counts.pop() if len(counts) == 1 else None

    def is_complete(self) -> bool:
        """True if those with state, and no others, have a gradient."""
        return all(p.grad is not None for p in self.parameters) and all(p.grad is None for p in self.others)

    def step(self) -> None:
        """`optimizer.step()` of this group."""
        self.advance()
        self.update([p.grad for p in self.parameters if p.grad is not None], self.options["lr"])

    def update(self, gradients: list[Tensor], lr: float | Tensor) -> None:
        """Do what a step does on the device, all of it.

        Args:
            gradients: of the parameters.
            lr: the learning rate; a tensor of float32, where it is to be read on a GPU.
        """
        options = self.options
        beta1, beta2 = options["betas"]
        torch._foreach_add_(self.steps, 1)
        update: Any = torch._fused_adamw_ if options["decoupled_weight_decay"] else torch._fused_adam_
        update(
            self.parameters,
            gradients,
            self.averages,
            self.squares,
            [],
            self.steps,
            amsgrad=False,
            lr=lr,
            beta1=beta1,
            beta2=beta2,
            weight_decay=options["weight_decay"],
            eps=options["eps"],
            maximize=options["maximize"],
        )

    def advance(self) -> None:
        """Take note of a step."""
        if self.count is not None:
            self.count += 1

    def numbers(self) -> list[float]:
        """The numbers that `adam` takes in the last step that was noted: options may change at every step."""
        count = self.count or 1
        beta1, beta2 = self.options["betas"]
        lr, decay = float(self.options["lr"]), float(self.options["weight_decay"])
        decoupled = self.options["decoupled_weight_decay"]
        return [
            1 - beta1,
            beta2,
            1 - beta2,
            lr / (1 - beta1**count),
            (1 - beta2**count) ** -0.5,
            self.options["eps"],
            -1.0 if self.options["maximize"] else 1.0,
            0.0 if decoupled else decay,
            1 - lr * decay if decoupled else 1.0,
        ]


def adam(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    averages: Sequence[Tensor],
    squares: Sequence[Tensor],
    numbers: Tensor,
) -> None:
    """Update in place: m ← m + (1 − β₁)(g − m), v ← β₂v + (1 − β₂)g², θ ← θ − α m / (√v/√(1 − β₂ᵗ) + ε).

    α = lr/(1 − β₁ᵗ). For compilers: each line is an operation that they fuse. A fused Adam agrees to rounding.

    Args:
        parameters: θ.
        gradients: g.
        averages: m.
        squares: v.
        numbers: those of `Group.numbers`, as a vector.

    References:
        Kingma and Ba (2015), Adam: A Method for Stochastic Optimization, https://arxiv.org/abs/1412.6980
    """
    first, keep, second, alpha, root, eps, sign, decay, shrink = numbers.unbind()
    for p, g, m, v in zip(parameters, gradients, averages, squares, strict=True):
        g = sign * g + decay * p
        m.add_(first * (g - m))
        v.copy_(keep * v + second * g * g)
        p.copy_(shrink * p - alpha * m / (v.sqrt() * root + eps))


@contextmanager
def in_the_middle(groups: Sequence[Group], chosen: Mapping[str, Any]) -> Iterator[Callable[[], dict[str, Tensor]]]:
    """Within, an optimizer in the middle of a run, whose update tells gradients apart; then as found.

    Gradients are those in `.grad`. Around zero, Adam's first updates depend on the sign of a gradient alone,
    which rounding changes; with averages as large as the gradient they do not. A gradient that ought to be zero
    is rounding of the others, hence no average is below a hundredth of the largest.

    Args:
        groups: of the optimizer.
        chosen: options that it has meanwhile.
    """
    tensors = [t for group in groups for t in (*group.parameters, *group.averages, *group.squares, *group.steps)]
    kept = [t.detach().clone() for t in tensors]
    options = [{key: group.options[key] for key in chosen} for group in groups]
    counts = [group.count for group in groups]
    largest = max(float(p.grad.square().mean().sqrt()) for g in groups for p in g.parameters if p.grad is not None)

    def put(values: Sequence[Tensor], counts: Sequence[int | None]) -> None:
        with torch.no_grad():
            for tensor, value in zip(tensors, values, strict=True):
                tensor.copy_(value)
        for group, count in zip(groups, counts, strict=True):
            group.count = count

    try:
        with torch.no_grad():
            for group in groups:
                group.options |= chosen
                group.count = 2
                for p, m, v, t in zip(group.parameters, group.averages, group.squares, group.steps, strict=True):
                    size = 0.0 if p.grad is None else float(p.grad.square().mean().sqrt())
                    size = max(size, 0.01 * largest)
                    m.copy_(torch.randn_like(m) * size)
                    v.copy_((torch.rand_like(v) + 0.5) * size**2)
                    t.fill_(2)
        begin = [t.detach().clone() for t in tensors]

        def rewind() -> dict[str, Tensor]:
            """Give all tensors as they are, and go back to where the optimizer was on entering."""
            now = {f"optimizer tensor {i}": t.detach().clone() for i, t in enumerate(tensors)}
            put(begin, [2] * len(groups))
            return now

        yield rewind
    finally:
        put(kept, counts)
        for group, own in zip(groups, options, strict=True):
            group.options |= own


def total_norm(gradients: Iterable[Tensor | None]) -> Tensor:
    """‖g‖ over all gradients that there are; of half precision, in float32: squares of float16 end at 65504."""
    present = _elements(gradients)
    half = [g.dtype in (torch.float16, torch.bfloat16) for g in present]
    return nn.utils.get_total_norm([g.float() if h else g for g, h in zip(present, half, strict=True)])


def clip_gradients(
    gradients: Iterable[Tensor | None], norm: Tensor, limit: float | None, limit_value: float | None
) -> None:
    """Rescale gradients of a common norm to at most `limit`, then clamp each element to ± `limit_value`; in place."""
    present = _elements(gradients)
    if limit is not None:
        torch._foreach_mul_(present, torch.clamp(limit / (norm + 1e-6), max=1.0))
    if limit_value is not None:
        torch._foreach_clamp_min_(present, -limit_value)
        torch._foreach_clamp_max_(present, limit_value)


def _elements(gradients: Iterable[Tensor | None]) -> list[Tensor]:
    """The memory of the gradients that there are; of a sparse one (embeddings have some), the rows that it has."""
    return [g.coalesce()._values() if g.layout is torch.sparse_coo else g for g in gradients if g is not None]


def groups(optimizer: Optimizer) -> list[Group] | None:
    """The groups of a plain fused Adam with state; None for any other optimizer."""
    own = (getattr(optimizer, f"_optimizer_step_{when}_hooks", None) for when in ("pre", "post"))
    of_all = (getattr(of_torch, f"_global_optimizer_{when}_hooks", None) for when in ("pre", "post"))
    if type(optimizer) not in (Adam, AdamW) or any((*own, *of_all)):
        return None
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    kinds = {(p.device, p.dtype) for p in parameters}
    plain = all(
        group.get("fused") and not group["amsgrad"] and "decoupled_weight_decay" in group
        for group in optimizer.param_groups
    )
    if len(kinds) != 1 or not plain or any(isinstance(group["lr"], Tensor) for group in optimizer.param_groups):
        return None
    return [Group(group, optimizer.state) for group in optimizer.param_groups] if optimizer.state else None
