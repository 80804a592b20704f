"""Counts of single cells: held-out bounds of `model=counts` and of scvi-tools on the same cells, the same sizes.

    python -m benchmarks.counts --scvi PYTHON      # of an environment with scvi-tools; without --scvi, ours alone

Cells are simulated: negative binomial counts of 200 genes, four kinds of cells, two batches that shift proportions.
Both train on 1,600 cells for 200 epochs with Adam, one hidden layer of 128, ten latents, no normalization, no dropout
and no warm-up. The bound and the evidence (by importance samples) are of 400 other cells, in nats per cell.
"""

import argparse
import json
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import ppl_vae as pv
from benchmarks.race import ROOT
from benchmarks.versions import conditions

TRAIN, TEST, GENES = 1600, 400, 200
EPOCHS, BATCH, PARTICLES = 200, 128, 100


def simulate(seed: int = 0) -> dict[str, np.ndarray]:
    """Counts `(cells, genes)` with the batch and the kind of each cell, and the law that they are drawn from."""
    rng = np.random.default_rng(seed)
    cells = TRAIN + TEST
    kind, batch = rng.integers(4, size=cells), rng.integers(2, size=cells)
    logits = rng.normal(0, 1, GENES) + rng.normal(0, 0.7, (4, GENES))[kind] + rng.normal(0, 0.3, (2, GENES))[batch]
    proportions = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    size = rng.lognormal(np.log(1000), 0.4, cells)[:, None]
    r = rng.gamma(4, 0.75, GENES)
    counts = rng.poisson(rng.gamma(r, size * proportions / r)).astype("float32")
    return {"counts": counts, "batch": batch, "kind": kind}


def ours(
    cells: dict[str, np.ndarray], likelihood: str, dispersion: str, seed: int, *, own_start: bool = True
) -> tuple[float, float]:
    """ELBO and log evidence per held-out cell; from our own start, at the mean of the data, or from scvi-tools'."""
    parts = [{"x": cells["counts"][part], "batch": cells["batch"][part]} for part in (slice(TRAIN), slice(TRAIN, None))]
    data = pv.datasets.from_arrays(parts[0], None, parts[1], categories=["batch"])
    torch.manual_seed(seed)
    kind = {"nb": pv.likelihoods.NegativeBinomial, "zinb": pv.likelihoods.ZeroInflatedNegativeBinomial}[likelihood]
    spec = data.spec if own_start else replace(data.spec, mean=None)
    model = pv.models.Counts(spec, kind(spec), latent_dim=10, hidden=[128], dispersion=dispersion)
    if not own_start:
        torch.nn.init.normal_(model.log_r)
    vae = pv.VAE(model, pv.guides.CountsAmortized(data.spec, model, hidden=[128]))
    pv.fit(vae, data.train, epochs=EPOCHS, batch_size=BATCH, seed=seed, progress=False)
    found = pv.evaluate(vae, data.test, num_particles=PARTICLES, seed=seed).summary
    return found["elbo"], -found["nll"]


def theirs(
    python: str, cells: dict[str, np.ndarray], likelihood: str, dispersion: str, seed: int
) -> tuple[float, float]:
    """The same of scvi-tools, in its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "cells.npz", **cells)
        told = {"likelihood": likelihood, "dispersion": dispersion, "seed": seed, "train": TRAIN, "epochs": EPOCHS}
        told |= {"batch": BATCH, "particles": PARTICLES, "cells": str(Path(folder) / "cells.npz")}
        worker = ROOT / "benchmarks" / "workers" / "scvi_counts.py"
        called = subprocess.run([python, str(worker), json.dumps(told)], check=True, capture_output=True, text=True)
    elbo, evidence, *_ = json.loads(called.stdout.splitlines()[-1])
    return elbo, evidence


def baseline(cells: dict[str, np.ndarray]) -> float:
    """Log-likelihood per held-out cell of the best negative binomial of each gene by itself, given library sizes."""
    counts = torch.as_tensor(cells["counts"], dtype=torch.float64)
    size = counts.sum(1, keepdim=True)
    train, test = slice(TRAIN), slice(TRAIN, None)
    share = (counts[train].sum(0) / size[train].sum()).log()
    log_r = torch.zeros(GENES, dtype=torch.float64, requires_grad=True)
    logits = share.clone().requires_grad_(True)

    def law(part: slice) -> torch.Tensor:
        return pv.distributions.NegativeBinomialLog(size[part].log() + logits, log_r).log_prob(counts[part]).sum(1)

    optimizer = torch.optim.LBFGS([log_r, logits], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = -law(train).mean()
        value.backward()
        return value

    optimizer.step(loss)
    return float(law(test).detach().mean())


def told(values: list[float]) -> str:
    """Mean ± standard error over seeds."""
    return f"{np.mean(values):9.2f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.2f}"


def main() -> None:
    """Train both, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.counts", description=__doc__)
    parser.add_argument("--scvi", help="Python of an environment with scvi-tools")
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    cells = simulate()
    rows: dict[str, dict[str, list[float]]] = {}
    others = ["ppl_vae, started as scvi-tools is", "scvi-tools"] if chosen.scvi else []
    for likelihood, dispersion in (("nb", "gene"), ("zinb", "gene_batch")):
        for who in ("ppl_vae", *others):
            started = time.perf_counter()
            found = [
                theirs(chosen.scvi, cells, likelihood, dispersion, seed)
                if who == "scvi-tools"
                else ours(cells, likelihood, dispersion, seed, own_start=who == "ppl_vae")
                for seed in range(chosen.seeds)
            ]
            elbo, evidence = ([pair[i] for pair in found] for i in (0, 1))
            rows[f"{who}, {likelihood}, {dispersion}"] = {"elbo": elbo, "evidence": evidence}
            seconds = time.perf_counter() - started
            figures = f"ELBO {told(elbo)}  log evidence {told(evidence)}  {seconds:.0f} s"
            print(f"{who:33} {likelihood:4} {dispersion:10} {figures}", flush=True)
    rows["one negative binomial a gene, given library sizes"] = {"evidence": [baseline(cells)]}
    print(f"one negative binomial a gene, given library sizes: {rows[next(reversed(rows))]['evidence'][0]:.2f}")
    kept = {"date": time.strftime("%Y-%m-%d"), "seeds": chosen.seeds, **conditions(), "results": rows}
    (ROOT / "benchmarks" / "results" / "counts.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
