"""Two processes train one run: parameters, metrics and files are one process's; they end together, however that is."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ppl_vae as pv
from ppl_vae.training import Store
from tests.training import pairs, ranks

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
EQUAL = [f"{family}#0" for family in ranks.FAMILIES]
EQUAL += [f"{family}#1" for family in ("batch norm and dropout", "importance weighted", "global latents")]


def environment(**told: str) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **told}


def torchrun(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", *words]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=500, check=False)


def by_hand(folder: Path, name: str) -> list[subprocess.CompletedProcess[str]]:
    """The two processes without a launcher, which would end one as soon as the other has failed."""
    port = str(20000 + os.getpid() % 20000)
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.ranks", str(folder), name],
            env=environment(RANK=str(r), LOCAL_RANK=str(r), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for r in range(2)
    ]
    ended = []
    for process in started:
        out, err = process.communicate(timeout=200)
        ended.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    return ended


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes have done all cases."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "resumed").mkdir()
    ranks.resumed(folder / "resumed", 2, accumulate=2)
    ends = [name for name in ranks.ENDS if name != "killed"]
    called = torchrun("-m", "tests.training.ranks", str(folder), *EQUAL, *ends, *ranks.SKIPPED, "resumed", cwd=folder)
    assert called.returncode == 0, called.stderr[-4000:]
    return folder


def found(folder: Path, name: str) -> list[dict]:
    return [torch.load(folder / name.replace(" ", "_") / f"{r}.pt", weights_only=False) for r in range(2)]


@pytest.mark.parametrize("name", EQUAL)
def test_two_processes_train_as_one_does(done: Path, name: str) -> None:
    """Against one process that takes the same shares: to 1e-6, in metrics and parameters."""
    first, second = found(done, name)
    assert all(torch.equal(a, second["weights"][k]) for k, a in first["weights"].items())
    assert first["rows"] == second["rows"]
    vae, data, options = ranks.equal(name, distributed=False)
    history = pairs.quiet(vae, data, **options)
    for key, value in vae.state_dict().items():
        torch.testing.assert_close(first["weights"][key], value, atol=1e-6, rtol=1e-6)
    assert len(history.rows) == len(first["rows"])
    for row, expected in zip(first["rows"], pairs.rows(history), strict=True):
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-6)
    shares = options["accumulate"]
    assert first["compiled"] == f"{history.compiled} on 2 processes"
    here = done / name.replace(" ", "_")
    assert not (here / "1").exists()
    record = json.loads((here / "0" / "run.json").read_text())
    assert (record["processes"], record["shares"], record["status"]) == (2, shares, "finished")


def test_global_latents_are_scaled_as_on_the_whole_batch(done: Path) -> None:
    """Their noise is each row's own: two processes are one that takes no shares at all."""
    for name in (n for n in EQUAL if n.startswith("global")):
        vae, data, options = ranks.equal(name, distributed=False)
        pairs.quiet(vae, data, **(options | {"accumulate": 1}))
        for key, value in vae.state_dict().items():
            torch.testing.assert_close(found(done, name)[0]["weights"][key], value, atol=1e-10, rtol=0)


def test_goes_on_on_another_number_of_processes(done: Path) -> None:
    """1 → 2 → 1: two epochs, one on two processes, two more, in shares that stay."""
    vae = ranks.resumed(done / "resumed", 5, accumulate=2)
    expected = pairs.pair(dropout=True)
    pairs.train(expected, done / "unbroken", accumulate=4)
    assert distance(vae, expected) > 1e-3  # four shares are another run than two …
    expected = pairs.pair(dropout=True)
    pairs.train(expected, done / "unbroken in two", accumulate=2)
    assert distance(vae, expected) < 1e-6
    with pytest.raises(pv.errors.RunError, match="accumulate 3 to go on"):
        ranks.resumed(done / "resumed", 6, accumulate=3)


