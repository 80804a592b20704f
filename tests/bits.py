"""Whether two states of the code train to equal bits: `python -m tests.bits COMMIT` prints a table.

Every family, objective, estimator, likelihood and way to take a step that `conf/` has is trained for two epochs on a
few hundred digits, once with the code of COMMIT and once with that of the working tree, through the command line alone:
what it is made of may have moved in between. Equal means that every tensor of the best weights, and every line of the
history but its times, is the same to the bit. Bits are a matter of one machine: nothing is stored.
"""

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GUIDES = {
    "autoencoder": ["deterministic"],
    "conditional": ["conditional"],
    "conv": ["conv"],
    "conv_hierarchy": ["conv_ladder"],
    "counts": ["counts", "amortized", "derived"],
    "discrete": ["discrete"],
    "quantized": ["quantized"],
    "vq": ["vq"],
    "conv_vq": ["conv_vq"],
    "gamma": ["gamma", "derived"],
    "gmvae": ["gmvae", "derived"],
    "hierarchical": ["bottom_up", "ladder", "top_down"],
    "semi_supervised": ["semi_supervised"],
    "state_space": ["state_space"],
    "tabular": ["tabular"],
    "topics": ["dirichlet"],
    "vae": ["amortized", "full_rank", "iaf", "conv", "derived"],
    "vamp": ["vamp"],
    "burda_1layer": ["burda_1layer"],
    "burda_2layer": ["burda_2layer"],
}
"""The guides of each model; `amortized` for those that are not listed."""

NEEDS = {
    "model=conditional": ["dataset.with_labels=true"],
    "model=semi_supervised": ["dataset.with_labels=true"],
    "model=counts": ["dataset=npz", "dataset.path=counts.npz"],
    "model=state_space": ["dataset=npz", "dataset.path=sequences.npz", "dataset.lengths=lengths"],
    "model=tabular": ["dataset=npz", "dataset.path=table.npz"],
    "model=topics": ["dataset=npz", "dataset.path=counts.npz"],
    "objective=tail_adaptive": ["estimator=pathwise"],
    "estimator=doubly_reparameterized": ["objective=iwae"],
    "estimator=leave_one_out": ["objective.num_particles=4"],
    "estimator=concrete": ["model=discrete", "guide=discrete"],
    "estimator=straight_through": ["model=discrete", "guide=discrete"],
    "likelihood=beta": ["dataset.binarization=none", "dataset.dequantization=uniform"],
    "likelihood=gamma": ["dataset=npz", "dataset.path=positive.npz", "dataset.support=positive"],
    "likelihood=log_normal": ["dataset=npz", "dataset.path=positive.npz", "dataset.support=positive"],
}
COUNTS = ("binomial", "categorical", "discretized_logistic", "negative_binomial", "poisson", "zinb")
"""Likelihoods of whole numbers: digits without scaling."""


def options(group: str) -> list[str]:
    """The options of a group in `conf/`, of the working tree."""
    return sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))


def configurations() -> Iterator[tuple[str, list[str]]]:
    """The kind of each configuration, and its words."""
    for model in options("model"):
        for guide in GUIDES.get(model, ["amortized"]):
            yield "models and guides", [f"model={model}", f"guide={guide}"]
    yield "models and guides", ["model=discrete", "guide=discrete", "model.code=bernoulli"]
    yield "models and guides", ["guide=iaf", "guide.flow=coupling"]
    for prior in ("mixture", "flow"):
        yield "models and guides", [f"model.prior={prior}"]
    for objective in options("objective"):
        yield "objectives", [f"objective={objective}"]
    for estimator in options("estimator"):
        if estimator == "enumerate":
            continue  # every latent of a family, a vector among them: the default does it where it can be done
        yield "estimators", [f"estimator={estimator}"]
    for likelihood in options("likelihood"):
        plain = [] if likelihood in ("auto", "bernoulli") else ["dataset.binarization=none"]
        yield (
            "likelihoods",
            [f"likelihood={likelihood}", *(["dataset.scaling=none"] if likelihood in COUNTS else plain)],
        )
    for group in ("optimizer", "scheduler"):
        for option in options(group):
            yield f"{group}s", [f"{group}={option}"]
    for words in ([], ["objective=iwae"], ["model=hierarchical", "guide=bottom_up"], ["model=gmvae", "guide=gmvae"]):
        yield "recorded steps", [*words, "trainer.compile=export"]
    yield "compiled steps", ["trainer.compile=inductor"]


