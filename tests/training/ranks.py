"""What each of two processes does in the tests of distributed training, run by torchrun or by hand.

    torchrun --nproc_per_node=2 -m tests.training.ranks FOLDER CASE …

Each case leaves `FOLDER/CASE/RANK.pt`: the weights, the rows and how it ended.
"""

import functools
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as td
import torch.distributed.nn  # before a group is made: see ppl_vae.cli.ranks
from torch import nn

import ppl_vae as pv
from ppl_vae import estimators as e
from ppl_vae import objectives as o
from ppl_vae.training import schedulers
from tests.training import pairs, row_noise

RANK = int(os.environ.get("RANK", "0"))


def digits(model: Callable[..., nn.Module], guide: Callable[..., nn.Module] | None, **settings: Any) -> Any:
    """A ready-made pair with digits."""

    def make(estimators: Any = None) -> tuple[pv.VAE, Any]:
        data = pv.datasets.load("digits")
        data = pv.datasets.from_arrays(data.train[:90].batch()[0], data.validation[:20].batch()[0])
        with torch.random.fork_rng():
            torch.manual_seed(0)
            made = model(data.spec, **settings)
            return pv.VAE(made, (guide or pv.guides.Amortized)(data.spec, made), estimators=estimators), data

    return make


def small(**settings: Any) -> Any:
    return lambda: (pairs.pair(**settings), pairs.dataset("dynamic", train=48))


def rows(**settings: Any) -> Any:
    return lambda: (row_noise.pair(**settings), row_noise.data())


FAMILIES: dict[str, tuple[Callable[[], tuple[pv.VAE, Any]], Callable[[], Any]]] = {
    "vae": (digits(pv.models.VAE, None, latent_dim=2, hidden=(8,)), lambda: None),
    "batch norm and dropout": (small(norm=True, dropout=True), lambda: o.ELBO(beta=pairs.warm_up())),
    "mixture, enumerated": (
        digits(pv.models.GMVAE, pv.guides.MixtureAmortized, latent_dim=2, components=3, hidden=(8,)),
        lambda: None,
    ),
    "hierarchy": (
        digits(pv.models.Hierarchical, pv.guides.BottomUp, latent_dim=(3, 2), hidden=(8, 4)),
        lambda: o.ELBO(2),
    ),
    "importance weighted": (small(dropout=True), lambda: o.IWAE(5)),
    "global latents": (rows(shared=True), lambda: o.ELBO(2, kl="analytic")),
    "score function": (
        functools.partial(
            digits(pv.models.Discrete, pv.guides.DiscreteAmortized, latent_dim=3, code="bernoulli", hidden=(8,)),
            {"*": e.ScoreFunction(e.DecayingAverage(0.7))},
        ),
        lambda: None,
    ),
}

OPTIMIZERS = {
    "adam": pairs.adam,
    "sgd": functools.partial(torch.optim.SGD, lr=0.02, momentum=0.9),
    "adamw": functools.partial(torch.optim.AdamW, lr=0.01, amsgrad=True),
}
SCHEDULERS = {"none": None, "plateau": schedulers.plateau(patience=0), "cosine": schedulers.cosine(warmup=3)}


def options(name: str) -> dict[str, Any]:
    """Settings drawn at random, the same for the same name."""
    draw = random.Random(name)
    return {
        "batch_size": draw.choice((12, 18, 32)),
        "accumulate": draw.choice((1, 2)),
        "grad_clip": draw.choice((None, 0.5, 2.0)),
        "grad_clip_value": draw.choice((None, 0.05)),
        "optimizer": OPTIMIZERS[draw.choice(sorted(OPTIMIZERS))],
        "scheduler": SCHEDULERS[draw.choice(sorted(SCHEDULERS))],
        "keep": draw.choice(("best", "last")),
        "early_stopping": draw.choice((None, 1)) if "global" not in name else None,
        "compile": draw.choice(("off", "export")),
        "seed": draw.randrange(100),
        "epochs": 3,
        "ema": draw.choice((None, 0.9)),
    }


def equal(name: str, distributed: bool) -> tuple[pv.VAE, Any, dict[str, Any]]:
    """The pair, its data and the arguments of `fit` of a case `FAMILY#NUMBER`, for one process or for two."""
    make, objective = FAMILIES[name.partition("#")[0]]
    vae, data = make()
    chosen = options(name) | {"objective": objective(), "distributed": distributed}
    return vae, data, chosen if distributed else chosen | {"accumulate": 2 * chosen["accumulate"]}


def once(n: int, act: Callable[[], Any]) -> o.ELBO:
    """An objective that does something at the n-th share that this process takes in training."""
    left = n

    class Once(o.ELBO):
        def forward(self, vae, batch, total=None):
            nonlocal left
            left -= vae.training
            bound = super().forward(vae, batch, total)
            if vae.training and left == 0:
                act()
            return bound

    Once.__name__ = "ELBO"  # the same objective, as far as the run is concerned
    return Once(beta=pairs.warm_up())


