"""The peak memory of an evaluation, in a process of its own, told in bytes beyond what was held before it."""

import resource

import torch

import ppl_vae as pv
from benchmarks.programs import Guide, Model
from benchmarks.setups import SETUPS
from benchmarks.stand import begin, serve

arguments = begin()
setup = SETUPS[arguments["setup"]]
torch.set_num_threads(1)
torch.manual_seed(0)
vae = pv.VAE(Model(setup), Guide(setup))
x = torch.from_numpy(setup.data())[: arguments["data"]]
pv.evaluate(vae, x[:2], 10)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pv.evaluate(vae, x, arguments["particles"])
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
serve(lambda: None, 1, bytes=grown)
