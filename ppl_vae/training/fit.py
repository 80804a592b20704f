"""`fit`: train a pair by stochastic gradients."""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ppl_vae import rng
from ppl_vae.compile.guard import POLICIES
from ppl_vae.compile.precision import PRECISIONS
from ppl_vae.core.call import require_pair
from ppl_vae.core.misfit import misfit_told
from ppl_vae.doors import checked
from ppl_vae.errors import ArgumentError, RunError, one_of
from ppl_vae.training.batches import batches_of
from ppl_vae.training.checkpoint import Store
from ppl_vae.training.group import Group, group_of, require_bare
from ppl_vae.training.history import History, Row
from ppl_vae.training.isolation import isolate_globals, modes_kept
from ppl_vae.training.loop import run
from ppl_vae.training.optimizers import OptimizerFactory
from ppl_vae.training.resume import start
from ppl_vae.training.setup import INITIAL, Parts, Plan, Training, set_up
from ppl_vae.training.signals import Interrupted, PostponedSignals

adam = functools.partial(torch.optim.Adam, lr=1e-3)


@functools.partial(checked, but=("optimizer", "groups", "directory", "callbacks"))
def fit(
    vae: Any,
    data: Any,
    objective: Any = None,
    optimizer: OptimizerFactory = adam,
    scheduler: Any = None,
    *,
    epochs: int = 20,
    steps: int | None = None,
    batch_size: int = 128,
    seed: int = 0,
    compile: str = "auto",  # noqa: A002 - the name that torch gave it
    grad_clip: float | None = None,
    grad_clip_value: float | None = None,
    groups: Mapping[str, Mapping[str, Any]] | None = None,
    early_stopping: int | None = None,
    keep: str = "best",
    ema: float | None = None,
    accumulate: int = 1,
    precision: str = "full",
    nonfinite: str = "raise",
    nonfinite_budget: int = 10,
    distributed: bool = False,
    directory: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | Literal["warnings"] | None = None,
    callbacks: Sequence[Callable[[Row], object]] = (),
) -> History:
    """Train a pair by stochastic gradient ascent on an objective.

    θ ← optimizer(θ, ∇ objective(batch)), over `epochs` passes through the training data in random order, the
    last partial batch included. After each pass the validation data are evaluated: every schedule (β, …) at
    its final value, the same noise each time. Pyro's parameter store, random number generators, default
    dtype, threads and validation flags of the caller are left as found.

    Args:
        vae: the pair; it holds the best weights afterwards (see `keep`).
        data: a Dataset, or training data alone: a Split, an array, or a tuple of arrays with one data axis; taken as
            `ppl_vae.core.data` says. All of them, validation data too, are looked at once before the first step.
        objective: what to maximize; `ppl_vae.objectives.ELBO()` by default.
        optimizer: takes parameters, gives a `torch.optim` optimizer; made fused where possible unless it says
            otherwise.
        scheduler: one of `ppl_vae.training.schedulers`, or takes the optimizer and gives a scheduler, stepped
            per epoch.
        epochs: passes through the data; 0 evaluates only.
        steps: stop after so many steps, in place of `epochs`.
        batch_size: data per step; at most all.
        seed: of all random numbers: noise, order of the data, lazily made parameters.
        compile: how steps are run: `"off"` (by the program), `"export"` (captured once, without Pyro, the same bits),
            `"inductor"` (captured and compiled, with the update of the parameters where that is Adam's; the same to
            rounding), or `"auto"`: captured where the number of steps pays for it, and compiled as soon as that
            would have paid for itself, at a step that the captured graph alone decides: equal runs have equal bits.
            What was done, with the reason, is in the history's `compiled`.
        grad_clip: rescale gradients to at most this norm.
        grad_clip_value: clamp every element of gradients to ± this.
        groups: optimizer options per prefix of parameter names, such as `{"guide": {"lr": 1e-4}}`.
        early_stopping: stop when the validation bound has not risen for so many epochs.
        keep: the weights that the pair holds afterwards: `"best"` by validation bound, or `"last"`.
        ema: validate with, and keep, the exponential moving average of the weights, of this decay, such as 0.999: each
            step's weights count ema times as much as those of the step after it (`ppl_vae.training.average`). A step
            that is skipped leaves the weights as they are, which count again. `train/` columns are of the weights of
            each step. Callbacks meet the averages in the pair; what they make of these parameters is undone.
        accumulate: divide each batch into so many shares, whose gradients are added up before the step: memory is that
            of one. Noise is another than that of the whole batch; the objective must be a mean over data.
        precision: `"full"`, that of the pair; or `"bf16-mixed"`: in training, products of networks are taken in
            bfloat16, all else in float32, and what is evaluated in full.
        nonfinite: what is done with a step whose bound or gradient is NaN or infinite: `"raise"`; `"skip"`: it changes
            nothing, neither parameters nor optimizer nor running averages, and is counted; or `"backoff"`: the same,
            and the learning rate is halved, to be doubled again after each 100 finite steps in succession.
        nonfinite_budget: so many steps of the run may be skipped; the next one raises.
        distributed: train on all processes of the default group of `torch.distributed`, each taking `accumulate`
            shares of every batch. They are given the same arguments; the first one writes and is called back.
        directory: where to keep metrics, best weights and all state to go on; nothing is written without it.
        resume: go on with the run in `directory`; ends as if it had never been interrupted, bit for bit on a
            CPU.
        progress: False for silence, "warnings" for these alone; None for a line in a notebook, a bar in a terminal,
            and lines elsewhere, on standard error.
        callbacks: each called after every epoch, with its row of metrics, in evaluation mode. One that answers True
            stops training there; one that has a method `start` is told the rows so far before the first step
            (`ppl_vae.training.callbacks`, which has some).

    Returns:
        The history: a row per epoch, in nats per datum.

    Raises:
        DataError: data that the programs cannot be right on: a value outside the support of the site that observes it,
            a missing one (NaN) that nothing masks, no data axis; names the first and its place.
        NonFiniteError: the bound became NaN or infinite (more often than `nonfinite` allows); names epoch, step and
            site. The pair holds the weights of before that step, the directory those after the last whole epoch.
        KeyboardInterrupt: on Ctrl-C, after the step at hand was finished and its state saved, to go on from
            there; its attribute `history` is the history. A second Ctrl-C stops at once.
        RunError: the directory holds another run, or none that can be resumed; another process of the run failed.
        CheckError: batches of the objective or the pair cannot be divided into shares.

    Example:
        >>> import pyro, pyro.distributions as dist, ppl_vae as pv
        >>> def model(x):
        ...     with pyro.plate("data", x.shape[0]):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> def guide(x):
        ...     slope = pyro.param("slope", torch.tensor(0.0))
        ...     with pyro.plate("data", x.shape[0]):
        ...         pyro.sample("z", dist.Normal(slope * x, 0.5**0.5))
        >>> vae = pv.VAE(model, guide)
        >>> x = 2**0.5 * torch.randn(256, generator=torch.Generator().manual_seed(0))
        >>> history = pv.fit(vae, x, optimizer=functools.partial(torch.optim.Adam, lr=0.02), progress=False)
        >>> print(f"{next(vae.parameters()).item():.1f}")  # the exact posterior is Normal(x/2, √½)
        0.5
    """
    plan = Plan(
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        seed=seed,
        grad_clip=grad_clip,
        grad_clip_value=grad_clip_value,
        early_stopping=early_stopping,
        keep=keep,
        ema=ema,
        compile=compile,
        accumulate=accumulate,
        precision=precision,
        nonfinite=nonfinite,
        nonfinite_budget=nonfinite_budget,
    )
    call = Call.checked(
        vae, data, objective, optimizer, scheduler, plan, groups, distributed, directory, resume, callbacks
    )
    signals, history, store = PostponedSignals(), call.history, call.store
    try:
        with call.isolated(), signals:
            run(call.begin(signals), progress)
    except Interrupted:
        history.status = "interrupted"
    except BaseException as error:
        history.status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        error.history = history  # type: ignore[attr-defined]
        if store is not None:
            store.close(history, error)
        call.group.part(error)
        raise
    if store is not None:  # before a signal is delivered, which may end the process
        store.close(history)
    if history.status != "interrupted":
        return history
    call.group.wait()
    try:
        signals.deliver()
    except BaseException as error:
        error.history, error.told_to_ranks = history, True  # type: ignore[attr-defined]
        raise
    raise AssertionError("unreachable: delivering a signal raises")


