"""Nothing is asked of a network at import or in a run: from training to the report with every door to one shut."""

import os
import shutil
import subprocess
import sys

import pytest

SHUT = """
import socket, sys

def refuse(*words, **named):
    raise AssertionError(f"the network was asked for: {words[1:]!r:.200}")

for name in ("connect", "connect_ex", "sendto", "bind", "listen"):
    setattr(socket.socket, name, refuse)
for name in ("create_connection", "getaddrinfo", "gethostbyname", "gethostbyaddr"):
    setattr(socket, name, lambda *words, _name=name: refuse(None, _name, *words))
"""

WORK = """
import ppl_vae as pv
from ppl_vae.__main__ import main

for name in dir(pv):
    getattr(pv, name)
small = ["results.posterior=false", "results.num_particles=4", "model.hidden=[8]", "guide.hidden=[8]"]
lines = [
    ["train", "trainer.epochs=1", "trainer.batch_size=500", *small, "hydra.run.dir=run"],
    ["evaluate", "run=run", "num_particles=4"],
    ["posterior", "run=run", "draws=4", "data=3"],
    ["generate", "run=run", "n=2"],
    ["report", "run=run"],
]
for line in lines:
    assert main(line) == 0, line
"""


def run(*before, code, cwd):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [*before, sys.executable, "-c", code]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_with_sockets_that_refuse(tmp_path):
    done = run(code=SHUT + WORK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert run(code=SHUT + "import urllib.request as r; r.urlopen('http://127.0.0.1:9')", cwd=tmp_path).returncode != 0


@pytest.mark.slow
def test_without_a_network_interface(tmp_path):
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rn", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let a process go without its network (unshare -rn)")
    done = run(unshare, "-rn", code=WORK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
