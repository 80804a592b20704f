"""Damage is told: a file of a run, changed anywhere, is refused by name where it is read, or no result is another.

The law, for any damage of any file: what the run gives is what it gave before, to the bit, or a `DamagedError` names
the file. It is searched for over flipped bits, missing pieces and blocks of zeros.
"""

import functools
import itertools
import json
import os
import random
import shutil
import warnings

import pytest

import ppl_vae as pv
from ppl_vae.errors import DamagedError, RunError
from ppl_vae.files import manifest
from ppl_vae.runs import checkpoints, recorder
from ppl_vae.runs.files import write_atomically
from ppl_vae.runs.metrics import parsed, rows_of, to_line
from ppl_vae.runs.recorder import RunWriter, read_record
from ppl_vae.runs.run import Run
from ppl_vae.training import Store
from tests.training.pairs import dataset, identical, interrupt_at, pair, rows, train, weights


class Stop(Exception):
    """Ends a run after an epoch."""


def stop_after(epoch):
    def callback(row):
        if row["epoch"] == epoch:
            raise Stop

    return callback


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run with what verbs make in it."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    vae = pair()
    history = train(vae, directory, epochs=4, keep="best")
    data = dataset().test if len(dataset().test) else dataset().validation
    pv.evaluate(vae, data, 8).save(directory / "evaluation" / "test")
    pv.posterior(vae, data[:3], draws=5, path=directory / "posterior.nc")
    return directory, vae, history


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole[0], tmp_path / "run")


def seen(directory):
    """All that is read from a run, as plain values."""
    from ppl_vae.cli.artifacts import latest_evaluation

    run = Run.load(directory, vae=pair(9))
    found = {
        "record": run.record,
        "status": run.status,
        "metrics": run.metrics.to_json(),
        "recipe": run.recipe,
        "reference": [t.tolist() for t in run.reference],
        "weights": {k: v.tolist() for k, v in weights(run.vae).items()},
        "evaluation": str(latest_evaluation(run)),
    }
    if (directory / "posterior.nc").exists():
        posterior = run.posterior()
        groups = posterior.groups() if callable(posterior.groups) else posterior.children
        found["posterior"] = {g: str(posterior[g].to_dict() if hasattr(posterior[g], "to_dict") else 0) for g in groups}
    state = checkpoints.last(directory)
    before = checkpoints._read(directory / "checkpoints" / "previous.safetensors")
    found["states"] = state.told, str(state.state), str(before)
    found["manifest"] = manifest.entries(directory)
    return found


def files_of(directory):
    return sorted(p for p in directory.rglob("*") if p.is_file() and p.name not in (".lock", "units.csv"))


def damages(content, number, generator):
    """So many kinds of damage of a file: a flipped bit above all."""
    for _ in range(number):
        at, kind = generator.randrange(len(content)), generator.randrange(8)
        if kind < 5:
            yield content[:at] + bytes([content[at] ^ 1 << generator.randrange(8)]) + content[at + 1 :]
        elif kind == 5:
            yield content[:at]
        elif kind == 6:
            yield content[:at] + bytes(len(content[at : at + 512])) + content[at + 512 :]
        else:
            yield content[:at] + generator.randbytes(3) + content[at:]


def tried(read):
    """What is read, and how that was refused."""
    try:
        return read(), ""
    except RunError as error:
        return None, str(error)


def searched(directory, each):
    """Damage every file so many times; give what was neither told nor without consequence."""
    generator, expected, silent, count = random.Random(0), seen(directory), [], 0
    for path in files_of(directory):
        content = path.read_bytes()
        for damaged in damages(content, each, generator):
            if damaged == content:
                continue
            path.write_bytes(damaged)
            count += 1
            found, told = tried(lambda: seen(directory))
            if found is None:
                assert path.name in told, (path, told)
            elif found != expected and path.name not in found["states"][0]:
                silent.append((path.name, [k for k in found if found[k] != expected[k]]))
        path.write_bytes(content)
    assert seen(directory) == expected
    return silent, count


