"""Command lines by search: legal ones, mutated; the law that each has to keep; the smallest one that breaks it.

`python -m tests.cli.command_lines 2000 [seed]` searches for long; the test beside this file for a short while.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import OmegaConf

from ppl_vae.__main__ import main
from ppl_vae.config import keys, schema, verbs
from ppl_vae.config.signature import additions
from tests.cli.small import SMALL

SECONDS = 20
"""A command line that takes longer is one that runs: what it asked for was legal."""

RUN_VERBS = {
    "evaluate": ("num_particles=4",),
    "posterior": ("draws=3", "data=2", "figures=false"),
    "generate": ("n=3", "figures=false"),
    "calibrate": ("simulations=5", "draws=5", "figures=false"),
    "check": (),
}
"""Verbs on a run, and words that make them quick."""

NUMBERS = (
    "0", "1", "-1", "2", "3", "200", "0.5", "-0.0", "1e3", "1e400", "nan", "inf", "-inf", "0x10", "1_000",
    "007", "99999999999999999999", "1e-400", "+5", "3.0",
)  # fmt: skip
TEXTS = (
    "", "null", "true", "False", "a", "vae", "Vae", "ünï", "日本", "a b", " a", "a ", "'a'", '"a"', "'", '"',
    "\\", "a\\,b", "a'b", "#", "-", "--", "~", "~x", "~nosuchuser/x", "*", "?", "@", "!", "%", "$", "$x", "\n",
    "\t", "a\nb", "\x00", "\x1b[31m", "..", ".", "/", "//", "a/b", "./a", "../a", "a" * 300,
)  # fmt: skip
STRUCTURES = (
    "[]", "{}", "[1]", "[1,2]", "[a,b]", "[[1]]", "[1,", "1]", "[", "]", "{", "}", "{a:1}", "{a:}", "{a}",
    "{_target_:x.y}", "{_target_:ppl_vae.schedules.linear,start:0}", "[{a:1}]", "(1)", "1,2", "a,b", ",", "1,",
    ",1", "range(3)", "choice(1,2)", "choice()", "interval(0,1)", "glob(*)", "sort(3,1)", "int(3.5)", "f(1)",
    "extend_list(1)", "[null]", "[true,0]", "{1:2}", "{a:{b:c}}",
)  # fmt: skip
INTERPOLATIONS = (
    "${seed}", "${nothing}", "${", "${}", "$${x}", "${model}", "${model.latent_dim}", "${hydra:job.name}",
    "${oc.env:HOME}", "${oc.env:NO_SUCH}", "${now:%Y}", "${uid:}", "${name}", "${.x}", "${..x}",
    "${hydra.run.dir}", "${oc.create:[1]}", "${seed", "${f:1}", "${trainer.epochs}",
)  # fmt: skip
TARGETS = (
    "ppl_vae.models.VAE", "ppl_vae.models.Hierarchical", "ppl_vae.guides.Amortized", "torch.optim.SGD",
    "os.system", "torch.nn.Linear", "collections.OrderedDict", "x", "x.y", "ppl_vae", "ppl_vae.", ".ppl_vae",
    "mine.Model", "ppl_vae.objectives.ELBO", "ppl_vae.schedules.linear", "torch.Tensor", "numpy.zeros",
    "pyro.sample",
)  # fmt: skip
GROUPS = (*keys.GROUPS, "estimator.z", "objective.beta", "logger", "trainer", "")
FLAGS = (
    "--cfg=job", "-c", "--help", "-m", "--info", "--info=searchpath", "--resolve", "--package=model",
    "--cfg=hydra", "-r", "--hydra-help", "--config-name=evaluate", "--config-name=nothing",
    "--config-dir=nowhere", "-cd=.", "--config-dir=myconf", "--version", "-x", "--", "-", "--cfg",
)  # fmt: skip
HYDRA = (
    "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.job.chdir", "hydra.verbose", "hydra.mode",
    "hydra.output_subdir", "hydra.job.name", "hydra/launcher", "hydra/sweeper", "hydra/job_logging",
    "hydra/output", "hydra.searchpath", "hydra.sweeper.max_batch_size", "hydra.callbacks", "hydra.job.num",
    "hydra.job.id", "hydra.job.env_set", "hydra.job.env_copy", "hydra/help", "hydra.help.template", "hydra",
    "hydra.nothing", "hydra.runtime.output_dir", "hydra.runtime.choices", "hydra.job.config_name",
    "hydra.sweeper.params",
)  # fmt: skip


@dataclass
class Outcome:
    """What a command line did."""

    words: list[str]
    code: int | str
    out: str
    err: str
    left: list[str] = field(default_factory=list)
    slow: bool = False
    config: str = ""


class _TooLong(BaseException):
    """The alarm."""


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass
class Workshop:
    """A folder with a trained run and configs of a user's own; every command line starts from the same."""

    root: Path

    def __post_init__(self) -> None:
        self.here = self.root / "here"
        self.model = self.root / "model"
        self.model.mkdir(parents=True)
        (self.model / "myconf" / "experiment").mkdir(parents=True)
        (self.model / "myconf" / "experiment" / "x.yaml").write_text("# @package _global_\nmodel:\n  latent_dim: 3\n")
        (self.model / "myconf" / "experiment" / "bare.yaml").write_text("model:\n  latent_dim: 3\n")
        (self.model / "mine.py").write_text("from ppl_vae.models import VAE as Model\n")
        with contextlib.chdir(self.model), silent():
            assert main(["train", *SMALL, "hydra.run.dir=run", "trainer.compile=off"]) == 0

    def fresh(self) -> list[str]:
        """Put the folder back and say what it holds."""
        shutil.rmtree(self.here, ignore_errors=True)
        shutil.copytree(self.model, self.here)
        return self.contents()

    def contents(self) -> list[str]:
        """Names of all files and folders."""
        found = (str(p.relative_to(self.here)) for p in self.here.rglob("*") if "__pycache__" not in p.parts)
        return sorted(found)

    def call(self, words: Sequence[str]) -> Outcome:
        """Run one command line in a folder of its own."""
        before = self.fresh()
        out, err = io.StringIO(), io.StringIO()
        code: int | str
        slow = False
        environment = dict(os.environ)
        with contextlib.chdir(self.here), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                with _alarm(SECONDS):
                    code = main(list(words))
            except _TooLong:
                code, slow = 0, True
            except BaseException as error:  # what escapes is what we look for
                code = f"{type(error).__name__}: {error}"
        os.environ.clear()
        os.environ.update(environment)
        left = [p for p in self.contents() if p not in before]
        configs = [(self.here / p).read_text() for p in left if p.endswith("config.yaml")]
        return Outcome(list(words), code, out.getvalue(), err.getvalue(), left, slow, (configs or [""])[0])


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Neither stream."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


