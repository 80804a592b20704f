"""A pair traced: its programs run a few times, with all that the findings are made of written down."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyro
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.core.batch import batch_length, take
from ppl_vae.core.faults import subsampled
from ppl_vae.core.plates import attempt, resized, sample_sites, unchanged
from ppl_vae.core.prepared import Prepared
from ppl_vae.core.run import prepare
from ppl_vae.core.supports import is_silenced
from ppl_vae.errors import CheckError, PplVaeError
from ppl_vae.frames import calling_line

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE

Sites = dict[str, dict[str, Any]]


@dataclass
class Run:
    """One run of both programs, as far as they went.

    Attributes:
        guide: The guide's sample sites, in order.
        model: The model's, replayed on the guide.
        plates: The frames of non-vectorized plates, too, by name, with their sizes.
        subsampled: The plates that subsample by themselves, by name: how many of how many.
        failure: What a program raised.
        failed: Which program that was.
    """

    guide: Sites = field(default_factory=dict)
    model: Sites = field(default_factory=dict)
    plates: dict[str, int] = field(default_factory=dict)
    subsampled: dict[str, tuple[int, int]] = field(default_factory=dict)
    failure: Exception | None = None
    failed: str = ""

    @property
    def latents(self) -> Sites:
        """Sites that the guide draws."""
        return {name: site for name, site in self.guide.items() if not site["is_observed"]}


@dataclass
class PairTrace:
    """The material of the findings.

    Attributes:
        vae: The pair.
        batch: What its programs take.
        objective: What it is to be trained by.
        total: N, if it is known.
        places: The user's file and line of each site, by program and name.
        run: Both programs on the batch.
        resized: Both programs on the batch with its first datum once more, if it has a length.
        moved: Both programs on the batch, and with its data in another order, drawn with the same random numbers; at
            the parameters as they are, and a little off them.
        prepared: What `prepare` learnt, if it could.
        refusal: Why it could not.
        silenced: Sites of the model whose distribution has `validate_args=False`.
    """

    vae: "VAE"
    batch: tuple[Any, ...]
    objective: Any
    total: float | None = None
    places: dict[tuple[str, str], str] = field(default_factory=dict)
    run: Run = field(default_factory=Run)
    resized: Run | None = None
    moved: list[tuple[Run, Run]] = field(default_factory=list)
    prepared: Prepared | None = None
    refusal: PplVaeError | None = None
    silenced: frozenset[str] = frozenset()

    @property
    def length(self) -> int | None:
        """B, if the batch has a length."""
        return batch_length(self.batch)

    @property
    def data_plates(self) -> frozenset[str]:
        """The names of the plate over data."""
        return frozenset() if self.prepared is None else self.prepared.plates.data_plates

    def is_local(self, site: dict[str, Any]) -> bool:
        """True if a site stands in the data plate."""
        return any(f.name in self.data_plates and f.vectorized for f in site["cond_indep_stack"])

    def at(self, program: str, name: str) -> str:
        """A site in words, with the user's file and line."""
        place = self.places.get((program, name))
        return f"site {name!r} of the {program}" + (f" ({place})" if place else "")

    def follows(self, program: str, name: str) -> bool:
        """True if the event of a site grows with the batch."""
        if self.resized is None or self.resized.failure is not None:
            return False
        here, there = getattr(self.run, program).get(name), getattr(self.resized, program).get(name)
        return here is not None and there is not None and event_shape(here) != event_shape(there)


def event_shape(site: dict[str, Any]) -> tuple[int, ...]:
    """The shape of one event of a site."""
    return tuple(getattr(site["fn"], "event_shape", ()))


