"""`ppl-vae export`: files of both halves in the run, as ONNX where that is asked for."""

import importlib.util
from pathlib import Path

import pytest
import torch

import ppl_vae as pv
from ppl_vae.runs import to_onnx
from ppl_vae.runs.run import Run

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in to_onnx.PACKAGES),
    reason="onnx, onnxscript and onnxruntime are not installed: pip install 'ppl-vae[onnx]'",
)


@needs_onnx
def test_onnx_files_give_the_numbers_of_the_run(cli, run_copy):
    import onnxruntime

    called = cli("export", "run=run", "onnx=true", "format=json")
    assert called.code == 0, called.err
    (record,) = called.json
    assert {Path(record[k]).name for k in ("encoder", "decoder", "encoder.onnx", "decoder.onnx")} == {
        p.name for p in (run_copy / "export").iterdir()
    }
    run = Run.load(run_copy)
    x = run.data.test[:7].batch()[0]
    encoder, decoder = (onnxruntime.InferenceSession(record[f"{half}.onnx"]) for half in ("encoder", "decoder"))
    loc, scale = map(torch.from_numpy, encoder.run(["z.loc", "z.scale"], {"x": x.numpy()}))
    code = pv.encode(run.vae, x)["z"]
    torch.testing.assert_close(loc, code.loc, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scale, code.scale, rtol=1e-4, atol=1e-5)
    (mean,) = decoder.run(["x.loc"], {"z": loc.numpy()})
    torch.testing.assert_close(torch.from_numpy(mean), pv.decode(run.vae, loc), rtol=1e-4, atol=1e-5)


def test_without_the_packages_nothing_is_written(cli, run_copy, monkeypatch):
    monkeypatch.setattr(to_onnx, "PACKAGES", ("a_package_that_is_not_there",))
    called = cli("export", "run=run", "onnx=true")
    assert called.code == 2
    assert "onnx=true needs a_package_that_is_not_there" in called.err
    assert "pip install 'ppl-vae[onnx]'" in called.err
    assert not (run_copy / "export").exists()
