"""What docs/reproducibility.md promises: its table names tests that are there; some had no place elsewhere."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SMALL = ["trainer.epochs=2", "trainer.batch_size=128", "model.hidden=[16]", "guide.hidden=[16]", "model.latent_dim=2"]
SMALL += ["results.posterior=false", "results.figures=false", "results.num_particles=4"]
TIMES = ("seconds",)
ROOT = Path(__file__).resolve().parents[1]


def train(cwd: Path, *words: str, **environment: str) -> Path:
    cwd.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "ppl_vae", "train", *SMALL, *words, "hydra.run.dir=run"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return cwd / "run"


def metrics(run: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def test_each_row_of_the_table_names_tests_that_are_there(repository: Path) -> None:
    text = (repository / "docs" / "reproducibility.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    promised = rows[1 : 1 + next(i for i, row in enumerate(rows[1:]) if "trainer.nonfinite" in row)]
    assert len(promised) > 15
    for row in promised:
        named = re.findall(r"`(tests/\S+?\.py)::(\w+)`", row)
        assert named, row
        for file, test in named:
            assert f"def {test}(" in (repository / file).read_text(encoding="utf-8"), f"{file}::{test}"


@pytest.mark.slow
def test_equal_runs_in_other_processes_have_equal_files(tmp_path: Path) -> None:
    one = train(tmp_path / "one", PYTHONHASHSEED="1")
    other = train(tmp_path / "another" / "folder", PYTHONHASHSEED="2")
    for name in ("model.safetensors", "recipe.json", "reference.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert metrics(one) == metrics(other)
    assert len(metrics(one)) == 2


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="Inductor compiles C++")
def test_a_cold_and_a_warm_compiler_cache_give_equal_bits(tmp_path: Path) -> None:
    code = """
        import functools, hashlib, torch, ppl_vae as pv
        from tests.training.pairs import dataset, pair, quiet, weights
        adam = functools.partial(torch.optim.Adam, lr=0.02)
        vae = pair()
        history = quiet(vae, dataset(), compile="inductor", epochs=3, batch_size=25, optimizer=adam)
        assert history.compiled == "inductor: asked for", history.compiled
        print(hashlib.sha256(b"".join(t.numpy().tobytes() for t in weights(vae).values())).hexdigest())
        """
    told = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
                "OMP_NUM_THREADS": "1",
                "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
            },
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert any((tmp_path / "cache").iterdir())
        told.append(done.stdout.split()[-1])
    assert told[0] == told[1]
