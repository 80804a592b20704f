"""One process among several: which of them it is, and which device and how many threads it takes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import socket
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING

from ppl_vae.errors import PplVaeError, UsageError

if TYPE_CHECKING:
    import torch

Home = tuple[str, int]
"""A process by its machine and number."""


def home() -> Home:
    """The process that this is run in."""
    return socket.gethostname(), os.getpid()


def number(command: Home, job: int | None) -> int | None:
    """The number of this process among those that a launcher started; None in the process of the command itself.

    A pool numbers its workers, which do many jobs each (joblib's). Where each job has a process to itself, it is the
    number of the job in its sweep.

    Args:
        command: the process in which the command was typed.
        job: the number of the job in its sweep.
    """
    if home() == command:
        return None
    identity: tuple[int, ...] = getattr(multiprocessing.current_process(), "_identity", ())
    return identity[-1] - 1 if identity else job


def chosen(name: str, environment: Mapping[str, str], count: int, worker: int | None = None) -> str:
    """The device that a process takes.

    `auto` is `cuda:K mod count`, or the CPU where no device can be seen. K is the first of these that there is:

    1. `LOCAL_RANK`, which says which process of one training on this machine this is;
    2. the number of the worker that a launcher started;
    3. `SLURM_LOCALID`, the number of the task on this machine. It comes last, since every process in an allocation
       inherits it from the shell;
    4. 0.

    `CUDA_VISIBLE_DEVICES` has been at work already: `count` and K are of the devices that it leaves.

    Args:
        name: as typed: `auto`, or the name of a device, which is taken as it is.
        environment: variables of the process.
        count: how many CUDA devices the process can see.
        worker: see `number`.

    Raises:
        UsageError: for a rank that is no number.

    Example:
        >>> [chosen("auto", {}, 2, worker) for worker in (None, 0, 1, 2)]
        ['cuda:0', 'cuda:0', 'cuda:1', 'cuda:0']
        >>> chosen("auto", {"LOCAL_RANK": "3"}, 4, worker=0)
        'cuda:3'
        >>> chosen("auto", {"LOCAL_RANK": "3"}, 0), chosen("cpu", {}, 8)
        ('cpu', 'cpu')
    """
    if name != "auto":
        return name
    rank, local = (_whole(environment, variable) for variable in ("LOCAL_RANK", "SLURM_LOCALID"))
    if count == 0:
        return "cpu"
    first = next((k for k in (rank, worker, local) if k is not None), 0)
    return f"cuda:{first % count}"


def _whole(environment: Mapping[str, str], variable: str) -> int | None:
    text = environment.get(variable)
    if text is None or text == "":
        return None
    if not re.fullmatch(r"[0-9]+", text):
        raise UsageError(
            f"{variable}: got {text!r}, expected a whole number of at least 0, by which the processes of a machine "
            "share its devices; unset it, or name a device: engine.device=cpu"
        )
    return int(text)


def visible(environment: Mapping[str, str], told: str | None) -> dict[str, str | None]:
    """Changes of a worker's environment before it looks for devices; None: unset.

    submitit's executor for this machine hides every device from a job that asked for none, whatever was visible where
    the command was typed; then the job sees what the command saw.

    Args:
        environment: variables of the process.
        told: `CUDA_VISIBLE_DEVICES` where the command was typed.

    Example:
        >>> visible({"SUBMITIT_EXECUTOR": "local", "CUDA_VISIBLE_DEVICES": ""}, "2,3")
        {'CUDA_VISIBLE_DEVICES': '2,3'}
    """
    hidden = environment.get("SUBMITIT_EXECUTOR") == "local" and environment.get("CUDA_VISIBLE_DEVICES") == ""
    return {"CUDA_VISIBLE_DEVICES": told} if hidden and told != "" else {}


def forget_here(path: list[str]) -> None:
    """Take the working directory from the front of `sys.path`, where a launcher's `python -m` has put it."""
    if path[:1] in ([""], [os.getcwd()]):  # noqa: PTH109 - sys.path holds strings
        del path[0]


@contextlib.contextmanager
def requeued() -> Iterator[None]:
    """Within, submitit's signal (time is over, or a job with more rights comes) ends a job as Ctrl-C does.

    A step is never torn in two, the run is interrupted and not failed, and only then the job is queued again. It finds
    its run and goes on with it.
    """
    asked = getattr(signal, f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}", None)
    handler = None if asked is None or "SUBMITIT_EXECUTOR" not in os.environ else signal.getsignal(asked)
    if asked is None or not callable(handler):
        yield
        return
    came: list[tuple[int, FrameType | None]] = []

    def stop(number: int, frame: FrameType | None) -> None:
        came.append((number, frame))
        signal.raise_signal(signal.SIGINT)

    signal.signal(asked, stop)
    try:
        yield
    except KeyboardInterrupt:
        if not came:
            raise
        handler(*came[0])  # ends the process
        raise
    finally:
        signal.signal(asked, handler)


def take_device(name: str, worker: int | None = None) -> torch.device:
    """The device of a name (see `chosen`), made the current one where there are several of its kind.

    Raises:
        UsageError: for a rank that is no number.
        PplVaeError: for a device that is not there.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    name = chosen(name, os.environ, count, worker)
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        said = str(error).splitlines()[0]
        raise PplVaeError(
            f"engine.device: got {name!r}, expected auto, cpu or a device that is here ({said})"
        ) from None
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # generators are seeded on the current one
    return device
