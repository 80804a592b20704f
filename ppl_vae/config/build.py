"""From a config to a dataset and a pair, in the order dataset, likelihood, model, guide."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ppl_vae.config.parts import chosen, require_taken
from ppl_vae.config.schema import conf_dir
from ppl_vae.config.signature import INJECTED, defaults, is_ours
from ppl_vae.config.targets import Part, build, plan, takes_function
from ppl_vae.errors import CheckError

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE
    from ppl_vae.datasets import Dataset, Spec


def build_dataset(config: Mapping[str, Any], trusted: bool = False) -> Dataset:
    """The dataset of a config; without trust no place of files may be named there, and nothing is downloaded."""
    import torch

    from ppl_vae.datasets import Dataset, from_arrays
    from ppl_vae.errors import DataError

    node = config["dataset"]
    part = plan("dataset", node, trusted=trusted)
    if not trusted and "download" in part.parameters:
        part = plan("dataset", {**node, "download": False})
    data = part.make({})
    if isinstance(data, torch.utils.data.Dataset):
        return from_arrays(data, validation=0.1, test=0.1)
    if not isinstance(data, Dataset):
        raise DataError(
            f"dataset._target_: {config['dataset']['_target_']} gave a {type(data).__name__}, expected a "
            "ppl_vae.datasets.Dataset: end it with `return ppl_vae.datasets.from_arrays(train, validation, test)`; "
            "or a torch.utils.data.Dataset, of which a tenth each is set aside for validation and test"
        )
    return data


def build_vae(config: Mapping[str, Any], spec: Spec, *, trusted: bool = False) -> VAE:
    """The pair of a config, for data of this spec; constructors that name them get what they name.

    So do parts (`prior`, `encoder`, `decoder`), which go to the model and the guide. A `prior` that was fitted after
    training (there is a `prior_at`) takes the place of the model's own, at that attribute.

    All of it is found and held to signatures before any of it is called, see `targets.plan`.
    """
    from ppl_vae.codes.prior import put_prior
    from ppl_vae.core.pair import VAE

    def planned(group: str, *given: str) -> Part:
        return plan(group, config[group], given=given, trusted=trusted)

    parts = {"likelihood": planned("likelihood", "spec")} if config.get("likelihood") else {}
    names = chosen(config)
    parts |= {name: planned(name) for name in names}
    programs = {"model": planned("model", "spec", "likelihood", *names), "guide": planned("guide", *INJECTED, *names)}
    parts |= programs
    require_taken(config, {group: part.parameters for group, part in programs.items()}, takes_function)
    fitted = plan("fitted prior", config["prior"], trusted=trusted) if config.get("prior_at") else None
    estimators = _estimators(config.get("estimator"), trusted)
    likelihood = parts["likelihood"].make({"spec": spec}) if parts.get("likelihood") else None
    given = {"spec": spec, "likelihood": likelihood, **{name: parts[name].make({}) for name in names}}
    model = parts["model"].make(given)
    try:
        guide = parts["guide"].make({**given, "model": model})
    except (AttributeError, TypeError) as error:  # a size it reads from the model is not there, or another kind
        targets = [config[group]["_target_"] for group in ("guide", "model")]
        fitting = _guide_for(targets[1])
        if not targets[0].startswith("ppl_vae.") or any(
            f"={name}" in fitting for name in _options("guide", targets[0])
        ):
            raise  # it is another part that does not fit
        raise CheckError(
            f"guide {targets[0]} does not go with model {targets[1]} ({error}). Take {fitting}"
            "guide=derived, which fits any model, or one of your own."
        ) from error
    if fitted is not None:
        put_prior(model, str(config.get("prior_at", "prior")), fitted.make({}))
    made = {site: part.make({}) for site, part in estimators.items()}
    return VAE(model, guide, estimators=made or None)


def _options(group: str, target: str) -> list[str]:
    """The options of a group that name a target."""
    found = sorted((conf_dir() / group).glob("*.yaml"))
    return [path.stem for path in found if f"_target_: {target}\n" in path.read_text(encoding="utf-8")]


def _guide_for(model: str) -> str:
    """The guide that the option of a ready-made model names in its first line; amortized where it names none."""
    options = sorted((conf_dir() / "model").glob("*.yaml"), reverse=True)
    texts = [p.read_text(encoding="utf-8") for p in sorted(options, key=lambda p: len(p.stem))]
    own = next((text for text in texts if f"_target_: {model}\n" in text), None)
    if own is None:
        return ""
    named = re.search(r"guide=\w+( or \w+)?", own.splitlines()[0])
    return f"{named[0] if named else 'guide=amortized'}, "


def _estimators(node: Mapping[str, Any] | None, trusted: bool) -> dict[str, Part]:
    """One estimator for all sites (`estimator._target_`), or one per site (`estimator.z._target_`)."""
    if not node:
        return {}
    if "_target_" in node:
        return {"*": plan("estimator", node, trusted=trusted)}
    return {site: plan(f"estimator.{site}", value, trusted=trusted) for site, value in node.items() if value}


def concrete_likelihood(node: Mapping[str, Any] | None, spec: Spec, *, trusted: bool = False) -> dict[str, Any] | None:
    """`likelihood=auto` as the class it chose for this spec: what a saved config says."""
    if not node:
        return None
    chosen = build("likelihood", node, trusted=trusted, spec=spec)
    kind = type(chosen)
    if node["_target_"].endswith("likelihood_for"):
        public = kind.__module__.rsplit(".", 1)[0]  # the room's public name outlives the file's
        home = public if getattr(sys.modules.get(public), kind.__name__, None) is kind else kind.__module__
        name = f"{home}.{kind.__qualname__}"
        return {"_target_": name, **(defaults(name) if is_ours(name) else {})}  # as a run that goes on is composed
    return dict(node)
