"""A mixture model of tables whose columns differ, with a head for each column."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ppl_vae.errors import DataError
from ppl_vae.models.gmvae import GMVAE
from ppl_vae.nn.columns import ColumnHeads
from ppl_vae.nn.features import DataSpec
from ppl_vae.nn.mlp import Activation


class Tabular(GMVAE):
    r"""$p(x, z, y) = \pi_y\, \mathrm{Normal}(z; \mu_y, \sigma_y) \prod_d p(x_d \mid h_d(g_d(z), y))$: the HI-VAE.

    A network g is shared by the columns, each of which has a head h of its own that knows the component y. With
    guide=tabular y is summed out, where the paper relaxes it. Missing values of any kind of column are masked.

    Args:
        spec: the dataset's spec, of a table.
        likelihood: p(x | parameters); None takes the one that fits the data.
        latent_dim: size of z.
        components: of the mixture.
        hidden: widths of the hidden layers of g, from z to what the heads see.
        activation: after each of them.
        width: how many numbers the head of a column sees.

    Raises:
        DataError: for data that are no table.

    References:
        Nazabal, Olmos, Ghahramani and Valera (2020), Handling Incomplete Heterogeneous Data using VAEs,
            https://arxiv.org/abs/1807.03653
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        latent_dim: int = 8,
        components: int = 5,
        hidden: Sequence[int] = (64,),
        activation: Activation = "relu",
        width: int = 4,
    ) -> None:
        if len(spec.shape) != 1:
            raise DataError(f"Got data of shape {tuple(spec.shape)} for model=tabular, expected a table, (columns,).")
        super().__init__(spec, likelihood, latent_dim, components, hidden, activation)
        self.decoder = ColumnHeads(spec, self.likelihood, latent_dim, components, hidden, activation, width)

    def decode(self, z: Tensor, y: Tensor) -> Tensor:
        """Latents `(..., latent_dim)` and components `(...)` to the likelihood's parameters."""
        params: Tensor = self.decoder(z, y)
        return params
