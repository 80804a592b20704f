"""The Pyro programs that ppl_vae and Pyro's SVI train alike."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from benchmarks.setups import Setup


def encoder(setup: Setup) -> nn.Module:
    """Pixels to location and log-scale of z."""
    if not setup.conv:
        return nn.Sequential(nn.Linear(784, setup.hidden), nn.ReLU(), nn.Linear(setup.hidden, 2 * setup.latent))
    return nn.Sequential(
        nn.Unflatten(-1, (1, 28, 28)),
        nn.Conv2d(1, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(-3),
        nn.Linear(64 * 49, setup.hidden),
        nn.ReLU(),
        nn.Linear(setup.hidden, 2 * setup.latent),
    )


def decoder(setup: Setup) -> nn.Module:
    """Codes z to logits of pixels."""
    if not setup.conv:
        return nn.Sequential(nn.Linear(setup.latent, setup.hidden), nn.ReLU(), nn.Linear(setup.hidden, 784))
    return nn.Sequential(
        nn.Linear(setup.latent, setup.hidden),
        nn.ReLU(),
        nn.Linear(setup.hidden, 64 * 49),
        nn.ReLU(),
        nn.Unflatten(-1, (64, 7, 7)),
        nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 3, stride=2, padding=1, output_padding=1),
        nn.Flatten(-3),
    )


class Model(nn.Module):
    """p(z) = Normal(0, 1), p(x | z) = Bernoulli."""

    zero: Tensor

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        self.decoder, self.sites = decoder(setup), setup.sites
        self.register_buffer("zero", torch.zeros(setup.latent // setup.sites))

    def forward(self, x: Tensor) -> None:
        """Images `(data, 784)`."""
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            names = [f"z{i}" if i else "z" for i in range(self.sites)]
            z = torch.cat([pyro.sample(name, dist.Normal(self.zero, 1.0).to_event(1)) for name in names], -1)
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)


class Guide(nn.Module):
    """q(z | x) = Normal."""

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        self.encoder, self.sites = encoder(setup), setup.sites

    def forward(self, x: Tensor) -> None:
        """Images `(data, 784)`."""
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            parts = [part.chunk(self.sites, -1) for part in self.encoder(x).chunk(2, -1)]
            for i, (loc, log_scale) in enumerate(zip(*parts, strict=True)):
                pyro.sample(f"z{i}" if i else "z", dist.Normal(loc, log_scale.exp()).to_event(1))
