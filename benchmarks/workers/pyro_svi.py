"""Pyro: `SVI.step` on the same programs, validation off."""

import pyro
import torch
from pyro.infer import SVI, RenyiELBO, Trace_ELBO

from benchmarks.programs import Guide, Model
from benchmarks.setups import Setup
from benchmarks.stand import begin, serve

arguments = begin()
setup = Setup.of(arguments["setup"])
torch.set_num_threads(1)
torch.manual_seed(0)
pyro.enable_validation(False)
loss = (
    Trace_ELBO()
    if setup.particles == 1
    else RenyiELBO(alpha=0, num_particles=setup.particles, vectorize_particles=True, max_plate_nesting=1)
)
model, guide = Model(setup).to(arguments["device"]), Guide(setup).to(arguments["device"])
svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), loss)
batches = torch.from_numpy(setup.data()).to(arguments["device"]).split(setup.batch)


def block() -> None:
    """One pass."""
    for x in batches:
        svi.step(x)


serve(block, len(batches))
