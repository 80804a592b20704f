"""PyTorch by hand: importance-sampled evidence, vectorized over particles, in chunks of a size that suits caches."""

import math

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.programs import decoder, encoder
from benchmarks.setups import Setup
from benchmarks.stand import begin, serve

arguments = begin()
setup = Setup.of(arguments["setup"])
torch.set_num_threads(1)
torch.manual_seed(0)
device = torch.device(arguments["device"])
q, p = encoder(setup).to(device), decoder(setup).to(device)
data = torch.from_numpy(setup.data())[: arguments["data"]].to(device)
K, CHUNK = arguments["particles"], arguments.get("chunk", 50)


@torch.no_grad()
def block() -> None:
    """The evidence of all data: a chunk of particles of all data at a time."""
    loc, log_scale = q(data).chunk(2, -1)
    evidence = torch.full((len(data),), -math.inf, device=device)
    for _ in range(K // CHUNK):
        eps = torch.randn(CHUNK, *loc.shape, device=device)
        z = loc + log_scale.exp() * eps
        logits = p(z)
        log_w = -binary_cross_entropy_with_logits(logits, data.expand_as(logits), reduction="none").sum(-1)
        log_w += -0.5 * (z.square() - eps.square()).sum(-1) + log_scale.sum(-1)
        evidence = torch.logaddexp(evidence, log_w.logsumexp(0))
    float((evidence - math.log(K)).mean())


serve(block, len(data) * K)
