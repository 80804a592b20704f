"""Runs a minute of a sweep by each launcher, everything included: from the shell to the last result.

The same jobs (seeds 0, 1, … of the default pair on digits) one launcher after the other, round by round, each in a
folder of its own. Wall time is what a user waits for; CPU time, of all processes, holds on a busy machine too.
"""

import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.race import ROOT

JOBS, EPOCHS = int(os.environ.get("BENCH_JOBS", "32")), int(os.environ.get("BENCH_EPOCHS", "20"))
RESULTS = ("results.figures=false", "results.posterior=false")
LAUNCHERS = {
    "basic": (),
    "joblib, 2 workers": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "batched": ("hydra/launcher=batched",),
    "batched, 1 process": ("hydra/launcher=batched", "hydra.launcher.workers=1"),
    "Ray, 2 cores": ("hydra/launcher=ray", "hydra.launcher.ray.init.num_cpus=2"),  # last: its processes end slowly
}
PLUGINS = {
    "joblib, 2 workers": "hydra_plugins.hydra_joblib_launcher",
    "Ray, 2 cores": "hydra_plugins.hydra_ray_launcher",
}


@dataclass
class Throughput:
    """Seconds of a whole sweep by launcher, a number per round."""

    title: str
    wall: dict[str, list[float]]
    cpu: dict[str, list[float]]

    def __str__(self) -> str:
        lines = [
            f"{self.title}",
            f"  {'':<20} {'runs a minute':>14} {'CPU s a run':>12} {'× basic':>9} {'× basic, CPU':>13}",
        ]
        for name in self.wall:
            wall, cpu = min(self.wall[name]), min(self.cpu[name])
            faster = min(self.wall["basic"]) / wall, min(self.cpu["basic"]) / cpu
            lines.append(f"  {name:<20} {60 * JOBS / wall:14.1f} {cpu / JOBS:12.2f} {faster[0]:9.2f} {faster[1]:13.2f}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, object]:
        """Everything, for JSON."""
        return {"title": self.title, "jobs": JOBS, "epochs": EPOCHS, "wall": self.wall, "cpu": self.cpu}


def run(rounds: int, clock: str, only: str | None = None) -> Iterator[Throughput]:
    """One sweep by each launcher that is installed, `rounds` times; both clocks always."""
    launchers = {name: words for name, words in LAUNCHERS.items() if _is_here(PLUGINS.get(name))}
    for particles in (1, 1000) if only is None else (int(only),):
        wall: dict[str, list[float]] = {name: [] for name in launchers}
        cpu: dict[str, list[float]] = {name: [] for name in launchers}
        for _ in range(rounds):
            for name, words in launchers.items():
                seconds = sweep(words, particles)
                wall[name].append(seconds[0])
                cpu[name].append(seconds[1])
        title = f"{JOBS} runs of {EPOCHS} epochs on digits, test evidence by {particles} particles"
        yield Throughput(title, wall, cpu)


def _is_here(plugin: str | None) -> bool:
    if plugin is None:
        return True
    return importlib.util.find_spec("hydra_plugins") is not None and importlib.util.find_spec(plugin) is not None


def sweep(words: tuple[str, ...], particles: int) -> tuple[float, float]:
    """Wall and CPU seconds of one sweep in a fresh process, with one thread a process."""
    single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    told = (f"seed=range({JOBS})", f"trainer.epochs={EPOCHS}", f"results.num_particles={particles}", *RESULTS)
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "ppl_vae", "train", "-m", *told, f"hydra.sweep.dir={folder}/sweep", *words]
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            command, check=True, capture_output=True, cwd=folder, env=os.environ | single | {"PYTHONPATH": path}
        )
        seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
