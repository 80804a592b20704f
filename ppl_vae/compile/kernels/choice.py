"""The faster of two matrix products on this processor: measured once, then kept by processor.

torch multiplies by MKL, which uses half of the vector width of some processors. Whether something else is faster is
told by a short measurement, not by who made the processor; and because another product rounds otherwise, and equal
runs should give equal numbers, what came of it is kept and holds for all later runs on such a processor.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ppl_vae.files.cache import cache_folder

Size = Literal["small", "large"]

SHAPES: dict[Size, tuple[tuple[int, int, int], ...]] = {
    "small": ((32, 784, 64), (64, 200, 128)),
    "large": ((128, 784, 400), (500, 200, 200)),
}
"""Data, and elements before and after a layer, whose three products (forward, and both gradients) are timed."""

GAIN = 0.85
"""The share of torch's time that another product may take at most to be taken. Where processors were seen to differ it
is 0.5 or 1: a machine that is busy must not tip the scale, for other products have other bits."""

ROUNDS, BLOCK = 10, 3e-4
"""Blocks of each product, and their least seconds; the shortest counts, which other work does not lengthen."""

Product = Callable[[Tensor, Tensor], Any]
"""Takes `(rows, inner)` and `(inner, columns)`."""


def is_faster(size: Size, other: Product, code: str = "") -> bool:
    """True if another product of such sizes is faster than torch's on a core of this processor.

    Args:
        size: small products or large ones.
        other: the other way of multiplying.
        code: of the other one, where that is our own; what was measured with other code does not hold.
    """
    return _kept(size, code, lambda: ratio(size, other)) < GAIN


def ratio(size: Size, other: Product) -> float:
    """Seconds of the other product for each second of torch's, on one thread: several wait for busy cores."""
    pairs = [pair for shape in SHAPES[size] for pair in _products(*shape)]
    ours = theirs = 0.0
    with torch.inference_mode(), _one_thread():
        for left, right in pairs:
            own, torchs = shortest(functools.partial(other, left, right), functools.partial(torch.mm, left, right))
            ours, theirs = ours + own, theirs + torchs
    return ours / theirs


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def shortest(*works: Callable[[], Any]) -> list[float]:
    """The seconds that each takes, in turn with the others: the shortest of some blocks."""
    seconds = [float("inf")] * len(works)
    for work in works:
        work()  # what is made at the first call is made now
    begun = time.perf_counter()
    works[0]()
    count = max(1, round(BLOCK / max(time.perf_counter() - begun, 1e-7)))
    for _ in range(ROUNDS):
        for i, work in enumerate(works):
            begun = time.perf_counter()
            for _ in range(count):
                work()
            seconds[i] = min(seconds[i], (time.perf_counter() - begun) / count)
    return seconds


def _products(rows: int, before: int, after: int) -> list[tuple[Tensor, Tensor]]:
    """The matrices that a linear layer multiplies in a step, as they lie in memory."""
    generator = torch.Generator().manual_seed(0)
    x, weight, gradient = (
        torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")
        for shape in ((rows, before), (after, before), (rows, after))
    )
    return [(x, weight.t()), (gradient.t(), x), (gradient, weight)]


# --- kept by processor
# --------------------------------------------------------------------------------------------------------------------

_here: dict[str, float] = {}
"""What this process has measured or read, so that it answers alike even where nothing can be kept."""


def _kept(size: Size, code: str, measure: Callable[[], float]) -> float:
    """The ratio that was measured first on such a processor, by whichever process."""
    told = {"processor": processor(), "torch": torch.__version__, "size": size, "code": code}
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:20]
    if key not in _here:
        try:
            path = cache_folder("products") / f"{key}.json"
        except RuntimeError:  # nobody's home
            _here[key] = measure()
            return _here[key]
        found = _read(path)
        if found is None:
            measured = measure()
            _write_first(path, {**told, "code": hashlib.sha256(code.encode()).hexdigest(), "ratio": measured})
            found = _read(path)
        _here[key] = measured if found is None else found
    return _here[key]


def _read(path: Path) -> float | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8")[:10_000])["ratio"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, float) else None


def _write_first(path: Path, entry: dict[str, Any]) -> None:
    """Write a file that is not there yet: the process that comes first is believed by the others."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with contextlib.suppress(OSError):  # a home that cannot be written is measured in again
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(json.dumps(entry, indent=1) + "\n", encoding="utf-8")
            if _read(path) is None:  # a file that cannot be read is in the way
                path.unlink(missing_ok=True)
            os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@functools.cache
def processor() -> str:
    """A name for this kind of processor, as far as its products go."""
    capability = torch.backends.cpu.get_cpu_capability()
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return f"{platform.machine()} {platform.processor()} {capability}"
    lines = dict(line.split(":", 1) for line in first.splitlines() if ":" in line)
    values = {key.strip(): value.strip() for key, value in lines.items()}
    named = [values.get(key, "") for key in ("vendor_id", "model name", "cpu family", "model", "stepping")]
    return f"{platform.machine()} {' '.join(named)} {capability}"
