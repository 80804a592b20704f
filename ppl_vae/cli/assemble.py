"""From a composed config to data, pair and objective, ready to be trained, checked or measured."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from ppl_vae.cli import ranks
from ppl_vae.cli.arguments import quote
from ppl_vae.cli.hydra import Context
from ppl_vae.cli.process import forget_user_modules, remember_user_modules, reset_process
from ppl_vae.config.keys import GROUPS, PRINTING
from ppl_vae.config.locate import locate
from ppl_vae.config.parts import chosen, require_taken, with_parts
from ppl_vae.config.signature import INJECTED
from ppl_vae.config.targets import PROGRAMS, build, check, is_path, parameters, takes_function
from ppl_vae.errors import PplVaeError, UsageError
from ppl_vae.runs.files import whole_path

if TYPE_CHECKING:
    import torch

    from ppl_vae.core.pair import VAE
    from ppl_vae.datasets import Dataset


GIVEN = {
    "likelihood": ("spec",),
    "model": ("spec", "likelihood"),
    "guide": INJECTED,
    "logger": ("directory", "config"),
    "callbacks": ("vae", "data", "directory"),
}


SEVERAL = ("estimator", "callbacks")
"""Groups with one target, or with one by each name: an estimator a site, several callbacks."""

REQUIRED = ("dataset", "model", "guide", "objective", "optimizer")


def checked(cfg: DictConfig, context: Context) -> dict[str, Any]:
    """The whole config as plain values, each group checked and reduced to the keys that will be used.

    Raises:
        UsageError: for a key or value that a target does not take.
    """
    plain: Any = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    config = with_parts(plain)
    trusted = is_trusted(cfg, context)
    given = {**GIVEN, **{group: (*GIVEN[group], *chosen(config)) for group in PROGRAMS}}
    for group in (g for g in GROUPS if g in config):
        node = config[group]
        if not node:
            if group in REQUIRED:
                raise UsageError(f"{group} is needed: choose an option ({group}=…) or name {group}._target_=…")
            config[group] = None
        elif "_target_" in node:
            config[group] = _checked(group, node, context, trusted, given.get(group, ()))
        elif group in SEVERAL:
            config[group] = {
                name: _checked(f"{group}.{name}", value, context, trusted, given.get(group, ()))
                for name, value in node.items()
                if value
            }
        else:
            raise UsageError(f"{group} has no _target_; name a class or function: {group}._target_=my_module.name")
    programs = {group: locate(config[group]["_target_"], group, trusted=trusted) for group in PROGRAMS}
    require_taken(config, {group: parameters(target) for group, target in programs.items()}, takes_function)
    if "logger" in config:
        node = config["logger"]
        own = trusted or types_logger(context)
        config["logger"] = _checked("logger", node, context, own, GIVEN["logger"]) if node else None
    config["dataset"] = absolute_paths(config["dataset"], context.started_in, trusted=trusted)
    for group in PROGRAMS:
        _refuse_empty_networks(group, config[group])
    return config


def is_trusted(cfg: DictConfig, context: Context) -> bool:
    """True for what was typed, and for a run that is gone on with, if it was made here or is trusted.

    A file that was chosen on the command line (`--config-dir`, `hydra.searchpath`) is as typed: a folder of Hydra's
    configs is a program, since Hydra itself builds launchers, sweepers and callbacks from it.
    """
    from ppl_vae.runs.run import Run

    if (
        OmegaConf.select(cfg, "resume") is None or context.in_sweep
    ):  # a job of a sweep is composed anew, of what its plan says
        return True
    return Run.load(cfg.resume, trust=cfg.trust).trusted


def types_logger(context: Context) -> bool:
    """True if the tracker of a run that is gone on with is not the run's own: `logger=mlflow resume=DIR`."""
    return any(o.split("=", 1)[0].lstrip("+~") in ("logger", "logger._target_") for o in context.typed)


def _refuse_empty_networks(group: str, node: Mapping[str, Any]) -> None:
    """Every whole number that a ready-made model or guide takes is a size or a count."""
    if not node["_target_"].startswith("ppl_vae."):
        return
    for key, value in node.items():
        sizes = [v for v in (value if isinstance(value, list) else [value]) if type(v) is int]
        if sizes and min(sizes) < 1:
            raise PplVaeError(f"{group}.{key}: got {value}, expected whole numbers of at least 1")


def _checked(
    where: str, node: Mapping[str, Any], context: Context, trusted: bool, given: Sequence[str]
) -> dict[str, Any]:
    if where == "optimizer" and str(node["_target_"]).startswith("pyro.optim"):
        raise UsageError(
            f"optimizer._target_: got {node['_target_']}, which keeps one for every parameter of Pyro's store, "
            "expected one of torch.optim: optimizer=adam, or optimizer._target_=torch.optim.NAdam"
        )
    return check(where, node, loose=context.loose, given=given, trusted=trusted)


def absolute_paths(node: dict[str, Any], started_in: str, *, trusted: bool = True) -> dict[str, Any]:
    """The paths of a dataset made absolute, so that a run's config holds from any working directory.

    Raises:
        UsageError: for a relative path where the job left the directory in which it was typed (`hydra.job.chdir=true`).
    """
    found = parameters(locate(node["_target_"], "dataset", trusted=trusted))
    moved = started_in and Path.cwd() != Path(started_in)

    def absolute(key: str, value: Any) -> Any:
        if is_path(key, found.get(key)) and isinstance(value, str) and "://" not in value:
            path = whole_path(value, f"dataset.{key}")
            if moved and not Path(value).is_absolute() and not value.startswith("~"):
                where = os.path.join(started_in, value)  # noqa: PTH118
                raise UsageError(
                    f"dataset.{key}={value}: relative, and hydra.job.chdir=true leaves where it starts from; "
                    f"give the whole path, dataset.{key}={quote(where)}, or leave chdir out"
                )
            return os.path.abspath(path)  # noqa: PTH100 - keeps symbolic links as typed
        return value

    return {key: absolute(key, value) for key, value in node.items()}


