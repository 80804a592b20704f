"""pythae: `get_nll` of its VAE, whose default decoder is 512 wide."""

import torch
from pythae.models import VAE, VAEConfig

from benchmarks.setups import Setup
from benchmarks.stand import begin, serve

arguments = begin()
setup = Setup.of(arguments["setup"])
torch.set_num_threads(1)
torch.manual_seed(0)
model = VAE(VAEConfig(input_dim=(1, 28, 28), latent_dim=setup.latent, reconstruction_loss="bce")).eval()
x = torch.from_numpy(setup.data())[: arguments["data"]].reshape(-1, 1, 28, 28)


def block() -> None:
    """The evidence of all data, in the batches of particles that its documentation uses."""
    with torch.no_grad():
        model.get_nll(x, n_samples=arguments["particles"], batch_size=arguments["batch"])


serve(block, len(x) * arguments["particles"])
