"""`python -m benchmarks.families`: every family at equal budget, held against the plain VAE on the same test data.

Each row of `FAMILIES` is what `ppl-vae train` is told, so that a row can be repeated by typing it. All have the same
data, epochs, batches, optimizer and seeds; nothing is tuned. Weights are those of the best validation bound. −log p(x)
of the test data is by importance sampling (exact where a sum is), in nats per datum; the gain is that of the plain VAE
minus that of the family, datum by datum. Of its two errors one is over test data, the other over seeds.

Rows that the results file has are kept where their command is the same: a run that was cut off goes on.
"""

import argparse
import csv
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.race import ROOT
from benchmarks.versions import conditions

BASELINE = "vae"

FAMILIES = {
    BASELINE: "model=vae guide=amortized",
    "full_rank": "model=vae guide=full_rank",
    "iaf": "model=vae guide=iaf",
    "derived": "model=vae guide=derived",
    "mixture_prior": "model=vae guide=amortized prior=mixture",
    "flow_prior": "model=vae guide=amortized prior=flow",
    "autoregressive_prior": "model=vae guide=amortized prior=autoregressive",
    "vamp": "model=vamp guide=vamp",
    "gmvae": "model=gmvae guide=gmvae",
    "gamma": "model=gamma guide=gamma",
    "discrete": "model=discrete guide=discrete",
    "quantized": "model=quantized guide=quantized model.levels=[8,5,5,5]",
    "vq": "model=vq guide=vq model.codes=16 model.positions=3",
    "autoregressive": "model=autoregressive guide=amortized",
    "iwae": "model=vae guide=amortized objective=iwae",
    "miwae": "model=vae guide=amortized objective=miwae",
    "conv": "model=conv guide=conv",
    "bottom_up": "model=hierarchical guide=bottom_up",
    "top_down": "model=hierarchical guide=top_down",
    "ladder": "model=hierarchical guide=ladder",
    "conv_hierarchy": "model=conv_hierarchy guide=conv_ladder",
}


def command(family: str, dataset: str, epochs: int, particles: int, more: Sequence[str]) -> list[str]:
    """What `ppl-vae` is told, but for the seed and the folder."""
    common = [f"dataset={dataset}", f"trainer.epochs={epochs}", f"results.num_particles={particles}"]
    return ["train", *shlex.split(FAMILIES[family]), *common, *more]


def trained(words: Sequence[str], seed: int) -> dict[str, Any]:
    """−log p(x) of each test datum, with the seconds of processor time that training and evaluation took."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        quiet = ["results.figures=false", "results.posterior=false", "format=json"]
        before = _spent()
        done = subprocess.run(
            [sys.executable, "-m", "ppl_vae", *words, f"seed={seed}", f"hydra.run.dir={run}", *quiet],
            check=False,
            capture_output=True,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        if done.returncode:
            raise SystemExit(f"ppl-vae {shlex.join(words)}\n{done.stderr}")
        seconds = _spent() - before
        with (run / "evaluation" / "test" / "table.csv").open() as file:
            nll = [float(row["nll"]) for row in csv.DictReader(file)]
        summary = json.loads((run / "evaluation" / "test" / "summary.json").read_text())
        return {"nll": nll, "elbo": summary["elbo"], "seconds": seconds, "parameters": _parameters(run)}


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _parameters(run: Path) -> int:
    """Numbers that are trained, each once where model and guide share it."""
    from ppl_vae import Run

    return sum(p.numel() for p in Run.load(run).vae.parameters())


def row(words: Sequence[str], runs: Sequence[dict[str, Any]], baseline: Sequence[Sequence[float]]) -> dict[str, Any]:
    """What is kept of a family's runs, a seed each, beside the baseline's −log p(x), `(seeds, data)`."""
    nll = np.array([one["nll"] for one in runs])
    gain = np.array(baseline)[: len(nll)] - nll
    return {
        "command": ["ppl-vae", *words],
        "seeds": len(runs),
        "nll": nll.mean(),
        "nll_se": _error(nll.mean(0)),
        "gain": gain.mean(),
        "gain_se": _error(gain.mean(0)),
        "gain_se_seeds": _error(gain.mean(1)) if len(runs) > 1 else None,
        "elbo": float(np.mean([one["elbo"] for one in runs])),
        "seconds": float(np.mean([one["seconds"] for one in runs])),
        "parameters": runs[0]["parameters"],
    }


def _error(values: Any) -> float:
    return float(np.std(values, ddof=1) / len(values) ** 0.5)


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The rows as Markdown."""
    head = "| family | −log p(x) | gain over `vae` | error over data | over seeds | parameters | seconds |"
    lines = [head, "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for name, one in rows.items():
        seeds = "" if one["gain_se_seeds"] is None else f"{one['gain_se_seeds']:.2f}"
        gain = ["", "", ""] if name == BASELINE else [f"{one['gain']:+.2f}", f"{one['gain_se']:.2f}", seeds]
        cells = [f"{one['nll']:.2f} ± {one['nll_se']:.2f}", *gain, f"{one['parameters']:,}", f"{one['seconds']:.0f}"]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Train what is asked for and not there yet; write after every row."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.families", description=__doc__)
    parser.add_argument("--only", nargs="*", choices=FAMILIES, default=list(FAMILIES), metavar="FAMILY")
    parser.add_argument("--dataset", default="digits", help="an option of ppl-vae's dataset group")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--particles", type=int, default=1000)
    parser.add_argument("--more", nargs="*", default=[], help="further words for ppl-vae train, the same for all")
    parser.add_argument("--results", type=Path, help="the file, benchmarks/results/families_DATASET.json by default")
    chosen = parser.parse_args()
    path = chosen.results or ROOT / "benchmarks" / "results" / f"families_{chosen.dataset}.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"results": {}, "baseline": []}
    for name in sorted({BASELINE, *chosen.only}, key=list(FAMILIES).index):
        words = command(name, chosen.dataset, chosen.epochs, chosen.particles, chosen.more)
        has = kept["results"].get(name, {})
        if has.get("command") == ["ppl-vae", *words] and has["seeds"] >= chosen.seeds:
            continue
        print(f"{name}: ppl-vae {shlex.join(words)}", file=sys.stderr, flush=True)
        runs = [trained(words, seed) for seed in range(chosen.seeds)]
        if name == BASELINE:  # what other rows were compared with is gone
            kept = {"results": {}, "baseline": [[round(nll, 4) for nll in one["nll"]] for one in runs]}
        kept["results"][name] = row(words, runs, kept["baseline"])
        kept["results"] = {name: kept["results"][name] for name in FAMILIES if name in kept["results"]}
        kept |= {"date": time.strftime("%Y-%m-%d"), **conditions()}
        path.write_text(json.dumps(kept, indent=None, separators=(",", ":")).replace('},"', '},\n"') + "\n")
    print(table(kept["results"]))


if __name__ == "__main__":
    main()