def user_modules(config: Mapping[str, Any]) -> list[str]:
    """The folders that the targets' modules were imported from, libraries and this package apart."""
    libraries = {str(Path(sysconfig.get_paths()[k]).resolve()) for k in ("stdlib", "purelib", "platlib")}
    libraries.add(str(Path(__file__).resolve().parents[1]))
    folders: dict[str, None] = {}

    def visit(node: Any) -> None:
        if isinstance(node, Mapping):
            if isinstance(node.get("_target_"), str):
                module = sys.modules.get(node["_target_"].split(".")[0])
                file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", [])), None)
                if file and not any(str(Path(file).resolve()).startswith(root + os.sep) for root in libraries):
                    root = Path(file).parent.parent if hasattr(module, "__path__") else Path(file).parent
                    folders[str(root.absolute())] = None
            for value in node.values():
                visit(value)
        elif isinstance(node, list):
            for value in node:
                visit(value)

    visit(config)
    return list(folders)


@dataclass
class Assembled:
    """The objects that a config describes.

    Attributes:
        config: resolved and checked, plain values.
        saved: what `config.yaml` says: the likelihood named, the spec of the data and where they come from.
        facts: what `run.json` says of the command.
        trusted: whether the config may name what it likes, see `is_trusted`.
    """

    config: dict[str, Any]
    saved: dict[str, Any]
    facts: dict[str, Any]
    data: Dataset
    vae: VAE
    objective: Any
    device: torch.device
    trusted: bool


def build_objective(node: dict[str, Any], *, trusted: bool) -> Any:
    """The objective of a checked config.

    Raises:
        PplVaeError: for one of Pyro's, which takes programs and gives a loss, where ours take a pair and give a bound.
    """
    from pyro.infer.elbo import ELBO

    objective = build("objective", node, trusted=trusted)
    if isinstance(objective, ELBO):
        raise PplVaeError(
            f"objective._target_: got Pyro's {type(objective).__name__}, expected a function of (vae, batch, total) "
            "that gives a Bound, as those in ppl_vae.objectives are: objective=elbo, elbo_analytic, iwae, renyi, …"
        )
    return objective


def assemble(cfg: DictConfig, context: Context, loaded: dict[str, Dataset] | None = None) -> Assembled:
    """Check every key, then build dataset, likelihood, model, guide and objective, in a process made fresh.

    Args:
        cfg: of the job.
        context: of the job.
        loaded: data sets of ppl_vae's own by their config, which jobs that begin together share: it is added to.
    """
    before = set(sys.modules)
    if context.in_sweep:
        forget_user_modules(Path.cwd())
    config, trusted = checked(cfg, context), is_trusted(cfg, context)
    if context.in_sweep:
        remember_user_modules(before, Path.cwd())

    import torch

    from ppl_vae.config.build import build_vae, concrete_likelihood

    engine = (ranks.device_of(cfg.engine), cfg.engine.threads, context.worker)
    reset_process(cfg.seed, *engine)
    data = _shared(config, {} if loaded is None else loaded, trusted)
    likelihood = concrete_likelihood(config["likelihood"], data.spec, trusted=trusted)
    device = reset_process(cfg.seed, *engine)  # whatever loading the data drew, the pair starts from the seed
    vae = build_vae(config, data.spec, trusted=trusted).to(device)
    objective = build_objective(config["objective"], trusted=trusted)
    saved = {k: v for k, v in config.items() if k not in ("resume", *PRINTING, "run", "trust")}
    saved |= {"likelihood": likelihood, "spec": data.spec.to_dict(), "provenance": dict(data.provenance)}
    facts = {**context.facts, "seed": cfg.seed, "user_modules": user_modules(config), "device": str(device)}
    facts["threads"] = torch.get_num_threads()
    return Assembled(config, saved, facts, data.to(device), vae, objective, device, trusted)


def called_back(node: Mapping[str, Any] | None, *, trusted: bool, **given: Any) -> list[Callable[..., Any]]:
    """The callbacks of a checked config: `callbacks._target_`, or several by names, `callbacks.NAME._target_`.

    Raises:
        UsageError: for what cannot be called.
    """
    if not node:
        return []
    nodes = {"callbacks": node} if "_target_" in node else {f"callbacks.{name}": part for name, part in node.items()}
    made = {where: build(where, part, trusted=trusted, **given) for where, part in nodes.items()}
    for where, callback in made.items():
        if not callable(callback):
            raise UsageError(
                f"{where}._target_: got a {type(callback).__name__}, expected what is called with the row of each "
                "epoch: a class with __call__(self, row), or a function of row and keys"
            )
    return list(made.values())


def _shared(config: dict[str, Any], loaded: dict[str, Dataset], trusted: bool) -> Dataset:
    """The data of a config, of those that are loaded already if its own are: what ours give, the config alone fixes."""
    from ppl_vae.config.build import build_dataset

    node = config["dataset"]
    if not node["_target_"].startswith("ppl_vae."):
        return build_dataset(config, trusted)
    name = repr(node)
    if name not in loaded:
        loaded[name] = build_dataset(config, trusted)
    return loaded[name]