@dataclass(frozen=True)
class Call:
    """The arguments of `fit`, checked, before anything is run or written."""

    vae: Any
    data: Any
    objective: Any
    optimizer: OptimizerFactory
    scheduler: Any
    plan: Plan
    groups: Mapping[str, Mapping[str, Any]] | None
    group: Group
    store: Store | None
    resume: bool
    callbacks: Sequence[Callable[[Row], object]]
    history: History

    @staticmethod
    def checked(
        vae: Any,
        data: Any,
        objective: Any,
        optimizer: OptimizerFactory,
        scheduler: Any,
        plan: Plan,
        groups: Mapping[str, Mapping[str, Any]] | None,
        distributed: bool,
        directory: Any,
        resume: bool,
        callbacks: Sequence[Callable[[Row], object]],
    ) -> Call:
        """Refuse nonsense; see `fit`."""
        from ppl_vae.objectives import ELBO, as_objective

        _refuse_nonsense(plan, directory, resume)
        _refuse_kinds(vae, objective, directory, groups, callbacks)
        objective = ELBO() if objective is None else as_objective(objective)
        group = group_of(distributed, _device(vae))
        store = Store(directory) if directory is not None and group.is_first else None
        history = History(keep=plan.keep)
        return Call(vae, data, objective, optimizer, scheduler, plan, groups, group, store, resume, callbacks, history)

    @property
    def device(self) -> torch.device:
        """Where the pair lies."""
        return _device(self.vae)

    @contextmanager
    def isolated(self) -> Iterator[None]:
        """Leave the caller's process, and the modes of the modules, as they were found."""
        with isolate_globals(self.device), modes_kept(self.vae, self.objective):
            yield

    def begin(self, signals: PostponedSignals) -> Training:
        """Set the run up, and begin it or go on with it; within `isolated`."""
        device, group = self.device, self.group
        signals.alone = group.size == 1
        rng.seed_all(rng.derive(self.plan.seed, INITIAL), device)
        test = getattr(self.data, "test", None)
        shares = self._shares()
        with group.agreed(), misfit_told(self.vae):
            train, validation = batches_of(self.data, self.vae, device, self.plan.batch_size)
            callbacks = self.callbacks if group.is_first else ()
            given = Parts(
                self.plan,
                train,
                validation,
                test,
                self.history,
                self.store,
                signals,
                callbacks,
                device,
                group,
                shares,
            )
            training = set_up(self.vae, self.objective, self.optimizer, self.scheduler, self.groups, given)
        start(training, self.resume)
        return training

    def _shares(self) -> int:
        """The shares that batches are taken in: as many as ever, where a run is gone on with.

        Raises:
            RunError: they cannot be dealt out evenly to the processes.
        """
        ranks, store = self.group.size, self.store
        known = self.group.from_first(lambda: store.shares if store is not None and self.resume else None)
        shares = self.plan.accumulate * ranks if known is None else known
        if shares % ranks:
            raise RunError(
                f"Got {ranks} processes for the run in {store.directory if store else 'the directory'}, which takes "
                f"each batch in {shares} shares; expected a number of processes by which {shares} can be divided."
            )
        return shares


