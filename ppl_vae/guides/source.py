"""A derived guide as the source of a Pyro program that is yours to change: `pv.guides.source(guide)`."""

from math import prod
from typing import Any

from torch.distributions import constraints

from ppl_vae.distributions.bijections import REAL
from ppl_vae.errors import PplVaeError
from ppl_vae.guides.derived import Derived
from ppl_vae.guides.heads import Head
from ppl_vae.guides.inputs import BatchEncoder
from ppl_vae.guides.prototype import Site

NAMED = ("positive", "nonnegative", "unit_interval", "simplex", "lower_cholesky", "corr_cholesky")
"""Supports that are the same in every run, by the names that torch gives them."""

LAWS = {
    "bernoulli": "dist.Bernoulli(logits=raw[0]).to_event({n})",
    "one_hot": "dist.OneHotCategorical(logits=raw[0]).to_event({n} - 1)",
    "categorical": "dist.Categorical(logits=raw[0]).to_event({n})",
    "poisson": "PoissonLog(raw[0]).to_event({n})",
    "von_mises": "dist.VonMises(raw[0], positive(raw[1])).to_event({n})",
}

FEATURES = {
    "one_hot": "{z}",
    "bernoulli": "{z}",
    "categorical": "one_hot({z}, {k})",
    "poisson": "{z}.log1p()",
    "root_normal": "{z}.log1p()",
    "von_mises": "torch.stack([{z}.cos(), {z}.sin()], -1)",
}

HEAD = '''"""A guide, written from a model's latents by ppl_vae. It is yours to change.

It is equal to the derived guide, and takes its weights: `guide.load_state_dict(derived.state_dict())`.
"""

import pyro
import pyro.distributions as dist
import torch
from torch import nn
from torch.distributions import biject_to, constraints

from ppl_vae.distributions import PoissonLog, RootNormal
from ppl_vae.nn.features import one_hot
from ppl_vae.nn.heads import inverse_softplus, positive
from ppl_vae.nn.mlp import MLP, join

ONE = inverse_softplus(1.0)  # a raw scale of 0 is a scale of 1


'''

ENCODER = """class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = MLP({features}, None, {hidden!r}, {activation!r})

    def forward(self, *batch):
        parts = [batch[i].to(self.net[0].weight.dtype).reshape(len(batch[i]), -1) for i in {used!r}]
        return self.net(torch.cat(parts, -1))


"""

LOCAL = '''class Local(nn.Module):
    """The network of a local latent, with the location and scale of its prior."""

    def __init__(self, features, shape, outputs, hidden, activation):
        super().__init__()
        self.register_buffer("loc", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))
        self.net = MLP(features, outputs, hidden, activation)


'''

GLOBAL = '''class Global(nn.Module):
    """The parameters of a global latent, with the location and scale of its prior."""

    def __init__(self, raw, shape, rest=None):
        super().__init__()
        self.register_buffer("loc", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))
        self.raw = nn.Parameter(torch.zeros(raw))
        if rest is not None:
            self.rest = nn.Parameter(torch.zeros(rest))


'''


def source(guide: Derived) -> str:
    """Python source of a module `Guide` with the sites, laws and weights' names of a derived guide.

    Its encoder is an argument where the derived guide was made with a spec or with an encoder of your own:
    `Guide(derived.encoder)`.

    Args:
        guide: a derived one that has seen a batch.

    Raises:
        PplVaeError: it has not seen a batch, or a site has what this source cannot hold: further plates, masks and
            scales, a support that moves, a flow.

    Example:
        >>> import torch, pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", x.shape[0]):
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...         pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)
        >>> guide = Derived(model, hidden=[8])
        >>> guide(torch.zeros(5, 2))
        >>> print(source(guide).splitlines()[-1].strip())
        z = pyro.sample("z", dist.Normal(m, s).to_event(1))
    """
    proto = guide.prototype
    if proto is None:
        raise PplVaeError("a derived guide has no sites before it has seen a batch. Call pv.prepare(vae, batch) first.")
    for site in proto.sites:
        _require_plain(site, guide.heads[site.key])
    encoder = guide.encoder
    local = any(site.is_local for site in proto.sites)
    plain = isinstance(encoder, BatchEncoder) and encoder.x is None
    text = HEAD
    if isinstance(encoder, BatchEncoder) and plain:
        features = encoder.net[0].in_features if len(encoder.net) else encoder.net.out_features
        hidden = tuple(guide.hidden)
        text += ENCODER.format(features=features, hidden=hidden, activation=guide.activation, used=encoder.used)
    text += (LOCAL if local else "") + (GLOBAL if any(not s.is_local for s in proto.sites) else "")
    given = bool(local and not plain)
    text += f"class Guide(nn.Module):\n    def __init__(self{', encoder' if given else ''}):\n"
    text += "        super().__init__()\n"
    text += "        self.heads = nn.ModuleDict()\n"
    for site in proto.sites:
        text += f"        self.heads[{site.key!r}] = {_construction(guide, site)}\n"
    text += f"        self.encoder = {'encoder' if given else 'Encoder()'}\n" if local else ""
    text += "\n    def forward(self, *batch):\n"
    text += "        h = self.encoder(*batch)\n" if local else ""
    if local:
        text += f"        data = pyro.plate({proto.data_plate!r}, h.shape[0], dim=-1)\n"
    for i, site in enumerate(proto.sites):
        text += _statements(guide, site, followed=guide.condition and any(s.is_local for s in proto.sites[i + 1 :]))
    return text


