"""The keys of the command line: a dataclass a verb, with kind, default and words of each key.

Imports no torch: `--help`, `--cfg job` and completion answer from here. The file of a verb holds nothing of these; a
default that the Python door has too is held to it by a test.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING

from ppl_vae.config.signature import defaults

GROUPS = (
    *("dataset", "likelihood", "prior", "encoder", "decoder", "model", "guide"),
    *("estimator", "objective", "optimizer", "scheduler", "callbacks"),
)
"""The groups whose options name a `_target_`: their keys are checked against its signature."""

RUN_OR_GROUPS = ("gradients", "check")
"""The verbs that take a run, or a pair composed as for `train`."""


PRINTING = ("format", "quiet")
"""The keys that say how a command prints: no part of a run, nor of the plan of a sweep."""


class Format(Enum):
    """The form in which a verb prints its results."""

    table = "table"
    json = "json"


class Part(Enum):
    """A part of a dataset."""

    train = "train"
    validation = "validation"
    test = "test"


FIT = "ppl_vae.training.fit.fit"


def _of_fit(name: str) -> Any:
    """A key with the default that `fit` has for it, read from its source once it is needed."""
    return field(default_factory=lambda: defaults(FIT)[name])


@dataclass
class Trainer:
    """Keyword arguments of `ppl_vae.fit` that are numbers and switches; defaults are those of its signature."""

    epochs: int = _of_fit("epochs")
    steps: int | None = _of_fit("steps")
    batch_size: int = _of_fit("batch_size")
    compile: str = _of_fit("compile")
    grad_clip: float | None = _of_fit("grad_clip")
    grad_clip_value: float | None = _of_fit("grad_clip_value")
    groups: Any = _of_fit("groups")  # noqa: RUF009 - it gives a field
    early_stopping: int | None = _of_fit("early_stopping")
    keep: str = _of_fit("keep")
    ema: float | None = _of_fit("ema")
    accumulate: int = _of_fit("accumulate")
    precision: str = _of_fit("precision")
    nonfinite: str = _of_fit("nonfinite")
    nonfinite_budget: int = _of_fit("nonfinite_budget")


@dataclass
class Engine:
    """The device of the tensors, and the threads.

    Attributes:
        device: `auto` is CUDA where there is one, else the CPU: one device a worker; or a device such as `cuda:1`.
        threads: of torch on the CPU; null: all cores, one for each worker of a launcher.
        distributed: one run on all processes that torchrun or accelerate launch has started, each on a device of its
            own.
    """

    device: str = "auto"
    threads: int | None = None
    distributed: bool = False


@dataclass
class Results:
    """The things that `train` makes once it has trained.

    Attributes:
        num_particles: importance samples a datum for the evidence.
        figures: draw them.
        posterior: draw it, for test data.
        draws: draws a datum of the posterior.
        data: how many data the posterior is drawn of, the first of the test data.
    """

    num_particles: int = 1000
    figures: bool = True
    posterior: bool = True
    draws: int = 1000
    data: int = 100


@dataclass
class Train:
    """Keys of `ppl-vae train`.

    Attributes:
        name: runs go into outputs/NAME/DATE_TIME_ID.
        seed: of all random numbers.
        resume: DIR of an interrupted run, which goes on in place; with `-m` of a sweep.
        init: DIR of another run, whose best weights this one begins with: a run of its own, which names it.
        trust: of `resume=DIR` that was not made here, build whatever it names: read it first (docs/security.md).
        format: `json` prints one JSON object on standard output and nothing else.
        quiet: standard output is the path of what was made, standard error warnings and errors alone.
        callbacks: called with the row of each epoch; one may stop training (docs/training.md).
        results: what is made once training is done.
    """

    name: str = MISSING
    seed: int = 0
    resume: str | None = None
    init: str | None = None
    trust: bool = False
    format: Format = Format.table
    quiet: bool = False
    dataset: Any = MISSING
    likelihood: Any = None
    prior: Any = None
    encoder: Any = None
    decoder: Any = None
    model: Any = MISSING
    guide: Any = MISSING
    estimator: Any = None
    objective: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = None
    trainer: Trainer = field(default_factory=Trainer)
    engine: Engine = field(default_factory=Engine)
    logger: Any = None
    callbacks: Any = None
    results: Results = field(default_factory=Results)


@dataclass
class OnRun:
    """Keys of every verb on a run.

    Attributes:
        run: a run directory, or `latest`.
        trust: of a run that was not made here, build whatever its config names: read that first (docs/security.md).
        seed: of all random numbers.
        format: `json` prints one JSON object on standard output and nothing else.
        quiet: standard output is the path of what was made, standard error warnings and errors alone.
    """

    run: str = MISSING
    trust: bool = False
    seed: int = 0
    format: Format = Format.table
    quiet: bool = False


@dataclass
class Evaluate(OnRun):
    """Keys of `ppl-vae evaluate`.

    Attributes:
        split: the data.
        num_particles: importance samples a datum; papers take 5000: a quarter of an hour for 10,000 images on one core.
        evidence: `importance`; `ais` is annealed importance sampling as well, with its bracket on simulated data.
        gaps: approximation and amortization gap, datum by datum.
        data: how many data `ais` and `gaps` take, the first of the split.
        scores: some of latents, probe, disentanglement, samples, checks: `scores=[probe,samples]`.
        features: where samples are compared: `pixels`, `encoder` or `my_module.my_function`.
        statistics: what checks look at: `statistics={ink:my_module.ink}`; null: mean, deviation, largest.
    """

    split: Part = Part.test
    num_particles: int = 1000
    evidence: str = "importance"
    gaps: bool = False
    scores: list[str] = field(default_factory=list)
    data: int = 100
    features: str = "pixels"
    statistics: Any = None


@dataclass
class Posterior(OnRun):
    """Keys of `ppl-vae posterior`.

    Attributes:
        split: the data.
        data: how many of them, the first; null: all.
        draws: draws a datum.
        resample: `psis`: resampled by Pareto-smoothed importance weights.
        refine: so many of the data also by HMC, its chains begun at the guide's draws: DIR/refined.nc, r̂.
        figures: draw them, into DIR/figures.
    """

    split: Part = Part.test
    data: int | None = 100
    draws: int = 1000
    resample: str | None = None
    refine: int | None = None
    figures: bool = True


@dataclass
class Generate(OnRun):
    """Keys of `ppl-vae generate`.

    Attributes:
        n: how many.
        given: what the model takes beside its data, a value or n of them: `given.label=3`.
        like: take that from these data, again and again; null: test, where needed.
        figures: draw them, into DIR/figures.
    """

    n: int = 64
    given: dict[str, Any] = field(default_factory=dict)
    like: Part | None = None
    figures: bool = True


class FittedKind(Enum):
    """A kind of prior that is fitted after training."""

    normal = "normal"
    mixture = "mixture"
    flow = "flow"
    categorical = "categorical"
    autoregressive = "autoregressive"

    def __str__(self) -> str:
        return str(self.value)  # as the name of a run's folder says it


@dataclass
class Prior(OnRun):
    """Keys of `ppl-vae prior`.

    Attributes:
        name: runs go into outputs/NAME/DATE_TIME_ID.
        prior: `normal` and `mixture` (full covariances, by EM), or `flow` (by gradient); of quantized codes
            `categorical` or `autoregressive`.
        site: the latent; null where there is one.
        at: attribute of the model that gives its prior, a module called without arguments.
        components: of a mixture; null: chosen by the validation data.
        draws: codes a datum.
        epochs: of a fit by gradient, at most; the best on the validation data is kept.
    """

    name: str = MISSING
    prior: FittedKind = FittedKind.mixture
    site: str | None = None
    at: str = "prior"
    components: int | None = None
    draws: int = 4
    epochs: int = 200


@dataclass
class Report(OnRun):
    """Keys of `ppl-vae report`."""


@dataclass
class Compare:
    """Keys of `ppl-vae compare`.

    Attributes:
        sweep: the folder of `ppl-vae train -m …`, or `latest`.
        metric: the figure to rank by, such as `nll` or `test/elbo`; null: the unweighted validation ELBO.
        group: the key, or `[keys]`, that make a group, averaged over the rest; null: all that differ but the seed.
        sort: a key or a figure to sort rows by, `-KEY` downwards; null: the rank.
        format: `json` prints one JSON object on standard output and nothing else.
        quiet: standard output is the path of what was made, standard error warnings and errors alone.
    """

    sweep: str = MISSING
    metric: str | None = None
    group: Any = None
    sort: str | None = None
    format: Format = Format.table
    quiet: bool = False


@dataclass
class Sweeps:
    """Keys of `ppl-vae sweeps`.

    Attributes:
        dir: the folder that they lie in, or below it.
        format: `json` prints one JSON object on standard output and nothing else.
        quiet: standard output is the path of what was made, standard error warnings and errors alone.
    """

    dir: str = "outputs"
    format: Format = Format.table
    quiet: bool = False


@dataclass
class New:
    """Keys of `ppl-vae new`.

    Attributes:
        name: the folder to make, and the name of the Python module in it; `ppl-vae new my_project` says it, too.
        format: `json` prints one JSON object on standard output and nothing else.
        quiet: standard output is the path of what was made, standard error warnings and errors alone.
    """

    name: str = MISSING
    format: Format = Format.table
    quiet: bool = False


@dataclass
class Check:
    """Keys of `ppl-vae check`: a run, or groups as for `train`.

    Attributes:
        run: a run directory, or `latest`; null: the pair that the groups say, untrained.
        trust: of a run that was not made here, build whatever its config names: read that first (docs/security.md).
        seed: of all random numbers.
        format: `json` prints one JSON object on standard output and nothing else.
        quiet: standard output is the path of what was made, standard error warnings and errors alone.
        batch_size: how many data it is run on.
    """

    run: str | None = None
    trust: bool = False
    seed: int = 0
    format: Format = Format.table
    quiet: bool = False
    batch_size: int = 128
    dataset: Any = MISSING
    likelihood: Any = None
    prior: Any = None
    encoder: Any = None
    decoder: Any = None
    model: Any = MISSING
    guide: Any = MISSING
    estimator: Any = None
    objective: Any = MISSING
    engine: Engine = field(default_factory=Engine)


@dataclass
class Gradients(Check):
    """Keys of `ppl-vae gradients`: a run, or groups as for `train`.

    Attributes:
        name: runs go into outputs/NAME/DATE_TIME_ID.
        samples: gradients per estimator.
        figures: draw them.
    """

    name: str = MISSING
    samples: int = 500
    figures: bool = True


@dataclass
class Calibrate(OnRun):
    """Keys of `ppl-vae calibrate`.

    Attributes:
        simulations: simulated data.
        draws: draws of the guide a datum.
        figures: draw them, into DIR/figures.
    """

    simulations: int = 2000
    draws: int = 100
    figures: bool = True


@dataclass
class Export(OnRun):
    """Keys of `ppl-vae export`.

    Attributes:
        seed: of the data they are verified on.
        onnx: write encoder.onnx and decoder.onnx, too, compared in onnxruntime (needs ppl-vae[onnx]).
    """

    onnx: bool = False