def test_a_few_damages_are_told(run):
    silent, count = searched(run, 3)
    assert count > 30
    assert silent == []


@pytest.mark.slow
def test_a_thousand_damages_are_told(run):
    (run / "posterior.nc").unlink()  # read as a whole like the tables, and slowly
    silent, count = searched(run, 110)
    assert count > 1000
    assert silent == []


@pytest.mark.slow
def test_damages_of_a_run_that_was_killed_are_told_by_its_going_on(tmp_path, repository):
    """No manifest is there, and the run is gone on with: it ends with the same bits, or a file is named."""
    begun = tmp_path / "begun"
    with pytest.raises(Stop):
        train(pair(), begun, epochs=4, callbacks=[stop_after(3)])
    (begun / "error.txt").unlink()
    (begun / "manifest.json").unlink(missing_ok=True)
    expected = train(vae := pair(), tmp_path / "whole", epochs=4)
    generator, told = random.Random(1), 0
    for path in files_of(begun):
        content = path.read_bytes()
        for damaged in damages(content, 8, generator):
            here = shutil.copytree(begun, tmp_path / "here")
            (here / path.relative_to(begun)).write_bytes(damaged)
            again = pair(4)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=f".*{path.name}")
                history, why = tried(functools.partial(train, again, here, epochs=4, resume=True))
            if history is None:
                assert path.name in why, (path, why)
                told += 1
            else:
                assert rows(history) == rows(expected), path
                assert identical(weights(again), weights(vae)), path
            shutil.rmtree(here)
    assert told > 10


# --- two states to go on from
# ------------------------------------------------------------------------------------------------------------------


def interrupted(directory, epoch=3):
    with pytest.raises(Stop):
        train(pair(), directory, callbacks=[stop_after(epoch)])
    return directory


