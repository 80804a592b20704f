"""A target of the user's own, in every group and every way to name it: it gets its own defaults and what was typed."""

import json
import re
import sys

import pytest
from omegaconf import OmegaConf

from ppl_vae.config.signature import defaults
from ppl_vae.runs.run import Run
from tests.cli.small import TRAINING

MINE = """
import json, sys
import torch
import ppl_vae as pv
from ppl_vae import guides, likelihoods, models
from ppl_vae.training import schedulers

def got(group, **keys):
    print("GOT", json.dumps({group: keys}), file=sys.stderr)

class Model(models.VAE):
    def __init__(self, spec, likelihood=None, latent_dim: int = 2, hidden: int = 5, depth: int = 1):
        got("model", latent_dim=latent_dim, hidden=hidden, depth=depth)
        super().__init__(spec, likelihood, latent_dim, [hidden] * depth)

class Guide(guides.Amortized):
    def __init__(self, spec, model, hidden: int = 6):
        got("guide", hidden=hidden)
        super().__init__(spec, model, [hidden])

def likelihood(spec, value: float = 0.5, scale: str = "fixed"):
    got("likelihood", value=value, scale=scale)
    return likelihoods.Normal(spec, scale=scale, value=value)

def data(n=60, validation=20, test=10, seed=7, label=None):
    got("dataset", n=n, validation=validation, test=test, seed=seed)
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
    return pv.datasets.from_arrays(x, validation=validation, test=test)

def objective(beta: float = 4.0, num_particles: int = 3):
    got("objective", beta=beta if isinstance(beta, float | int) else "schedule", num_particles=num_particles)
    return pv.objectives.ELBO(beta=beta, num_particles=num_particles)

def rise(start: float = 0.25, over: int = 2):
    got("beta", start=start, over=over)
    return pv.schedules.linear(start, 1.0, over=over)

def estimator(antithetic: bool = False, common: bool = False):
    got("estimator", antithetic=antithetic, common=common)
    return pv.estimators.Pathwise(antithetic=antithetic, common=common)

def optimizer(parameters, lr: float = 0.02, betas: tuple[float, float] = (0.8, 0.9)):
    got("optimizer", lr=lr, betas=betas)
    return torch.optim.Adam(parameters, lr=lr, betas=betas)

def scheduler(warmup: int = 3, floor: float = 0.5):
    got("scheduler", warmup=warmup, floor=floor)
    return schedulers.cosine(warmup, floor)

class Logger:
    def __init__(self, directory, config, project: str = "mine"):
        got("logger", project=project)
    def __call__(self, row): pass
    def close(self): pass
"""

OWN = {
    "model": ("Model", {"latent_dim": 2, "hidden": 5, "depth": 1}),
    "guide": ("Guide", {"hidden": 6}),
    "likelihood": ("likelihood", {"value": 0.5, "scale": "fixed"}),
    "dataset": ("data", {"n": 60, "validation": 20, "test": 10, "seed": 7}),
    "objective": ("objective", {"beta": 4.0, "num_particles": 3}),
    "estimator": ("estimator", {"antithetic": False, "common": False}),
    "optimizer": ("optimizer", {"lr": 0.02, "betas": [0.8, 0.9]}),
    "scheduler": ("scheduler", {"warmup": 3, "floor": 0.5}),
    "logger": ("Logger", {"project": "mine"}),
}
"""By group: the target, and its own defaults, which all differ from those of the option chosen in its place."""

OLD = [
    "likelihood=normal",
    "objective=iwae",
    "estimator=antithetic",
    "scheduler=cosine",
    "logger=wandb",
    "dataset=digits",
]
"""Options whose files hold keys of the same names."""

TYPED = {
    "model": {"latent_dim": 8, "depth": 2},  # 8 is what the old option says
    "guide": {"hidden": 9},
    "likelihood": {"value": 1.0},
    "dataset": {"validation": 12, "seed": 0},
    "objective": {"num_particles": 1},
    "estimator": {"antithetic": False},
    "optimizer": {"lr": 1e-3},
    "scheduler": {"floor": 0.0},
    "logger": {"project": "ppl_vae"},
}


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    yield
    sys.modules.pop("mine", None)


def targets(groups=OWN):
    return [f"{group}._target_=mine.{OWN[group][0]}" for group in groups]


def received(called):
    assert called.code == 0, called.err
    found = {}
    for line in re.findall(r"^GOT (.*)$", called.err, re.MULTILINE):
        found |= json.loads(line)
    return found


def words(keys):
    return [f"{group}.{key}={value}" for group, of_group in keys.items() for key, value in of_group.items()]


def with_typed(keys):
    return {group: {**own, **keys.get(group, {})} for group, (_, own) in OWN.items()}