def trace(vae: "VAE", batch: tuple[Any, ...], objective: Any, total: float | None = None) -> PairTrace:
    """Run the programs, and leave random numbers, buffers, gradients and modes as they were."""
    seen = PairTrace(vae, batch, objective, total)
    state = torch.get_rng_state()
    with unchanged(vae), torch.no_grad():
        with pyro.validation_enabled(False):
            run_once(vae, batch, seen.places)  # makes the parameters that appear at a first run
            torch.set_rng_state(state)
            seen.run = run_once(vae, batch, seen.places)
        if seen.run.failure is not None:
            with pyro.validation_enabled(True):  # Pyro's own words, where it has some
                again = run_once(vae, batch, seen.places)
            seen.run = seen.run if again.failure is None else again
            return seen
        with pyro.validation_enabled(True):
            seen.silenced = frozenset(n for n, s in run_once(vae, batch).model.items() if is_silenced(s["fn"]))
        try:
            seen.prepared = prepare(vae, batch)
            seen.prepared = prepare(vae, batch, 2)
        except PplVaeError as refusal:
            seen.refusal = refusal
        except Exception as failure:  # densities that raise: an index out of range, a matrix that is not positive
            seen.refusal = CheckError(f"{type(failure).__name__}: {failure}")
        length = seen.length
        if not length:
            return seen
        with pyro.validation_enabled(False):
            seen.resized = run_once(vae, resized(batch, length))
            other = take(batch, torch.arange(length).roll(1))
            if not _same(other, batch):
                torch.set_rng_state(state)
                seen.moved.append((seen.run, run_once(vae, other)))
                with jittered(vae):
                    runs = []
                    for data in (batch, other):
                        torch.set_rng_state(state)
                        runs.append(run_once(vae, data))
                seen.moved.append((runs[0], runs[1]))
    return seen


@contextmanager
def jittered(vae: "VAE") -> Iterator[None]:
    """Within, every parameter is a little off: a head whose weights start at zero reads its input all the same."""
    before = {p: p.data for p in vae.parameters() if p.is_floating_point()}
    try:
        for p, value in before.items():
            p.data = value + 0.1 * (1 + value.abs()) * torch.randn_like(value)
        yield
    finally:
        for p, value in before.items():
            p.data = value


def run_once(vae: "VAE", batch: tuple[Any, ...], places: dict[tuple[str, str], str] | None = None) -> Run:
    """Both programs on a batch, as far as they go."""
    sizes: dict[str, int] = {}
    tried = attempt(vae, batch, lambda program: (_Places(program, places), _Plates(sizes)))
    sites = {program: sample_sites(trace) for program, trace in tried.traces.items()}
    return Run(
        **sites,
        plates=sizes,
        subsampled={name: size for trace in tried.traces.values() for name, size in subsampled(trace).items()},
        failure=tried.failure,
        failed=list(sites)[-1] if tried.failure is not None else "",
    )


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, (tuple, list)) and not hasattr(a, "_fields"):
        return all(_same(x, y) for x, y in zip(a, b, strict=True))
    return True


class _Places(Messenger):
    """Notes the user's file and line of every site and parameter."""

    def __init__(self, program: str, places: dict[tuple[str, str], str] | None) -> None:
        super().__init__()
        self.program, self.places = program, places

    def _note(self, msg: Any) -> None:
        if self.places is not None and (self.program, msg["name"]) not in self.places:
            place = calling_line(sys._getframe(1))
            if place is not None:
                self.places[self.program, msg["name"]] = place

    def _pyro_sample(self, msg: Any) -> None:
        self._note(msg)

    def _pyro_param(self, msg: Any) -> None:
        self._note(msg)


class _Plates(Messenger):
    """Notes every plate that a site stands in, sequential ones too."""

    def __init__(self, plates: dict[str, int]) -> None:
        super().__init__()
        self.plates = plates

    def _pyro_post_sample(self, msg: Any) -> None:
        for frame in msg["cond_indep_stack"]:
            self.plates[frame.name] = int(frame.size)


@contextmanager
def kept_gradients(vae: "VAE") -> Iterator[None]:
    """Within, gradients may be written: they are put back at the end."""
    before = [(p, p.grad) for p in vae.parameters()]
    try:
        yield
    finally:
        for parameter, grad in before:
            parameter.grad = grad
