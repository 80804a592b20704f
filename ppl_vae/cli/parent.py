"""`init=DIR`: a run of its own that begins with the weights of another one, which it names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ppl_vae import files
from ppl_vae.errors import DamagedError, RunError
from ppl_vae.runs.recorder import WEIGHTS
from ppl_vae.runs.run import Run

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE
    from ppl_vae.datasets import Dataset


NETWORKS = ("likelihood", "prior", "encoder", "decoder", "model", "guide")
"""The groups that say which weights there are."""


def begin_with(vae: VAE, data: Dataset, init: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Put the best weights of a run into a pair, and give what `run.json` says of it.

    Weights alone are read of it, which are data: no trust is asked for.

    Args:
        vae: the pair.
        data: that it is trained on.
        init: the other run.
        config: that describes the pair, as `config.yaml` has it.

    Raises:
        RunError: there are none, or they are not those of this pair.
    """
    from ppl_vae.core.data import as_pair_takes
    from ppl_vae.core.run import prepare
    from ppl_vae.core.snapshot import unlike
    from ppl_vae.nn.formerly import present_names
    from ppl_vae.runs.state import load, load_weights

    parent = Run.load(init)
    path = parent.directory / WEIGHTS
    if not files.is_there(path):
        raise RunError(f"init={init}: {parent} has no weights yet, expected those of a run that was trained")
    prepare(vae, as_pair_takes(data.train[:2].batch(), vae))  # parameters appear that programs make when first run
    try:
        load_weights(path, vae)
    except DamagedError:
        raise
    except RunError:
        tensors = dict(load(path))
        present_names(vae, tensors)
        how = f"{unlike(vae, tensors)}. {_advice(parent, data, config)}"
        raise RunError(f"init={init}: its weights are not those of this pair: {how}") from None
    return parent_of(parent)


def _advice(parent: Run, data: Dataset, config: Mapping[str, Any]) -> str:
    """The settings of networks that are others than those of a run, and what to type to have its own."""
    there, found = parent.plain_config, dict[str, str]()
    for group in NETWORKS:
        own, other = config.get(group), there.get(group)
        if own == other:
            continue
        if not other or not own or own.get("_target_") != other.get("_target_"):
            name = "null" if not other else other["_target_"]
            found[f"{group}{'._target_' if other else ''}={name}"] = (
                f"{group} {_named(own)} where it has {_named(other)}"
            )
            own = {}
        for key, value in (other or {}).items():
            if key != "_target_" and own.get(key, ...) != value:
                got = f" {_typed(own[key])} where it has {_typed(value)}" if key in own else ""
                found[f"{group}.{key}={_typed(value)}"] = f"{group}.{key}{got}" if got else ""
    if found:
        told = "; ".join(filter(None, found.values()))
        return f"Got {told}; expected its settings: init takes weights, and none of them. Type {' '.join(found)}"
    differ = data.spec.differences(parent.spec)
    told = "; ".join(f"{key} {own} where its have {other}" for key, (own, other) in differ.items())
    return f"Got data with {told}; expected data of the same kind" if told else "Give data, model and guide as there"


def _named(node: Any) -> str:
    return str(node["_target_"]).rpartition(".")[2] if node else "none"


def _typed(value: Any) -> str:
    """A value as the command line takes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(_typed, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{k}:{_typed(v)}' for k, v in value.items())}}}"
    return str(value)


def parent_of(run: Run) -> dict[str, Any]:
    """Facts for `run.json` on the run that another one begins with."""
    return {"parent": {"run": str(run.directory.absolute()), "epochs": len(run.metrics)}}