def only(rank: int, act: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: act() if rank == RANK else None


def fail() -> None:
    raise LookupError("boom")


class Bad(o.ELBO):
    """NaN on the datum that comes with it."""

    def __init__(self, x: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("x", x.clone())

    def forward(self, vae, batch, total=None):
        bound = super().forward(vae, batch, total)
        bad = (batch[0] == self.x).flatten(1).all(1).any() & bool(vae.training)
        return o.Bound(bound.value, bound.surrogate * torch.where(bad, torch.nan, 1.0), bound.metrics)


ENDS: dict[str, Callable[[], dict[str, Any]]] = {
    "sigterm": lambda: {"objective": once(9, only(1, lambda: signal.raise_signal(signal.SIGTERM)))},
    "sigint": lambda: {"objective": once(9, only(0, lambda: signal.raise_signal(signal.SIGINT)))},
    "error": lambda: {"objective": once(6, only(1, fail))},
    "error on the first": lambda: {"objective": once(6, only(0, fail))},
    "first step": lambda: {"objective": once(1, only(1, fail))},
    "nan": lambda: {"vae": row_noise.pair(), "data": row_noise.data(), "objective": Bad(row_noise.data()[17])},
    "other data": lambda: {"data": pairs.dataset("dynamic", flip=(3, 2) if RANK else None)},
    "other settings": lambda: {"batch_size": 20 + RANK},
    "callback": lambda: {"callbacks": [lambda row: fail()]},
    "stopped": lambda: {"callbacks": [lambda row: row["epoch"] == 2]},
    "more processes than shares": lambda: {"batch_size": 1},
    "no mean": lambda: {"objective": o.BetaTCVAE()},
    "killed": lambda: {"objective": once(9, only(1, lambda: os.kill(os.getpid(), signal.SIGKILL)))},
}


def ended(name: str, folder: Path) -> dict[str, Any]:
    """The end of a run that does not come to its own."""
    chosen = {
        "vae": pairs.pair(dropout=True),
        "data": pairs.dataset("dynamic"),
        "epochs": 5,
        "batch_size": 16,
        "seed": 3,
    }
    chosen |= {"optimizer": pairs.adam, "keep": "last"} | ENDS[name]()
    directory = folder / ("run" if RANK == 0 else f"of rank {RANK}")
    if RANK == 1 and "data" not in ENDS[name]() and "vae" not in ENDS[name]():
        chosen["vae"] = pairs.pair(dropout=True, seed=7)  # as if each process drew its own: the first one's counts
    try:
        history = pairs.quiet(chosen.pop("vae"), chosen.pop("data"), directory=directory, distributed=True, **chosen)
    except BaseException as error:
        told = {"error": type(error).__name__, "text": str(error), "step": getattr(error, "step", None)}
        return told | {"status": error.history.status if hasattr(error, "history") else None}
    return {"status": history.status}


def resumed(folder: Path, epochs: int, **options: Any) -> pv.VAE:
    """The run of `folder / "run"`, gone on with, or begun."""
    vae = pairs.pair(dropout=True)
    objective = o.ELBO(beta=pairs.warm_up())
    pairs.train(vae, folder / "run", objective=objective, epochs=epochs, resume=(folder / "run").exists(), **options)
    return vae


SKIPPED: dict[str, Callable[[], tuple[Any, Any, Any]]] = {
    "skipped": lambda: (row_noise.pair(), row_noise.data(), Bad(row_noise.data()[17])),
    "skipped at once": lambda: (pairs.fragile(norm=False), pairs.breaking(*range(0, 48, 7), train=48), o.ELBO()),
}
"""Cases in which steps are skipped: on one process the gradient is not finite, or an argument of its program."""


def skipped(name: str, distributed: bool, directory: Path | None = None) -> tuple[pv.VAE, pv.History]:
    """The run of a case in which steps are skipped, by two processes or by one that takes the same shares."""
    vae, data, objective = SKIPPED[name]()
    options = {"epochs": 2, "batch_size": 8, "nonfinite": "backoff", "nonfinite_budget": 99, "keep": "last"}
    options |= {"distributed": True, "directory": directory} if distributed else {"accumulate": 2}
    return vae, pairs.quiet(vae, data, objective, **options)


def case(name: str, folder: Path) -> dict[str, Any]:
    if name in ENDS:
        return ended(name, folder)
    if name == "resumed":
        vae = resumed(folder, 3, accumulate=2, distributed=True)
        return {"weights": vae.state_dict(), "rows": []}
    if name in SKIPPED:
        vae, history = skipped(name, distributed=True, directory=folder / f"{RANK}")
        return {"weights": vae.state_dict(), "rows": pairs.rows(history)}
    vae, data, chosen = equal(name, distributed=True)
    history = pairs.quiet(vae, data, directory=folder / f"{RANK}", **chosen)
    return {"weights": vae.state_dict(), "rows": pairs.rows(history), "compiled": history.compiled}


def main(folder: str, *names: str) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    td.init_process_group("gloo")
    for name in names:
        here = Path(folder) / name.replace(" ", "_")
        here.mkdir(exist_ok=True, parents=True)
        torch.save(case(name, here), here / f"{RANK}.pt")
    td.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
