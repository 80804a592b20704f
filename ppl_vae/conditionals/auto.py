"""The likelihood that follows from the data: `likelihood=auto`."""

from typing import Any

from ppl_vae.conditionals.bernoulli import Bernoulli
from ppl_vae.conditionals.spec import DataSpec
from ppl_vae.errors import DataError

DEFAULTS: dict[str, Any] = {
    "binary": Bernoulli,
}


def likelihood_for(spec: DataSpec) -> Any:
    """The default likelihood for a dataset's support.

    Args:
        spec: the dataset's spec.

    Raises:
        DataError: the support is none of the known ones.

    Example:
        >>> from types import SimpleNamespace
        >>> spec = SimpleNamespace(shape=(64,), support="binary", levels=None, mean=None)
        >>> type(likelihood_for(spec)).__name__
        'Bernoulli'
    """
    if spec.support not in DEFAULTS:
        raise DataError(
            f"no likelihood is known for support {spec.support!r}; expected one of {', '.join(DEFAULTS)}."
        )
    return DEFAULTS[spec.support](spec)
