"""The estimator of a site for which the user names none."""

from typing import Any

from ppl_vae.distributions.unwrap import elements, is_detached
from ppl_vae.distributions.vector_quantized import StraightThrough
from ppl_vae.estimators.base import Estimator
from ppl_vae.estimators.enumerate import Enumerate
from ppl_vae.estimators.implicit import has_implicit
from ppl_vae.estimators.pathwise import Pathwise
from ppl_vae.estimators.quantize import Quantize
from ppl_vae.estimators.reparameterize import is_finite, support_size
from ppl_vae.estimators.score_function import ScoreFunction

MOST_CONFIGURATIONS = 1024
"""Sites are enumerated by default as long as their supports have no more values together."""


def default_estimator(site: dict[str, Any], configurations: int = 1, escapes: bool = False) -> Estimator:
    """Pathwise where draws can be differentiated, enumeration where the support is small, else the score function.

    Draws of a distribution whose `has_rsample_(False)` was called are not differentiated: that is the user's word, as
    are `infer={"enumerate": "parallel"}` and `infer={"enumerate": None}`.

    Args:
        site: The node of a trace.
        configurations: The values that the sites enumerated before take together.
        escapes: Whether a site outside one of its plates depends on it, so that it has no sum of its own.
    """
    q, infer = site["fn"], site["infer"]
    if isinstance(elements(q), StraightThrough):
        return Quantize()
    if infer.get("enumerate"):
        return Enumerate()
    if not is_detached(q) and (getattr(q, "has_rsample", False) or has_implicit(q)):
        return Pathwise()
    drawn = "enumerate" in infer or infer.get("_markov_scope") is not None or escapes
    if not drawn and is_finite(q) and configurations * support_size(q) <= MOST_CONFIGURATIONS:
        return Enumerate()
    return ScoreFunction()


def resolve(name: str, site: dict[str, Any], named: Any, configurations: int = 1, escapes: bool = False) -> Estimator:
    """The estimator of a site: the one named for it, for all others (`"*"`), or by default.

    What the program says of one site comes before what is named for all.
    """
    if name in named:
        return named[name]
    own = is_detached(site["fn"]) or isinstance(elements(site["fn"]), StraightThrough) or "enumerate" in site["infer"]
    if "*" in named and not own:
        return named["*"]
    return default_estimator(site, configurations, escapes)
