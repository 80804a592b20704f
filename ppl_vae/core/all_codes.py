"""The evidence of quantized codes, by the sum over all of them."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppl_vae.core.batch import take
from ppl_vae.distributions.codes import Codes, OneCode
from ppl_vae.distributions.unwrap import elements
from ppl_vae.distributions.vector_quantized import StraightThrough

if TYPE_CHECKING:
    from ppl_vae.core.terms import Terms

MOST = 4096
"""Codes that are summed over at most, for each datum."""


@dataclass(frozen=True)
class AllCodes:
    """All codes of the one latent of a pair.

    Attributes:
        name: of the site.
        values: `(codes, dim)`.
        placed: gives values `(data, dim)` the place that they have in the programs.
    """

    name: str
    values: Tensor
    placed: Callable[[Tensor], Tensor]

    def log_evidence(self, draw: Callable[..., Any], batch: tuple[Any, ...], size: int, rows: int) -> Tensor:
        r"""$\log p(x) = \log \sum_z p(z)\, p(x \mid z)$ over all codes, exact, `(data,)`.

        Args:
            draw: gives the terms of a batch.
            batch: the data.
            size: how many they are.
            rows: pairs of a datum and a code that are looked at together.
        """
        codes, parts = len(self.values), []
        for data in torch.arange(size).split(max(1, rows // codes)):
            values = self.values.repeat(len(data), 1)
            t = draw(take(batch, data.repeat_interleave(codes)), 1, values={self.name: self.placed(values)})
            joint = torch.stack([site.log_prob[0].double() for site in t.model.values()]).sum(0)
            parts.append(joint.unflatten(0, (len(data), codes)).logsumexp(1))
        return torch.cat(parts)


def all_codes(t: "Terms") -> AllCodes | None:
    """The codes of a pair whose one latent is quantized, if they are at most `MOST`; else None."""
    codes = {name: site for name, site in t.latents.items() if not isinstance(elements(site.fn), StraightThrough)}
    latents = {name: site for name, site in codes.items() if name in t.model}  # vectors of a codebook follow
    if len(latents) != 1 or len(codes) != 1 or t.contracted or not all(site.is_local for site in t.model.values()):
        return None
    ((name, site),) = latents.items()
    prior = elements(t.model[name].fn)
    if not isinstance(elements(site.fn), OneCode) or not isinstance(prior, Codes) or prod(prior.levels) > MOST:
        return None
    if site.placed is None or t.model[name].plates:
        return None
    values = torch.cartesian_prod(*(torch.arange(n) for n in prior.levels)).reshape(-1, len(prior.levels))
    return AllCodes(name, values.to(site.value), site.placed)