MESSAGE = re.compile(r"^ppl-vae\b", re.MULTILINE)


def broken(done: Outcome) -> str:
    """The law: an exit code of contract 4, one message of a few lines, no traceback, no litter. Says what is broken."""
    if done.slow:
        return ""
    if done.code not in (0, 1, 2):
        return f"exit code {done.code}"
    if "Traceback" in done.err + done.out and "_TooLong" not in done.err:
        return "a traceback"
    if done.code == 0:
        return _not_as_typed(done)
    messages = len(MESSAGE.findall(done.err))
    sweep = any(w in ("-m", "--multirun") or "hydra.mode" in w for w in done.words)
    if "HYDRA_FULL_ERROR" in done.err:
        return "an error that nobody thought of"
    if messages == 0 or (messages > 1 and not sweep):
        return f"{messages} messages"
    said = done.err[MESSAGE.search(done.err).start() :]  # type: ignore[union-attr]
    if len(said.splitlines()) > (12 if sweep else 5):
        return f"a message of {len(said.splitlines())} lines"
    if len(said) > 1_500 and not sweep:
        return f"a message of {len(said)} characters"
    if done.out and not sweep:
        return "results beside an error"
    if done.left and not sweep:
        return f"left {done.left[:3]}"
    return ""


def _not_as_typed(done: Outcome) -> str:
    """Of a run that was made: whether its config holds what was typed, in one folder of its name."""
    runs = [p for p in done.left if p.endswith("run.json")]
    if done.words[0] != "train" or len(runs) != 1 or any(w.startswith("-") for w in done.words):
        return ""
    if "None" in runs[0]:
        return f"a run in {runs[0]}"
    config = OmegaConf.create(done.config)
    for word in [w for i, w in enumerate(done.words) if "=" in w]:
        key, _, value = word.lstrip("+").partition("=")
        later = [w for w in done.words[done.words.index(word) + 1 :] if w.lstrip("+~").startswith(key)]
        if later or not re.fullmatch(r"[\w.]+", key) or not re.fullmatch(r"-?\d+|[a-z]+", value) or "." not in key:
            continue
        if key.startswith("hydra.") or value == "null":
            continue
        used = OmegaConf.select(config, key)
        if str(used).lower() != value and not (value.lstrip("-").isdigit() and used == int(value)):
            return f"{word} trained with {used}"
    return ""


