"""The place where a bound became NaN or infinite, and what to try.

A step reads no number, so that a NaN is seen at the end of an epoch. The epoch is then replayed from the state at its
start, to find the step and the site. Where such steps are skipped (see `ppl_vae.compile.guard`), so it is done once
there are more of them than the run allows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, nn

from ppl_vae.compile.guard import Guard, all_finite
from ppl_vae.core.snapshot import Snapshot, copied
from ppl_vae.errors import NonFiniteError, PplVaeError
from ppl_vae.training.checkpoint import Store
from ppl_vae.training.group import RanksError
from ppl_vae.training.isolation import stop_validating
from ppl_vae.training.state import State

if TYPE_CHECKING:
    from ppl_vae.training.setup import Training

STEADIER = (
    "lower the learning rate, clip gradients (grad_clip=10), warm up (scheduler warmup), or keep scales off zero "
    "(e.g. softplus(…) + 1e-4)"
)
DATA = "check the data for such values, and that the likelihood's support contains them"


def are_finite(averages: Mapping[str, float]) -> bool:
    """True if the bound and the gradient have been finite in all steps; metrics of an objective's own are its own."""
    return all(math.isfinite(averages.get(name, 0.0)) for name in ("bound", "grad_norm"))


def is_over(training: Training, averages: Mapping[str, float]) -> bool:
    """True if there was a step that is not finite, or there were more of them than may be skipped.

    Args:
        training: the run.
        averages: of the epoch at hand.
    """
    guard = training.state.optimizer
    if isinstance(guard, Guard):
        return guard.skipped > training.plan.nonfinite_budget
    return not are_finite(averages)


def blame(training: Training, error: Exception, size: int) -> None:
    """Say that a step failed by NaN, a batch of one, or sparse gradients, in place of the error that it led to."""
    shares = training.shares
    if isinstance(error, RuntimeError) and re.search("not support (sparse|dense) gradients", str(error)):
        assert training.state.optimizer is not None
        raise PplVaeError(
            f"Got {type(training.state.optimizer.optimizer).__name__} for this pair, expected an optimizer that takes "
            f"its gradients: {error}. Those of nn.Embedding(…, sparse=True) are sparse, all others dense. Leave "
            "sparse=True out, or take torch.optim.SGD (fused=False), which steps on both."
        ) from error
    if size < 2 * shares and "more than 1 value per channel" in str(error):
        data, batch_size = len(training.train), training.plan.batch_size
        if shares > 1:
            raise PplVaeError(
                f"Got a share of one datum ({data} data in batches of {batch_size}, each in {shares} shares), expected "
                "at least two: batch norm cannot normalize one. Take a batch_size that leaves another remainder."
            ) from error
        raise PplVaeError(
            f"Got a batch of one datum ({data} data in batches of {batch_size}), expected at least two: batch norm "
            "cannot normalize one. Take a batch_size that leaves another remainder."
        ) from error
    doubtful = training.process.validating and isinstance(error, ValueError)
    if training.group.size > 1:
        if not getattr(error, "told_to_ranks", False):
            return  # it has come here alone, and would wait for the others in vain
        doubtful = any(training.group.gather(doubtful))
    if broken(training.parameters) or doubtful:
        locate(training, error)


def locate(training: Training, cause: Exception | None) -> None:
    """Replay the epoch from the state kept at its start; raise at the first number that is not finite.

    Returns where `cause` turns out to be something else.
    """
    state, stepper, store = training.state, training.stepper, training.store
    assert stepper is not None
    assert state.optimizer is not None
    reached, training.process.validating = state.step, True
    stop_validating()
    state.put(copied(training.process.snapshot), "the snapshot")
    parts = (state.vae, state.objective)
    guard = state.optimizer if isinstance(state.optimizer, Guard) else None
    for batch in training.rest_of_epoch():
        before = Snapshot.of(parts, training.device)
        state.optimizer.keep()
        metrics: Mapping[str, Tensor] = {}
        try:
            training.set_schedules()
            metrics = stepper.replay(batch)
            wrong, value = not bool(all_finite(metrics)), float(metrics["bound"])
            if wrong and guard is not None and guard.skipped < training.plan.nonfinite_budget:
                wrong = False  # this one is skipped again
        except Exception as error:
            if isinstance(error, RanksError) and not hasattr(error, "told_to_ranks"):
                raise
            wrong, value = True, math.nan
        if wrong:
            before.put(parts, training.device)
            what, site = "", None
            for part in stepper.parts(batch):
                what, site = diagnose(state.vae, part, training.particles, len(training.train), training.parameters)
                if site is not None:
                    break
            before.put(parts, training.device)
            if cause is not None and site is None and math.isnan(value):
                return
            if guard is not None and guard.skipped:
                what = f"{what}. {guard.skipped} steps were skipped before, as many as nonfinite_budget allows"
            fail(state, store, value, what, site, cause)
        if state.step > reached:
            break
        state.optimizer.step(metrics)
        state.end_step()
    unknown = "it did not occur again when the epoch was replayed, so the site is unknown"
    fail(state, store, math.nan, unknown, None, cause)


