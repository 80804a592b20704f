"""The lines of one latent in the source of a derived guide: parameters, law, draw, and what later networks see."""

from math import prod
from typing import Any

from torch.distributions import constraints

from ppl_vae.distributions.bijections import REAL
from ppl_vae.guides.derived import Derived
from ppl_vae.guides.family import Own
from ppl_vae.guides.heads import Head
from ppl_vae.guides.site import Site

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


def is_fixed(site: Site) -> bool:
    """True if the support is known from the site alone, whatever the data."""
    if site.support is None or isinstance(site.family, Own):
        return False
    if site.support.is_discrete:
        bounded = isinstance(site.support, constraints.integer_interval)
        return site.family.label != "root_normal" or not bounded
    return site.family.label == "von_mises" or site.support in REAL or _constraint(site) is not None


def _constraint(site: Site) -> str | None:
    names = (name for name in NAMED if getattr(constraints, name) is site.support)
    return next(names, None)


def construction(guide: Derived, site: Site) -> str:
    """The expression that makes a site's module."""
    head: Any = guide.heads[site.key]
    shape = tuple(head.loc.shape)
    if isinstance(head, Head):
        net: Any = head.net
        sizes = f"{net[0].in_features}, {shape}, {net[-1].out_features}"
        return f"Local({sizes}, {tuple(guide.head_hidden)!r}, {guide.activation!r}{_flows(head)})"
    rest = f", {tuple(head.rest.shape)}" if hasattr(head, "rest") else ""
    return f"Global({tuple(head.raw.shape)}, {shape}{rest}{_flows(head)})"


def _flows(head: Any) -> str:
    if not len(head.flows):
        return ""
    context = head.flows[0].net.layers[0].in_features - head.flows[0].dim
    return f", flows={(head.flows[0].dim, context)}"


def statements(guide: Derived, site: Site, forms: dict[str, str], plates: dict[str, str], followed: bool) -> list[str]:
    """The lines of a site.

    Args:
        guide: the derived guide.
        site: the latent.
        forms: expressions of its mask, scale and support, as recorded from the model.
        plates: the variable of each plate.
        followed: whether a later network sees its value.
    """
    lines, family, n = list[str](), site.family, len(site.family.event_shape)
    if "point" in forms:
        law = f"dist.Delta({forms['point']})"
        law += f".to_event({n} - {law}.event_dim)"
    else:
        head: Any = guide.heads[site.key]
        family = head.family
        lines = [f"head = self.heads[{site.key!r}]"]
        lines += _local(site, family) if site.is_local else _global(site, family)
        more, law = _law(site, head, forms)
        lines += more
    if "own mask" in forms:
        law = f"{law}.mask({forms['own mask']})"
    around = ["data"] if site.is_local else []
    around += [plates[name] for name in site.plates]
    around += [f"poutine.{what}({what}={forms[what]})" for what in ("mask", "scale") if what in forms]
    lines += [f"with {', '.join(around)}:"] if around else []
    indent = "    " if around else ""
    lines += [f"{indent}z = pyro.sample({quoted(site.name)}, {law})"]
    return lines + (_told(site, family) if followed else [])


def _local(site: Site, family: Any) -> list[str]:
    """Raw numbers of a network, along the axes of the site's plates."""
    shape, others, depth, axis = family.shape, site.others, len(site.batch_shape), site.data_axis
    assert axis is not None
    count = family.num_params * prod(others) * prod(shape)
    whole, e, n = (family.num_params, *others, *shape), len(shape), len(others)
    lines = ["out = head.net(h)"]
    lines += [f"raw = out[..., :{count}].unflatten(-1, {whole}).movedim(-{e + n + 1}, 0)"]
    if axis:
        lines += [f"raw = raw.movedim(-{e + depth}, -{e + depth - axis})"]
    if family.num_rest:
        lines += [f"rest = out[..., {count}:]" + (f".unflatten(-1, {(*others, family.num_rest)})" if others else "")]
        if axis:
            lines += [f"rest = rest.movedim(-{1 + depth}, -{1 + depth - axis})"]
    units = "head.loc, head.scale"
    lines += [f"loc, scale = (t.unsqueeze({axis}) for t in ({units}))" if others else f"loc, scale = {units}"]
    if site.excess:
        lines += ["if h.ndim == 2:  # without particles, plates of other latents are no axes of this one"]
        lines += [f"    raw, loc, scale = raw.flatten(1, {site.excess + 1}), "]
        lines[-1] += f"loc.flatten(0, {site.excess}), scale.flatten(0, {site.excess})"
        lines += [f"    rest = rest.flatten(0, {site.excess})"] if family.num_rest else []
    return lines