@pytest.mark.parametrize("order", ["targets first", "keys first"])
def test_every_group_gets_its_own_defaults_and_what_was_typed(cli, mine, order):
    lines = [targets(), words(TYPED)] if order == "targets first" else [words(TYPED), targets()]
    called = cli("train", *OLD, *lines[0], *lines[1], *TRAINING, "hydra.run.dir=run")
    assert received(called) == with_typed(TYPED)
    config = Run.load("run").plain_config
    for group, typed in TYPED.items():
        if group != "likelihood":  # named as the class that was chosen
            assert config[group] == {"_target_": f"mine.{OWN[group][0]}", **typed}


def test_defaults_alone_through_training_a_sweep_and_resume(cli, mine):
    own = with_typed({})
    assert received(cli("train", *OLD, *targets(), *TRAINING, "hydra.run.dir=run")) == own
    assert received(cli("train", "resume=run", "trainer.epochs=3")) == own
    swept = ["-m", "seed=0", "model.depth=1,2", "hydra.sweep.dir=sweep"]
    called = cli("train", *OLD, *targets(), *TRAINING, *swept)
    assert called.code == 0, called.err
    models = [json.loads(x)["model"] for x in re.findall(r'^GOT (.*"model".*)$', called.err, re.MULTILINE)]
    assert models == [{**own["model"], "depth": d} for d in (1, 2)]


def test_targets_that_are_swept_over(cli, mine):
    called = cli("train", "--cfg", "job", "model._target_=mine.Model", "model.depth=2")
    assert OmegaConf.create(called.out).model == {"_target_": "mine.Model", "depth": 2}
    both = "model._target_=mine.Model,ppl_vae.models.VAE"
    called = cli("train", *OLD[:1], *targets(["dataset"]), both, *TRAINING, "-m", "hydra.sweep.dir=sweep")
    assert called.code == 0, called.err
    assert Run.load("sweep/0").plain_config["model"] == {"_target_": "mine.Model"}
    assert Run.load("sweep/1").plain_config["model"]["latent_dim"] == 8  # the option was not replaced


FILES = {
    "model/ladder.yaml": "_target_: mine.Model\ndepth: 2\nwidth: 3\n",
    "model/deep.yaml": "defaults:\n  - vae\n  - _self_\nhidden: [7, 7]\n",
    "model/own.yaml": "defaults:\n  - vae\n  - _self_\n_target_: mine.Model\ndepth: 3\n",
    "experiment/mine.yaml": "# @package _global_\nmodel:\n  _target_: mine.Model\n  depth: 2\noptimizer:\n  lr: 0.1\n",
    "experiment/overlay.yaml": "# @package _global_\nmodel:\n  hidden: 4\n",
    "experiment/chosen.yaml": "# @package _global_\ndefaults:\n  - override /model: own\nmodel:\n  latent_dim: 5\n",
    "model/short.yaml": "_target_: ppl_vae.models.VAE\nlatent_dim: 3\n",
    "experiment/of_ours.yaml": "# @package _global_\nmodel:\n  _target_: ppl_vae.models.Topics\n",
    "experiment/deeper.yaml": "# @package _global_\nmodel:\n  _target_: ppl_vae.models.VAE\n  hidden: [9]\n",
    "hparams_search/targets.yaml": (
        "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n"
        "      model._target_: mine.Model\n      model.depth: 1,2\n"
    ),
}
VAE = {"_target_": "ppl_vae.models.VAE", "latent_dim": 8, "hidden": [256], "activation": "relu"}
TOPICS = {"_target_": "ppl_vae.models.Topics", "latent_dim": 20, "alpha": 0.5, "mixing": "product"}
WAYS = {
    "an option of their own": (["model=deep"], {**VAE, "hidden": [7, 7]}),
    "another target over their option": (
        ["model=ladder", "model._target_=mine.Model2"],
        {"_target_": "mine.Model2", "depth": 2, "width": 3},
    ),
    "their option over ours": (["model=own"], {"_target_": "mine.Model", "depth": 3}),
    "their experiment": (["experiment=mine"], {"_target_": "mine.Model", "depth": 2}),
    "their experiment, and typed": (
        ["experiment=mine", "model.latent_dim=8"],
        {"_target_": "mine.Model", "latent_dim": 8, "depth": 2},
    ),
    "typed over their experiment": (
        ["experiment=overlay", "model._target_=mine.Model"],
        {"_target_": "mine.Model", "hidden": 4},
    ),
    "chosen by their experiment": (["experiment=chosen"], {"_target_": "mine.Model", "latent_dim": 5, "depth": 3}),
    "our experiment over their option": (
        ["experiment=fashion_mnist", "model=own"],
        {"_target_": "mine.Model", "depth": 3},
    ),
    "our experiment over our option": (["experiment=fashion_mnist"], {**VAE, "latent_dim": 16, "hidden": [512]}),
    "typed over our experiment": (
        ["experiment=fashion_mnist", "model._target_=mine.Model"],
        {"_target_": "mine.Model"},
    ),
    "another of ours": (["model=conv", "model._target_=ppl_vae.models.VAE"], VAE),
    "another of ours, named by their experiment": (["model=burda_1layer", "experiment=of_ours"], TOPICS),
    "a key of their option that only the signature names": (
        ["model=short", "model.activation=tanh"],
        {**VAE, "latent_dim": 3, "activation": "tanh"},
    ),
    "another target over their option of ours": (
        ["model=short", "model._target_=mine.Model"],
        {"_target_": "mine.Model", "latent_dim": 3},
    ),
    "their value of a key over our option's": (
        ["model=burda_1layer", "experiment=deeper"],
        {**VAE, "latent_dim": 50, "hidden": [9], "activation": "tanh"},
    ),
    "the same": (
        ["model=burda_1layer", "model._target_=ppl_vae.models.VAE"],
        {**VAE, "latent_dim": 50, "hidden": [200, 200], "activation": "tanh"},
    ),
}