def fail(
    state: State, store: Store | None, value: float, what: str, site: str | None, cause: Exception | None
) -> NoReturn:
    """Raise the error that names epoch, step and site.

    Args:
        state: that of before the step.
        store: what is kept on disk.
        value: the bound.
        what: what is wrong, and what to try.
        site: whose fault it is, if that of a site.
        cause: the exception that it led to.

    Raises:
        NonFiniteError: always.
    """
    found = f"bound of {value}" if not math.isfinite(value) else f"gradient that is not finite at bound {value}"
    kept = "The pair holds the weights of before this step"
    if store is not None:
        kept += f"; {store.directory} holds those after epoch {state.epoch}"
    error = NonFiniteError(
        f"Got a {found} in epoch {state.epoch + 1}, step {state.step + 1} (batch {state.position + 1} of the epoch), "
        f"expected finite numbers: {what}. {kept}."
    )
    error.epoch, error.step, error.site = state.epoch + 1, state.step + 1, site  # type: ignore[attr-defined]
    error.told_to_ranks = True  # type: ignore[attr-defined]  # they have come to the same
    raise error from cause


def diagnose(
    vae: Any, batch: tuple[Any, ...], particles: int, total: float, parameters: Mapping[str, Tensor]
) -> tuple[str, str | None]:
    """Say which number went wrong first, and what to try: parameters, then sites in order, then gradients.

    Call it with the weights and random state of before the step, and the gradients of the step.

    Args:
        vae: the pair.
        batch: the batch of the step.
        particles: as many as the objective draws, so that the same noise is drawn.
        total: N, the size of the data set.
        parameters: the trained ones, by name.

    Returns:
        Words for a message, and the name of the site (None where it is no site's fault).
    """
    if (what := broken(parameters)) is not None:
        return what, None
    failure = ""
    try:
        from ppl_vae.core.run import terms

        with torch.no_grad():
            result = terms(vae, batch, particles, total=total)
        for program in ("guide", "model"):
            for site in getattr(result, program).values():
                found = _fault(site)
                if found is not None:
                    what, holds, hint = found
                    where = f"{what} of site {site.name!r} in the {program}"
                    return f"{where} holds {holds}. To try: {hint}", site.name
    except Exception as error:  # NaN makes programs fail in their own ways: that, too, is worth telling
        failure = f" (running the pair alone fails: {type(error).__name__}: {error})"
    for name, parameter in parameters.items():
        if parameter.grad is not None and (what := _bad(parameter.grad)) is not None:
            return (
                f"the gradient of {name!r} holds {what}, while all log-densities are finite. To try: {STEADIER}",
                None,
            )
    return (
        f"all log-densities of the pair are finite{failure}; the objective itself is not. To try: {STEADIER}",
        None,
    )


def broken(parameters: Mapping[str, Tensor]) -> str | None:
    """The first parameter that is not finite, in words."""
    for name, parameter in parameters.items():
        if (holds := _bad(parameter)) is not None:
            return f"parameter {name!r} holds {holds} before the step. To try: begin with finite weights; {STEADIER}"
    return None


def _fault(site: Any) -> tuple[str, str, str] | None:
    """The part of a site that is not finite, how, and what to try; in the order in which numbers are computed."""
    hint = f"{DATA}; or {STEADIER}" if site.is_observed else STEADIER
    for name, value in _arguments(site.fn):
        if (holds := _bad(value)) is not None:
            return f"parameter {name!r} of the distribution", holds, STEADIER
    if (holds := _bad(site.value)) is not None:
        return f"the {'observed' if site.is_observed else 'sampled'} value", holds, hint
    if (holds := _bad(site.log_prob)) is not None:
        return "the log-density (at finite parameters and values)", holds, hint
    return None


def _arguments(fn: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors that a distribution was made of, through wrappers such as Independent."""
    while fn is not None:
        for name in getattr(fn, "arg_constraints", {}):
            value = fn.__dict__.get(name)  # not getattr: `probs` is computed from `logits` on demand
            if isinstance(value, Tensor):
                yield name, value
        for transform in getattr(fn, "transforms", None) or ():
            if isinstance(transform, nn.Module):
                yield from transform.named_parameters()
        fn = getattr(fn, "base_dist", None)


def _bad(tensor: Tensor) -> str | None:
    """The number and kind of values that are not finite, or None."""
    if nn.parameter.is_lazy(tensor):
        return None  # its shape and values come with the first run
    tensor = tensor.detach()
    if tensor.layout is torch.sparse_coo:
        tensor = tensor.coalesce().values()
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return None
    counts = {
        "NaN": int(torch.isnan(tensor).sum()),
        "inf": int((tensor == torch.inf).sum()) if not tensor.is_complex() else 0,
        "-inf": int((tensor == -torch.inf).sum()) if not tensor.is_complex() else 0,
    }
    found = [f"{n} {name}" for name, n in counts.items() if n]
    return f"{' and '.join(found)} among {tensor.numel()}" if found else None
