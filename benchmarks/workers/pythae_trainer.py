"""pythae: epochs of its trainer with a 784-512-20 encoder like its decoder."""

import sys
import tempfile

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import nn

from benchmarks.setups import Setup
from benchmarks.stand import begin, serve

arguments = begin()
setup = Setup.of(arguments["setup"])
torch.set_num_threads(1)
torch.manual_seed(0)
data = torch.from_numpy(setup.data())


class Encoder(BaseEncoder):
    """784-512, then location and log-variance of z."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(784, 512), nn.ReLU())
        self.embedding, self.log_var = nn.Linear(512, setup.latent), nn.Linear(512, setup.latent)

    def forward(self, x):
        """Images."""
        h = self.hidden(x.flatten(1))
        return ModelOutput(embedding=self.embedding(h), log_covariance=self.log_var(h))


model = VAE(VAEConfig(input_dim=(1, 28, 28), latent_dim=setup.latent, reconstruction_loss="bce"), encoder=Encoder())
dataset = BaseDataset(data.reshape(-1, 1, 28, 28), torch.zeros(len(data)))
config = BaseTrainerConfig(
    output_dir=tempfile.mkdtemp(), per_device_train_batch_size=setup.batch, learning_rate=1e-3, no_cuda=True
)
trainer = BaseTrainer(model=model, train_dataset=dataset, training_config=config)
sys.stdout = sys.stderr
trainer.prepare_training()
epoch = 0


def block() -> None:
    """One epoch."""
    global epoch
    epoch += 1
    trainer.train_step(epoch)


serve(block, setup.batches)
