"""A derived guide as the source of a Pyro program that is yours to change: `pv.guides.source(guide)`."""

import re
from typing import Any

from ppl_vae.errors import PplVaeError
from ppl_vae.guides.derived import Derived
from ppl_vae.guides.family import Own
from ppl_vae.guides.inputs import BatchEncoder
from ppl_vae.guides.recorded import Recorded
from ppl_vae.guides.site import Prototype
from ppl_vae.guides.statements import construction, is_fixed, quoted, statements

HEAD = '''"""A guide, written from a model's latents by ppl_vae. It is yours to change.

It is equal to the derived guide, and takes its weights: `guide.load_state_dict(derived.state_dict())`.
"""

{imports}

ONE = inverse_softplus(1.0)  # a raw scale of 0 is a scale of 1


'''

IMPORTS = """import operator

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import nn
from torch.distributions import biject_to, constraints, transforms

from ppl_vae.distributions import PoissonLog, RootNormal
from ppl_vae.distributions.root_normal import FAR
from ppl_vae.nn.features import one_hot
from ppl_vae.nn.flows import Autoregressive
from ppl_vae.nn.heads import inverse_softplus, positive
from ppl_vae.nn.mlp import MLP, join
"""

DATA_FIRST = '''def data_first(z, axes, data=None):
    """A value with the data before the plates, after particles: of its last `axes` axes they are the one at -`data`."""
    z = z.reshape((1,) * max(0, axes - z.ndim) + z.shape)
    return z.unsqueeze(-1 - axes) if data is None else z.movedim(-data, -axes)


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

    def __init__(self, features, shape, outputs, hidden, activation{flows}):
        super().__init__()
        self.register_buffer("loc", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))
        self.net = MLP(features, outputs, hidden, activation)
{more}

'''

GLOBAL = '''class Global(nn.Module):
    """The parameters of a global latent, with the location and scale of its prior."""

    def __init__(self, raw, shape, rest=None{flows}):
        super().__init__()
        self.register_buffer("loc", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))
        self.raw = nn.Parameter(torch.zeros(raw))
        if rest is not None:
            self.rest = nn.Parameter(torch.zeros(rest))
{more}

'''

FLOWS = """        if flows is not None:  # inverse autoregressive layers of opposite orders
            self.flows = nn.ModuleList([Autoregressive(*flows, reverse=t % 2 == 1) for t in range(2)])
"""


def source(guide: Derived, *batch: Any) -> str:
    """Python source of a module `Guide` with the sites, laws, plates and weights' names of a derived guide.

    Its encoder is an argument where the derived guide was made with a spec or with an encoder of your own:
    `Guide(derived.encoder)`. Masks, scales and bounds are the model's, which the source does not run: what the model
    does for them with the data is recorded, and stands in the source as functions of the batch.

    Args:
        guide: a derived one that has seen a batch.
        batch: arguments of the model, needed where there is a mask, a scale or a support that moves.

    Raises:
        PplVaeError: it has not seen a batch, or a site has what this source cannot hold: a mask, scale or bound that
            depends on more than the data.

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
    needed = [site.name for site in proto.sites if site.handled or not is_fixed(site)]
    for name in needed if not batch else ():
        raise PplVaeError(
            f"site {name!r} has a mask, a scale or a support that moves, which is recorded from a run of the model. "
            "Pass a batch: source(guide, *batch)."
        )
    for site in proto.sites:
        head: Any = None if isinstance(site.family, Own) else guide.heads[site.key]
        if getattr(head, "kept", None) is not None:
            raise PplVaeError(f"site {site.name!r} has weights of an earlier version, which no source is written for.")
    recorded = Recorded(guide, batch, needed)
    owned = [site for site in proto.sites if not isinstance(site.family, Own)]
    local = any(site.is_local for site in proto.sites)
    plain = isinstance(guide.encoder, BatchEncoder) and guide.encoder.x is None
    forward, plates = _plates(proto)
    values = {site.name: f"value_{i}" for i, site in enumerate(proto.sites)}
    for i, site in enumerate(proto.sites):
        followed = guide.condition and any(s.is_local for s in proto.sites[i + 1 :])
        forms = recorded.forms.get(site.name, {})
        lines = statements(guide, site, forms, plates, followed)
        forward += ["", *recorded.call(site.name, values), *lines]
        forward += [f"{values[site.name]} = z"] if site.name in recorded.used() else []
    given = bool(local and not plain)
    text = _parts(guide, proto, plain, any("data_first" in line for line in forward))
    text += "".join(f"{function.text}\n\n" for function in recorded.functions.values())
    text += f"class Guide(nn.Module):\n    def __init__(self{', encoder' if given else ''}):\n"
    text += "        super().__init__()\n"
    text += "        self.heads = nn.ModuleDict()\n"
    for site in owned:
        text += f"        self.heads[{site.key!r}] = {construction(guide, site)}\n"
    text += f"        self.encoder = {'encoder' if given else 'Encoder()'}\n" if local else ""
    text += "\n    def forward(self, *batch):\n"
    text += "\n".join(f"        {line}" if line else "" for line in forward).lstrip("\n") + "\n"
    text += "" if forward else "        pass\n"
    return HEAD.format(imports=_imports(text)) + text


def _plates(proto: Prototype) -> tuple[list[str], dict[str, str]]:
    """Lines that make the encoding and the plates, and the variable of each plate."""
    lines, variables = list[str](), dict[str, str]()
    local = [site for site in proto.sites if site.is_local]
    if local:
        site = local[0]
        assert proto.data_plate is not None
        assert site.data_axis is not None
        dim = site.data_axis - len(site.batch_shape)
        some = f", subsample_size={site.subsample}" if site.subsample else ""
        lines += ["h = self.encoder(*batch)"]
        lines += [f"data = pyro.plate({proto.data_plate!r}, h.shape[0]{some}, dim={dim})"]
        lines += ["h = h[data.indices]"] if some else []
        variables[proto.data_plate] = "data"
    for site in proto.sites:
        for name, size in site.plates.items():
            if name not in variables:
                variables[name] = f"plate_{len(variables)}"
                lines += [f"{variables[name]} = pyro.plate({quoted(name)}, {size}, dim={site.dims[name]})"]
    return lines, variables


def _parts(guide: Derived, proto: Prototype, plain: bool, data_first: bool) -> str:
    """The functions and classes that the guide is made of."""
    text, encoder = DATA_FIRST if data_first else "", guide.encoder
    if isinstance(encoder, BatchEncoder) and plain:
        features = encoder.net[0].in_features if len(encoder.net) else encoder.net.out_features
        hidden = tuple(guide.hidden)
        text += ENCODER.format(features=features, hidden=hidden, activation=guide.activation, used=encoder.used)
    for part, is_local in ((LOCAL, True), (GLOBAL, False)):
        heads: list[Any] = [guide.heads[s.key] for s in proto.sites if s.is_local == is_local and s.key in guide.heads]
        if heads:
            flows = any(len(head.flows) for head in heads)
            text += part.format(flows=", flows=None" if flows else "", more=FLOWS if flows else "")
    return text


def _imports(text: str) -> str:
    """Those that the text needs."""
    text += "positive inverse_softplus pyro dist torch nn"  # the line of ONE, and what there always is

    def is_used(name: str) -> bool:
        return re.search(rf"\b{name}\b", text) is not None

    kept = []
    for line in IMPORTS.splitlines():
        start, _, names = line.partition(" import ")
        used = ", ".join(filter(is_used, names.split(", "))) if names else ""
        if used or (not names and (not line or is_used(line.split()[-1]))):
            kept.append(f"{start} import {used}" if used else line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept).strip())
