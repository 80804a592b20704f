"""What multiplies is measured once, and kept for all later runs on such a processor."""

import json
import subprocess
import sys

import pytest
import torch

from ppl_vae.compile.capture import record
from ppl_vae.compile.kernels import choice, products


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(choice, "_here", {})
    return tmp_path / "ppl_vae" / "products"


def forget(monkeypatch):
    """As another process that reads what this one has kept."""
    monkeypatch.setattr(choice, "_here", {})


def measured(monkeypatch, ratio):
    """Let each measurement give this, and count them."""
    seen = []
    monkeypatch.setattr(choice, "ratio", lambda size, other: seen.append(size) or ratio)
    return seen


def test_a_product_that_does_nothing_is_faster_and_one_that_is_done_three_times_is_not(home):
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    assert choice.ratio("small", lambda a, b: None) < 0.5
    assert choice.ratio("small", lambda a, b: [a @ b for _ in range(3)]) > 1.5
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_it_is_measured_once_on_a_processor(home, monkeypatch):
    seen = measured(monkeypatch, 0.5)
    assert choice.is_faster("large", torch.mm)
    forget(monkeypatch)
    monkeypatch.setattr(choice, "ratio", lambda size, other: 2.0)  # such as on a busy machine
    assert choice.is_faster("large", torch.mm)
    assert seen == ["large"]
    (kept,) = home.iterdir()
    assert json.loads(kept.read_text())["ratio"] == 0.5


def test_sizes_code_and_processors_are_measured_apart(home, monkeypatch):
    seen = measured(monkeypatch, 0.5)
    choice.is_faster("large", torch.mm)
    choice.is_faster("small", torch.mm)
    choice.is_faster("small", torch.mm, "code")
    monkeypatch.setattr(choice, "processor", lambda: "another")
    choice.is_faster("small", torch.mm, "code")
    assert len(seen) == len(list(home.iterdir())) == 4


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"ratio": "fast"}', b"\xff\xfe", b"[" * 9000])
def test_a_file_that_cannot_be_read_is_made_anew(home, monkeypatch, content):
    measured(monkeypatch, 0.5)
    choice.is_faster("small", torch.mm)
    (kept,) = home.iterdir()
    kept.write_bytes(content)
    forget(monkeypatch)
    monkeypatch.setattr(choice, "ratio", lambda size, other: 2.0)
    assert not choice.is_faster("small", torch.mm)
    assert json.loads(kept.read_text())["ratio"] == 2.0
    assert list(home.iterdir()) == [kept]


def test_the_first_of_several_processes_is_believed(home, monkeypatch):
    def slower(size, other):  # while this one measures, another is done
        forget(monkeypatch)
        monkeypatch.setattr(choice, "ratio", lambda size, other: 2.0)
        assert not choice.is_faster("small", torch.mm)
        forget(monkeypatch)
        return 0.5

    monkeypatch.setattr(choice, "ratio", slower)
    assert not choice.is_faster("small", torch.mm)


def test_without_a_home_it_is_measured_once_a_process(home, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    seen = measured(monkeypatch, 0.5)
    assert choice.is_faster("small", torch.mm)
    assert choice.is_faster("small", torch.mm)
    assert seen == ["small"]


def test_neither_is_taken_where_torchs_own_is_as_fast(monkeypatch):
    def linear(x):
        return [x @ x, x[:40, :40] @ x[:40, :40]]

    graph = record(linear, (torch.randn(200, 200),))
    monkeypatch.setattr(products, "is_possible", lambda: True)
    monkeypatch.setattr(products, "takes_own", lambda: False)
    monkeypatch.setattr(products, "takes_onednn", lambda: False)
    assert products.with_faster(graph) is graph


def test_the_processor_is_named_alike_in_every_process():
    code = "from ppl_vae.compile.kernels.choice import processor; print(processor())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == choice.processor()