def _global(site: Site, family: Any) -> list[str]:
    own = site.batch_shape[site.excess :]
    lines = [f"raw = head.raw.reshape({(family.num_params, *own, *family.shape)})"]
    lines += [f"loc, scale = (t.reshape({(*own, *family.shape)}) for t in (head.loc, head.scale))"]
    if family.num_rest and family.label != "flow":
        lines += [f"rest = head.rest.reshape({(*own, family.num_rest)})"]
    return lines


def _told(site: Site, family: Any) -> list[str]:
    """Lines that append a value to what later networks see."""
    label, n, depth = family.label, len(site.family.event_shape), len(site.batch_shape)
    z, others = "z", len(site.others)
    if site.is_local and depth > 1:
        assert site.data_axis is not None
        z = f"data_first(z, {depth + n}, {depth + n - site.data_axis})"
    elif not site.is_local and (site.plates or depth > 1 or prod(site.others) != 1):
        z = f"data_first(z, {depth + n})"
    else:
        others = 0
    if label in FEATURES:
        told = FEATURES[label].format(z=z, k=getattr(family, "n", 0))
        axes = n + (label in ("categorical", "von_mises"))
    else:
        told = f"{z}.clamp(min=torch.finfo(z.dtype).tiny).log()" if getattr(family, "is_positive", False) else z
        axes = n
    axes += others
    told = f"({told}).flatten(-{axes})" if axes else f"({told}).unsqueeze(-1)"
    return [f"h = join(h, {told}.to(h.dtype))"]


def _law(site: Site, head: Any, forms: dict[str, str]) -> tuple[list[str], str]:
    """Lines before the draw, and the distribution that is drawn from."""
    label, n, shape = head.family.label, len(site.family.event_shape), head.family.shape
    if label in LAWS:
        return [], LAWS[label].format(n=n).replace(".to_event(0)", "")
    if label == "root_normal":
        event = f".to_event({n})" if n else ""
        lines = ["m = positive(loc + scale * raw[0])", "s = scale * positive(raw[1] + ONE) + 0.02"]
        if "upper" not in forms:
            return lines, f"RootNormal(m, s, torch.full_like(m, torch.inf)){event}"
        lines += [f"upper = torch.as_tensor({forms['upper']}, dtype=m.dtype, device=m.device)"]
        lines += ["m = torch.minimum(m, (upper.clamp(max=FAR) + 1).sqrt())"]
        return lines, f"RootNormal(m, s, upper, bounded=True){event}"
    flat = f".flatten(-{len(shape)})"
    if label == "flow":
        context = "rest" if site.is_local else ""
        lines = [f"base = dist.Normal(raw[0]{flat}, positive(raw[1] + ONE){flat}).to_event(1)"]
        lines += [f"units = transforms.AffineTransform(loc{flat}, scale{flat}, event_dim=1, cache_size=1)"]
        law = f"dist.TransformedDistribution(base, [*(flow({context}) for flow in head.flows), units])"
    else:
        lines = ["m, s = loc + scale * raw[0], scale * positive(raw[1] + ONE)"]
        law = "dist.Normal(m, s)" + (f".to_event({len(shape)})" if shape else "")
    if label == "full_rank":
        d = prod(shape)
        lines += [
            f"row, column = torch.tril_indices({d}, {d}, -1, device=rest.device)",
            f"below = rest.new_zeros(*rest.shape[:-1], {d * d})",
            f"below = below.index_copy(-1, row * {d} + column, rest).unflatten(-1, ({d}, {d}))",
            f"tril = scale{flat}.unsqueeze(-1) * below + s{flat}.diag_embed()",
        ]
        law = f"dist.MultivariateNormal(m{flat}, scale_tril=tril)"
    joint = label in ("full_rank", "flow")
    if joint and len(shape) > 1:
        reshape = f"transforms.ReshapeTransform(({prod(shape)},), {tuple(shape)}, cache_size=1)"
        lines += [f"q = {law}"]
        law = f"dist.TransformedDistribution(q, [{reshape}])"
    if site.support not in REAL:
        way = forms["way"] if "way" in forms else _bijection(site)
        lines += [f"q = dist.TransformedDistribution({law}, [{way}{'.with_cache()' if joint else ''}])"]
        law = f"q.to_event({n} - q.event_dim)" if n else "q"
    return lines, law


def _bijection(site: Site) -> str:
    support, n = f"constraints.{_constraint(site)}", len(site.family.event_shape)
    more = n - site.support.event_dim
    return f"biject_to(constraints.independent({support}, {more}))" if more else f"biject_to({support})"


def quoted(name: str) -> str:
    """A string in the source."""
    return '"' + name + '"' if name.isidentifier() else repr(name)