def defaults(verb: str) -> dict[str, object]:
    """Every key of a verb's schema and of a few options, with its default."""
    node = OmegaConf.structured(verbs.SCHEMAS[verb])
    found: dict[str, object] = {str(k): None if OmegaConf.is_missing(node, k) else node[k] for k in node}
    for group in ("trainer", "engine", "results"):
        found |= {f"{group}.{k}": v for k, v in (node.get(group) or {}).items()}
    for group, option in (("model", "vae"), ("guide", "amortized"), ("dataset", "ppca"), ("objective", "beta_vae"),
                          ("optimizer", "adam"), ("scheduler", "cosine"), ("likelihood", "normal")):  # fmt: skip
        if group in node:
            loaded = OmegaConf.to_container(OmegaConf.load(schema.conf_dir() / group / f"{option}.yaml"))
            found |= {f"{group}.{k}": v for k, v in OmegaConf.create(additions(loaded) | loaded).items()}
    return found


@dataclass
class Generator:
    """Command lines near legal ones."""

    seed: int

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.keys = {verb: defaults(verb) for verb in (*RUN_VERBS, "train", "gradients", "compare", "sweeps")}
        self.options = {p.name: [o.stem for o in p.glob("*.yaml")] for p in schema.conf_dir().iterdir() if p.is_dir()}

    def line(self) -> list[str]:
        """One command line: a verb, words that make it quick, and one to three words of chance."""
        choose = self.random.choice
        verb = choose(["train"] * 6 + list(RUN_VERBS) + ["gradients", "compare", "sweeps"])
        if verb == "train":
            words = [*SMALL, "trainer.epochs=1", "trainer.compile=off"]
        elif verb == "gradients":
            words = [*SMALL[:6], "samples=10", "figures=false"]
        elif verb in ("compare", "sweeps"):
            words = ["sweep=."] if verb == "compare" else ["dir=."]
        else:
            words = ["run=run", *RUN_VERBS[verb]]
        chance = [self.word(verb) for _ in range(choose([1, 1, 1, 2, 2, 3]))]
        return [verb, *words, *chance]

    def word(self, verb: str) -> str:
        """An override or a flag."""
        kind = self.random.random()
        if kind < 0.05:
            return self.random.choice(FLAGS)
        if kind < 0.15:
            return self.mangled(f"{self.random.choice(HYDRA)}={self.value()}")
        if kind < 0.35:
            group = self.random.choice(sorted(self.options))
            option = self.random.choice(self.options[group] or ["x"]) if self.random.random() < 0.5 else self.value()
            package = self.random.choice(
                [""] * 8 + ["@x", "@model", "@x.y", "@:x", "@_global_", "@", "@a:b", "@_here_"]
            )
            return self.mangled(f"{group}{package}={option}")
        if kind < 0.42:
            group = self.random.choice(GROUPS)
            return self.mangled(f"{group}._target_={self.random.choice(TARGETS)}")
        key = self.random.choice(list(self.keys[verb]))
        return self.mangled(
            f"{key}={self.likely(self.keys[verb][key]) if self.random.random() < 0.6 else self.value()}"
        )

    def likely(self, default: object) -> str:
        """A value of the default's own kind, or nearly."""
        choose = self.random.choice
        if isinstance(default, bool):
            return choose(["true", "false", "True", "1", "0", "yes", "null", "'true'"])
        if isinstance(default, int):
            return choose(["0", "1", "2", "3", "5", "-1", "2.0", "1e1", "'3'", "null", "[3]", str(default)])
        if isinstance(default, float):
            return choose(["0", "1", "2", "0.5", "-0.1", "1e-3", "nan", "inf", "'0.5'", "[0.5]", "null", "200", "1e30"])
        if default is None:
            return choose(["null", "1", "2", "a", "true", "[]", "{}", "0.5", "[1]", "x.y", "-1"])
        if isinstance(default, str):
            return choose([str(default), str(default).upper(), "none", "auto", "off", "last", "a", "1", "true", "''"])
        return choose(["[3]", "[]", "[1,2]", "[0.5,0.9]", "3", "null", "{}", "[a]", "[-1]", "[[1]]", "{a:1}", "[3.0]"])

    def value(self) -> str:
        """A value: a number, a text, a structure, an interpolation, or two of them together."""
        pool: Callable[[], str] = lambda: self.random.choice(  # noqa: E731
            self.random.choice([NUMBERS, TEXTS, STRUCTURES, INTERPOLATIONS, TARGETS])
        )
        value = pool()
        if self.random.random() < 0.05:
            value += self.random.choice([",", " ", "=", "", "/"]) + pool()
        return value

    def mangled(self, word: str) -> str:
        """With a chance: a prefix, a misspelling, a key cut or lengthened."""
        chance = self.random.random()
        key, _, value = word.partition("=")
        if chance < 0.6:
            return word
        if chance < 0.78:
            return self.random.choice(["+", "++", "~", "~", "+++", "~+", "+~"]) + word
        if chance < 0.82:
            return self.random.choice(["~", "+", ""]) + key
        if chance < 0.86:
            return f"{key}.{self.random.choice(['x', '0', '3', '-1', '', '_target_', 'a b', 'é'])}={value}"
        if chance < 0.90:
            at = self.random.randrange(len(key) + 1)
            other = self.random.choice(["", "x", " ", ".", "/", "é", "[0]", "[", "=", "@", ":"])
            return f"{key[:at]}{other}{key[at + 1 :]}={value}"
        if chance < 0.93:
            return f"{key.upper()}={value}"
        if chance < 0.95:
            return f"{key}[0]={value}"
        return f"{key} = {value}" if chance < 0.97 else f"{word}{self.random.choice(['#', ' ', ',', '=', ''])}"


