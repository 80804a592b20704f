"""Where a run comes from: what is recorded, and what is not said to be."""

import pytest

from ppl_vae.reports.provenance import provenance, typed, versions
from ppl_vae.runs.recorder import machine

RECORD = {
    "command": ["-m", "ppl_vae", "train", "model.latent_dim=6"],
    "verb": "train",
    "git": {"commit": "abc"},
    "machine": {"system": "Linux", "processor": "x86_64 of some kind", "cores": 4},
    "device": "cpu",
    "threads": 1,
    "started": "2026-11-27T14:23:18.116+00:00",
    "finished": "2026-11-27T14:23:41.126+00:00",
    "seconds": 25.3,
    "seed": 0,
    "versions": {"torch": "2.13.0"},
}


def said(record):
    return {row["name"]: row["value"] for row in provenance(record)}


def test_command_commit_machine():
    told = said(RECORD)
    assert told["command"] == "ppl-vae train model.latent_dim=6"
    assert told["commit"] == "abc"
    assert told["machine"] == "Linux · x86_64 of some kind · 4 cores"
    assert told["device"] == "cpu, 1 thread"
    assert told["time"] == "2026-11-27 14:23 UTC to 2026-11-27 14:23 UTC, 25.3 s"
    assert versions(RECORD) == [{"name": "torch", "value": "2.13.0", "meaning": ""}]


@pytest.mark.parametrize("record", [{}, dict.fromkeys(RECORD), dict.fromkeys(RECORD, "x"), {k: [] for k in RECORD}])
def test_what_is_not_recorded_is_said_to_be(record):
    told = said(record)
    assert set(told) == {"command", "commit", "machine", "device", "time", "seed"}
    assert "not recorded" in told["commit"]
    assert "not recorded" in told["machine"]


def test_a_command_can_be_typed_again():
    assert typed(["/usr/bin/ppl-vae", "train", "name=my run; rm x"]) == "ppl-vae train 'name=my run; rm x'"
    assert typed(["script.py", "-v"]) == "python script.py -v"


def test_a_machine_tells_its_kind_and_not_its_name():
    import platform

    found = machine()
    assert found["cores"] >= 1
    assert platform.machine() in found["processor"]
    assert not platform.node() or platform.node() not in " ".join(map(str, found.values()))
