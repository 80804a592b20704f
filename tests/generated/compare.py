"""Hold a pair's numbers against the exact ones: every number right, or a refusal that says why.

A sampled number is judged more than once. The first look takes few draws, and passes what lies within `FIRST` standard
errors. What does not is drawn anew, with many more draws, and is wrong if it lies beyond `SECOND` standard errors; what
lies beyond `GROSS` twice needs no third look. Of correct numbers the first look stops about one in a hundred (few
calls, heavy tails); the second, independent of the first, misjudges one in 10⁵. With some twenty numbers a program
the false-alarm rate of 10,000 programs is a few per cent.
"""

import contextlib
import functools
import math
import re
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyro
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from torch import Tensor

import ppl_vae as pv
from ppl_vae.errors import PplVaeError

from .oracle import Exact, enumerated, log_mean_exp
from .printing import source
from .program import BINARY, INDEX, ONE_HOT, Program, tidy

FIRST, SECOND, GROSS = 4.0, 5.0, 15.0
EXACT = 1e-5
"""Rounding, and quadrature in two dimensions (3e-6 seen, where closed KLs leave no noise), relative to 1 + |number|."""

REFUSALS = (PplVaeError, ValueError, TypeError)


@dataclass(frozen=True)
class Wrong:
    """A number that is not what it should be."""

    part: str
    what: str
    expected: float
    got: float
    error: float = 0.0

    def __str__(self) -> str:
        return f"{self.part}: {self.what}: expected {self.expected:.6g}, got {self.got:.6g} ± {self.error:.2g}"


@dataclass
class Verdict:
    """What became of a program: right, or refused, or wrong."""

    right: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    wrong: list[Wrong] = field(default_factory=list)
    crashed: dict[str, str] = field(default_factory=dict)
    pyro: bool = False
    skipped: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """One word."""
        if self.wrong or self.crashed:
            return "wrong"
        if "objective" in self.refused or "check" in self.refused:
            return "refused"
        return "partly" if self.refused else "right"

    def signature(self) -> str:
        """What kind of wrong it is, for shrinking towards the same: crashes first, then what bears most."""
        if self.crashed:
            part, message = next(iter(self.crashed.items()))
            return f"crash in {part}: {re.sub(r'[^A-Za-z ]', '', message)[:60]}"
        kinds = [f"{w.part}: {' '.join(w.what.split(' ')[: 1 + (w.part == 'fit')])}" for w in self.wrong]
        return min(kinds, key=lambda k: (k == "evaluate: elbo", kinds.index(k)), default=self.kind)

    def __str__(self) -> str:
        lines = [self.kind]
        lines += [f"  {w}" for w in self.wrong]
        lines += [f"  crash in {part}: {message}" for part, message in self.crashed.items()]
        lines += [f"  refused by {part}: {message[:300]}" for part, message in self.refused.items()]
        return "\n".join(lines)


@contextlib.contextmanager
def double() -> Iterator[None]:
    """Within, the default dtype is float64, without warnings; the random state is put back."""
    before, state = torch.get_default_dtype(), torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        with warnings.catch_warnings(), pyro.get_param_store().scope():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_default_dtype(before)
        torch.set_rng_state(state)


def build(program: Program) -> dict[str, Any]:
    """Run the printed source."""
    names: dict[str, Any] = {}
    exec(compile(source(program), f"<program {program.seed}>", "exec"), names)
    return names


def judge(program: Program, seed: int = 0) -> Verdict:
    """Compare all numbers of a program with the exact ones."""
    program = tidy(program)
    with double():
        return Comparison(program, seed).verdict()


