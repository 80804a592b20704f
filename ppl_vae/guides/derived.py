"""An amortized guide for any model, derived from the model itself: `guide=derived`."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from ppl_vae.core.adapters import Adapters
from ppl_vae.errors import PplVaeError, one_of
from ppl_vae.guides.families import FamilyName
from ppl_vae.guides.family import Own
from ppl_vae.guides.heads import Constant, Head
from ppl_vae.guides.inputs import BatchEncoder, FirstOf
from ppl_vae.guides.masks import masked_alike
from ppl_vae.guides.prototype import is_subsample, prototype
from ppl_vae.guides.site import Prototype, Site
from ppl_vae.nn.conv import ConvEncoder
from ppl_vae.nn.features import DataSpec
from ppl_vae.nn.mlp import ACTIVATIONS, Activation, join


class Derived(nn.Module):
    r"""The model, run up to its last latent, with each latent's prior replaced by a learned distribution.

    $$q(z, w \mid x) = \prod_g q_g(w_g) \prod_s q_s(z_s \mid h(x), z_{<s}, w_{<s})$$

    Sites s inside the data plate get a network each, fed with an encoding h of the batch and with the latents
    drawn before, global ones among them, in the model's own order; sites g outside get parameters (mean field).
    Each has the support that its site has in the present run, its shape and its plates: a normal on the
    unconstrained space for continuous ones (so the KL of a normal prior is analytic), categorical, Bernoulli or, for
    counts without end, a normal over their root, which may be narrower than Poisson's (`distributions.RootNormal`).

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
        condition: let a local latent depend on the latents before it.
        data_plate: name of the data plate, where it cannot be told from its size.
        encoder: a module of your own for h, called with the batch, giving `(data, features)`.
        hide: names of latents to leave out, for the model to sum over.
        family: of continuous vectors, `diagonal`, `full_rank` (covariances within the vector, on the unconstrained
            space) or `flow` (inverse autoregressive); `poisson` of counts. For all sites for which it is one, or by
            site, `{"z": "full_rank"}`.

    Raises:
        PplVaeError: no data plate is found, a support for which no family is known, or a family that is none for
            the site that it is chosen for.

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
        family: FamilyName | Mapping[str, FamilyName] = "diagonal",
    ) -> None:
        super().__init__()
        object.__setattr__(self, "model", model)  # run here, owned by its pair: no submodule of the guide
        one_of("activation", activation, ACTIVATIONS)  # its layers are built later
        self.spec, self.hidden, self.head_hidden, self.activation = spec, hidden, head_hidden, activation
        self.channels, self.condition = channels, condition
        self.data_plate, self.hide = data_plate, frozenset(hide)
        self.family = one_of("family", family, get_args(FamilyName)) if isinstance(family, str) else dict(family)
        self.encoder = encoder
        self.heads = nn.ModuleDict()
        self.prototype: Prototype | None = None

    def build(self, *batch: Any) -> None:
        """Create all networks from the model's run on a batch."""
        self.prototype = proto = prototype(self.model, batch, self.data_plate, self.hide, self.family)
        local = [site for site in proto.sites if site.is_local]
        if local and self.encoder is None:
            self.encoder = self._default_encoder(batch)
        self._follow(batch)
        with torch.no_grad():
            features = self.encoder(*batch).shape[-1] if local and self.encoder is not None else 0
        of_globals: list[int] = []  # which features are values of global latents
        for site in proto.sites:
            if isinstance(site.family, Own):
                pass
            elif site.is_local:
                self.heads[site.key] = Head(site, features, self.head_hidden, self.activation, of_globals)
            else:
                self.heads[site.key] = Constant(site)
            if self.condition and local:
                if not site.is_local:
                    of_globals = [*of_globals, *range(features, features + site.num_features)]
                features += site.num_features
        self._follow(batch)

    def _follow(self, batch: tuple[Any, ...]) -> None:
        """Take device and dtype from the data."""
        for t in batch[:1]:
            if isinstance(t, Tensor):
                self.to(device=t.device, dtype=t.dtype if t.is_floating_point() else None)

    def describe(self) -> str:
        """A table of the sites: the family of each, what it depends on, its plates and the shape of a draw."""
        if self.prototype is None:
            return "A derived guide, without networks before it has seen a batch: call pv.prepare(vae, batch)."
        rows = [("site", "family", "sees", "plates", "event shape")]
        for site in self.prototype.sites:
            own = isinstance(site.family, Own)
            sees = "the model" if own else ", ".join(["the batch", *self.fed(site)]) if site.is_local else "nothing"
            plates = ", ".join(map(str, [*([self.prototype.data_plate] if site.is_local else []), *site.plates]))
            rows.append((site.name, self.label(site), sees, plates or "none", str(site.family.event_shape)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)

    def __str__(self) -> str:
        return self.describe()

    def label(self, site: Site) -> str:
        """The name of a latent's family; weights of an earlier version may have brought another one."""
        owner: Any = site if isinstance(site.family, Own) else self.heads[site.key]
        return str(owner.family.label)

    def fed(self, site: Site) -> tuple[str, ...]:
        """The latents whose values the network of a latent is fed, beside the batch, in their order."""
        if not (self.condition and site.is_local and site.key in self.heads) or self.prototype is None:
            return ()
        head: Any = self.heads[site.key]
        names = [other.name for other in self.prototype.sites]
        before = self.prototype.sites[: names.index(site.name)]
        return tuple(other.name for other in before if other.is_local or head.kept is None)

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
        if tuple(fn.event_shape) != site.family.event_shape:
            raise PplVaeError(
                f"{name!r} has event shape {tuple(fn.event_shape)}, but {site.family.event_shape} on the batch from "
                "which the derived guide was built. Draw it at its largest shape, and use or mask what is there."
            )
        if isinstance(site.family, Own):
            q = site.family.distribution((), fn)
        else:
            head = self.guide.heads[site.key]
            q = head(self.h, fn) if site.is_local else head(fn)
        msg["fn"] = masked_alike(q, fn, name)

    def _pyro_post_sample(self, msg: Any) -> None:
        value = msg["value"]
        if is_subsample(msg):
            if msg["name"] == self.proto.data_plate and self.h is not None and value.shape[0] != self.h.shape[-2]:
                self.h = self.h[..., value, :]  # the model draws its minibatch from the data itself
            return
        site = self.left.pop(msg["name"], None)
        if site is None:
            return
        if self.guide.condition and self.h is not None:
            self.h = join(self.h, site.as_features(value).to(self.h.dtype))
        # A capture keeps account of modules entered and left; the rest of the model is dead code in its graph.
        if not self.left and not torch.compiler.is_compiling():
            raise _Done