def _require_plain(site: Site, head: Any) -> None:
    depth = len(site.batch_shape)
    reasons = {
        "further plates": bool(site.plates) or depth > 1 or prod(site.others) != 1,
        "a mask or scale": site.handled,
        "a flow": len(head.flows) > 0,
        "weights of an earlier version": getattr(head, "kept", None) is not None,
        "a support that moves": not _is_fixed(site),
    }
    for reason, found in reasons.items():
        if found:
            raise PplVaeError(
                f"site {site.name!r} has {reason}, which the source of a derived guide cannot hold. "
                "Keep guide=derived, or write this site's guide by hand."
            )


def _is_fixed(site: Site) -> bool:
    if site.support is None:
        return False
    if site.support.is_discrete:
        bounded = isinstance(site.support, constraints.integer_interval)
        return site.family.label != "root_normal" or not bounded
    return site.family.label == "von_mises" or site.support in REAL or _constraint(site) is not None


def _constraint(site: Site) -> str | None:
    names = (name for name in NAMED if getattr(constraints, name) is site.support)
    return next(names, None)


def _construction(guide: Derived, site: Site) -> str:
    head: Any = guide.heads[site.key]
    shape = tuple(head.loc.shape)
    if isinstance(head, Head):
        net: Any = head.net
        sizes = f"{net[0].in_features}, {shape}, {net[-1].out_features}"
        return f"Local({sizes}, {tuple(guide.head_hidden)!r}, {guide.activation!r})"
    rest = f", {tuple(head.rest.shape)}" if hasattr(head, "rest") else ""
    return f"Global({tuple(head.raw.shape)}, {shape}{rest})"


def _statements(guide: Derived, site: Site, followed: bool) -> str:
    head: Any = guide.heads[site.key]
    family, n, shape = head.family, len(site.family.event_shape), head.family.shape
    count, key = family.num_params * prod(shape), repr(site.key)
    lines = ["", f"head = self.heads[{key}]"]
    if site.is_local:
        lines += ["out = head.net(h)"]
        lines += [
            f"raw = out[..., :{count}].unflatten(-1, {(family.num_params, *shape)}).movedim(-{len(shape) + 1}, 0)"
        ]
        if family.num_rest:
            lines += [f"rest = out[..., {count}:]"]
        lines += ["loc, scale = head.loc, head.scale"]
    else:
        lines += [f"raw = head.raw.reshape({(family.num_params, *shape)})"]
        lines += [f"loc, scale = (t.reshape({tuple(shape)}) for t in (head.loc, head.scale))"]
        if family.num_rest:
            lines += ["rest = head.rest.flatten()"]
    more, law = _law(site, head)
    lines += more
    lines += ["with data:"] if site.is_local else []
    indent = "    " if site.is_local else ""
    lines += [f"{indent}z = pyro.sample({_quoted(site.name)}, {law})"]
    if followed:
        lines += _told(site, family, n)
    return "\n".join(f"        {line}" if line else "" for line in lines) + "\n"


def _told(site: Site, family: Any, n: int) -> list[str]:
    """Lines that append a value to what later networks see."""
    label = family.label
    if label in FEATURES:
        told = FEATURES[label].format(z="z", k=getattr(family, "n", 0))
        axes = n + (label in ("categorical", "von_mises"))
    else:
        told = "z.clamp(min=torch.finfo(z.dtype).tiny).log()" if family.is_positive else "z"
        axes = n
    told = f"({told}).flatten(-{axes})" if axes else f"({told}).unsqueeze(-1)"
    return [f"h = join(h, {told}.to(h.dtype))"]


def _law(site: Site, head: Any) -> tuple[list[str], str]:
    """Lines before the draw, and the distribution that is drawn from."""
    label, n, shape = head.family.label, len(site.family.event_shape), head.family.shape
    if label in LAWS:
        return [], LAWS[label].format(n=n).replace(".to_event(0)", "")
    if label == "root_normal":
        lines = [
            "m = positive(loc + scale * raw[0])",
            "s = scale * positive(raw[1] + ONE) + 0.02",
        ]
        return lines, f"RootNormal(m, s, torch.full_like(m, torch.inf)).to_event({n})"
    lines = ["m, s = loc + scale * raw[0], scale * positive(raw[1] + ONE)"]
    law = f"dist.Normal(m, s).to_event({len(shape)})"
    if label == "full_rank":
        d = prod(shape)
        flat = f".flatten(-{len(shape)})"
        lines += [
            f"row, column = torch.tril_indices({d}, {d}, -1, device=rest.device)",
            f"below = rest.new_zeros(*rest.shape[:-1], {d * d})",
            f"below = below.index_copy(-1, row * {d} + column, rest).unflatten(-1, ({d}, {d}))",
            f"tril = scale{flat}.unsqueeze(-1) * below + s{flat}.diag_embed()",
        ]
        law = f"dist.MultivariateNormal(m{flat}, scale_tril=tril)"
        if len(shape) > 1:
            reshape = f"dist.transforms.ReshapeTransform(({d},), {tuple(shape)}, cache_size=1)"
            law = f"dist.TransformedDistribution({law}, [{reshape}])"
    if site.support not in REAL:
        cache = ".with_cache()" if label == "full_rank" else ""
        lines += [f"q = dist.TransformedDistribution({law}, [{_bijection(site)}{cache}])"]
        law = f"q.to_event({n} - q.event_dim)"
    return lines, law


def _bijection(site: Site) -> str:
    support, n = f"constraints.{_constraint(site)}", len(site.family.event_shape)
    more = n - site.support.event_dim
    return f"biject_to(constraints.independent({support}, {more}))" if more else f"biject_to({support})"


def _quoted(name: str) -> str:
    return '"' + name + '"' if name.isidentifier() else repr(name)
