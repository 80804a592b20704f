"""What sweeps of thousands of runs cost beside training: looking at jobs, listing, comparing, files on the disk.

The runs are a few real ones, many times over, each with a seed and a learning rate of its own.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.race import ROOT

RUNS = int(os.environ.get("BENCH_RUNS", "2000"))
MADE = ("trainer.epochs=20", "results.num_particles=1", "results.figures=false", "results.posterior=false")
LOOK = """
import resource, sys
from ppl_vae.__main__ import main
from ppl_vae.cli import alike

class Configs(alike.Configs):
    def __init__(self, compose, jobs):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        super().__init__(compose, jobs)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_utime - before, file=sys.stderr)
        raise SystemExit(0)

alike.Configs = Configs
main()
"""
BEGIN = """
import resource, sys
from pathlib import Path
from ppl_vae.cli.sweep import beginning

sweep = Path(sys.argv[1])
beginning(sweep / "1", 1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
for number in range(2, 12):
    beginning(sweep / str(number), number)
print((resource.getrusage(resource.RUSAGE_SELF).ru_utime - before) / 10, file=sys.stderr)
"""


@dataclass
class Scale:
    """CPU seconds by what is done, of all runs of the sweep or of one job; bytes and files of a run's folder."""

    seconds: dict[str, float]
    bytes: int
    files: int

    def __str__(self) -> str:
        lines = [f"A sweep of {RUNS} runs, CPU seconds"]
        lines += [f"  {name:<46} {value:9.3f}" for name, value in self.seconds.items()]
        return "\n".join([*lines, f"  the folder of a run: {self.bytes / 1e6:.2f} MB in {self.files} files"])

    def as_dict(self) -> dict[str, object]:
        """Everything, for JSON."""
        return {"runs": RUNS, "seconds": self.seconds, "bytes": self.bytes, "files": self.files}


def run(rounds: int, clock: str, only: str | None = None) -> Iterator[Scale]:
    """One round, in CPU time, whatever is asked: nothing here is shorter than noise."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        told(here, "-m", "ppl_vae", "train", "-m", "seed=range(4)", *MADE, "hydra.sweep.dir=made")
        multiply(here / "made", here / "outputs" / "scale" / "many")
        files = [path for path in (here / "made" / "0").rglob("*") if path.is_file()]
        many = here / "outputs" / "scale" / "many"
        look = told(here, "-c", LOOK, "train", "-m", f"seed=range({RUNS})", *MADE, "hydra.sweep.dir=looked")[1]
        begin = told(here, "-c", BEGIN, str(many))[1]
        yield Scale(
            {
                "look at all jobs before the first": float(look.split()[-1]),
                "what a job says when it begins, a job": float(begin.split()[-1]),
                "ppl-vae sweeps": told(here, "-m", "ppl_vae", "sweeps")[0],
                "ppl-vae compare": told(here, "-m", "ppl_vae", "compare", f"sweep={many}", "group=[optimizer.lr]")[0],
            },
            sum(path.stat().st_size for path in files),
            len(files),
        )


def told(folder: Path, *words: str) -> tuple[float, str]:
    """CPU seconds of a process of Python, and what it said on standard error."""
    single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *words],
        check=True,
        capture_output=True,
        cwd=folder,
        env=os.environ | single | {"PYTHONPATH": path},
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stderr


def multiply(sweep: Path, many: Path) -> None:
    """Make a sweep of `RUNS` runs of a small one: what they share is linked."""
    many.mkdir(parents=True)
    plan = json.loads((sweep / "sweep.json").read_text())
    planned, plan["jobs"] = plan["jobs"], []
    for number in range(RUNS):
        source, run = sweep / str(number % len(planned)), many / str(number)
        seed, rate = number // 5, (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)[number % 5]
        own = [f"seed={seed}", f"optimizer.lr={rate}", *MADE]
        for path in source.rglob("*"):
            target = run / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file() and path.name not in ("run.json", "config.yaml"):
                os.link(path, target)
        record = json.loads((source / "run.json").read_text())
        (run / "run.json").write_text(json.dumps(record | {"job": number, "seed": seed, "overrides": own}))
        config = (source / "config.yaml").read_text().replace("lr: 0.001\n", f"lr: {rate}\n")
        (run / "config.yaml").write_text(config.replace(f"\nseed: {number % len(planned)}\n", f"\nseed: {seed}\n"))
        plan["jobs"].append({**planned[0], "number": number, "overrides": own})
    (many / "sweep.json").write_text(json.dumps(plan))
