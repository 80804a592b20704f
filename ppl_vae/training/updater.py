"""One update of the parameters, without the bookkeeping that torch does around it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer


class Updater:
    """`optimizer.step()`; of a fused Adam the kernel alone.

    On small models the bookkeeping around the kernel takes several times as long as the kernel. State and options
    are read from the optimizer, and the update is the same to the bit.

    Args:
        optimizer: any; what is not a plain fused Adam (or AdamW) is stepped as usual.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self._groups: list[_Group] | None = None

    def reset(self) -> None:
        """Forget the optimizer's state, which has been replaced by another."""
        self._groups = None

    def step(self) -> None:
        """Change the parameters by their gradients."""
        if self._groups is not None and all(p.grad is not None for g in self._groups for p in g.parameters):
            with torch.no_grad():
                for group in self._groups:
                    group.step()
            return
        self.optimizer.step()  # makes the state at its first call
        self._groups = _groups(self.optimizer)


class _Group:
    """The tensors of one parameter group of a fused Adam."""

    def __init__(self, options: dict[str, Any], state: dict[Tensor, Any]) -> None:
        self.options = options
        self.parameters: list[Tensor] = [p for p in options["params"] if p.grad is not None]
        self.averages = [state[p]["exp_avg"] for p in self.parameters]
        self.squares = [state[p]["exp_avg_sq"] for p in self.parameters]
        self.steps = [state[p]["step"] for p in self.parameters]

    def step(self) -> None:
        options = self.options
        beta1, beta2 = options["betas"]
        torch._foreach_add_(self.steps, 1)
        update = torch._fused_adamw_ if options["decoupled_weight_decay"] else torch._fused_adam_
        update(
            self.parameters,
            [p.grad for p in self.parameters if p.grad is not None],
            self.averages,
            self.squares,
            [],
            self.steps,
            amsgrad=False,
            lr=options["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=options["weight_decay"],
            eps=options["eps"],
            maximize=options["maximize"],
        )


def _groups(optimizer: Optimizer) -> list[_Group] | None:
    """The groups of a plain fused Adam; None for any other optimizer."""
    if type(optimizer) not in (Adam, AdamW) or any(
        getattr(optimizer, hooks, None) for hooks in ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
    ):
        return None
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    kinds = {(p.device, p.dtype) for p in parameters}
    plain = all(
        group.get("fused") and not group["amsgrad"] and "decoupled_weight_decay" in group
        for group in optimizer.param_groups
    )
    if len(kinds) != 1 or not plain or any(isinstance(group["lr"], Tensor) for group in optimizer.param_groups):
        return None
    return [_Group(group, optimizer.state) for group in optimizer.param_groups]
