"""The peak memory of a training or an evaluation, in a process of its own, in bytes beyond what was held before."""

import functools
from pathlib import Path

import torch

import ppl_vae as pv
from benchmarks.programs import Guide, Model
from benchmarks.setups import Setup
from benchmarks.stand import begin, say


def held(what: str) -> int:
    """Bytes of memory, now or at most, as Linux counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(what)))


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
    objective = pv.objectives.ELBO(kl="sampled") if setup.particles == 1 else pv.objectives.IWAE(setup.particles)
    run = functools.partial(
        pv.fit, vae, objective=objective, epochs=2, compile=arguments["compile"], batch_size=setup.batch, progress=False
    )
    few, all_of_it = (x[:2],), (x,)
run(*few)
Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak begins anew
before = held("VmRSS")
run(*all_of_it)
say(bytes=held("VmHWM") - before)
