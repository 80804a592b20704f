"""PyTorch without a library: the ELBO or the importance-weighted bound by hand, fused Adam; eager or compiled."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.programs import decoder, encoder
from benchmarks.setups import Setup
from benchmarks.stand import begin, serve

arguments = begin()
setup = Setup.of(arguments["setup"])
device = torch.device(arguments["device"])
torch.set_num_threads(1)
torch.manual_seed(0)


class Loss(nn.Module):
    """The negative bound, nats per datum."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder(setup), decoder(setup)

    def forward(self, x: Tensor) -> Tensor:
        """Images `(data, 784)`."""
        loc, log_scale = self.encoder(x).chunk(2, -1)
        lead = () if setup.particles == 1 else (setup.particles,)
        eps = torch.randn(*lead, *loc.shape, device=device)
        z = loc + log_scale.exp() * eps
        x = x.expand(*lead, *x.shape)
        log_likelihood = -binary_cross_entropy_with_logits(self.decoder(z), x, reduction="none").sum(-1)
        log_weight = log_likelihood - 0.5 * (z.square() - eps.square()).sum(-1) + log_scale.sum(-1)
        if lead:
            log_weight = torch.logsumexp(log_weight, 0) - math.log(setup.particles)
        return -log_weight.mean()


loss = Loss().to(device)
optimizer = torch.optim.Adam(loss.parameters(), lr=1e-3, fused=True)
run = torch.compile(loss, mode=arguments.get("mode")) if arguments["compile"] else loss
batches = torch.from_numpy(setup.data()).to(device).split(setup.batch)


def block() -> None:
    """One pass; the losses are summed, and read once."""
    total = torch.zeros((), device=device)
    for x in batches:
        optimizer.zero_grad(set_to_none=True)
        value = run(x)
        value.backward()
        optimizer.step()
        total += value.detach()
    float(total)


serve(block, len(batches))