def shrunk(words: list[str], breaks: Callable[[list[str]], str]) -> list[str]:
    """Fewer words, and shorter ones, that break the law in the same way."""
    kind = breaks(words)

    def same(candidate: list[str]) -> bool:
        return breaks(candidate)[:12] == kind[:12]

    for index in range(len(words) - 1, 0, -1):
        if words[index] not in SMALL and same(candidate := words[:index] + words[index + 1 :]):
            words = candidate
    quick = [w for w in words if w not in SMALL]
    return quick if len(quick) < len(words) and same(quick) else words


def search(number: int, seed: int, root: Path, show: Callable[[str], None]) -> list[tuple[list[str], str, str]]:
    """Try so many command lines; give the shrunken ones that break the law, why, and what they said."""
    shop = Workshop(root)
    generator = Generator(seed)
    found: list[tuple[list[str], str, str]] = []
    codes: dict[object, int] = {}
    for index in range(number):
        words = generator.line()
        done = shop.call(words)
        codes["slow" if done.slow else done.code] = codes.get("slow" if done.slow else done.code, 0) + 1
        if why := broken(done):
            small = shrunk(words, lambda w: broken(shop.call(w)))
            again = shop.call(small)
            found.append((small, why, again.err[-600:]))
            show(f"{index}: {why}\n   {small}\n   {again.err[-600:]}\n   out: {again.out[:200]!r}")
        if os.environ.get("SHOW_ALL"):
            show(f"{done.code} {words[-3:]} {done.err.strip()[-150:]}")
        if index % 200 == 199:
            show(f"--- {index + 1} tried: {codes}, {len(found)} broken")
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        number, seed = int(sys.argv[1]), int((sys.argv[2:] or ["0"])[0])
        stream = sys.stdout
        search(number, seed, Path(folder) / "w", lambda text: print(text, file=stream, flush=True))
