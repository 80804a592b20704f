"""Judge many programs: the table by feature, and every kind of wrong program, shrunk."""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import multiprocessing
import re
import time
from collections import Counter, defaultdict
from pathlib import Path

import torch

from .compare import Verdict, judge
from .features import features
from .generate import generate
from .printing import source
from .program import Program
from .shrink import shrink

KINDS = ("right", "partly", "refused", "wrong")


def one(seed: int) -> tuple[int, set[str], Verdict]:
    """Judge the program of a seed."""
    torch.set_num_threads(1)
    program = generate(seed)
    try:
        return seed, features(program), judge(program)
    except Exception as error:  # of the oracle or the comparer: the program counts as wrong until that is mended
        return seed, features(program), Verdict(crashed={"the comparer": f"{type(error).__name__}: {error}"})


def table(results: list[tuple[int, set[str], Verdict]]) -> str:
    """Tried, right, refused, wrong: by feature, in Markdown."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for _, found, verdict in results:
        for name in ["**all**", *found, *(["Pyro's own ELBO runs it"] if verdict.pyro else [])]:
            counts[name]["tried"] += 1
            counts[name][verdict.kind] += 1
    lines = [
        "| feature | tried | right | partly right | refused | wrong |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in sorted(counts, key=lambda n: (not n.startswith("*"), not n.startswith("Pyro"), n)):
        c = counts[name]
        lines.append(f"| {name} | {c['tried']} | " + " | ".join(str(c[kind]) for kind in KINDS) + " |")
    return "\n".join(lines)


def reasons(results: list[tuple[int, set[str], Verdict]]) -> str:
    """Why programs were refused, most often first."""
    why: Counter[str] = Counter()
    for _, _, verdict in results:
        for part, message in verdict.refused.items():
            lines = [line for line in message.split("\n") if line.startswith("error:")] or [message.split("\n")[0]]
            for line in lines:
                why[f"{part}: " + _anonymous(line)[:150]] += 1
    return "\n".join(f"{n:6d}  {text}" for text, n in why.most_common(60))


def _anonymous(line: str) -> str:
    line = re.sub(r"<program -?\d+>:\d+", "…", line)
    return re.sub(r"'[a-z]\d?\w*'", "'…'", line)


def standalone(program: Program, verdict: Verdict, title: str) -> str:
    """A program that can be run by itself, with what was expected and what came."""
    comment = "\n".join(f"# {line}".rstrip() for line in [title, *str(verdict).split("\n")])
    data = "batch" if "," in source(program).split("batch = (")[1].split(",)")[0] else "batch[0]"
    return f"""{comment}
{source(program)}
if __name__ == "__main__":
    print("objective", objective(vae, batch, total=total))
    summary = pv.evaluate(vae, {data}, 2000).summary
    print("evaluate", {{name: summary[name] for name in ("elbo", "nll", "kl", "reconstruction", "gap")}})
"""


def keep(path: Path, result: tuple[int, set[str], Verdict]) -> None:
    """Append a verdict to a file of them."""
    seed, found, verdict = result
    row = {"seed": seed, "program": fingerprint(seed), "features": sorted(found)}
    line = json.dumps({**row, "verdict": dataclasses.asdict(verdict)})
    with path.open("a") as file:
        file.write(line + "\n")


def fingerprint(seed: int) -> str:
    """Tells whether the generator still writes the same program for a seed."""
    return hashlib.sha1(repr(generate(seed)).encode()).hexdigest()[:12]


def read(path: Path | None) -> list[tuple[int, set[str], Verdict]]:
    """The verdicts of a file; wrong programs, and those that the generator writes otherwise now, are judged again."""
    if path is None or not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [r for r in rows if not (r["verdict"]["wrong"] or r["verdict"]["crashed"])]
    rows = [r for r in {r["seed"]: r for r in rows}.values() if r["program"] == fingerprint(r["seed"])]
    return [(r["seed"], set(r["features"]), Verdict(**r["verdict"])) for r in rows]


BEGIN, END = "<!-- numbers -->", "<!-- end of numbers -->"


def put(path: Path, text: str) -> None:
    """Write a file, or what stands between two marks of a page that has them."""
    page = path.read_text() if path.exists() else ""
    if BEGIN in page:
        text = page[: page.index(BEGIN) + len(BEGIN)] + "\n\n" + text + "\n" + page[page.index(END) :]
    path.write_text(text)


def main(argv: list[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.generated", description=__doc__)
    parser.add_argument("count", type=int, help="how many programs")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no program after so many seconds")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--shrink", type=int, default=10, help="how many kinds of wrong programs to shrink and print")
    parser.add_argument("--wrong", type=Path, help="a folder for the shrunk programs")
    parser.add_argument("--table", type=Path, help="a file or page for the table")
    parser.add_argument("--kept", type=Path, help="a file of verdicts, with which a search that was ended goes on")
    options = parser.parse_args(argv)
    began, results = time.time(), read(options.kept)
    done = {seed for seed, _, _ in results}
    seeds = [seed for seed in range(options.start, options.start + options.count) if seed not in done]
    with contextlib.ExitStack() as stack:
        judged = map(one, seeds)
        if options.workers > 1:
            pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(options.workers))
            judged = pool.imap_unordered(one, seeds, chunksize=2)
        for result in judged:
            results.append(result)
            if options.kept:
                keep(options.kept, result)
            if result[2].kind == "wrong":
                print(f"program {result[0]}: {result[2]}", flush=True)
            elif len(results) % 200 == 0:
                print(f"{len(results)} programs, {time.time() - began:.0f} s", flush=True)
            if time.time() - began > options.seconds:
                break
    results.sort(key=lambda r: r[0])
    text = table(results)
    seconds = time.time() - began
    print(text)
    print("\nRefused because:\n" + reasons(results))
    wrong = [r for r in results if r[2].kind == "wrong"]
    runnable = [v for _, _, v in results if v.pyro]
    right = sum(v.kind == "right" for v in runnable)
    share = f"{right} ({right / max(len(runnable), 1):.0%})"
    summary = (
        f"{len(results)} programs (seeds {results[0][0]} to {results[-1][0]}): {len(wrong)} wrong. "
        f"Pyro's own ELBO runs {len(runnable)} of them; of these {share} are right in every number."
    )
    print(f"\n{summary}\n{seconds:.0f} s")
    if options.table:
        put(options.table, f"{summary}\n\n{text}\n")
    kinds: dict[str, int] = {}
    for seed, _, verdict in wrong:
        kinds.setdefault(verdict.signature(), seed)
    for signature, seed in list(kinds.items())[: options.shrink]:
        program, verdict = shrink(generate(seed), judge(generate(seed)))
        text = standalone(program, verdict, f"{signature} (program {seed}, shrunk)")
        print(f"\n{text}", flush=True)
        if options.wrong:
            options.wrong.mkdir(parents=True, exist_ok=True)
            name = hashlib.sha1(signature.encode()).hexdigest()[:6]
            (options.wrong / f"{name}.py").write_text(text)
    return 1 if wrong else 0
