"""An amortized guide for any model, derived from the model itself: `guide=derived`."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from pyro.distributions.torch_distribution import MaskedDistribution
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from ppl_vae.core.adapters import Adapters
from ppl_vae.errors import PplVaeError, one_of
from ppl_vae.guides.inputs import BatchEncoder, FirstOf
from ppl_vae.guides.prototype import Prototype, Site, is_subsample, prototype
from ppl_vae.nn.conv import ConvEncoder
from ppl_vae.nn.features import DataSpec
from ppl_vae.nn.heads import inverse_softplus
from ppl_vae.nn.mlp import ACTIVATIONS, MLP, Activation, join

NARROW = inverse_softplus(0.1) - inverse_softplus(1.0)
"""Raw scale at which a global latent starts with a tenth of its prior's width, as Pyro's own guides do."""


class Derived(nn.Module):
    r"""The model, run up to its last latent, with each latent's prior replaced by a learned distribution.

    $$q(z \mid x) = \prod_s q_s(z_s \mid h(x), z_{<s}) \prod_g q_g(w_g)$$

    Sites s inside the data plate get a network each, fed with an encoding h of the batch and with the latents
    drawn before, in the model's own order; sites g outside get parameters (mean field). Each has the
    support, the shape and the plates of its site: a normal on the unconstrained space for continuous ones
    (so the KL of a normal prior is analytic), categorical, Bernoulli or Poisson for discrete ones.

    As it runs the model's own code, plates, masks, scales and control flow agree by construction, and whatever
    follows the last latent (the decoder) costs nothing. Sites that the model marks for enumeration and
    sites in `hide` stay out of the guide. Locations and scales are in units of the prior's own, drawn once.

    Networks are built from the first batch: no program runs on data that are made up.

    Args:
        model: any Pyro program; its data plate encloses the local latents.
        spec: the dataset's spec, if there is one.
        hidden: widths of the hidden layers of the encoder h.
        head_hidden: widths of the hidden layers of each latent's network.
        activation: after each hidden layer.
        channels: encode images by convolutions with these channels first; needs a spec.
        condition: let a local latent depend on the local latents before it.
        data_plate: name of the data plate, where it cannot be told from its size.
        encoder: a module of your own for h, called with the batch, giving `(data, features)`.
        hide: names of latents to leave out, for the model to sum over.

    Raises:
        PplVaeError: no data plate is found, or a support for which no family is known.

    Example:
        >>> import torch, pyro, pyro.distributions as dist
        >>> def model(x):
        ...     w = pyro.sample("w", dist.Gamma(2.0, 1.0))
        ...     with pyro.plate("data", x.shape[0]):
        ...         p = pyro.sample("p", dist.Dirichlet(torch.ones(3)))
        ...         k = pyro.sample("k", dist.Categorical(p))
        ...         pyro.sample("x", dist.Normal(w * k, 1.0), obs=x)
        >>> guide = Derived(model)
        >>> trace = pyro.poutine.trace(guide).get_trace(torch.zeros(5))
        >>> {name: tuple(site["value"].shape) for name, site in trace.nodes.items() if name in "wpk"}
        {'w': (), 'p': (5, 3), 'k': (5,)}
    """

    model: Any

    def __init__(
        self,
        model: Any,
        spec: DataSpec | None = None,
        hidden: Sequence[int] = (256,),
        head_hidden: Sequence[int] = (),
        activation: Activation = "relu",
        channels: Sequence[int] = (),
        condition: bool = True,
        data_plate: str | None = None,
        encoder: nn.Module | None = None,
        hide: Sequence[str] = (),
    ) -> None:
        super().__init__()
        object.__setattr__(self, "model", model)  # run here, owned by its pair: no submodule of the guide
        one_of("activation", activation, ACTIVATIONS)  # its layers are built later
        self.spec, self.hidden, self.head_hidden, self.activation = spec, hidden, head_hidden, activation
        self.channels, self.condition = channels, condition
        self.data_plate, self.hide = data_plate, frozenset(hide)
        self.encoder = encoder
        self.heads = nn.ModuleDict()
        self.prototype: Prototype | None = None

    def build(self, *batch: Any) -> None:
        """Create all networks from the model's run on a batch."""
        self.prototype = proto = prototype(self.model, batch, self.data_plate, self.hide)
        local = [site for site in proto.sites if site.is_local]
        if local and self.encoder is None:
            self.encoder = self._default_encoder(batch)
        with torch.no_grad():
            features = self.encoder(*batch).shape[-1] if local and self.encoder is not None else 0
        for site in proto.sites:
            if not site.is_local:
                self.heads[site.key] = Constant(site)
                continue
            self.heads[site.key] = Head(site, features, self.head_hidden, self.activation)
            features += site.num_features if self.condition else 0
        for t in batch[:1]:  # device and dtype follow the data
            if isinstance(t, Tensor):
                self.to(device=t.device, dtype=t.dtype if t.is_floating_point() else None)

    def _default_encoder(self, batch: tuple[Any, ...]) -> nn.Module:
        if not self.channels:
            return BatchEncoder(batch, self.spec, self.hidden, self.activation)
        if self.spec is None:
            raise PplVaeError("Derived(channels=…) needs spec=…, which tells the image's shape.")
        return FirstOf(ConvEncoder(self.spec, self.channels, self.hidden, self.activation))

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        if self.prototype is None and any(key.startswith(prefix) for key in state):
            raise PplVaeError(
                "a derived guide has no networks before it has seen a batch, so there is nothing to load into. "
                "Call pv.prepare(vae, batch) first."
            )
        super()._load_from_state_dict(state, prefix, *args)

    def forward(self, *batch: Any) -> None:
        """Sample every latent of the model, at its name, in its plates."""
        if self.prototype is None:
            self.build(*batch)
        assert self.prototype is not None
        encoder: Any = self.encoder
        h = None if encoder is None else encoder(*batch)
        try:
            with _Replace(self, self.prototype, h), Adapters():
                self.model(*batch)
        except _Done:
            pass


