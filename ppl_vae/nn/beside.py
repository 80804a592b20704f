"""Parts that take one input, told of more."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ppl_vae.nn.mlp import MLP, Activation, join


class Joined(nn.Module):
    """A decoder of one input, for several that are joined.

    Args:
        decoder: from features `(..., features)`.
    """

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, *inputs: Tensor) -> Any:
        """Inputs `(..., features)` to what the decoder gives for all of them side by side."""
        return self.decoder(join(*inputs))


class Beside(nn.Module):
    """The features of an encoder and further ones, through fully connected layers.

    Args:
        encoder: from x to features, whose size is its `out_features`.
        extra: size of what is given beside x.
        hidden: widths of the layers.
        activation: after each of them.
    """

    def __init__(
        self, encoder: Any, extra: int, hidden: Sequence[int] = (256,), activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.net = MLP(encoder.out_features + extra, hidden=hidden, activation=activation)
        self.out_features = self.net.out_features

    def forward(self, x: Tensor, *extra: Tensor) -> Tensor:
        """Data `(..., *shape)` and extras `(..., features)` to `(..., out_features)`."""
        return self.net(join(self.encoder(x), *extra))