def _device(vae: nn.Module) -> torch.device:
    first: Tensor = next(itertools.chain(vae.parameters(), vae.buffers()), torch.empty(0))
    return first.device


def _refuse_kinds(vae: Any, objective: Any, directory: Any, groups: Any, callbacks: Any) -> None:
    """The same for what is of another kind than what belongs in its place."""
    require_bare(vae, objective)
    require_pair(vae)
    if directory is not None and not isinstance(directory, (str, os.PathLike)):
        raise ArgumentError(f"Got directory={directory!r:.60}, expected the path of a folder, such as 'runs/first'.")
    if directory is not None and Path(directory).exists() and not Path(directory).is_dir():
        raise RunError(f"Got directory={str(directory)!r}, which is a file; expected a folder: name another.")
    if groups is not None and not (
        isinstance(groups, Mapping) and all(isinstance(options, Mapping) for options in groups.values())
    ):
        raise ArgumentError(f"Got groups={groups!r:.60}, expected options by prefix: {{'guide': {{'lr': 1e-4}}}}.")
    if not isinstance(callbacks, Sequence) or not all(callable(c) for c in callbacks):
        raise ArgumentError(f"Got callbacks={callbacks!r:.60}, expected a list of functions: callbacks=[print].")


def _refuse_nonsense(plan: Plan, directory: Any, resume: bool) -> None:
    """Say what was got, what was expected and what to do, before anything is run or written."""

    def whole(name: str, value: Any, least: int, advice: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ArgumentError(f"Got {name}={value!r}, expected a whole number of at least {least}. {advice}")

    whole("epochs", plan.epochs, 0, "epochs=0 evaluates only.")
    whole("batch_size", plan.batch_size, 1, "The whole data at once: any number as large as they are many.")
    whole("accumulate", plan.accumulate, 1, "It counts the shares that each process takes of a batch.")
    whole("seed", plan.seed, 0, "Equal seeds give equal runs.")
    if plan.steps is not None:
        whole("steps", plan.steps, 1, "Leave it out to train for whole epochs.")
    if plan.early_stopping is not None:
        whole("early_stopping", plan.early_stopping, 1, "It counts epochs without a better validation bound.")
    for name, value in (("grad_clip", plan.grad_clip), ("grad_clip_value", plan.grad_clip_value)):
        if value is not None and not (isinstance(value, (int, float)) and 0 < value < math.inf):
            raise ArgumentError(f"Got {name}={value!r}, expected a number above 0, or None not to clip.")
    if plan.ema is not None and not (isinstance(plan.ema, float) and 0 < plan.ema < 1):
        raise ArgumentError(
            f"Got ema={plan.ema!r}, expected a decay between 0 and 1, such as 0.999; None for no average."
        )
    if plan.keep not in ("best", "last"):
        raise ArgumentError(f"Got keep={plan.keep!r}, expected 'best' (validation bound) or 'last' weights.")
    if resume and directory is None:
        raise ArgumentError("Got resume=True without a directory, expected directory=… of the run to go on with.")
    one_of("compile", plan.compile, ("auto", "off", "export", "inductor"))
    one_of("precision", plan.precision, PRECISIONS)
    one_of("nonfinite", plan.nonfinite, POLICIES)
    whole("nonfinite_budget", plan.nonfinite_budget, 0, "It counts steps that nonfinite=skip|backoff may skip.")