def distance(one: pv.VAE, other: pv.VAE) -> float:
    return max(float((a - b).detach().abs().max()) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", ["sigterm", "sigint"])
def test_a_signal_to_one_stops_all_in_a_state_to_go_on_from(done: Path, name: str) -> None:
    for told in found(done, name):
        assert told["status"] == "interrupted"
    here = done / name
    assert not (here / "of rank 1").exists()
    assert json.loads((here / "run" / "run.json").read_text())["status"] == "interrupted"
    assert Store(here / "run").load()["step"] == 9
    vae = pairs.pair(dropout=True)
    pairs.train(vae, here / "run", resume=True)
    expected = pairs.pair(dropout=True)
    pairs.train(expected, here / "unbroken", accumulate=2)
    assert distance(vae, expected) < 1e-6


@pytest.mark.parametrize(
    ("name", "errors", "words"),
    [
        ("error", ["RanksError", "LookupError"], "Rank 1 of 2 failed, and so the run ends on all of them: .*boom"),
        ("error on the first", ["LookupError", "RanksError"], "Rank 0 of 2 failed, .*boom"),
        ("first step", ["RanksError", "LookupError"], "Rank 1 of 2 failed, .*boom"),
        ("callback", ["LookupError", "RanksError"], "Rank 0 of 2 failed, .*boom"),
        ("nan", ["NonFiniteError"] * 2, "not finite at bound .* in epoch"),
        ("other data", ["ArgumentError"] * 2, "Got data.train.content.sha256 .* on rank 0 and .* on rank 1"),
        ("other settings", ["ArgumentError"] * 2, "Got batch_size 20 on rank 0 and 21 on rank 1"),
        ("more processes than shares", ["CheckError"] * 2, "Got 2 shares of a batch .*, which has 1 data"),
        ("no mean", ["CheckError"] * 2, "under BetaTCVAE"),
    ],
)
def test_what_fails_on_one_ends_all(done: Path, name: str, errors: list[str], words: str) -> None:
    told = found(done, name)
    assert [t["error"] for t in told] == errors, told
    assert all(t["status"] == "failed" for t in told)
    assert any(re.search(words, t["text"]) for t in told), told
    assert told[0]["step"] == told[1]["step"]
    record = done / name.replace(" ", "_") / "run" / "run.json"
    assert not record.exists() or json.loads(record.read_text())["status"] == "failed"


def test_a_callback_of_the_first_stops_all(done: Path) -> None:
    assert [told["status"] for told in found(done, "stopped")] == ["stopped early"] * 2
    state = Store(done / "stopped" / "run").load()
    assert (state["epoch"], state["stopped"]) == (2, True)


@pytest.mark.parametrize("name", ranks.SKIPPED)
def test_all_skip_a_step_that_is_not_finite_on_one(done: Path, name: str) -> None:
    first, second = found(done, name)
    assert all(torch.equal(a, second["weights"][k]) for k, a in first["weights"].items())
    assert first["rows"] == second["rows"]
    vae, history = ranks.skipped(name, distributed=False)
    assert history.skipped > 1
    assert [row["skipped"] for row in first["rows"]] == history["skipped"]
    assert [row["lr_factor"] for row in first["rows"]] == history["lr_factor"]
    for key, value in vae.state_dict().items():
        torch.testing.assert_close(first["weights"][key], value, atol=1e-6, rtol=1e-6)


def test_a_nan_is_found_where_one_process_finds_it(done: Path) -> None:
    from tests.training.row_noise import data, pair

    with pytest.raises(pv.errors.NonFiniteError) as alone:
        pairs.quiet(
            pair(), data(), ranks.Bad(data()[17]), epochs=5, batch_size=16, seed=3, optimizer=pairs.adam, accumulate=2
        )
    assert alone.value.step == found(done, "nan")[0]["step"]


def test_one_that_is_killed_is_missed(tmp_path: Path) -> None:
    first, second = by_hand(tmp_path, "killed")
    assert second.returncode == -9
    assert first.returncode == 0, first.stderr
    told = torch.load(tmp_path / "killed" / "0.pt", weights_only=False)
    assert told["error"] == "RanksError"
    assert "Got no answer from another process of the run: it was killed" in told["text"]
    vae = pairs.pair(dropout=True)
    pairs.train(vae, tmp_path / "killed" / "run", resume=True)
    expected = pairs.pair(dropout=True)
    pairs.train(expected, tmp_path / "unbroken", accumulate=2)
    assert distance(vae, expected) < 1e-6


def test_the_script_on_the_page_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "distributed.md").read_text()
    script = re.search(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert script is not None
    (tmp_path / "script.py").write_text(script[1])
    called = torchrun("script.py", cwd=tmp_path)
    assert called.returncode == 0, called.stderr[-2000:]
    assert called.stdout.strip() == "eager: 10 steps do not pay for a capture; each batch in 2 shares on 2 processes"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["processes"] == 2
