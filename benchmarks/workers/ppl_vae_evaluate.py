"""ppl_vae: `evaluate`, with evidence, ELBO, KL, k̂ and active units of every datum."""

import torch

import ppl_vae as pv
from benchmarks.programs import Guide, Model
from benchmarks.setups import Setup
from benchmarks.stand import begin, serve

arguments = begin()
setup = Setup.of(arguments["setup"])
torch.set_num_threads(1)
torch.manual_seed(0)
vae = pv.VAE(Model(setup), Guide(setup)).to(arguments["device"])
x = torch.from_numpy(setup.data())[: arguments["data"]].to(arguments["device"])
serve(lambda: pv.evaluate(vae, x, arguments["particles"]), len(x) * arguments["particles"])
