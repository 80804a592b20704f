"""What comes before the first step: help, imports, and the time to the first steps of a small fit in each mode."""

import sys
from collections.abc import Iterator

from benchmarks.race import Contender, Race, race

FIRST = """
import os, tempfile
if {empty}:
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp()
import torch, ppl_vae as pv
from benchmarks.programs import Guide, Model
from benchmarks.setups import SETUPS
setup = SETUPS["mlp_small"]
torch.set_num_threads(1)
x = torch.from_numpy(setup.data())
pv.fit(pv.VAE(Model(setup), Guide(setup)), x, steps={steps}, batch_size=32, compile="{mode}", progress=False)
"""


def run(rounds: int, clock: str, only: str | None = None) -> Iterator[Race]:
    """Wall time on purpose, whatever the clock: most of it is files being read."""

    def command(name: str, *words: str) -> Contender:
        return Contender(name, "command", {"command": [sys.executable, *words]})

    def first(steps: int, mode: str, *, empty: bool = False) -> Contender:
        name = f"{steps} step{'s' if steps > 1 else ''}, {mode}{', nothing in its cache' if empty else ''}"
        return command(name, "-c", FIRST.format(steps=steps, mode=mode, empty=empty))

    contenders = [
        command("import torch, pyro", "-c", "import torch, pyro"),
        command("ppl-vae --help", "-m", "ppl_vae", "--help"),
        command("ppl-vae train --help", "-m", "ppl_vae", "train", "--help"),
        command("import ppl_vae", "-c", "import ppl_vae"),
        first(1, "off"),
        first(2, "export"),
        first(2, "inductor"),
        first(2, "inductor", empty=True),
    ]
    yield race("Start-up, from the shell", contenders, rounds, unit="process")
