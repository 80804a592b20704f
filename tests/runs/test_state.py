"""State comes back exactly, without pickle."""

import json
import math

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.nn.utils import rnn

from ppl_vae.errors import RunError
from ppl_vae.runs import state as serialize

STATE = {
    "": 0,
    "a/b": {"c": torch.tensor(1.5)},
    "a": {"b/c": torch.tensor(2.5)},
    "$tensor": "a string that looks like a mark",
    0: {"step": torch.tensor(3.0), "exp": torch.randn(2, 3, dtype=torch.float64), "none": None},
    "0": [1, 2.5, (True, "x", ()), {}, []],
    "floats": [0.1, math.inf, -math.inf, 1e-320, 2**-1074, -0.0],
    "big": 2**80,
    "array": np.arange(5, dtype=np.int64),
    "empty": torch.empty(0, 3),
    "half": torch.randn(3).bfloat16(),
    "flags": torch.tensor([True, False]),
    "bytes": torch.arange(7, dtype=torch.uint8),
    (1, "two"): "a tuple as a key",
}


def equal(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        return all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return a == b and math.copysign(1, a) == math.copysign(1, b) if isinstance(a, float) else a == b


def test_everything_comes_back(tmp_path):
    serialize.save(tmp_path / "s.safetensors", STATE)
    assert equal(serialize.load(tmp_path / "s.safetensors"), STATE)


def test_nan_comes_back(tmp_path):
    serialize.save(tmp_path / "s.safetensors", {"x": math.nan})
    assert math.isnan(serialize.load(tmp_path / "s.safetensors")["x"])


def test_the_file_is_safetensors_and_strict_json(tmp_path):
    serialize.save(tmp_path / "s.safetensors", STATE, epoch=3)
    tensors, header = serialize.read(tmp_path / "s.safetensors")
    (text,) = header.values()
    assert json.loads(text, parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))["epoch"] == 3
    assert len(tensors) == 9


def test_equal_states_give_equal_bytes(tmp_path):
    """safetensors writes several keys of a header in an order of its own: 40 files with two keys would be of two kinds
    but for one time in 2³⁹."""
    for number in range(40):
        serialize.save(tmp_path / f"{number}.safetensors", STATE, epoch=3, kind="weights")
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_files_of_before_with_several_keys_are_read(tmp_path):
    tensors, rest = serialize.flatten({"a": torch.ones(2), "n": 3})
    safetensors.torch.save_file(tensors, tmp_path / "old.safetensors", {"format": "pt", "state": json.dumps(rest)})
    assert serialize.load(tmp_path / "old.safetensors")["n"] == 3


def test_packed_sequences_come_back(tmp_path):
    packed = rnn.pack_padded_sequence(torch.arange(12.0).reshape(2, 3, 2), torch.tensor([1, 3]), True, False)
    serialize.save(tmp_path / "s.safetensors", (packed, None, 0.5, "a"))
    back, *others = serialize.load(tmp_path / "s.safetensors")
    assert others == [None, 0.5, "a"]
    for part, same in zip(rnn.pad_packed_sequence(back, True), rnn.pad_packed_sequence(packed, True), strict=True):
        assert torch.equal(part, same)


def test_tensors_that_share_memory_are_kept_apart(tmp_path):
    x = torch.arange(6.0)
    serialize.save(tmp_path / "s.safetensors", {"a": x, "tied": x, "part": x[2:], "turned": x.reshape(2, 3).T})
    back = serialize.load(tmp_path / "s.safetensors")
    assert torch.equal(back["tied"], x)
    assert torch.equal(back["part"], x[2:])
    assert torch.equal(back["turned"], x.reshape(2, 3).T)


def test_loaded_tensors_outlive_the_file(tmp_path):
    path = tmp_path / "s.safetensors"
    serialize.save(path, {"a": torch.ones(1000)})
    back = serialize.load(path)["a"]
    path.write_bytes(b"\0" * path.stat().st_size)
    assert torch.equal(back, torch.ones(1000))


@pytest.mark.parametrize("value", [object(), {1, 2}, lambda: 0, 1j, torch.float32])
def test_what_would_need_pickle_is_refused(value, tmp_path):
    with pytest.raises(RunError, match="at a/1 of a state"):
        serialize.save(tmp_path / "s.safetensors", {"a": [0, value]})
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RunError, match=r"no file .*s\.safetensors"):
        serialize.load(tmp_path / "s.safetensors")


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, tmp_path / "s.safetensors")
    with pytest.raises(RunError, match="without training state"):
        serialize.load(tmp_path / "s.safetensors")
