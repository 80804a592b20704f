"""One torch optimizer over all trainable parameters of a pair."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ppl_vae.errors import ArgumentError, CheckError, PplVaeError
from ppl_vae.frames import module_of
from ppl_vae.imports import unsearched

EXAMPLE = "such as optimizer=functools.partial(torch.optim.Adam, lr=1e-3)"

OptimizerFactory = Callable[..., Optimizer]
"""Takes the parameters (tensors, or groups of them as dicts), gives a `torch.optim` optimizer."""


def trainable(*modules: Any) -> dict[str, Tensor]:
    """The parameters of `modules` that want a gradient, each once, by name."""
    seen: dict[Tensor, str] = {}
    for module in modules:
        if isinstance(module, nn.Module):
            for name, parameter in module.named_parameters():
                if parameter.requires_grad:
                    seen.setdefault(parameter, name)
    return {name: parameter for parameter, name in seen.items()}


def build_optimizer(
    factory: OptimizerFactory,
    parameters: Mapping[str, Tensor],
    groups: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    fuses: bool = True,
) -> Optimizer:
    """Make the optimizer: fused where factory, device and dtype allow it and the user did not choose.

    Args:
        factory: an optimizer class, or a `partial` of one, or any callable that takes parameters.
        parameters: those to train, by name.
        groups: options of the parameters under a prefix of their names, `{"guide": {"lr": 1e-4}}`; the
            longest prefix that fits counts, other parameters take the factory's own options.
        fuses: whether it may be fused: on sparse gradients no fused one of torch steps.

    Raises:
        CheckError: an ε that underflows in the dtype of the parameters.
        PplVaeError: no parameters, an unknown prefix, a learning rate that is no number, an optimizer that
            needs a closure.
    """
    if not parameters:
        raise PplVaeError(
            "Got a pair without trainable parameters, expected at least one that requires a gradient: an "
            "optimizer "
            "would have nothing to do. Unfreeze some (`module.requires_grad_()`), check that the networks "
            "are "
            "attributes of their module or registered by `pyro.module`, or evaluate only with epochs=0."
        )
    _refuse_kinds(factory)
    arguments = _grouped(parameters, groups or {})
    try:
        options = {"fused": True} if fuses and _fusible(factory, parameters.values()) else {}
        with unsearched():  # the first optimizer of a process imports Dynamo, half a second
            optimizer = factory(arguments, **options)
    except TypeError as error:
        raise ArgumentError(
            f"Got an optimizer that cannot be made: {_name(factory)} says {error}. Expected a function of parameters "
            f"alone, {EXAMPLE}."
        ) from error
    if not isinstance(optimizer, Optimizer):
        raise PplVaeError(
            f"Got an optimizer of type {type(optimizer).__qualname__} from {_name(factory)}, expected a "
            f"torch.optim.Optimizer. Pass a function of parameters, {EXAMPLE}."
        )
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise PplVaeError(
            f"Got {type(optimizer).__name__}, which evaluates the loss several times a step (a closure); "
            "expected an "
            "optimizer of one gradient per step. A bound on minibatches is random, and line searches on it "
            "fail: use Adam."
        )
    _refuse_underflow(optimizer, {parameter: name for name, parameter in parameters.items()})
    for number, group in enumerate(optimizer.param_groups):
        for key, value in group.items():
            if isinstance(value, float) and (math.isnan(value) or (key == "lr" and not 0 <= value < math.inf)):
                raise PplVaeError(
                    f"Got {key}={value} in parameter group {number} of {type(optimizer).__name__}, expected "
                    "a number"
                    f"{' ≥ 0' if key == 'lr' else ''}: e.g. lr=1e-3."
                )
    return optimizer


def _refuse_underflow(optimizer: Optimizer, names: Mapping[Tensor, str]) -> None:
    """Refuse an ε that the parameters' dtype rounds to 0, or close to it: √v + ε, too, is 0 where a gradient is small.

    Raises:
        CheckError: naming what underflows and what to set.
    """
    for group in optimizer.param_groups:
        eps = group.get("eps")
        for p in group["params"]:
            if not isinstance(eps, float) or not p.is_floating_point() or eps >= torch.finfo(p.dtype).tiny:
                continue
            kind, made = str(p.dtype).removeprefix("torch."), type(optimizer).__name__
            raise CheckError(
                f"Got {made} with eps={eps:g} and parameters of {kind} ({names[p]!r}), expected eps of at least "
                f"{torch.finfo(p.dtype).tiny:.2g}: its squared averages v are {kind}, too, and underflow to 0 where a "
                f"gradient is below about 0.005, so that a step m/(√v + eps) is as large as 1/eps. Set eps=1e-4, make "
                "the pair bfloat16, or keep it float32 and take precision='bf16-mixed' (trainer.precision)."
            )


def _refuse_kinds(factory: Any) -> None:
    """Say what belongs in the place of an optimizer that is made already, of Pyro, or a name."""
    made = type(factory).__name__
    if isinstance(factory, Optimizer):
        raise ArgumentError(
            f"Got an {made} that is made already, expected what makes it: pairs may make parameters when they first "
            f"run, and it is to train them all. Pass a function of parameters, {EXAMPLE}."
        )
    if module_of(type(factory)).startswith("pyro.") or module_of(factory).startswith("pyro.optim"):
        raise ArgumentError(
            "Got an optimizer of Pyro, which keeps one for every parameter of its global store; expected one of "
            f"torch.optim, {EXAMPLE}."
        )
    if not callable(factory):
        named = next((name for name in dir(torch.optim) if name.lower() == str(factory).lower()), "Adam")
        example = EXAMPLE.replace("Adam", named)
        raise ArgumentError(f"Got optimizer={factory!r:.60}, expected a function of parameters, {example}.")


def _name(factory: Any) -> str:
    while isinstance(factory, functools.partial):
        factory = factory.func
    return str(getattr(factory, "__qualname__", type(factory).__name__))


def _grouped(parameters: Mapping[str, Tensor], groups: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    if not groups:
        return list(parameters.values())
    members: dict[str, list[Tensor]] = {"": [], **{prefix: [] for prefix in groups}}
    for name, parameter in parameters.items():
        fitting = [p for p in groups if name == p or name.startswith(f"{p}.")]
        members[max(fitting, key=len, default="")].append(parameter)
    empty = [prefix for prefix in groups if not members[prefix]]
    if empty:
        roots = sorted({".".join(name.split(".")[:depth]) for name in parameters for depth in (1, 2)})
        raise PplVaeError(
            f"Got options for parameters under {empty[0]!r}, but no trainable parameter has that prefix (and "
            "no longer "
            f"one listed); expected one of {', '.join(roots)}."
        )
    return [{"params": ps, **groups.get(prefix, {})} for prefix, ps in members.items() if ps]


def _fusible(factory: OptimizerFactory, parameters: Iterable[Tensor]) -> bool:
    chosen: set[str] = set()
    while isinstance(factory, functools.partial):
        chosen |= factory.keywords.keys()
        factory = factory.func
    if not (isinstance(factory, type) and issubclass(factory, Optimizer)):
        return False
    if chosen & {"fused", "foreach", "capturable", "differentiable"}:
        return False
    if "fused" not in inspect.signature(factory).parameters:
        return False
    parameters = list(parameters)
    devices = {p.device.type for p in parameters}
    return devices <= set(_fused_devices()) and all(torch.is_floating_point(p) for p in parameters)


def _fused_devices() -> list[str]:
    try:
        from torch.utils._foreach_utils import _get_fused_kernels_supported_devices
    except ImportError:  # private: without it, what has been true since torch 2.6
        return ["cuda", "cpu"]
    return list(_get_fused_kernels_supported_devices())