@pytest.fixture
def own_configs(tmp_path, mine):
    for name, text in FILES.items():
        (tmp_path / "myconf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "myconf" / name).write_text(text)


@pytest.mark.parametrize(("typed", "node"), WAYS.values(), ids=WAYS)
def test_ways_to_name_a_target(cli, own_configs, typed, node):
    called = cli("train", "--config-dir", "myconf", *typed, "--cfg", "job")
    assert called.code == 0, called.err
    assert OmegaConf.to_container(OmegaConf.create(called.out).model) == node


@pytest.mark.parametrize("way", ["their option over ours", "typed over their experiment"])
def test_ways_through_a_search_path(cli, own_configs, tmp_path, way):
    typed, node = WAYS[way]
    called = cli("train", f"hydra.searchpath=[file://{tmp_path}/myconf]", *typed, "--cfg", "job")
    assert called.code == 0, called.err
    assert OmegaConf.to_container(OmegaConf.create(called.out).model) == node


def test_a_search_of_their_own(cli, own_configs):
    called = cli("train", "--config-dir", "myconf", "hparams_search=targets", *targets(["dataset"]), *TRAINING,
                 "hydra.sweep.dir=sweep")  # fmt: skip
    assert called.code == 0, called.err
    assert [Run.load(f"sweep/{i}").plain_config["model"] for i in (0, 1)] == [
        {"_target_": "mine.Model", "depth": d} for d in (1, 2)
    ]


@pytest.mark.parametrize("option", ["elbo", "beta_vae"])
def test_nested_targets_in_place_of_a_number_and_of_a_schedule(cli, mine, option):
    nested = [f"objective={option}", "objective.beta._target_=mine.rise"]
    lines = [*targets(["dataset"]), *nested, *TRAINING, "hydra.run.dir=run"]
    assert received(cli("train", *lines))["beta"] == {"start": 0.25, "over": 2}
    assert Run.load("run").plain_config["objective"]["beta"] == {"_target_": "mine.rise"}
    assert received(cli("train", *lines[:-1], "objective.beta.over=10", "hydra.run.dir=b"))["beta"]["over"] == 10


def test_a_key_of_their_file_for_another_target_goes_where_it_is_not_named(cli, own_configs):
    called = cli("train", "--config-dir", "myconf", "model=ladder", "model._target_=ppl_vae.models.Vamp", "guide=vamp",
                 *targets(["dataset"]), *TRAINING, "hydra.run.dir=run")  # fmt: skip
    assert called.code == 0, called.err
    vamp = "ppl_vae.models.Vamp"
    assert Run.load("run").plain_config["model"] == {"_target_": vamp, **defaults(vamp)}


WRONG = {
    "typed": (["model._target_=mine.Model", "model.width=3"], "model.width: mine.Model has no such parameter; "),
    "typed before": (["model.width=3", "model._target_=mine.Model"], "expected one of: depth, hidden, latent_dim"),
    "of the old option": (["model._target_=mine.Model", "model.prior=normal"], "model.prior: mine.Model has no such"),
    "in their file": (["--config-dir=myconf", "model=ladder"], "model.width: mine.Model has no such parameter"),
    "nested": (["objective.beta._target_=mine.rise", "objective.beta.end=2"], "objective.beta.end: mine.rise has no"),
    "an element of a list": (["model._target_=mine.Model", "model.hidden.0=3"], "give the whole list: model.hidden=["),
    "a type": (["model._target_=mine.Model", "model.hidden=[256]"], "model.hidden: got [256], expected an integer"),
    "a whole node": (["model={_target_:mine.Model,depth:4}"], "got keys, expected an option of model"),
    "a step too many": (["model._target_=mine.Model", "model.hidden.x=3"], "model.hidden"),
}


@pytest.mark.parametrize(("typed", "says"), WRONG.values(), ids=WRONG)
def test_what_is_typed_and_not_named_is_an_error(cli, own_configs, typed, says):
    called = cli("train", *targets(["dataset"]), *TRAINING, *typed)
    assert called.code == 2, called.err
    assert says in called.err
    assert "outputs" not in called.left
