"""Parts of a pair as groups of their own: prior, encoder, decoder, given by name to the constructors that take them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ppl_vae.config import signature
from ppl_vae.config.layers import TARGET
from ppl_vae.config.schema import conf_dir
from ppl_vae.config.signature import PARTS
from ppl_vae.errors import UsageError

PROGRAMS = ("model", "guide")

FORMERLY = {"mixture": "ppl_vae.nn.MixturePrior", "flow": "ppl_vae.nn.FlowPrior"}
"""Priors that ready-made models once took by these names, `model.prior=mixture`; `normal` was their own."""

ELSEWHERE = {
    ("prior", "vamp"): "a VampPrior is made of the guide's own networks: model=vamp guide=vamp",
    ("prior", "normal"): "the standard normal is prior=standard",
}
"""What is said of options that one may look for."""

Takes = Callable[[inspect.Parameter], bool]


def with_parts(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config in which a prior that was a name among the keys of a ready-made model is the part `prior`; a copy.

    Raises:
        UsageError: both are there.

    Example:
        >>> new = with_parts({"model": {"_target_": "ppl_vae.models.VAE", "latent_dim": 2, "prior": "mixture"}})
        >>> new["model"], new["prior"]
        ({'_target_': 'ppl_vae.models.VAE', 'latent_dim': 2}, {'_target_': 'ppl_vae.nn.MixturePrior', 'components': 32})
    """
    model = config.get("model")
    if not isinstance(model, Mapping) or not signature.is_ours(model.get(TARGET)):
        return dict(config)
    name = model.get("prior")
    if not isinstance(name, str) or name not in ("normal", *FORMERLY):
        return dict(config)
    rest = {**config, "model": {key: value for key, value in model.items() if key != "prior"}}
    if "prior_at" in config or name == "normal":  # a prior fitted after training has taken the place
        return rest
    if config.get("prior"):
        raise UsageError(f"model.prior={name}: prior is given, too; leave one of them out")
    target = FORMERLY[name]
    return {**rest, "prior": {TARGET: target, **signature.defaults(target)}}


def chosen(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The parts that a config gives; a prior fitted after training is put into a pair that is made without it."""
    fitted = ("prior",) if "prior_at" in config else ()
    return tuple(name for name in PARTS if config.get(name) and name not in fitted)


def require_taken(
    config: Mapping[str, Any], found: Mapping[str, Mapping[str, inspect.Parameter]], takes: Takes
) -> None:
    """Refuse parts that neither the model nor the guide takes, and those that are given twice.

    Args:
        config: plain values.
        found: the parameters of the model and of the guide.
        takes: whether a parameter takes a function.

    Raises:
        UsageError: naming the options that take it.
    """
    for name in chosen(config):
        groups = [group for group in PROGRAMS if name in found[group] and takes(found[group][name])]
        if not groups:
            targets = " nor ".join(f"{group} {config[group][TARGET]}" for group in PROGRAMS)
            takers = ", ".join(f"{group}={option}" for group, option in options(name))
            raise UsageError(
                f"{name}={config[name][TARGET]}: neither {targets} has a parameter {name} for it; these have: {takers}"
            )
        for group in groups:
            if config[group].get(name) is not None:
                raise UsageError(f"{group}.{name} and {name} are both given; leave one of them out")


def options(name: str) -> Iterator[tuple[str, str]]:
    """The options of `model` and `guide` that take a part, by their sources."""
    for group in PROGRAMS:
        for path in sorted((conf_dir() / group).glob("*.yaml")):
            target = next(
                (line[9:].strip() for line in path.read_text("utf-8").splitlines() if line[:9] == "_target_:"), ""
            )
            found = signature.parameters(target).get(name) if target else None
            if found is not None and not found.choices:
                yield group, path.stem
