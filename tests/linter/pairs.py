"""What the tests of the rules share: small parts of pairs, and a table of defects with what is said about each."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.errors import CheckError

B, D = 5, 3
normal = dist.Normal


def params():
    return (torch.randn(B, D),)


def prior(x, name="z"):
    return pyro.sample(name, normal(x.new_zeros(D), 1.0).to_event(1))


def data(x):
    return pyro.plate("data", x.shape[0])


def good_model(x):
    with data(x):
        z = prior(x)
        pyro.sample("x", normal(z, 1.0).to_event(1), obs=x)


def good_guide():
    net = nn.Linear(D, D)

    def guide(x):
        with data(x):
            pyro.sample("z", normal(net(x), 1.0).to_event(1))

    return guide


def discrete():
    net = nn.Linear(D, 2)
    locs = nn.Parameter(torch.randn(2, D))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.locs = locs

        def forward(self, x):
            with data(x):
                k = pyro.sample("k", dist.Categorical(x.new_ones(2)))
                pyro.sample("x", normal(self.locs[k], 1.0).to_event(1), obs=x)

    def guide(x):
        with data(x):
            pyro.sample("k", dist.Categorical(logits=net(x)))

    return Model(), guide, params()


@dataclass(frozen=True)
class Defect:
    """A pair with one thing wrong.

    Args:
        build: Gives `model, guide, batch`.
        kind: Of the finding.
        severity: An error raises, a warning is returned.
        mentions: What the text holds.
        pair: Gives further arguments of `VAE`.
        objective: Gives the objective that `check` is asked about.
    """

    build: Callable[[], tuple[Any, Any, tuple]]
    kind: str
    severity: Literal["error", "warning"] = "error"
    mentions: tuple[str, ...] = ()
    pair: Callable[[], dict[str, Any]] = dict
    objective: Callable[[], Any] = lambda: None

    def __str__(self):
        return self.build.__name__

    def assert_found(self):
        """It is found, named, placed in the user's file and given a fix."""
        pyro.set_rng_seed(0)
        model, guide, batch = self.build()
        vae, objective = pv.VAE(model, guide, **self.pair()), self.objective()
        if self.severity == "error":
            with pytest.raises(CheckError) as caught:
                pv.check(vae, batch, objective)
            findings, told = caught.value.findings, str(caught.value)
        else:
            report = pv.check(vae, batch, objective)
            findings, told = report.warnings, str(report)
        assert any(f.kind == self.kind and f.severity == self.severity for f in findings), told
        assert all(f.why and f.fix and f.what and f.where for f in findings), told
        missing = [part for part in self.mentions if part not in told]
        assert not missing, f"{missing} not in\n{told}"
        if "site" in self.kind:
            assert re.search(r"\((test_\w+|pairs)\.py:\d+\)", told), told


@dataclass
class Defects:
    """The table of a rule: `illegal = Defects()`, then `@illegal(kind, ...)` over each function that builds a pair."""

    known: list[Defect] = field(default_factory=list)

    def __call__(self, kind, severity="error", mentions=(), **further):
        def enter(build):
            self.known.append(Defect(build, kind, severity, mentions, **further))
            return build

        return enter