def flip(path, at=-9):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_of_a_damaged_state_the_one_before_it_is_taken_and_this_is_said_aloud(tmp_path):
    here = interrupted(tmp_path / "run")
    flip(Store(here).last)
    vae = pair(5)
    with pytest.warns(UserWarning, match=r"last\.safetensors that is not what was written.*previous.*after epoch 2"):
        history = train(vae, here, resume=True)
    expected = train(other := pair(), tmp_path / "whole")
    assert rows(history) == rows(expected)
    assert identical(weights(vae), weights(other))
    for name in ("model.safetensors", "checkpoints/last.safetensors", "checkpoints/previous.safetensors"):
        assert (here / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_the_state_before_is_that_after_the_epoch_before(tmp_path):
    train(pair(), tmp_path / "run", epochs=3)
    train(pair(), tmp_path / "shorter", epochs=2)
    before, last = Store(tmp_path / "run").previous.read_bytes(), Store(tmp_path / "run").last.read_bytes()
    assert before == Store(tmp_path / "shorter").last.read_bytes() != last


def test_an_interruption_within_an_epoch_leaves_the_state_before_as_it_is(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(pair(), tmp_path / "run", objective=interrupt_at(10), epochs=4)
    train(pair(), tmp_path / "run", epochs=4, resume=True)
    train(pair(), tmp_path / "whole", epochs=4)
    for name in ("last", "previous"):
        path = f"checkpoints/{name}.safetensors"
        assert (tmp_path / "run" / path).read_bytes() == (tmp_path / "whole" / path).read_bytes(), name


@pytest.mark.parametrize("kept", ["last", "best"])
def test_damaged_weights_are_taken_from_a_state_of_their_epoch(kept, tmp_path):
    here = tmp_path / "run"
    with pytest.raises(Stop):
        train(pair(), here, keep=kept, callbacks=[stop_after(3)])
    expected = (here / "model.safetensors").read_bytes()
    flip(here / "model.safetensors")
    with pytest.raises(DamagedError, match=r"model\.safetensors.*resume="):
        _ = Run.load(here, vae=pair()).vae
    told = r"model\.safetensors.*They are taken from .*last\.safetensors"
    with pytest.warns(UserWarning, match=told), pytest.raises(Stop):
        train(pair(), here, keep=kept, resume=True, callbacks=[stop_after(4)])
    train(pair(), tmp_path / "whole", epochs=4, keep=kept)
    assert expected != (here / "model.safetensors").read_bytes()
    assert (here / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()


def test_damaged_weights_that_no_state_has_are_told(run):
    flip(run / "model.safetensors")
    store = Store(run)
    assert store.load()["epoch"] == 4
    assert store.load_best(3)[1].endswith("previous.safetensors.")
    with pytest.raises(DamagedError, match=r"No checkpoint is of their epoch, which is 2\."):
        store.load_best(2)
    assert store.load_best(None)[0] is None


def test_damaged_weights_of_a_finished_run_are_mended_to_the_bit(run):
    expected = (run / "model.safetensors").read_bytes()
    flip(run / "model.safetensors")
    assert Store(run).mend().endswith("last.safetensors.")
    assert (run / "model.safetensors").read_bytes() == expected
    assert Store(run).mend() == ""
    assert Run.load(run, vae=pair()).vae is not None


# --- lines of metrics
# ------------------------------------------------------------------------------------------------------------------

ROWS = [{"epoch": n, "step": 4 * n, "train/kl/z{1}": -1.5 / n, "lr": float("nan"), "seconds": 0.25} for n in (1, 2, 3)]
TEXT = "".join(map(to_line, ROWS)).encode()


def same(found, expected):
    return json.dumps(found) == json.dumps(expected)


def test_lines_come_back():
    assert same(parsed(TEXT, "f"), ROWS)
    assert same(parsed("".join(to_line(r, check=False) for r in ROWS).encode(), "f"), ROWS)  # of earlier versions


def test_wherever_the_last_line_is_torn_the_others_are_read():
    start = TEXT[:-1].rindex(b"\n") + 1
    for end in range(start, len(TEXT) - 1):
        assert same(parsed(TEXT[:end], "f"), ROWS[:2] if end < len(TEXT) - 1 else ROWS), TEXT[start:end]
    assert same(parsed(TEXT[:-1], "f"), ROWS)  # torn before the line break alone: the row is whole
    assert same(parsed(TEXT[: start + 20] + b"\0" * 30, "f"), ROWS[:2])  # a power cut


def test_every_flipped_bit_of_a_line_is_told_but_for_times():
    for at in range(len(TEXT)):
        for bit in range(8):
            text = TEXT[:at] + bytes([TEXT[at] ^ 1 << bit]) + TEXT[at + 1 :]
            found, told = tried(lambda text=text: parsed(text, "f"))
            line = TEXT[:at].count(b"\n") + 1
            if found is None:
                assert f"line {line} of f" in told or TEXT[at : at + 1] == b"\n", (at, bit, told)
            else:
                timeless = [{k: v for k, v in row.items() if k != "seconds"} for row in found]
                assert same(timeless, [{k: v for k, v in row.items() if k != "seconds"} for row in ROWS]), (at, bit)


def test_times_are_held_by_the_record_of_a_finished_run(run):
    text = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(text.replace('"seconds": 0', '"seconds": 7', 1))
    with pytest.raises(DamagedError, match=r"metrics\.jsonl"):
        _ = Run(run).metrics


def test_every_reader_tells_a_damaged_line_in_the_middle(run):
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text(lines[0] + lines[1].replace("1", "2", 1) + "".join(lines[2:]))
    for read in (
        lambda: Run(run).metrics,
        lambda: rows_of(run),
        lambda: train(pair(), run, epochs=5, keep="best", resume=True),
    ):
        with pytest.raises(DamagedError, match=r"line 2 of .*metrics\.jsonl"):
            read()


# --- what is gone, and what is no file
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "recipe.json", "metrics.jsonl"])
def test_what_a_finished_run_has_lost_is_told(name, run):
    (run / name).unlink()
    with pytest.raises(DamagedError, match=name):
        seen(run)


PARTS = ["run.json", "model.safetensors", "recipe.json", "metrics.jsonl", "reference.safetensors"]
PARTS += ["evaluation/test/table.csv", "evaluation/test/summary.json", "posterior.nc", "manifest.json"]


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_nothing_waits_for_a_pipe_and_nothing_is_read_through_a_link(name, run, tmp_path):
    shutil.move(run / name, tmp_path / "elsewhere")
    for put in (lambda p: os.mkfifo(p), lambda p: p.symlink_to(tmp_path / "elsewhere"), lambda p: p.mkdir()):
        put(run / name)
        with pytest.raises(RunError, match=name.rsplit("/", 1)[-1] + "|not a run directory"):
            seen(run)
        (run / name).rmdir() if (run / name).is_dir() and not (run / name).is_symlink() else (run / name).unlink()


def test_another_whole_file_in_its_place_is_told(run, tmp_path):
    train(pair(1), tmp_path / "other", epochs=4, keep="best")
    shutil.copy(tmp_path / "other" / "model.safetensors", run / "model.safetensors")
    with pytest.raises(DamagedError, match=r"model\.safetensors"):
        seen(run)


def test_runs_without_checksums_open(run):
    """As those of earlier versions are; what was kept since then is left out."""
    from safetensors.torch import load_file, save_file

    (run / "manifest.json").unlink()
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({k: v for k, v in record.items() if k not in ("checksum", "sums")}))
    tensors = load_file(run / "model.safetensors")
    header = {"ppl_vae": json.dumps({"epoch": 1, "state": {k: {"$tensor": k} for k in tensors}})}
    save_file(tensors, run / "model.safetensors", header)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (run / "metrics.jsonl").write_text("".join(json.dumps({k: r[k] for k in r if k != "check"}) + "\n" for r in rows))
    assert len(seen(run)["metrics"]) > 100


