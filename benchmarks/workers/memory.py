"""The peak memory of a training or an evaluation, in a process of its own, in bytes beyond what was held before."""

import functools
import resource

import torch

import ppl_vae as pv
from benchmarks.programs import Guide, Model
from benchmarks.setups import Setup
from benchmarks.stand import begin, say

arguments = begin()
setup = Setup.of(arguments["setup"])
torch.set_num_threads(1)
torch.manual_seed(0)
vae = pv.VAE(Model(setup), Guide(setup))
x = torch.from_numpy(setup.data())
if "particles" in arguments:
    run = functools.partial(pv.evaluate, vae)
    few, all_of_it = (x[:2], 10), (x[: arguments["data"]], arguments["particles"])
else:
    objective = pv.objectives.ELBO() if setup.particles == 1 else pv.objectives.IWAE(setup.particles)
    run = functools.partial(
        pv.fit, vae, objective=objective, epochs=2, compile=arguments["compile"], batch_size=setup.batch, progress=False
    )
    few, all_of_it = (x[:2],), (x,)
run(*few)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run(*all_of_it)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
say(bytes=grown)
