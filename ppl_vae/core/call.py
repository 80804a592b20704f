"""Arguments that functions work with: the pair, and functions that are called in turn."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from ppl_vae.errors import ArgumentError, PplVaeError
from ppl_vae.frames import in_known_lines, module_of
from ppl_vae.kinds import shown


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


def require_call(name: str, function: Callable[..., Any], **arguments: Any) -> None:
    """Refuse a function or class that cannot be called with so many arguments, by position.

    Raises:
        ArgumentError: naming it, and what it is called with.

    Example:
        >>> require_call("head", lambda width: None, width=3, units=2)
        Traceback (most recent call last):
        ppl_vae.errors.ArgumentError: Got head=a function that cannot be called as head(width, units) (too many ...
    """
    called = function.forward if isinstance(function, nn.Module) else function
    try:
        inspect.signature(called).bind(*arguments.values())
    except TypeError as error:
        raise ArgumentError(
            f"Got {name}={shown(function)} that cannot be called as {name}({', '.join(arguments)}) ({error}), expected "
            "one that can."
        ) from None
    except ValueError:  # written in C, without a signature
        return


def made(name: str, maker: Callable[..., Any], **arguments: Any) -> Any:
    """Give what a part's class or function makes of these arguments, by position.

    Raises:
        ArgumentError: it takes other ones, such as a class of torch in the place of a decoder; what a user's own lines
            raise is raised.

    Example:
        >>> made("decoder", nn.Linear, spec="a spec", likelihood="a likelihood", features=2)
        Traceback (most recent call last):
        ppl_vae.errors.ArgumentError: Got decoder=the class Linear, which fails on (spec, likelihood, features): ...
    """
    require_call(name, maker, **arguments)
    try:
        return maker(*arguments.values())
    except PplVaeError:
        raise
    except Exception as error:
        is_ours = module_of(getattr(maker, "func", maker)).startswith("ppl_vae.")
        if is_ours or not in_known_lines(error):
            raise
        raise ArgumentError(
            f"Got {name}={shown(maker)}, which fails on ({', '.join(arguments)}): {str(error).splitlines()[0]:.150}. "
            f"Expected a class or function that makes a {name} of these; wrap it in one of your own."
        ) from error