# --- the record and the config are those of one run
# ---------------------------------------------------------------------------------------------


def begun(directory, seed, *, resume=False):
    with RunWriter(directory, resume=resume) as writer:
        writer.start({"seed": seed})
        writer.begin()
        writer.end("finished", result={"validation/elbo": -float(seed)})


@pytest.mark.parametrize("name", ["run.json", "config.yaml"])
def test_the_record_of_another_run_is_told(name, tmp_path):
    for seed in (1, 2):
        begun(tmp_path / str(seed), seed)
    shutil.copy(tmp_path / "2" / name, tmp_path / "1" / name)
    with pytest.raises(DamagedError, match=r"run\.json that goes with another config"):
        read_record(tmp_path / "1")
    assert read_record(tmp_path / "2")["result"] == {"validation/elbo": -2.0}


def test_a_config_that_is_replaced_goes_with_its_record_at_every_moment(tmp_path, monkeypatch):
    """Killed at any file that a run which goes on with another config replaces."""

    class Killed(BaseException):
        pass

    begun(tmp_path / "whole", 1)
    kills = 0
    for places in itertools.product(range(5), repeat=2):  # twice, with a third config the second time
        run = shutil.copytree(tmp_path / "whole", tmp_path / str(places))
        for seed, at in enumerate(places, 2):
            left = [at]

            def dies(*args, left=left, **kwargs):
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
                return write_atomically(*args, **kwargs)

            with monkeypatch.context() as patch:
                patch.setattr(recorder, "write_atomically", dies)
                try:
                    begun(run, seed, resume=True)
                except Killed:
                    kills += 1
            assert read_record(run)["status"] in ("running", "finished")
        begun(run, 4, resume=True)
        assert read_record(run)["result"] == {"validation/elbo": -4.0}
    assert kills == 40


def test_what_a_file_has_replaced_is_told(run):
    path = run / "evaluation" / "test" / "summary.json"
    before = path.read_bytes()
    write_atomically(path, before.replace(b'"seed": 0', b'"seed": 1'))
    assert manifest.read(path) != before
    path.write_bytes(before)
    with pytest.raises(DamagedError, match=r"summary\.json"):
        manifest.read(path)