def whole(words: list[str]) -> list[str]:
    """The words of a configuration with those that they need."""
    more = [w for word in words for w in NEEDS.get(word, [])]
    if any(w.startswith("likelihood=") and w.split("=")[1] in COUNTS for w in words):
        more.append("dataset.binarization=none")
    return [*more, *(w for w in words if w not in more)]


def data(directory: Path) -> None:
    """Write the data that `digits` does not have: word counts, positive numbers, a table, sequences."""
    import numpy as np
    from sklearn.datasets import load_digits

    counts = load_digits().data[:300].astype("int64")
    random = np.random.default_rng(0)
    walks = random.normal(size=(300, 6, 2)).cumsum(1)
    np.savez(directory / "sequences.npz", x=walks, lengths=random.integers(3, 7, 300))
    table = walks[:, 0].astype("float32")
    np.savez(directory / "table.npz", train=table[:200], validation=table[200:250], test=table[250:])
    np.savez(directory / "counts.npz", train=counts[:200], validation=counts[200:250], test=counts[250:])
    positive = counts.astype("float32") * 3 + 0.01
    np.savez(directory / "positive.npz", train=positive[:200], validation=positive[200:250], test=positive[250:])


def fingerprint(words: list[str], directory: Path) -> str:
    """Train one configuration by the code that is imported; a hash of what it leaves, or its error."""
    from safetensors.torch import load_file

    from ppl_vae.cli import main

    short = ["trainer.epochs=2", "trainer.batch_size=64", "results.figures=false", "results.num_particles=2"]
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = main(["train", *whole(words), *short, f"hydra.run.dir={directory}"])
    if code:
        return "error: " + (said.getvalue().strip().splitlines() or ["?"])[-1]
    tensors = load_file(directory / "model.safetensors").values()
    each = sorted(hashlib.sha256(tensor.contiguous().numpy().tobytes()).digest() for tensor in tensors)
    seen = hashlib.sha256(b"".join(each))  # whatever their names, which may have moved
    for line in (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        row = {k: v for k, v in json.loads(line).items() if "second" not in k and "time" not in k}
        seen.update(json.dumps(row, sort_keys=True).encode())
    return seen.hexdigest()[:16]


def fingerprints(only: Iterable[str]) -> None:
    """Print a line of JSON for each configuration, by the code that is imported."""
    out = sys.stdout
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        data(Path(name))
        for number, (kind, words) in enumerate(configurations()):
            if all(word in " ".join(words) for word in only):
                found = fingerprint(words, Path(name) / str(number))
                print(
                    json.dumps({"kind": kind, "words": " ".join(words) or "default", "bits": found}),
                    file=out,
                    flush=True,
                )


def begin(code: Path, only: list[str]) -> "subprocess.Popen[str]":
    """Start taking fingerprints of the code in a directory."""
    environment = {**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__)), "--here", *only]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def main() -> int:
    """Compare, print, and tell by the exit code whether all is equal."""
    parser = argparse.ArgumentParser(prog="python -m tests.bits", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("commit", help="the state to compare the working tree with")
    parser.add_argument("only", nargs="*", help="words that a configuration must hold")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), arguments.commit], check=True)
        try:
            runs = [begin(code, arguments.only) for code in (tree, ROOT)]
            before, after = ([json.loads(line) for line in run.communicate()[0].splitlines()] for run in runs)
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)
    return report(before, after)


def report(before: list[dict[str, str]], after: list[dict[str, str]]) -> int:
    """Print a row for each kind, and every configuration that differs; 1 if there is one."""
    then = {row["words"]: row["bits"] for row in before}
    kinds: dict[str, list[bool]] = {}
    told = []
    for row in after:
        equal = row["bits"] == then.get(row["words"]) and not row["bits"].startswith("error")
        kinds.setdefault(row["kind"], []).append(equal)
        if not equal:
            told.append(f"{row['words']}: {then.get(row['words'], 'not run')} before, {row['bits']} now")
    print("| kind | configurations | equal bits |\n| --- | ---: | ---: |")
    for kind, found in kinds.items():
        print(f"| {kind} | {len(found)} | {sum(found)} |")
    print("\n".join(["", *told]))
    return bool(told) or not after


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        fingerprints(sys.argv[2:])
    else:
        sys.exit(main())
