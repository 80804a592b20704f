"""`python -m benchmarks [NAME …] [--rounds N] [--clock cpu]`: run benchmarks, print ratios, keep results."""

import argparse
import importlib
import json
import os
import time

from benchmarks.race import ROOT
from benchmarks.versions import conditions

NAMES = ("training_step", "epoch", "evidence", "startup", "growth", "throughput", "scale", "products")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)}, or NAME/SETUP; all by default")
    parser.add_argument("--rounds", type=int, default=7, help="blocks of each contender")
    parser.add_argument("--clock", choices=["seconds", "cpu"], default="seconds", help="cpu: on a busy machine")
    parser.add_argument("--device", default="cpu", help="cuda: training_step and evidence on a GPU")
    parser.add_argument("--together", action="store_true", help="set contenders up at once, each on its core")
    chosen = parser.parse_args()
    os.environ["BENCH_DEVICE"] = chosen.device
    if chosen.together:
        os.environ["BENCH_TOGETHER"] = "1"
    for name in chosen.names or NAMES:
        name, _, only = name.partition("/")
        benchmark = importlib.import_module(f"benchmarks.{name}")
        found = []
        for result in benchmark.run(chosen.rounds, chosen.clock, only or None):
            print(result, flush=True)
            print(flush=True)
            found.append(result.as_dict())
        told = "-".join([name, *filter(None, [only, chosen.device if chosen.device != "cpu" else ""])])
        where = ROOT / "benchmarks" / "results" / f"{told}.json"
        where.parent.mkdir(exist_ok=True)
        when = time.strftime("%Y-%m-%d")
        kept = {"date": when, "rounds": chosen.rounds, "clock": chosen.clock, **conditions(), "results": found}
        where.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
