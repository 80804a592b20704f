"""The pair of an estimator: factories called with those keywords that they take, programs copied."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ppl_vae import guides, likelihoods, models
from ppl_vae.core.pair import VAE
from ppl_vae.datasets.spec import Spec, Support
from ppl_vae.errors import ArgumentError, near_names

LIKELIHOODS = {name.lower(): getattr(likelihoods, name) for name in likelihoods.__all__ if name != "likelihood_for"}


def likelihood_class(likelihood: Any) -> Any:
    """The likelihood of a name, `student_t`; what is none is what it is.

    Raises:
        ArgumentError: there is none of that name.

    Example:
        >>> likelihood_class("student_t").__name__
        'StudentT'
    """
    if not isinstance(likelihood, str):
        return likelihood
    found = LIKELIHOODS.get(likelihood.replace("_", "").lower())
    if found is None:
        names = [kind.__name__ for kind in LIKELIHOODS.values()]
        near = near_names(likelihood, names)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ArgumentError(f"Got likelihood={likelihood!r}, expected a class or one of {', '.join(names)}.{hint}")
    return found


def support_for(support: Support | None, likelihood: Any) -> Support | None:
    """The support of the data: as given, else all reals where the likelihood takes them, else what the data show.

    Example:
        >>> support_for(None, likelihood_class("normal")), support_for(None, likelihood_class("poisson"))
        ('real', None)
    """
    takes_reals = "real" in getattr(likelihood, "accepts", ())
    return "real" if support is None and takes_reals else support


def build(
    spec: Spec,
    *,
    model: Any,
    guide: Any,
    likelihood: Any,
    estimators: Mapping[str, Any] | None,
    plain: Mapping[str, Any],
    chosen: Mapping[str, Any],
) -> VAE:
    """Make the pair.

    Args:
        spec: of the data.
        model: a class or function that makes the model, or a module, which is copied; None for `models.VAE`.
        guide: the same; None for `guides.Amortized`.
        likelihood: a class, made for the spec; None for the model's own.
        estimators: as `VAE` takes them; copied.
        plain: `latent_dim` and `hidden`, from z to x, as they are by default.
        chosen: as they are.

    Raises:
        ArgumentError: a factory takes more than is there, or not what was chosen.
    """
    given = {"spec": spec, **chosen, "likelihood": None if likelihood is None else likelihood(spec)}
    needed = {name for name, value in chosen.items() if value != plain[name]}
    if likelihood is not None:
        needed.add("likelihood")
    made = _made("model", models.VAE if model is None else model, given)
    if guide is None and not hasattr(made, "latent_dim"):
        raise ArgumentError(
            f"Got model={type(made).__name__}, which has no latent_dim, without a guide; expected guide=…, a class or "
            "function that makes one: the default guide needs to know how many latents there are."
        )
    hidden = tuple(reversed(chosen["hidden"]))  # from x to z
    variational = _made(
        "guide", guides.Amortized if guide is None else guide, {**given, "model": made, "hidden": hidden}
    )
    left = (
        needed - _taken(models.VAE if model is None else model) - _taken(guides.Amortized if guide is None else guide)
    )
    if left:
        raise ArgumentError(
            f"Got {', '.join(f'{n}={chosen.get(n, likelihood)!r:.60}' for n in sorted(left))} with a model and a guide "
            "that take no such argument, expected it left out, or programs that take it."
        )
    return VAE(made, variational, estimators=copy.deepcopy(estimators))


def _made(what: str, factory: Any, given: Mapping[str, Any]) -> Callable[..., Any]:
    """A program of a factory, given what its signature names of `given`; a module is copied.

    Raises:
        ArgumentError: it is neither, or takes something else.
    """
    if isinstance(factory, nn.Module):
        return copy.deepcopy(factory)
    if not callable(factory):
        raise ArgumentError(f"Got {what}={factory!r:.60}, expected a class or function that makes the {what}.")
    parameters = inspect.signature(factory).parameters.values()
    lacking = [p.name for p in parameters if p.default is p.empty and p.kind not in _SEVERAL and p.name not in given]
    if lacking:
        name = getattr(factory, "__name__", type(factory).__name__)
        raise ArgumentError(
            f"Got {what}={name}, which takes {', '.join(lacking)}; expected a class or function that makes the {what} "
            f"of {', '.join(given)}, as many as it names. A program that is there already: {what}=lambda: {name}, or a "
            "named function in its place where the estimator is to be pickled."
        )
    made = factory(**{name: given[name] for name in _taken(factory) & set(given)})
    if not callable(made):
        raise ArgumentError(f"Got {what} of kind {type(made).__name__}, expected a Pyro program, which can be called.")
    return made


_SEVERAL = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _taken(factory: Any) -> set[str]:
    """The names that a factory takes; of a module, none."""
    return set() if isinstance(factory, nn.Module) else set(inspect.signature(factory).parameters)
