"""Steps that are taken only where bound and gradient are finite, decided on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ppl_vae.compile.adam import Updater

POLICIES = ("raise", "skip", "backoff")

RECOVERY = 100
"""Finite steps in succession after which a learning rate that was halved is doubled again."""

MOST = 20
"""Halvings at most, of the learning rate."""

PLAIN = (bool, int, float, str, type(None))


def all_finite(metrics: Mapping[str, Tensor]) -> Tensor:
    """True where bound and gradient of a step are finite, a 0-d tensor on their device.

    Metrics of an objective's own may be anything.
    """
    return torch.isfinite(metrics["bound"].detach()) & torch.isfinite(metrics["grad_norm"].detach())


class Guard(Updater):
    """An optimizer whose step changes something only where bound and gradient are finite.

    With ok ∈ {0, 1} for whether they are, and s for any tensor that a step changes (parameters, state of the optimizer,
    buffers of the programs, such as running averages): s ← ok ? s' : s, an element-wise selection. Nothing is read from
    the device, and where all steps are finite the bits are those of training without it.

    With `backoff`, parameters go θ ← ok ? θ + f (θ' − θ) : θ, which for optimizers whose update is proportional to the
    learning rate (all of Adam's and SGD's kin) is f times that rate. f is halved by each step that is not finite, and
    doubled, up to 1, after `RECOVERY` finite ones in succession: the rule by which the scale of a loss follows its
    overflows in mixed precision, applied to the step itself.

    Args:
        optimizer: any.
        parts: modules whose buffers programs change as they run.
        backoff: whether to lower the learning rate.

    Attributes:
        tally: on the device, steps that were skipped, finite steps in succession, halvings of f, steps in all, and the
            number of the last step that was skipped, from 1.
        ok: whether the last step was taken, a 0-d tensor.

    References:
        Micikevicius et al. (2018), Mixed Precision Training, https://arxiv.org/abs/1710.03740
    """

    def __init__(self, optimizer: Optimizer, parts: Sequence[Any] = (), *, backoff: bool = False) -> None:
        super().__init__(optimizer)
        self.backoff = backoff
        self._modules = [m for part in parts if isinstance(part, nn.Module) for m in part.modules()]
        self.reset()
        device = self._parameters[0].device
        wide = torch.float32 if device.type == "mps" else torch.float64  # MPS has none
        self.tally = torch.zeros(5, dtype=wide, device=device)
        self._copies: dict[Any, Tensor] = {}
        self._plain: dict[Any, Any] = {}

    def reset(self) -> None:
        """Take note of the parameters alone: the update goes the optimizer's own way, in no compiled step."""
        self._parameters = [p for group in self.optimizer.param_groups for p in group["params"]]

    @property
    def skipped(self) -> int:
        """Steps that were skipped; this waits for the device."""
        return int(self.tally[0])

    @property
    def last(self) -> int:
        """The number of the last step that was skipped, from 1; this waits for the device."""
        return int(self.tally[4])

    @property
    def factor(self) -> float:
        """The factor f on the learning rate; this waits for the device."""
        return float(0.5 ** self.tally[2])

    def state(self) -> dict[str, Any]:
        """The state of the optimizer, with the tally."""
        return {**super().state(), "nonfinite": self.tally}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        state = dict(state)
        self.tally = state.pop("nonfinite").to(self.tally.device, copy=True)
        super().load(state)

    def keep(self) -> None:
        """Keep what a step may change; before the programs run."""
        tensors, plain = self._of_optimizer()
        tensors = {("parameter", n): p.detach() for n, p in enumerate(self._parameters)} | self._buffers() | tensors
        if not _alike(tensors, self._copies):
            self._copies = {key: torch.empty_like(tensor) for key, tensor in tensors.items()}
        torch._foreach_copy_(list(self._copies.values()), list(tensors.values()))
        self._plain = plain

    def step(self, metrics: Mapping[str, Tensor] | None = None) -> None:
        """Change the parameters by their gradients, and undo it all where the step is not finite."""
        assert metrics is not None
        self.ok = ok = all_finite(metrics).to(self.tally.device).reshape(())
        self.optimizer.step()
        tensors, plain = self._of_optimizer()
        tensors = {("parameter", n): p.detach() for n, p in enumerate(self._parameters)} | self._buffers() | tensors
        with torch.no_grad():
            if _alike(tensors, self._copies) and plain == self._plain:
                self._select(ok, tensors)
            elif not bool(ok):  # what is new, or no tensor, cannot be selected on the device
                self._undo()
            else:
                self._select(ok, {key: t for key, t in tensors.items() if key[0] == "parameter"})
            self._count(ok)

    def _select(self, ok: Tensor, tensors: Mapping[Any, Tensor]) -> None:
        factor = 0.5 ** self.tally[2]
        for key, now in tensors.items():
            before = self._copies[key]
            moved = now
            if self.backoff and key[0] == "parameter":
                moved = torch.lerp(before, now, factor.to(now.dtype))  # exactly θ' at f = 1
            torch.where(ok, moved, before, out=now)

    def _undo(self) -> None:
        """Put back, on the host, all that a step has changed, made or taken away."""
        for n, parameter in enumerate(self._parameters):
            parameter.detach().copy_(self._copies["parameter", n])
            self._put_back("state", id(parameter), self.optimizer.state[parameter])
            if not self.optimizer.state[parameter]:
                del self.optimizer.state[parameter]
        for n, group in enumerate(self.optimizer.param_groups):
            self._put_back("group", n, group)
        for module in self._modules:
            self._put_back("buffer", id(module), module._buffers)

    def _put_back(self, kind: str, owner: int, values: dict[str, Any]) -> None:
        """Give one holder of tensors and numbers what it held: in place, where that is possible."""
        held = {key[2]: value for key, value in {**self._copies, **self._plain}.items() if key[:2] == (kind, owner)}
        if kind == "state":
            for name in values.keys() - held.keys():
                del values[name]
        for name, before in held.items():
            now = values.get(name)
            if isinstance(before, Tensor) and isinstance(now, Tensor) and now.shape == before.shape:
                now.detach().copy_(before)
            else:
                values[name] = before.clone() if isinstance(before, Tensor) else before

    def _count(self, ok: Tensor) -> None:
        skipped, clean, halvings, steps, last = self.tally.unbind()
        fine = ok.to(self.tally.dtype)
        clean = (clean + 1) * fine
        if self.backoff:
            recovers = (clean >= RECOVERY) & (halvings > 0)
            clean = torch.where(recovers, torch.zeros_like(clean), clean)
            halvings = torch.where(ok, halvings - recovers.to(halvings.dtype), (halvings + 1).clamp(max=MOST))
        last = torch.where(ok, last, steps + 1)
        self.tally.copy_(torch.stack([skipped + (1 - fine), clean, halvings, steps + 1, last]))

    def _buffers(self) -> dict[Any, Tensor]:
        """Those of the programs, by place."""
        found = {("buffer", id(m), n): b for m in self._modules for n, b in m._buffers.items() if b is not None}
        return {key: buffer.detach() for key, buffer in found.items()}

    def _of_optimizer(self) -> tuple[dict[Any, Tensor], dict[Any, Any]]:
        """Tensors, and numbers, by place: of the state of each parameter, and of each group."""
        owners = [("state", id(p), self.optimizer.state.get(p, {})) for p in self._parameters]
        owners += [("group", n, g) for n, g in enumerate(self.optimizer.param_groups)]
        tensors: dict[Any, Tensor] = {}
        plain: dict[Any, Any] = {}
        for kind, owner, values in owners:
            for name, value in values.items():
                if isinstance(value, Tensor):
                    tensors[kind, owner, name] = value.detach()
                elif isinstance(value, PLAIN):
                    plain[kind, owner, name] = value
        return tensors, plain


def _alike(now: Mapping[Any, Tensor], before: Mapping[Any, Tensor]) -> bool:
    return now.keys() == before.keys() and all(
        t.shape == before[key].shape and t.dtype == before[key].dtype for key, t in now.items()
    )
