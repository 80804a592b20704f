"""Sweeps as frames, made by hand."""

import numpy as np
import pandas as pd

from ppl_vae.sweeps.gather import Gathered


def gathered(rows, *, tables=None, data=None, curves=None):
    """Rows of `state`, `keys`, `figures` and perhaps `reason`, `no_evidence`; the state is finished by default."""
    index = pd.RangeIndex(len(rows), name="job")
    keys = pd.DataFrame([r["keys"] for r in rows], index=index, dtype=object)
    states = [
        {"state": r.get("state", "finished"), "run": str(i), **{k: r.get(k) for k in ("reason", "no_evidence")}}
        for i, r in enumerate(rows)
    ]
    return Gathered(
        keys=keys.where(keys.notna(), None),
        figures=pd.DataFrame([r.get("figures", {}) for r in rows], index=index).astype(float),
        states=pd.DataFrame(states, index=index, dtype=object),
        curves=curves or {},
        tables=tables or {},
        data=data or dict.fromkeys(tables or {}, "same"),
    )


def betas(seeds=3, data=60):
    """β = 0.1 wins by its own bound; β = 1 has the best ELBO, β = 2 the same but for noise."""
    rng = np.random.default_rng(0)
    base = rng.normal(20, 2, data)
    rows, tables = [], {}
    shifts = 0.05 * rng.normal(size=seeds)  # a seed is lucky with every β
    for beta, elbo, bound in ((0.1, -31.0, -20.0), (1.0, -26.0, -26.0), (2.0, -26.01, -27.0)):
        for seed in range(seeds):
            shift = shifts[seed] + 0.003 * rng.normal()
            test = -base + elbo + 20 + shift + 0.1 * rng.normal(size=data)
            tables[len(rows)] = pd.DataFrame({"elbo": test, "nll": -test - 0.1})
            figures = {
                "validation/elbo": elbo + shift, "validation/bound": bound, "test/elbo": test.mean(),
                "test/nll": -test.mean() - 0.1, "test/num_particles": 100.0, "epochs": 5.0, "seconds": 1.0 + beta,
            }  # fmt: skip
            rows.append({"keys": {"objective.beta": beta, "seed": seed}, "figures": figures})
    return rows, tables
