"""The law of command lines on a seeded sample; `python -m tests.cli.command_lines` searches for longer."""

from tests.cli.command_lines import Generator, Outcome, Workshop, broken, search


def test_a_sample_keeps_the_law(tmp_path):
    """40 of them: an exit code of the contract, one message, no traceback, nothing left, what was typed is used."""
    found = search(40, 20, tmp_path / "w", lambda text: None)
    assert not found, "\n".join(f"{' '.join(words)}: {why}\n{said}" for words, why, said in found)


def test_equal_seeds_give_equal_lines():
    assert [Generator(3).line() for _ in range(3)] == [Generator(3).line() for _ in range(3)]


def test_the_law_tells_what_breaks_it(tmp_path):
    """It can fail: on exit codes, tracebacks, several messages, litter, and a config that is not what was typed."""
    good = Outcome(["train", "x=1"], 2, "", "ppl-vae train: no\n")
    assert not broken(good)
    breaks = {
        "exit code": Outcome(["train"], 3, "", "ppl-vae train: no\n"),
        "a traceback": Outcome(["train"], 1, "", "Traceback (most recent call last)\n"),
        "0 messages": Outcome(["train"], 1, "", "no\n"),
        "2 messages": Outcome(["train"], 1, "", "ppl-vae train: no\nppl-vae train: no\n"),
        "a message of": Outcome(["train"], 1, "", "ppl-vae train: no\n" + "x\n" * 9),
        "results": Outcome(["train"], 1, "{}", "ppl-vae train: no\n"),
        "left": Outcome(["train"], 2, "", "ppl-vae train: no\n", ["outputs"]),
        "a run in": Outcome(["train"], 0, "", "", ["outputs/None_digits/1/run.json"], config="{}"),
        "trainer.epochs=3 trained": Outcome(
            ["train", "trainer.epochs=3"], 0, "", "", ["a/run.json"], config="trainer: {epochs: 2}"
        ),
    }
    for why, done in breaks.items():
        assert broken(done).startswith(why), (why, broken(done))


def test_the_folder_is_the_same_each_time(tmp_path):
    shop = Workshop(tmp_path / "w")
    before = shop.fresh()
    assert shop.call(["generate", "run=run", "n=2", "figures=false"]).code == 0
    assert shop.contents() != before
    assert shop.fresh() == before
