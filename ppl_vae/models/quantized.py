"""Quantized latents: a code of a few whole numbers, found without a codebook."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from ppl_vae.distributions.codes import check_levels
from ppl_vae.models.latent import Latent
from ppl_vae.nn.codes import CodeDecoder, UniformCodes
from ppl_vae.nn.features import DataSpec
from ppl_vae.nn.mlp import Activation


class Quantized(Latent):
    r"""$p(z)\, p(x \mid f(z))$ with z one of $\prod_d L_d$ codes, uniform a priori; the guide is `guide=quantized`.

    The guide puts all its mass on one code z(x), so that the ELBO is

    $$\log p(x \mid z(x)) - \sum_d \log L_d \;\le\; \log p(x),$$

    a bound on the log of $\sum_z p(z)\, p(x \mid z)$, over all codes. The prior does not matter in training: fit a
    better one afterwards (`ppl-vae prior run=DIR prior=autoregressive`), and the bound gains what log p(z) gains.

    Args:
        spec: the dataset's spec.
        likelihood: p(x | parameters); None takes the one that fits the data.
        levels: L, the number of values of each element of z.
        hidden: widths of the decoder's hidden layers, from z to x.
        activation: after each of them.

    References:
        Mentzer, Minnen, Agustsson and Tschannen (2024), Finite Scalar Quantization: VQ-VAE Made Simple,
            https://arxiv.org/abs/2309.15505
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        levels: Sequence[int] = (8, 5, 5, 5),
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
    ) -> None:
        self_levels = check_levels(levels)
        decoder = partial(CodeDecoder, self_levels, hidden=hidden, activation=activation)
        super().__init__(spec, likelihood, len(self_levels), lambda _: UniformCodes(self_levels), decoder)
        self.levels = self_levels