class Head(nn.Module):
    """The network of a local latent.

    Args:
        site: the latent.
        features: size of its input.
        hidden: widths of its hidden layers.
        activation: after each of them.
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, site: Site, features: int, hidden: Sequence[int], activation: Activation) -> None:
        super().__init__()
        self.site = site
        self.register_buffer("loc", site.loc)
        self.register_buffer("scale", site.scale)
        self.net = MLP(features, site.family.num_params * prod(site.param_shape), hidden, activation)

    def forward(self, h: Tensor, fn: Any) -> Any:
        """Features `(*particles, data, features)` to a distribution over all axes of the site's plates."""
        family, axis = self.site.family, self.site.data_axis
        assert axis is not None
        particles = h.ndim - 2
        raw = self.net(h).unflatten(-1, (family.num_params, *self.site.param_shape)).movedim(particles + 1, 0)
        params = family.in_prior_units(raw.unbind(), self.loc, self.scale)
        params = tuple(p.movedim(particles, particles + axis) for p in params)
        if not particles:  # plates of other sites are no axes of this one
            params = tuple(p.reshape(p.shape[self.site.excess :]) for p in params)
        return family.distribution(params, fn)


class Constant(nn.Module):
    """The parameters of a global latent.

    Args:
        site: the latent.
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site
        self.register_buffer("loc", site.loc)
        self.register_buffer("scale", site.scale)
        raw = torch.zeros(site.family.num_params, *site.param_shape)
        raw[1:] = NARROW
        self.raw = nn.Parameter(raw)

    def forward(self, fn: Any) -> Any:
        """A distribution over all axes of the site's plates."""
        params = self.site.family.in_prior_units(self.raw.unbind(), self.loc, self.scale)
        params = tuple(p.reshape(p.shape[self.site.excess :]) for p in params)
        return self.site.family.distribution(params, fn)


class _Done(BaseException):
    """Every latent has been drawn: what is left of the model is no concern of the guide."""


class _Replace(Messenger):
    """Gives every latent its learned distribution, and hides all else from the handlers outside.

    Args:
        guide: the guide.
        proto: what it was built from.
        h: features `(data, features)` of the batch.
    """

    def __init__(self, guide: Derived, proto: Prototype, h: Tensor | None) -> None:
        super().__init__()
        self.guide, self.proto, self.h = guide, proto, h
        self.left = {site.name: site for site in proto.sites}

    def _pyro_sample(self, msg: Any) -> None:
        if is_subsample(msg):
            return
        name = msg["name"]
        if msg["is_observed"] or name in self.proto.hidden:
            msg["stop"] = True
            return
        site = self.left.get(name)
        if site is None:
            raise PplVaeError(
                f"the model has a latent {name!r} now that it did not have on the batch from which its derived guide "
                f"was built ({', '.join(s.name for s in self.proto.sites)}). A guide needs one fixed set of latents."
            )
        for frame in msg["cond_indep_stack"]:
            if site.plates.get(frame.name, frame.size) != frame.size:
                raise PplVaeError(
                    f"plate {frame.name!r} around {name!r} has size {frame.size}, but {site.plates[frame.name]} on the "
                    "batch from which the derived guide was built. Pad the data to one size and mask it in the model."
                )
        fn = msg["fn"]
        head = self.guide.heads[site.key]
        replacement = head(self.h, fn) if site.is_local else head(fn)
        msg["fn"] = replacement.mask(fn._mask) if isinstance(fn, MaskedDistribution) else replacement

    def _pyro_post_sample(self, msg: Any) -> None:
        value = msg["value"]
        if is_subsample(msg):
            if msg["name"] == self.proto.data_plate and self.h is not None and value.shape[0] != self.h.shape[0]:
                self.h = self.h[value]  # the model draws its minibatch from the data itself
            return
        site = self.left.pop(msg["name"], None)
        if site is None:
            return
        if site.is_local and self.guide.condition and self.h is not None:
            self.h = join(self.h, site.as_features(value).to(self.h.dtype))
        # A capture keeps account of modules entered and left; the rest of the model is dead code in its graph.
        if not self.left and not torch.compiler.is_compiling():
            raise _Done
