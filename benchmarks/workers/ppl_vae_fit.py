"""ppl_vae: whole epochs of `fit`, with its shuffling, metrics and bookkeeping."""

import functools
import time

import torch

import ppl_vae as pv
from benchmarks.programs import Guide, Model
from benchmarks.setups import Setup
from benchmarks.stand import begin, say, wait

arguments = begin()
setup = Setup.of(arguments["setup"])
torch.set_num_threads(1)
torch.manual_seed(0)
vae = pv.VAE(Model(setup), Guide(setup)).to(arguments["device"])
objective = pv.objectives.ELBO(kl="sampled") if setup.particles == 1 else pv.objectives.IWAE(setup.particles)
cpu = 0.0


def between(row: dict[str, float]) -> None:
    """After an epoch: tell how long it took, and wait for the next to be asked for."""
    global cpu
    if row["epoch"] < 3:  # what is lazy, captured or compiled
        return
    if row["epoch"] == 3:
        say(ready=True, bound=row["train/bound"])
    else:
        say(seconds=row["seconds"] / setup.batches, cpu=(time.process_time() - cpu) / setup.batches)
    wait()
    cpu = time.process_time()


pv.fit(
    vae,
    torch.from_numpy(setup.data()).to(arguments["device"]),
    objective,
    functools.partial(torch.optim.Adam, lr=1e-3),
    epochs=10**6,
    batch_size=setup.batch,
    compile=arguments["compile"],
    callbacks=[between],
    progress=False,
)
