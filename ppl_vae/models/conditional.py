"""The conditional VAE p(x | y), for any number of covariates y."""

from collections.abc import Sequence
from functools import partial
from inspect import signature
from typing import Any

from torch import Tensor

from ppl_vae.core.call import made
from ppl_vae.models.latent import Latent, MakesDecoder, MakesPrior
from ppl_vae.nn.beside import Joined
from ppl_vae.nn.features import Covariates, DataSpec
from ppl_vae.nn.mlp import Activation, Decoder
from ppl_vae.nn.priors import StandardNormal


class Conditional(Latent):
    r"""$p(x, z \mid y) = p(z)\, p(x \mid f(z, y))$, z standard normal by default; y is given, never modelled.

    y is all that follows x in a batch: categories one-hot, numbers as they are, or standardized where the data say so.

    Args:
        spec: the dataset's spec, with x and further fields.
        likelihood: p(x | parameters); None takes the one that fits the data.
        latent_dim: size of z.
        hidden: widths of the decoder's hidden layers, from z to x.
        activation: after each of them.
        prior: p(z), as of `Latent`; one that names `given`, the number of features of y, is called with them: p(z | y).
        decoder: f, as of `Latent`, of z and y side by side; None takes the fully connected one, to which alone `hidden`
            and `activation` apply.

    Raises:
        DataError: batches hold x alone.

    References:
        Sohn, Lee and Yan (2015), Learning Structured Output Representation using Deep Conditional Generative Models,
            https://papers.nips.cc/paper/2015/hash/8d55a249e6baa5c06772297520da2051-Abstract.html
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        latent_dim: int = 8,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        prior: MakesPrior = StandardNormal,
        decoder: MakesDecoder | None = None,
    ) -> None:
        covariates = Covariates(spec)
        extra = covariates.out_features
        own = partial(Decoder, hidden=hidden, activation=activation, extra=extra)

        def told(spec: DataSpec, likelihood: Any, features: int) -> Joined:
            assert decoder is not None
            sizes = {"spec": spec, "likelihood": likelihood, "features": features + extra}
            return Joined(made("decoder", decoder, **sizes))

        takes_given = "given" in signature(prior).parameters
        of_given: Any = partial(prior, given=extra) if takes_given else prior  # type: ignore[call-arg]
        super().__init__(spec, likelihood, latent_dim, of_given, own if decoder is None else told)
        self.covariates = covariates
        self.argument_names = tuple(field.name for field in spec.fields)

    def forward(self, x: Tensor, *covariates: Tensor) -> None:
        """Data `(data, *shape)`, observed at site x; covariates `(data, …)`; latents `(data, latent_dim)` at site z."""
        self.sample(x, self.covariates(*covariates))
