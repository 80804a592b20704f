"""Python functions that name what they take where a call does not fit them."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from ppl_vae.errors import ArgumentError, near_names

P = ParamSpec("P")
R = TypeVar("R")


def named_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function answer a misspelt or missing argument by what it takes, in a sentence.

    Example:
        >>> @named_arguments
        ... def fit(vae, *, epochs=20): ...
        >>> fit(None, epoch=3)
        Traceback (most recent call last):
        ppl_vae.errors.ArgumentError: Got epoch=… for fit, expected its arguments: vae, epochs. Did you mean epochs?
    """
    signature = inspect.signature(function)
    names = list(signature.parameters)

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            unknown = next((key for key in kwargs if key not in names), None)
            takes = f"{function.__name__}, expected its arguments: {', '.join(names)}"
            if unknown is None:
                raise ArgumentError(f"Got a call of {takes}; {error}.") from None
            near = near_names(unknown, names)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ArgumentError(f"Got {unknown}=… for {takes}.{hint}") from None
        return function(*args, **kwargs)

    return called


def require_pair(vae: Any) -> None:
    """Refuse what is no pair in the place of one.

    Raises:
        ArgumentError: saying what it is, and how a pair is made or got.
    """
    from ppl_vae.core.pair import VAE

    if isinstance(vae, VAE):
        return
    kind = f"the class {vae.__name__}" if isinstance(vae, type) else f"a {type(vae).__name__}"
    hint = " The pair of a run is run.vae." if hasattr(type(vae), "vae") else ""
    raise ArgumentError(f"Got vae={kind}, expected a pair: pv.VAE(model, guide).{hint}")
