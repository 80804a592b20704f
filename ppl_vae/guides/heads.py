"""The parts of a derived guide, one for each latent: a network for a local one, parameters for a global one."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ppl_vae.guides.site import Site
from ppl_vae.nn.heads import inverse_softplus
from ppl_vae.nn.mlp import MLP, Activation

NARROW = inverse_softplus(0.1) - inverse_softplus(1.0)
"""Raw scale at which a global latent starts with a tenth of its prior's width, as Pyro's own guides do."""


class Head(nn.Module):
    """The network of a local latent.

    Args:
        site: the latent.
        features: size of its input.
        hidden: widths of its hidden layers.
        activation: after each of them.
        of_globals: which of its inputs are values of global latents.
    """

    loc: Tensor
    scale: Tensor

    def __init__(
        self,
        site: Site,
        features: int,
        hidden: Sequence[int],
        activation: Activation,
        of_globals: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.site, self.family = site, site.family
        self.of_globals, self.kept = of_globals, None
        self.register_buffer("loc", site.loc)
        self.register_buffer("scale", site.scale)
        self.net = MLP(features, _outputs(site, site.family), hidden, activation)
        self.flows = nn.ModuleList(site.family.flows(local=True))
        if rest := self.family.num_rest * prod(site.others):
            last: Any = self.net[-1]
            with torch.no_grad():  # random correlations of order one make a poor first guess
                last.weight[-rest:].mul_(0.1)
                last.bias[-rest:].zero_()

    kept: Tensor | None
    """Inputs that weights of an earlier version know; None for all."""

    def forward(self, h: Tensor, fn: Any) -> Any:
        """Features `(*particles, data, features)` to a distribution over all axes of the site's plates."""
        family, axis, particles = self.family, self.site.data_axis, h.ndim - 2
        assert axis is not None
        out = self.net(h if self.kept is None else h[..., self.kept])
        raw, rest = out.split([out.shape[-1] - (n := family.num_rest * prod(self.site.others)), n], -1)
        raw = raw.unflatten(-1, (family.num_params, *self.site.others, *family.shape)).movedim(particles + 1, 0)
        rest = rest.unflatten(-1, (*self.site.others, family.num_rest))
        # Where there are no particles, plates of other sites are no axes of this one.
        excess = 0 if particles else self.site.excess
        *params, rest = (_without(p.movedim(particles, particles + axis), excess) for p in (*raw.unbind(), rest))
        return family.joint(tuple(params), self._start(axis, excess), rest, self.flows, fn)

    def _start(self, axis: int, excess: int) -> tuple[Tensor, Tensor]:
        loc, scale = (_without(t.unsqueeze(axis), excess) for t in (self.loc, self.scale))
        return loc, scale

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        first: Any = self.net[0]
        last: Any = self.net[-1]
        weight = state.get(f"{prefix}net.0.weight")
        if weight is not None and self.of_globals and weight.shape[1] == first.in_features - len(self.of_globals):
            inputs = range(first.in_features)
            self.kept = torch.tensor([i for i in inputs if i not in set(self.of_globals)], device=first.weight.device)
            _resize(first, first.out_features, weight.shape[1])
        weight, former = state.get(f"{prefix}net.{len(self.net) - 1}.weight"), self.site.formerly
        if weight is not None and former is not None and len(weight) == _outputs(self.site, former):
            self.family = former
            _resize(last, len(weight), last.in_features)
        super()._load_from_state_dict(state, prefix, *args)


class Constant(nn.Module):
    """The parameters of a global latent.

    Args:
        site: the latent.
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site, self.family = site, site.family
        self.register_buffer("loc", site.loc)
        self.register_buffer("scale", site.scale)
        raw = torch.zeros(site.family.num_params, *site.param_shape)
        raw[1:] = NARROW
        self.raw = nn.Parameter(raw)
        self.flows = nn.ModuleList(site.family.flows(local=False))
        if site.family.num_rest and not len(self.flows):
            self.rest = nn.Parameter(torch.zeros(*site.others, site.family.num_rest))

    def forward(self, fn: Any) -> Any:
        """A distribution over all axes of the site's plates."""
        rest = self.rest if hasattr(self, "rest") else self.raw.new_zeros(*self.site.others, 0)
        excess = self.site.excess
        *params, rest, loc, scale = (_without(p, excess) for p in (*self.raw.unbind(), rest, self.loc, self.scale))
        return self.family.joint(tuple(params), (loc, scale), rest, self.flows, fn)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        raw, former = state.get(f"{prefix}raw"), self.site.formerly
        if raw is not None and former is not None and len(raw) == former.num_params:
            self.family = former
            self.raw.data = torch.empty_like(raw, dtype=self.raw.dtype, device=self.raw.device)
        super()._load_from_state_dict(state, prefix, *args)


def _outputs(site: Site, family: Any) -> int:
    return prod(site.others) * (family.num_params * prod(family.shape) + family.num_rest)


def _without(t: Tensor, excess: int) -> Tensor:
    """A tensor without its first axes, which have length one."""
    return t.reshape(t.shape[excess:])


def _resize(layer: Any, out_features: int, in_features: int) -> None:
    """Make room for weights of an earlier version; the parameters stay the same objects, for their optimizer."""
    layer.weight.data = layer.weight.data.new_empty(out_features, in_features)
    layer.bias.data = layer.bias.data.new_empty(out_features)
    layer.out_features, layer.in_features = out_features, in_features
