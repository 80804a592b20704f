"""The attacks themselves: a few of each, which find nothing; and that they would, of what is broken on purpose."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.torture import damage, hostile, kills, kinds, warm
from tests.torture.__main__ import MARK, main, told, write
from tests.torture.child import in_child
from tests.torture.kinds import Case
from tests.torture.outcome import Outcome, of_others, table

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked and watched as Linux does")


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """A run of somebody else, without what takes time to make."""
    warm.warm()
    folder = tmp_path_factory.mktemp("bases")
    warm.run(folder, folder / "author", *warm.PLAIN, "trainer.epochs=1")
    return folder


# --- what is counted


def test_the_table_says_what_was_tried_and_found(tmp_path):
    found = Outcome("kills", "kills", 3, 1, 1, {"lost": 0})
    assert found.sound
    found.breach("lost", "here <b>")
    assert not found.sound
    page = tmp_path / "page.md"
    page.write_text(f"before\n{MARK}\nNot run yet.\n{MARK}\nafter\n")
    write(page, [found], "the command")
    text = page.read_text()
    assert text.startswith(f"before\n{MARK}\n")
    assert text.endswith(f"{MARK}\nafter\n")
    assert "| kills | 3 kills | 1 | 1 | lost 1 |" in text
    assert "&lt;b>" in text
    write(page, [Outcome("damaged files", "files", 5, 1, 4, {"silent": 0}, when="today")], "another")
    text = page.read_text()
    assert "| kills | 3 kills | 1 | 1 | lost 1 |" in text  # the row of an attack stays until it is made again
    assert "&lt;b>" in text
    assert "| damaged files | 5 files | 1 | 4 | silent 0 | today |" in text
    write(page, [Outcome("kills", "kills", 4, 0, 4, {"lost": 0})], "again")
    assert "| kills | 4 kills | 0 | 4 | lost 0 |  |" in page.read_text()
    assert "&lt;b>" not in page.read_text()
    assert "Not run yet" not in text
    assert "the command" in told([found], "the command")

    class Others:
        tried, refused, right, undocumented, hangs = 9, 4, 3, ["a", "b"], []

    other = of_others("calls", "calls", Others(), 50)
    assert other.broken == {"undocumented": 2, "hangs": 0}
    assert "undocumented 2, hangs 0" in table([other])


def test_there_are_enough_kinds_each_with_a_name_and_what_it_tries(capsys):
    every = kinds.kinds()
    assert len(every) > 500
    assert all(kind.tries for kind in every)
    assert main(["--kinds"]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= len(every)


def test_secrets_are_found_in_base64_too():
    import base64

    for shift in range(6):
        text = base64.b64encode(b"q" * shift + kinds.SECRET.encode() + b"rest")
        assert any(form in text for form in kinds.forms(kinds.SECRET))


def test_every_kind_can_be_made(bases, tmp_path):
    """A sample, and those of the run alone: what no attack is made of tests nothing."""
    quick = [k for k in kinds.kinds() if k.of == "run" and not any(word in k.name for word in LARGE)]
    for number, kind in enumerate(quick[::25]):
        case = hostile.prepare(kind, tmp_path / str(number), _with_all(bases, tmp_path / "all"))
        assert (case.outside / "secret.txt").exists(), kind.name
        shutil.rmtree(tmp_path / str(number))


LARGE = ("MB", "million", "100,000", "hundred thousand", "HDF5", "bomb", "300,000", "page", "tables", "laughs")


def _with_all(bases, folder):
    """The run with empty files in the place of those that it has not."""
    if not folder.exists():
        warm.copied(bases / "run", folder / "run")
        for name in ("posterior.csv", "posterior.nc", "metrics.csv"):
            (folder / "run" / name).write_text("")
    return folder


# --- a few attacks, and what would be found


FEW = ("benign: a run", "called: torch.utils.collect_env.run", "called: yaml.unsafe_load", "pipe: config.yaml",
       "YAML: python/object/apply", "resolver: oc.env as name", "modules: of the run")  # fmt: skip


def test_a_few_hostile_runs_are_data(bases):
    found = hostile.attack([k for k in kinds.kinds() if k.name in FEW], ("load",), bases=bases)
    assert found.tried == len(FEW)
    assert found.sound, found.findings


def test_code_that_runs_and_files_that_are_touched_would_be_found(tmp_path):
    """An opener that believes everything."""
    case = Case(tmp_path)
    for folder in ("sent/run", "outside", "cwd"):
        (tmp_path / folder).mkdir(parents=True)
    kind = kinds.Kind("x", "x", lambda case: None)
    before = hostile._outside(case.outside)

    def verdict(task):
        watch = hostile.Watch(tmp_path / "cwd", hostile=(case.sent,), writable=(case.sent,), fence=tmp_path)
        laws = [law for law, _ in hostile.judged(kind, "evaluate", case, before, in_child(task, watch))]
        case.mark.unlink(missing_ok=True)
        return laws

    assert verdict(lambda: 0) == []
    assert "code run" in verdict(lambda: os.system(case.shell))
    assert "outside touched" in verdict(lambda: (case.outside / "target").write_text("x"))
    (case.outside / "target").unlink()
    assert verdict(lambda: (case.run / "page.html").write_text(kinds.MARKUP)) == ["code run"]
    (case.run / "page.html").unlink()
    assert verdict(lambda: (case.run / "a.csv").write_text(kinds.SECRET)) == ["secrets told"]
    (case.run / "a.csv").unlink()
    assert verdict(lambda: print(kinds.ESCAPE)) == ["code run"]
    assert verdict(lambda: print("KeyError; HYDRA_FULL_ERROR=1 shows the traceback", file=sys.stderr)) == [
        "undocumented"
    ]


def test_damage_is_what_it_says_and_other_numbers_would_be_found():
    import random

    old, other = b"seed: 12\nlr: 0.5\n" * 9, b"seed: 13\nlr: 0.7\n" * 9
    for name, kind in damage.KINDS.items():
        new = {kind(old, other, other[:40], random.Random(n)) for n in range(20)}
        assert any(n != old for n in new), name
    seen = in_child(lambda: None, damage.Watch(Path.cwd()))
    one = damage.Undamaged("1")

    def verdict(**value):
        return damage.judged("a/run.json", "record", value, one, seen)[0]

    assert verdict(value="1") == "right"
    assert verdict(value="2") == "silent"
    assert verdict(value="2", warned="run.json is damaged") == "told"
    assert verdict(told="Got a/run.json …") == "told"
    assert verdict(told="it is damaged") == "unnamed"
    assert verdict(raw="KeyError: 1") == "undocumented"


def test_a_striker_ends_the_process_before_the_operation(tmp_path):
    def task():
        striker = kills.Striker(tmp_path / "run", at)
        striker.install()
        (tmp_path / "run").mkdir(exist_ok=True)
        descriptor = os.open(tmp_path / "run" / "a", os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, b"content")
        os.replace(tmp_path / "run" / "a", tmp_path / "run" / "b")
        return striker.log

    at = None
    watch = kills.Watch(tmp_path)
    log = in_child(task, watch).value
    assert [line.split()[0] for line in log] == ["open", "write", "os.rename"] or log[0].startswith("os.mkdir")
    states = []
    for at in range(len(log)):  # noqa: B007 - the task reads it
        shutil.rmtree(tmp_path / "run")
        (tmp_path / "run").mkdir()
        seen = in_child(task, watch)
        states.append((seen.ended, sorted(p.name for p in (tmp_path / "run").iterdir())))
    assert [ended for ended, _ in states][:3] == ["signal 9"] * 3
    assert states[0][1] == []
    assert ("signal 9", ["a"]) in states


@pytest.mark.slow
def test_a_few_kills():
    found = kills.attack(6, 1, only=("train", "evaluate"))
    assert found.sound, found.findings


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # what a run says aloud is no error
def test_a_few_damaged_files():
    found = damage.attack(6, 1)
    assert found.sound, found.findings


@pytest.mark.slow
def test_more_hostile_directories():
    from tests.torture.__main__ import sampled

    found = hostile.attack(sampled(8, 1), ("load", "evaluate"))
    assert found.sound, found.findings


@pytest.mark.slow
def test_new_interpreters_run_nothing_of_a_directory():
    found = hostile.attack([kind for kind in kinds.kinds() if kind.cold][::5], None)
    assert found.tried >= 4
    assert found.sound, found.findings
