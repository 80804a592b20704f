"""The likelihood that follows from the data: `likelihood=auto`."""

from collections.abc import Callable
from typing import Any

from ppl_vae.errors import DataError
from ppl_vae.likelihoods.binary import Bernoulli
from ppl_vae.likelihoods.counts import NegativeBinomial
from ppl_vae.likelihoods.integers import DiscretizedLogistic
from ppl_vae.likelihoods.mixed import Mixed
from ppl_vae.likelihoods.positive import LogNormal
from ppl_vae.likelihoods.real import Normal
from ppl_vae.likelihoods.unit import ContinuousBernoulli
from ppl_vae.nn.features import DataSpec

DEFAULTS: dict[str, Callable[[DataSpec], Any]] = {
    "binary": Bernoulli,
    "integers": DiscretizedLogistic,
    "counts": NegativeBinomial,
    "unit": ContinuousBernoulli,
    "positive": LogNormal,
    "real": Normal,
    "mixed": Mixed,
}
"""Support of the data to the likelihood that `auto` takes."""


def likelihood_for(spec: DataSpec) -> Any:
    """The default likelihood for a dataset's support, a fresh module.

    Args:
        spec: the dataset's spec.

    Raises:
        DataError: the support is none of the known ones.

    Example:
        >>> from ppl_vae.datasets.spec import Spec
        >>> likelihood_for(Spec(shape=(64,), support="unit"))
        ContinuousBernoulli()
    """
    if spec.support not in DEFAULTS:
        raise DataError(f"no likelihood is known for support {spec.support!r}; expected one of {', '.join(DEFAULTS)}.")
    return DEFAULTS[spec.support](spec)
