"""Masks, scales, supports and points that the latents of a model have in one run of it."""

import inspect
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions.torch_distribution import MaskedDistribution
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import Independent
from torch.distributions import transforms as T

from ppl_vae.core.adapters import Adapters
from ppl_vae.distributions.bijections import bijection, joint_support, upper_bound
from ppl_vae.distributions.unwrap import innermost, layers
from ppl_vae.errors import PplVaeError
from ppl_vae.guides.derived import Derived
from ppl_vae.guides.family import Own
from ppl_vae.guides.prototype import is_subsample
from ppl_vae.guides.site import Prototype

BY_HAND = "Keep guide=derived, or write this site's guide by hand."


@dataclass(frozen=True)
class Facts:
    """Mask, scale and support of one site in one run, as expressions over tensors."""

    forms: dict[str, str]
    tensors: tuple[Tensor, ...]

    def equals(self, other: "Facts") -> bool:
        """True if expressions and tensors are the same, but for axes of length one."""
        pairs = zip(self.tensors, other.tensors, strict=True)
        return self.forms == other.forms and all(torch.equal(*torch.broadcast_tensors(a, b)) for a, b in pairs)


@dataclass(frozen=True)
class Truth:
    """The facts of the sites on a batch, at values of latents and parameters."""

    batch: tuple[Any, ...]
    latents: dict[str, Tensor]
    parameters: dict[str, Tensor]
    facts: dict[str, Facts]


class Look(Messenger):
    """Runs a model up to its last latent, on values that are given, and tells what its sites have.

    Args:
        guide: from which the values of latents are drawn.
        proto: what it was built from.
        needed: names of the sites to tell of.
    """

    def __init__(self, guide: Derived, proto: Prototype, needed: Sequence[str]) -> None:
        super().__init__()
        self.guide, self.proto, self.needed = guide, proto, needed
        self.sites = {site.name: site for site in proto.sites}
        self.latents: dict[str, Tensor] = {}
        self.parameters: dict[str, Tensor] = {}
        self.found: dict[str, Facts] = {}

    def at(self, batch: tuple[Any, ...], particles: int = 0) -> Truth:
        """The facts of the sites on a batch, at draws of the guide."""
        depth = max(len(site.batch_shape) for site in self.sites.values())
        with pyro.plate("_particles", particles, dim=-1 - depth) if particles else nullcontext():
            nodes: Any = poutine.trace(self.guide).get_trace(*batch).nodes
        self.latents = {name: nodes[name]["value"] for name in self.sites}
        self.parameters = {}
        return Truth(batch, self.latents, self.parameters, self.run(batch))

    def run(self, batch: tuple[Any, ...]) -> dict[str, Facts]:
        """The facts of the sites, at the present values of latents and parameters."""
        self.found = {}
        with suppress(_Seen), poutine.block(), self, Adapters(), pyro.get_param_store().scope():
            self.guide.model(*batch)
        return self.found

    def _pyro_param(self, msg: Any) -> None:
        if msg["name"] in self.parameters:
            msg["value"], msg["done"], msg["stop"] = self.parameters[msg["name"]], True, True

    def _pyro_post_param(self, msg: Any) -> None:
        self.parameters.setdefault(msg["name"], msg["value"].detach())

    def _pyro_sample(self, msg: Any) -> None:
        if is_subsample(msg) or msg["is_observed"] or msg["name"] not in self.sites:
            return
        if msg["name"] in self.needed:
            self.found[msg["name"]] = self._facts(msg)
        msg["value"], msg["done"] = self.latents[msg["name"]], True

    def _pyro_post_sample(self, msg: Any) -> None:
        if len(self.found) == len(self.needed):
            raise _Seen

    def _facts(self, msg: Any) -> Facts:
        site, fn = self.sites[msg["name"]], msg["fn"]
        tensors: list[Tensor] = []

        def put(value: Any) -> str:
            if isinstance(value, Tensor):
                tensors.append(value)
                return f"#{len(tensors) - 1}"
            return repr(value)

        forms = {}
        if msg["mask"] is not None:
            forms["mask"] = put(msg["mask"])
        joined = 0
        for layer in layers(fn):
            joined += layer.reinterpreted_batch_ndims if isinstance(layer, Independent) else 0
            if isinstance(layer, MaskedDistribution) and layer._mask is not True:
                if joined:
                    raise PplVaeError(
                        f"site {site.name!r} is masked element by element, which the source of a derived guide cannot "
                        f"hold. {BY_HAND}"
                    )
                forms["own mask"] = put(layer._mask)
        scale = msg["scale"]
        for frame in msg["cond_indep_stack"]:
            if frame.vectorized and frame.full_size and frame.size < frame.full_size:
                scale = scale * (frame.size / frame.full_size)  # the plate of the guide scales by itself
        if isinstance(scale, Tensor) or abs(scale - 1) > 1e-9:
            forms["scale"] = put(scale)
        label = site.family.label
        if isinstance(site.family, Own):
            point = innermost(fn)
            forms["point"] = f"{put(point.v)}, event_dim={point.event_dim}"
        elif label == "root_normal":
            bound = upper_bound(fn)
            if bound is not None:
                forms["upper"] = put(bound)
        elif not joint_support(fn).is_discrete and label != "von_mises":
            way = _transform(site.name, bijection(fn), put)
            if way:
                forms["way"] = way
        return Facts(forms, tuple(tensors))


class _Seen(BaseException):
    """All sites have been told of: what is left of the model is of no concern."""


def _transform(name: str, t: Any, put: Callable[[Any], str]) -> str:
    """A transform as an expression; "" for the identity."""
    if bare := _bare(type(t)):
        return bare
    if isinstance(t, T._InverseTransform):
        return f"{_transform(name, t.inv, put)}.inv"
    if isinstance(t, T.AffineTransform):
        event = f", event_dim={t.event_dim}" if t.event_dim else ""
        return f"transforms.AffineTransform({put(t.loc)}, {put(t.scale)}{event})"
    if isinstance(t, T.ComposeTransform):
        parts = [text for part in t.parts if (text := _transform(name, part, put))]
        return f"transforms.ComposeTransform([{', '.join(parts)}])" if len(parts) > 1 else "".join(parts)
    if isinstance(t, T.IndependentTransform):
        base = _transform(name, t.base_transform, put)
        return f"transforms.IndependentTransform({base}, {t.reinterpreted_batch_ndims})" if base else ""
    raise PplVaeError(
        f"the way onto the support of site {name!r} takes a {type(t).__name__}, which the source of a derived guide "
        f"cannot hold. {BY_HAND}"
    )


def _bare(kind: type) -> str:
    """The call of a transform without parameters; "" for others."""
    places = {"transforms": T, "dist.transforms": pyro.distributions.transforms}
    place = next((p for p, module in places.items() if getattr(module, kind.__name__, None) is kind), None)
    plain = set(inspect.signature(kind).parameters) <= {"cache_size"}
    return f"{place}.{kind.__name__}()" if place and plain else ""
