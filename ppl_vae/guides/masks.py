"""The masks of a latent's prior, put on the distribution that takes its place."""

from typing import Any

from pyro.distributions.torch_distribution import MaskedDistribution
from torch.distributions import Independent, TransformedDistribution
from torch.distributions.transforms import IndependentTransform

from ppl_vae.distributions.unwrap import layers
from ppl_vae.errors import PplVaeError


def masked_alike(q: Any, fn: Any, name: str) -> Any:
    """A distribution with the masks of another one: on whole events, and on elements that `to_event` joined later.

    Where an element of the prior does not count, that of the guide must not: its entropy would grow without end.

    Args:
        q: of the event shape of `fn`.
        fn: the latent's distribution in the model.
        name: of the site.

    Raises:
        PplVaeError: elements are masked, and those of q depend on each other.

    Example:
        >>> import torch, pyro.distributions as dist
        >>> prior = dist.Normal(torch.zeros(2), 1.0).mask(torch.tensor([True, False])).to_event(1)
        >>> masked_alike(dist.Normal(torch.zeros(2), 1.0).to_event(1), prior, "z").log_prob(torch.zeros(2))
        tensor(-0.9189)
    """
    joined = 0
    for layer in layers(fn):
        if isinstance(layer, Independent):
            joined += layer.reinterpreted_batch_ndims
        elif isinstance(layer, MaskedDistribution) and layer._mask is not True:
            q = _elements(q, joined, name).mask(layer._mask).to_event(joined)
    return q


def _elements(q: Any, joined: int, name: str) -> Any:
    """The distribution whose last `joined` axes of events are axes of the batch."""
    if not joined:
        return q
    if isinstance(q, Independent) and q.reinterpreted_batch_ndims >= joined:
        more = q.reinterpreted_batch_ndims - joined
        base: Any = q.base_dist
        return base.to_event(more)
    if isinstance(q, TransformedDistribution) and len(q.transforms) == 1:
        way = q.transforms[0]
        if isinstance(way, IndependentTransform) and way.reinterpreted_batch_ndims >= joined:
            more = way.reinterpreted_batch_ndims - joined
            inner = IndependentTransform(way.base_transform, more) if more else way.base_transform
            return type(q)(_elements(q.base_dist, joined, name), [inner])
    raise PplVaeError(
        f"site {name!r} is masked element by element (`.mask(…).to_event(…)`), and its guide has no density of one "
        "element. Take the family diagonal for it, or mask whole events."
    )
