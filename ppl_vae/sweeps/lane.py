"""One run of several that are trained in lockstep: its state, its random numbers, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ppl_vae import rng
from ppl_vae.compile.stepper import Stepper
from ppl_vae.training.fit import Call
from ppl_vae.training.loop import finish, keep_weights
from ppl_vae.training.resume import catch_up
from ppl_vae.training.setup import Training
from ppl_vae.training.signals import Interrupted


@dataclass
class Lane:
    """One run of several.

    Attributes:
        number: among all that were given.
        call: what `fit` was to be called with.
        training: the run; None where it was refused before.
        generators: where its random numbers are.
        error: what ended it, if not its end.
        alone: why it is trained alone; empty where it is not.
        ended: whether its history is closed.
        described: how it would take its steps alone; empty until it was one of a stack.
    """

    number: int
    call: Call
    training: Training = None  # type: ignore[assignment]
    generators: Any = None
    error: BaseException | None = None
    alone: str = ""
    ended: bool = False
    described: str = ""

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Within, this run's random numbers are drawn; an error ends this run, and no other."""
        device = self.call.device
        if self.generators is not None:
            rng.restore(self.generators, device)
        try:
            yield
        except Interrupted:
            self.end("interrupted")
        except Exception as error:
            self.end("failed", error)
        finally:
            self.generators = rng.capture(device)

    def end(self, status: str = "", error: BaseException | None = None) -> None:
        """Close the run, in its turn: its pair holds the weights to keep, its directory says how it went."""
        history, self.ended = self.call.history, True
        if self.training is not None:
            try:
                catch_up(self.training)
            except Exception as failure:  # of the disk; what was saved last is there
                status, error = status if error is not None else "failed", error or failure
        self.error = error
        if error is not None:
            history.status = status
            error.history = history  # type: ignore[attr-defined]
        elif status:
            history.status = status
            keep_weights(self.training)
        else:
            finish(self.training)
        if self.call.store is not None:
            self.call.store.close(history, error)

    @property
    def stepper(self) -> Stepper:
        """The stepper of the run alone."""
        assert isinstance(self.training.stepper, Stepper)
        return self.training.stepper

    @property
    def parts(self) -> tuple[Any, Any]:
        """The modules of the run."""
        return self.call.vae, self.call.objective