class Comparison:
    """One program, looked at from all sides."""

    def __init__(self, program: Program, seed: int) -> None:
        self.program, self.seed = program, seed
        self.names = build(program)
        self.result = Verdict()
        self.dropout = program.net == "dropout"

    def verdict(self) -> Verdict:
        self.result.pyro = self._pyro_runs()
        report = self._guard("check", self._check)
        if report is not None:
            self.result.right.append("check")
        for part in (self._objective, self._evaluate, self._posterior):
            self._guard(part.__name__[1:], part)
        if self.program.seed % 100 == 99 and "objective" in self.result.right:
            self._guard("fit", self._fit)
        return self.result

    def _guard(self, part: str, run: Callable[[], Any]) -> Any:
        try:
            found = run()
        except REFUSALS as error:
            if isinstance(error, PplVaeError) or _from_us(error):
                self.result.refused[part] = f"{type(error).__name__}: {error}"
            else:
                self.result.crashed[part] = f"{type(error).__name__}: {error}"
            return None
        except Exception as error:
            if not _from_pair(error):
                raise
            self.result.crashed[part] = f"{type(error).__name__}: {error}"
            return None
        return found

    # --- what Pyro itself makes of it -----------------------------------------------------------------------------

    def _pyro_runs(self) -> bool:
        program, names = self.program, self.names
        marked = any(s.infer for s in program.sites)
        elbo = TraceEnum_ELBO(max_plate_nesting=2) if marked else Trace_ELBO()
        try:
            return math.isfinite(elbo.loss(names["model"], names["guide"], *names["batch"]))
        except Exception:
            return False

    # --- the linter -------------------------------------------------------------------------------------------------

    def _check(self) -> Any:
        n = self.names
        return pv.check(n["vae"], n["batch"], n["objective"], total=n["total"])

    # --- the objective ----------------------------------------------------------------------------------------------

    def _calls(self, calls: int, copies: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Values and gradients of so many calls on a batch of so many copies of the data."""
        n, program = self.names, self.program
        vae = n["vae"]
        vae.train()
        batch = tuple(c.repeat(copies, *[1] * (c.dim() - 1)) for c in n["batch"])
        total = float(program.total or program.size)
        torch.manual_seed(seed)
        values, gradients = [], []
        for _ in range(calls):
            bound = n["objective"](vae, batch, total=total)
            values.append(float(bound.value))
            parameters = dict(vae.named_parameters())
            found = [None] * len(parameters)  # where all is masked
            if bound.surrogate.requires_grad:
                found = torch.autograd.grad(bound.surrogate, list(parameters.values()), allow_unused=True)
            gradients.append(dict(zip(parameters, found, strict=True)))
        collected = {}
        for name, _ in program.parameters:
            key = [k for k in gradients[0] if k.split(".")[-1] == name]
            collected[name] = np.array([sum(0.0 if g[k] is None else float(g[k]) for k in key) for g in gradients])
        return np.array(values), collected

    def _exact_bound(self) -> tuple[Tensor | None, dict[str, float] | None]:
        """The expected value of the objective, and its gradient; None for what has no exact one here."""
        program = self.program
        exact = Exact(program)
        kind, arguments = program.objective.split("(", 1)
        options = arguments.rstrip(")")
        if kind == "ELBO":
            beta = float(options.split("beta=")[1]) if "beta=" in options else 1.0
            value = exact.elbo(beta=beta)
            return value, exact.gradient(value)
        bound = bound_of(program.objective)
        value = exact.multisample(2, bound)
        if value is None:
            return None, None
        if kind == "PIWAE":  # the model's gradient is that of the tight bound, the guide's that of the loose one
            tight = exact.multisample(2, log_mean_exp)
            assert tight is not None
            model, guide = exact.parts(tight)[0], exact.parts(value)[1]
            return tight, {n: model[n] + guide[n] for n in model}
        return value, exact.gradient(value)

    def _objective(self) -> None:
        program = self.program
        relaxed = [s for s in program.latents if s.estimator.startswith("Concrete")]
        soft = any("straight_through" not in s.estimator for s in relaxed)
        self._calls(1, 1, self.seed)  # a refusal comes first
        if program.crossed and not program.objective.startswith("ELBO"):
            self.result.wrong.append(Wrong("objective", "accepted though data are coupled", math.nan, math.nan))
            return
        value, gradient = (None, None) if self.dropout else self._exact_bound()
        if value is None or soft:
            self.result.skipped.append("objective")
            return
        wanted = {"value": value.item()}
        if not relaxed:
            assert gradient is not None
            wanted |= {f"gradient {n}": g for n, g in gradient.items()}

        def draw(calls: int, copies: int, seed: int) -> dict[str, tuple[float, float]]:
            values, gradients = self._calls(calls + 2, copies, seed)
            found = {"value": values[2:]} | {f"gradient {n}": g[2:] for n, g in gradients.items()}
            return {n: _mean(v) for n, v in found.items() if n in wanted}

        shared = any(not s.is_local for s in program.latents)
        looks = ((16, 8), (40, 32), (160, 64), (2000, 16)) if shared else ((8, 24), (40, 32), (160, 64))
        if not program.replicable:
            looks = ((24, 1), (80, 1), (500, 1))
        self._judge("objective", wanted, draw, *looks)
        self.result.right.append("objective")

    def _judge(self, part: str, wanted: dict[str, float], draw: Callable, *looks: tuple[int, int]) -> None:
        suspicious = list(wanted)
        for number, look in enumerate(looks):
            limit = SECOND if look is looks[-1] else FIRST
            found = draw(*look, self.seed + number)
            suspicious = [n for n in suspicious if not _near(wanted[n], *found[n], limit)]
            gross = [n for n in suspicious if not _near(wanted[n], *found[n], GROSS)]
            if not suspicious or (gross and number):  # a global draw with a heavy tail may be missing from few calls
                break
        self.result.wrong += [Wrong(part, n, wanted[n], *found[n]) for n in suspicious]

    # --- a step of training ----------------------------------------------------------------------------------------

    def _fit(self) -> None:
        """A captured step has the bits of the program's own."""
        program, after = self.program, []
        for how in ("off", "export"):
            torch.manual_seed(0)  # of baselines
            names = build(program)
            data = names["batch"] if len(names["batch"]) > 1 else names["batch"][0]
            sgd = functools.partial(torch.optim.SGD, lr=0.1)
            pv.fit(
                names["vae"],
                data,
                names["objective"],
                sgd,
                steps=2,
                batch_size=program.size,
                compile=how,
                progress=False,
            )
            after.append(dict(names["vae"].named_parameters()))
        for name, parameter in after[0].items():
            if not torch.equal(parameter, after[1][name]):
                self.result.wrong.append(
                    Wrong("fit", f"captured {name}", float(parameter.sum()), float(after[1][name].sum()))
                )
        self.result.right.append("fit")

    # --- evaluation -------------------------------------------------------------------------------------------------

    def _evaluate(self) -> None:
        names, program = self.names, self.program
        if program.crossed or any(s.model is None for s in program.latents):
            self._evaluate_as_a_whole()
            return
        exact = Exact(program, training=False, grad=False).evaluation
        wanted = {
            f"{name} of datum {i}": float(exact[name][i])
            for name in ("elbo", "nll", "kl", "log_likelihood")
            for i in range(program.size)
            if not (name == "nll" and exact["nll_sd"][i] > 4)
        }
        data = names["batch"] if len(names["batch"]) > 1 else names["batch"][0]

        def draw(particles: int, _: int, seed: int) -> dict[str, tuple[float, float]]:
            evaluation = pv.evaluate(names["vae"], data, particles, seed=seed)
            s = evaluation.summary
            if s["reason"]:
                raise pv.errors.CheckError(s["reason"])
            self._laws(s, particles)
            self._standard_errors(evaluation.table, exact, particles)
            found = {}
            for n in wanted:
                name, i = n.split(" of datum ")
                sd = float(exact[f"{name}_sd"][int(i)])
                bias = sd**2 / 2 / particles if name == "nll" else 0.0
                error = sd / math.sqrt(particles)
                found[n] = float(evaluation.table[name].iloc[int(i)]), error + bias
            return found

        self._judge("evaluate", wanted, draw, (800, 0), (6000, 0))
        self.result.right.append("evaluate")

    def _evaluate_as_a_whole(self) -> None:
        """Where no datum has an evidence of its own: a joint one, or none."""
        names, program = self.names, self.program
        data = names["batch"] if len(names["batch"]) > 1 else names["batch"][0]
        s = pv.evaluate(names["vae"], data, 2000).summary
        if s["reason"]:
            raise pv.errors.CheckError(s["reason"])
        if not program.crossed:
            self.result.wrong.append(Wrong("evaluate", "nll of a pair without a reverse model", math.nan, s["nll"]))
            return
        exact = Exact(program, training=False, grad=False)
        _, _, g, dg = exact.cost(False)
        elbo, nll = (dg.exp() * g).sum() / program.size, -torch.logsumexp(g + dg, 0) / program.size
        for name, number in (("elbo", float(elbo)), ("nll", float(nll))):
            if not _near(number, s[name], s[f"{name}_se"], SECOND):
                self.result.wrong.append(Wrong("evaluate", f"joint {name}", number, s[name], s[f"{name}_se"]))
        self.result.right.append("evaluate")

    def _standard_errors(self, table: Any, exact: dict[str, Tensor], particles: int) -> None:
        """Reported errors are those of independent draws; smaller ones only where sites are summed out."""
        program = self.program
        drawn = not any(enumerated(program, s) or s.only_model for s in program.sites if s.is_latent)
        for i in range(program.size):
            for name in ("nll", "elbo"):
                sd, kurtosis = float(exact[f"{name}_sd"][i]), float(exact[f"{name}_kurtosis"][i])
                noise = math.sqrt(max(kurtosis - 1, 0) / particles)  # of the variance of a sample
                if sd < 1e-3 or not noise < 0.1:
                    continue
                ratio = (float(table[f"{name}_se"].iloc[i]) / sd) ** 2 * particles
                if ratio > 1.1 + 6 * noise or (drawn and ratio < 0.9 - 6 * noise):
                    self.result.wrong.append(Wrong("evaluate", f"{name}_se² over its exact value", 1.0, ratio))

    def _laws(self, s: dict[str, Any], particles: int) -> None:
        """What holds between the numbers of any evaluation."""

        def law(what: str, left: float, right: float, slack: float) -> None:
            if not abs(left - right) <= slack:
                self.result.wrong.append(Wrong("evaluate", what, right, left))

        law("gap = −nll − elbo", s["gap"], -s["nll"] - s["elbo"], 1e-6)
        if particles > 1000:
            return
        if not s["gap"] >= -5 * (s["elbo_se"] + s["nll_se"]) - 1e-6:
            self.result.wrong.append(Wrong("evaluate", "gap ≥ 0", 0.0, s["gap"], s["elbo_se"] + s["nll_se"]))

    # --- posterior --------------------------------------------------------------------------------------------------

    def _posterior(self) -> None:
        names, program = self.names, self.program
        data = names["batch"] if len(names["batch"]) > 1 else names["batch"][0]
        exact = Exact(program, training=False, grad=False)
        moments = {s.name: exact.site_moments(s.name) for s in program.latents if s.model is not None}
        seen = [s.name for s in program.sites if s.column and s.column not in ("factor", "deterministic")]
        if any(s.only_model for s in program.sites):
            seen = []  # what is summed out has no log p(x | z) of its own
        likelihood = {name: exact.likelihood_moments(name) for name in seen}
        wanted = {f"mean {n} {k}": float(v) for n, (m, _) in moments.items() for k, v in enumerate(m.flatten())}
        wanted |= {
            f"log_likelihood {n} {k}": float(v) for n, (m, _) in likelihood.items() for k, v in enumerate(m.flatten())
        }
        deviations = {f"mean {n} {k}": float(v) for n, (_, s) in moments.items() for k, v in enumerate(s.flatten())}
        deviations |= {
            f"log_likelihood {n} {k}": float(v) for n, (_, s) in likelihood.items() for k, v in enumerate(s.flatten())
        }

        def draw(draws: int, _: int, seed: int) -> dict[str, tuple[float, float]]:
            drawn = pv.posterior(names["vae"], data, draws=draws, predictive_draws=0, seed=seed)
            found: dict[str, tuple[float, float]] = {}
            for n in moments:
                site = program[n]
                values = np.asarray(drawn["posterior"][n].values, dtype=float)[0]
                if site.law.support == ONE_HOT:
                    if not (np.isin(values, (0.0, 1.0)).all() and (values.sum(-1) == 1).all()):
                        self.result.wrong.append(Wrong("posterior", f"one-hot {n}", 1.0, float(values.max())))
                    values = values.argmax(-1).astype(float)
                elif site.law.support in (INDEX, BINARY) and (values != values.round()).any():
                    self.result.wrong.append(Wrong("posterior", f"discrete {n}", 1.0, float(values.flat[0])))
                if site.event:
                    values = values[..., 0]
                mean = values.mean(0)
                mean = mean.T if site.place == "inner" else mean  # (data, copies) to (copies, data)
                mean = np.atleast_1d(mean).reshape(-1)
                for k in range(len(moments[n][0].flatten())):
                    at = k if len(mean) > 1 else 0
                    at = at // program.size if site.place == "outer" else at
                    found[f"mean {n} {k}"] = float(mean[at]), deviations[f"mean {n} {k}"] / math.sqrt(draws)
            for n in likelihood:
                name = n + "_observed" if program[n].law.mask == "obs_mask" else n
                values = np.asarray(drawn["log_likelihood"][name].values, dtype=float)[0].mean(0)
                for k in range(program.size):
                    key = f"log_likelihood {n} {k}"
                    found[key] = float(values[k]), deviations[key] / math.sqrt(draws)
            return found

        self._judge("posterior", wanted, draw, (300, 0), (4000, 0))
        self.result.right.append("posterior")


def bound_of(objective: str) -> Callable[[Tensor], Tensor]:
    """A bound with two particles, from log-weights `(2, …)`; of PIWAE the guide's."""
    kind, arguments = objective.split("(", 1)
    if kind == "IWAE":
        return log_mean_exp
    if kind in ("MIWAE", "PIWAE"):
        return (lambda w: w.mean(0)) if "num_groups=2" in arguments else log_mean_exp
    if kind == "CIWAE":
        beta = float(arguments.split("beta=")[1].rstrip(")"))
        return lambda w: beta * w.mean(0) + (1 - beta) * log_mean_exp(w)
    order = 1 - float(arguments.split(",")[0])
    return lambda w: log_mean_exp(order * w) / order


def _mean(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))


def _near(expected: float, got: float, error: float, limit: float) -> bool:
    return abs(got - expected) <= limit * error + EXACT * (1 + abs(expected))


def _files(error: BaseException) -> list[str]:
    return [frame.filename for frame in traceback.extract_tb(error.__traceback__)]


def _from_us(error: BaseException) -> bool:
    """Whether an error was raised by a line of ppl_vae, and not by what it called."""
    return "/ppl_vae/" in _files(error)[-1]


def _from_pair(error: BaseException) -> bool:
    """Whether an error came up inside ppl_vae, and not in the oracle."""
    return any("/ppl_vae/" in file for file in _files(error))
