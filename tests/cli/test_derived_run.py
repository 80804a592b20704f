"""Generated models with a derived guide: trained from the command line, loaded again, and drawn."""

from dataclasses import replace

import numpy as np
import pyro
import pytest
import torch

import ppl_vae as pv
from tests.guides import gaussian


@pytest.mark.parametrize("seed", [15, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (0, 54))])
def test_it_survives_a_run_directory(seed, cli):
    """Models with further plates and odd names: the same draws; and a picture."""
    p = replace(gaussian.generate(seed), mask=None, masked="", scaled="", weight=1.0)
    assert len(p.dims) > 1
    folder = cli("--help").folder
    (folder / f"mine_{seed}.py").write_text(gaussian.IMPORTS + gaussian.source(p))
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(40, p.x.shape[1])).astype("float32"))
    words = [f"model._target_=mine_{seed}.model", "guide=derived", "guide.hidden=[4]", "guide.family=full_rank"]
    words += ["dataset=npy", "dataset.path=x.npy", "trainer.epochs=1", "results.posterior=false"]
    words += [f"results.figures={seed == 0}".lower()]
    called = cli("train", *words, "results.num_particles=2", "hydra.run.dir=run")
    assert called.code == 0, called.err
    assert (folder / "run" / "figures" / "dependencies.png").exists() == (seed == 0), called.err
    values = []
    for _ in range(2):
        run = pv.Run.load(folder / "run")
        (x,) = run.data.test.batch()
        pyro.set_rng_seed(0)
        trace = pyro.poutine.trace(run.vae.guide).get_trace(x)
        values.append({n: s["value"] for n, s in trace.nodes.items() if s["type"] == "sample"})
    latents = {s.name for s in p.sites if s.column is None}
    assert latents <= values[0].keys()
    assert all(torch.equal(values[0][n], values[1][n]) for n in latents)
