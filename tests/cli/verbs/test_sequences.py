"""`model=state_space` on an npz file with lengths, from training to what is made of a run."""

import json

import numpy as np
import pytest

import ppl_vae as pv

SHORT = (
    "model=state_space", "guide=state_space", "model.hidden=[8]", "guide.width=8", "model.latent_dim=2",
    "trainer.epochs=2", "trainer.compile=off", "results.figures=true", "results.num_particles=2", "results.draws=2",
    "dataset=npz", "dataset.path=walks.npz", "dataset.lengths=steps", "dataset.standardization=zscore",
    "hydra.run.dir=run",
)  # fmt: skip


@pytest.mark.slow
def test_a_run_knows_the_lengths_of_its_data(cli, tmp_path):
    rng = np.random.default_rng(0)
    x, steps = 50 + rng.normal(size=(40, 6, 3)).cumsum(1), rng.integers(1, 7, 40)
    steps[0] = 6
    np.savez(tmp_path / "walks.npz", x=x, steps=steps)
    np.savez(tmp_path / "new.npz", x=x[:3, :4], steps=[4, 1, 2])
    called = cli("train", *SHORT)
    assert called.code == 0, called.err
    assert "validation kl z" in called.out
    assert "kl z_0" not in called.out
    columns = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert [name for name in columns if "kl/" in name] == ["train/kl/z", "validation/kl/z"]
    assert pv.Run.load(tmp_path / "run").spec.time == 6

    called = cli("encode", "run=run", "dataset.path=new.npz")
    assert called.code == 0, called.err
    codes = np.load(tmp_path / "run" / "encoded" / "new.npz")
    assert codes["z"].shape == codes["z_scale"].shape == (3, 6, 2)
    assert (~np.isnan(codes["z"]).any(-1)).sum(1).tolist() == [4, 1, 2]

    called = cli("reconstruct", "run=run", "dataset.path=new.npz")
    assert called.code == 0, called.err
    called = cli("generate", "run=run", "n=3", "given.lengths=[2,5,6]")
    assert called.code == 0, called.err
    made = np.load(tmp_path / "run" / "samples.npz")
    assert (~np.isnan(made["x"]).any(-1)).sum(1).tolist() == [2, 5, 6]
    assert abs(np.nanmean(made["x"]) - 50) < 5  # in the units of the source

    called = cli("encode", "run=run", "dataset.path=long.npz")
    assert called.code != 0
    np.savez(tmp_path / "long.npz", x=x[:3].repeat(2, 1), steps=[12, 1, 2])
    called = cli("encode", "run=run", "dataset.path=long.npz")
    assert "up to 12 steps" in called.err
