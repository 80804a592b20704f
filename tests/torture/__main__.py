"""`python -m tests.torture`: every attack, one table, and its page, `docs/reliability.md`; exit code 1 if a law breaks.

python -m tests.torture                       # the long form: an hour or two on two processors
python -m tests.torture --short               # a sample of each, in a few minutes
python -m tests.torture --only kills --seed 3 # one attack; its row of the page is made anew
python -m tests.torture --kinds               # what hostile directories there are, and what each tries
"""

import argparse
import datetime
import importlib
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.torture import damage, hostile, kills, kinds, outcome, warm
from tests.torture.outcome import Outcome

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
MARK = "<!-- torture -->"
HERE = f"{ROOT}/"

SEARCHES = {
    "mutate_data": ("mutated data files", "files", 20_000),
    "mutate_runs": ("mutated run directories", "directories", 4_000),
    "mutate_commands": ("mutated command lines", "command lines", 10_000),
    "hostile_calls": ("calls of public functions", "calls", 16_000),
}
"""Searches for undocumented errors: what each tries, and how many the long form has."""

SHORT = {"kills": 10, "damage": 16, "hostile": 16, "mutations": 60}
SHORT_KILLS = ("train", "sweep", "evaluate")
"""How many of each the short form has, the last for each search."""


def sampled(count: int, seed: int) -> list[kinds.Kind]:
    """Some of the hostile kinds, benign ones always among them."""
    import random

    every = kinds.kinds()
    rest = [kind for kind in every if not kind.benign and not kind.cold]
    return [k for k in every if k.benign][:2] + random.Random(seed).sample(rest, min(count, len(rest)))


def attacks(
    count: int | None, seed: int, *, short: bool, workers: int, say: Callable[[str], None]
) -> dict[str, Callable[[], Outcome]]:
    """All attacks by name, ready to be made.

    Args:
        count: of each; None for as many as the form has.
        seed: of what is chosen by chance.
        short: a sample of each.
        workers: tasks at a time.
        say: is told of each breach as it is found.
    """

    def number(name: str, long: int) -> int:
        return count if count is not None else SHORT.get(name, SHORT["mutations"]) if short else long

    def directories() -> Outcome:
        chosen = sampled(number("hostile", 0), seed) if short or count is not None else kinds.kinds()
        return hostile.attack(chosen, ("load", "evaluate", "compare") if short else None, workers=workers, say=say)

    found: dict[str, Callable[[], Outcome]] = {
        "kills": lambda: kills.attack(
            number("kills", 520), seed, workers=workers, say=say, only=SHORT_KILLS if short else ()
        ),
        "damage": lambda: damage.attack(number("damage", 1_000), seed, workers=workers, say=say),
        "hostile": directories,
    }
    for name, (title, unit, long) in SEARCHES.items():
        try:
            module = importlib.import_module(f"tests.torture.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"tests.torture.{name}":
                raise
            continue

        def search(
            module: object = module, title: str = title, unit: str = unit, name: str = name, long: int = long
        ) -> Outcome:
            made = module.run(number(name, long), seed, workers)  # type: ignore[attr-defined]
            return outcome.of_others(title, unit, made, long)

        found[name] = search
    return found


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()


def told(results: Sequence[Outcome], words: str, before: str = "") -> str:
    """The part of the page between the marks.

    Args:
        results: of attacks that were made now.
        words: the command.
        before: that part as it was: attacks that were not made now keep their rows and findings.
    """
    from ppl_vae.version import __version__

    made = (
        f"The last by `{words}`: ppl_vae {__version__}, Python {platform.python_version()}, {processor()}, "
        f"{os.cpu_count()} cores."
    )
    now = {result.name: outcome.row(result) for result in results}
    rows = {line.split("|")[1].strip(): line for line in before.splitlines() if line.count("|") == WIDTH}
    rows = {name: line for name, line in rows.items() if name not in ("attack", "---")} | now
    every = [title for title, *_ in SEARCHES.values()]
    order = ["kills", "damaged files", "hostile directories", *every]
    kept = [
        line.removeprefix("- ")
        for line in before.splitlines()
        if line.startswith("- ") and line[2:].partition(":")[0] not in now
    ]
    broken = [f"- {line}" for line in [*kept, *outcome.findings(results)]]
    more = (
        [
            "",
            "What was found:",
            "",
            *(line.replace("<", "&lt;").replace("\n", " ").replace(HERE, "") for line in broken),
        ]
        if broken
        else []
    )
    table = [*outcome.HEAD, *(rows[name] for name in sorted(rows, key=order.index))]
    return "\n".join([MARK, "", made, "", *table, *more, "", MARK])


WIDTH = outcome.HEAD[0].count("|")


def write(page: Path, results: Sequence[Outcome], words: str) -> None:
    """Put the results into the page, beside those of attacks that were made before."""
    before, _, rest = page.read_text(encoding="utf-8").partition(MARK)
    there, _, after = rest.partition(MARK)
    page.write_text(before + told(results, words, there) + after, encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Attack, print, keep; 1 where a law was broken."""
    names = ("kills", "damage", "hostile", *SEARCHES)
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, help="of each attack, in place of the form's own")
    parser.add_argument("--short", action="store_true", help="a sample of each, in a few minutes")
    parser.add_argument("--only", action="append", choices=names, help="one attack; may be given again")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="tasks at a time")
    parser.add_argument("--page", type=Path, help="where rows are kept; those of the long form: docs/reliability.md")
    parser.add_argument("--kinds", action="store_true", help="list the hostile directories, each with what it tries")
    chosen = parser.parse_args(argv)
    if chosen.kinds:
        print(hostile.listed())
        return 0
    warm.warm()
    made = attacks(
        chosen.count,
        chosen.seed,
        short=chosen.short,
        workers=chosen.workers,
        say=lambda s: print(s, file=sys.stderr, flush=True),
    )
    results = []
    for name in chosen.only or made:
        if name not in made:
            print(f"{name}: not there", file=sys.stderr)
            continue
        print(f"{name} …", file=sys.stderr, flush=True)
        began = time.monotonic()
        found = made[name]()
        day = datetime.datetime.now(datetime.UTC).date().isoformat()
        found.when = f"{day}, {(time.monotonic() - began) / 60:.0f} min"
        results.append(found)
    print(outcome.table(results))
    print("\n".join(["", *outcome.findings(results)]))
    page = chosen.page or (None if chosen.short or chosen.count is not None else PAGE)
    if page is not None:
        words = re.sub(
            r"\s*--page \S+", "", " ".join(["python -m tests.torture", *(sys.argv[1:] if argv is None else argv)])
        )
        write(page, results, words)
    return 0 if results and all(result.sound for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
