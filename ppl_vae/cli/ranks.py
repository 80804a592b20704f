"""The processes of one run, as torchrun and `accelerate launch` start them: each a rank that the environment tells."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ppl_vae.cli.worker import chosen
from ppl_vae.errors import RunError, UsageError

if TYPE_CHECKING:
    from ppl_vae.training.group import Group

TOLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
COMMAND = "torchrun --nproc_per_node=2 -m ppl_vae train engine=distributed"


@dataclass(frozen=True)
class Place:
    """The place of this process among those of its run.

    Attributes:
        rank: among all.
        size: how many there are.
        local: among those of this machine.
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @staticmethod
    def told() -> Place:
        """The place that the environment tells; alone where it tells none."""
        found = [os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
        size = int(found[1]) if found[1].isdigit() else 1
        rank, local = (int(word) if word.isdigit() else 0 for word in (found[0], found[2]))
        return Place(rank, size, local)


def refuse_several(multirun: bool) -> None:
    """Refuse a sweep where a program started several processes for one training.

    Raises:
        RunError: with what to do.
    """
    if multirun and (size := Place.told().size) > 1:
        raise RunError(
            f"Got WORLD_SIZE={size} and a sweep, expected one run: each of the {size} processes would train every job. "
            "Start the sweep without torchrun (ppl-vae train -m … hydra/launcher=joblib), or each run by a torchrun of "
            f"its own: {COMMAND} …"
        )


@contextlib.contextmanager
def joined(engine: DictConfig) -> Iterator[Place]:
    """Within, the processes of the run can reach each other, where `engine.distributed` says so.

    Raises:
        RunError: several processes without `engine=distributed`, or none that the environment tells of.
        UsageError: a device that all of them would share.
    """
    place = Place.told()
    if not engine.distributed:
        if place.size > 1:
            raise RunError(
                f"Got WORLD_SIZE={place.size}, as torchrun and accelerate launch set it, expected a process by itself: "
                f"each of the {place.size} would train the same run alone. One run on all of them: add "
                "engine=distributed. One process: start ppl-vae train without them (or unset WORLD_SIZE); several runs "
                "at once: ppl-vae train -m … hydra/launcher=joblib"
            )
        yield place
        return
    if missing := [name for name in TOLD if not os.environ.get(name)]:
        raise RunError(
            f"Got engine=distributed without {missing[0]} in the environment, expected processes that a launcher "
            f"started: {COMMAND}. In one process: engine=default (of a run that is gone on with: "
            "engine.distributed=false)."
        )
    if engine.device not in ("auto", "cpu", "cuda"):
        raise UsageError(
            f"engine.device: got {engine.device!r} with engine=distributed, expected auto, cpu or cuda: each process "
            "takes the GPU of its own number on its machine (LOCAL_RANK)"
        )
    import torch
    import torch.distributed as dist
    import torch.distributed.nn  # has the default group in defaults of its functions: where it is imported after the
    # group is made (as torch.compile does), threads of the group live on, and may abort a process as it ends

    device = torch.device(device_of(engine))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        with _once():
            yield place
    except BaseException as error:
        if not getattr(error, "trained", False):
            from ppl_vae.training.group import group_of

            group_of(True, device).part(error)
        raise
    finally:
        dist.destroy_process_group()


def device_of(engine: Mapping[str, Any] | DictConfig) -> str:
    """The name of the device of this process: with `engine.distributed` the GPU of its number, where there are any.

    Raises:
        UsageError: there are none, and one is asked for.
    """
    name = str(engine["device"])
    if not engine["distributed"] or name == "cpu":
        return name
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cuda" and not count:
        raise UsageError("engine.device: got 'cuda', expected auto or cpu: torch sees no GPU here")
    return chosen("auto", os.environ, count)


def group(engine: DictConfig) -> Group:
    """The processes that train the run, within `joined`."""
    import torch

    from ppl_vae.training.group import Group, group_of

    return group_of(True, torch.device(device_of(engine))) if engine.distributed else Group()


@contextlib.contextmanager
def _once() -> Iterator[None]:
    """Take a signal that comes again at once for the same one: the terminal and the launcher both send it."""
    from ppl_vae.training.signals import GRACE

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    last = [-GRACE]
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def receive(number: int, frame: FrameType | None) -> None:
        again, last[0] = time.monotonic() - last[0] < GRACE, time.monotonic()
        handler = before[signal.Signals(number)]
        if not again and callable(handler):
            handler(number, frame)

    for number, handler in before.items():
        if callable(handler):
            signal.signal(number, receive)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
