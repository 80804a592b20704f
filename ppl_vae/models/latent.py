"""The plain latent-variable model, from a prior and a decoder."""

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from ppl_vae.core.call import made
from ppl_vae.errors import ArgumentError
from ppl_vae.kinds import shown
from ppl_vae.likelihoods.auto import likelihood_for
from ppl_vae.likelihoods.known import of_known
from ppl_vae.nn.features import DataSpec, arguments_of, has_missing
from ppl_vae.nn.mlp import Decoder
from ppl_vae.nn.priors import StandardNormal

MakesPrior = Callable[[int], Callable[..., Any]]
"""From the size of z to a module that gives p(z)."""

MakesDecoder = Callable[[DataSpec, Any, int], Callable[..., Any]]
"""From the spec, the likelihood and the number of features to a module from these to the likelihood's parameters."""


def prior_of(prior: MakesPrior, latent_dim: int) -> Any:
    """Make p(z).

    Raises:
        ArgumentError: it cannot be made of the size of z alone.
    """
    given = signature(prior).parameters.get("given") if callable(prior) else None
    if given is not None and given.default is Parameter.empty:
        raise ArgumentError(
            f"Got prior={shown(prior)}, p(z | y) of what is given beside x, for a model without: take "
            "model=conditional guide=conditional, or another prior."
        )
    return made("prior", prior, latent_dim=latent_dim)


def likelihood_of(spec: DataSpec, likelihood: Any = None) -> Any:
    """A likelihood as a model is given it: one that is made, or its class; None takes the one that fits the data.

    Example:
        >>> from ppl_vae.datasets.spec import Spec
        >>> from ppl_vae.likelihoods import NegativeBinomial
        >>> likelihood_of(Spec(shape=(64,), support="counts"), NegativeBinomial)
        NegativeBinomial()
    """
    if likelihood is None:
        return likelihood_for(spec)
    return made("likelihood", likelihood, spec=spec) if isinstance(likelihood, type) else likelihood


class Latent(nn.Module):
    r"""$p(x, z) = p(z)\, p(x \mid f(z))$, for any prior p(z) and any network f.

    Args:
        spec: the dataset's spec.
        likelihood: p(x | parameters); None takes the one that fits the data.
        latent_dim: size of z.
        prior: from `latent_dim` to a module that, called without arguments, gives p(z).
        decoder: from (spec, likelihood, features) to the module f, from z `(..., features)`, its axes flattened, to
            the likelihood's parameters `(..., num_params, *shape)`, or to the distribution of x itself.

    References:
        Kingma and Welling (2014), Auto-Encoding Variational Bayes, https://arxiv.org/abs/1312.6114

    Example:
        >>> from functools import partial
        >>> from ppl_vae.datasets.spec import Spec
        >>> from ppl_vae.nn import MixturePrior
        >>> model = Latent(Spec((784,), "binary"), prior=partial(MixturePrior, components=5), latent_dim=2)
        >>> model.prior.loc.shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        latent_dim: int = 8,
        prior: MakesPrior = StandardNormal,
        decoder: MakesDecoder = Decoder,
    ) -> None:
        super().__init__()
        self.data_fields = arguments_of(spec)
        self.latent_dim = latent_dim
        self.likelihood = likelihood_of(spec, likelihood)
        self.missing = has_missing(spec)
        self.prior = prior_of(prior, latent_dim)
        self.decoder = made("decoder", decoder, spec=spec, likelihood=self.likelihood, features=latent_dim)

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`, observed at site x; latents `(data, latent_dim)` at site z."""
        self.sample(x)

    def sample(self, x: Tensor, *given: Tensor) -> None:
        """The program; f is told what is given, features `(data, features)`, after z.

        A prior whose attribute `given` says how many of them it takes is told, too.
        """
        with pyro.plate("data", x.shape[0]):
            prior = self.prior(*given) if getattr(self.prior, "given", 0) else self.prior()
            z = pyro.sample("z", prior).flatten(-max(len(prior.event_shape), 1))
            h = self.decoder(z, *given)
            px: Any = h if isinstance(h, dist.Distribution) else self.likelihood(h)
            pyro.sample("x", of_known(px, x) if self.missing else px, obs=x)
