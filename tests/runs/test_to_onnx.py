"""ONNX files of both halves give the pair's numbers in onnxruntime, for batches of any size; else they are refused."""

import importlib.util

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.core.run import prepare
from ppl_vae.datasets import Spec
from ppl_vae.datasets.spec import ColumnKind, Field
from ppl_vae.errors import CheckError, UsageError
from ppl_vae.runs import to_onnx as module
from ppl_vae.runs.export import export, trials
from ppl_vae.runs.to_onnx import require_onnx, to_onnx

SPEC = Spec((1, 8, 8), "binary")
LABELLED = Spec((1, 8, 8), "binary", fields=(*SPEC.fields, Field("y", (), "int64")), num_classes=3)
TABLE = Spec((4,), "real", missing=True)
KINDS = {"real": "", "positive": "", "binary": "ny", "category": "abc", "ordinal": "abcd"}
MIXED = Spec((5,), "mixed", columns=tuple(ColumnKind(kind, tuple(names)) for kind, names in KINDS.items()))

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in module.PACKAGES),
    reason="onnx, onnxscript and onnxruntime are not installed: pip install 'ppl-vae[onnx]'",
)


def pair(model, guide, *batch, spec=SPEC, **keys):
    torch.manual_seed(0)
    made = getattr(pv.models, model)(spec, **keys)
    vae = pv.VAE(made, getattr(pv.guides, guide)(spec, made)).eval()
    batch = batch or (torch.randint(2, (9, *spec.shape)).float(),)
    prepare(vae, batch)
    return vae, batch


def sessions(vae, batch, names=("x",)):
    """The two files in onnxruntime, each called with tensors by name."""
    import onnxruntime

    programs, given = export(vae, batch), trials(vae, batch)
    inputs = {"encoder": [*names], "decoder": [*given["decoder"][0][0], *names[1:]]}
    found = {}
    for half, program in programs.items():
        written = to_onnx(half, program, given[half], inputs[half])
        session = onnxruntime.InferenceSession(written, providers=["CPUExecutionProvider"])

        def run(session=session, **tensors):
            results = session.run(None, {name: tensor.numpy() for name, tensor in tensors.items()})
            return {o.name: torch.from_numpy(r) for o, r in zip(session.get_outputs(), results, strict=True)}

        found[half] = run
        run.session, run.written = session, written
    return found


@needs_onnx
def test_the_files_give_the_numbers_of_the_pair():
    """On other data than they were verified on, and batches of other sizes."""
    vae, batch = pair("VAE", "Amortized")
    halves = sessions(vae, batch)
    x = torch.randint(2, (33, 1, 8, 8)).float()
    q = halves["encoder"](x=x)
    code = pv.encode(vae, x)["z"]
    torch.testing.assert_close(q, {"z.loc": code.loc, "z.scale": code.scale}, rtol=1e-4, atol=1e-5)
    p = halves["decoder"](z=q["z.loc"])
    expected = pv.decode(vae, q["z.loc"])
    torch.testing.assert_close(p["x.logits"].sigmoid(), expected, rtol=1e-4, atol=1e-5)


@needs_onnx
def test_the_axis_of_data_is_named_and_no_source_is_told():
    halves = sessions(*pair("VAE", "Amortized"))
    shapes = [[v.shape for v in (*h.session.get_inputs(), *h.session.get_outputs())] for h in halves.values()]
    assert all(shape[0] == "data" for half in shapes for shape in half)
    assert all(b".py" not in half.written and b"ppl_vae" not in half.written for half in halves.values())


FAMILIES = {
    "convolutions": ("ConvVAE", "ConvAmortized", {}),
    "a hierarchy": ("Hierarchical", "BottomUp", {}),
    "full rank": ("VAE", "FullRank", {}),
    "gamma": ("GammaVAE", "GammaAmortized", {}),
    "a mixture": ("GMVAE", "MixtureAmortized", {}),
    "bits": ("Discrete", "DiscreteAmortized", {}),
    "missing values": ("VAE", "Amortized", {"spec": TABLE}),
    "columns of a table": ("VAE", "Amortized", {"spec": MIXED}),
    "codes": ("Quantized", "QuantizedAmortized", {}),
    "vectors of codes": ("VectorQuantized", "VectorQuantizedAmortized", {}),
    "a learned prior": ("VAE", "Amortized", {"prior": pv.nn.MixturePrior}),
}


@needs_onnx
@pytest.mark.parametrize(("model", "guide", "keys"), FAMILIES.values(), ids=FAMILIES)
def test_families(model, guide, keys):
    """Each is compared on four sizes of batches as it is written."""
    table = torch.tensor([[-0.3, 2.5, 1.0, 2.0, 1.0], [1.0, 0.5, 0.0, 0.0, 3.0], [0.0, 9.0, 1.0, 1.0, 2.0]]).repeat(
        3, 1
    )
    vae, batch = pair(model, guide, *([table] if keys.get("spec") is MIXED else []), **keys)
    assert set(sessions(vae, batch)) == {"encoder", "decoder"}


@needs_onnx
def test_missing_values_are_missing_there_too():
    vae, _ = pair("VAE", "Amortized", spec=TABLE)
    x = torch.randn(9, 4)
    x[::2, 1] = torch.nan
    halves = sessions(vae, (x,))
    torch.testing.assert_close(halves["encoder"](x=x)["z.loc"], pv.encode(vae, x)["z"].loc, rtol=1e-4, atol=1e-5)


@needs_onnx
def test_conditions_stand_beside_x_and_beside_the_latents():
    x, y = torch.randint(2, (9, 1, 8, 8)).float(), torch.arange(9) % 3
    vae, batch = pair("Conditional", "ConditionalAmortized", x, y, spec=LABELLED)
    halves = sessions(vae, batch, names=("x", "y"))
    z = halves["encoder"](x=x, y=y)["z.loc"]
    one, other = (halves["decoder"](z=z, y=label)["x.logits"] for label in (y, (y + 1) % 3))
    assert not torch.allclose(one, other)


@needs_onnx
def test_what_onnx_has_not_is_refused_by_name():
    class Guide(nn.Module):
        def forward(self, x):
            loc = torch.special.bessel_j0(x.flatten(1)[:, :8])
            with pyro.plate("data", x.shape[0]):
                pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))

    vae = pv.VAE(pv.models.VAE(SPEC), Guide()).eval()
    batch = (torch.randint(2, (9, 1, 8, 8)).float(),)
    prepare(vae, batch)
    program = export(vae, batch)["encoder"]
    with pytest.raises(
        CheckError,
        match=r"the encoder of this pair cannot be an ONNX file: ONNX has nothing for \w+\.\w*bessel_j0",
    ):
        to_onnx("encoder", program, trials(vae, batch)["encoder"], ["x"])


@needs_onnx
def test_other_numbers_are_refused(monkeypatch):
    run = module._run
    monkeypatch.setattr(module, "_run", lambda *a: {k: v + 1e-2 for k, v in run(*a).items()})
    vae, batch = pair("VAE", "Amortized")
    with pytest.raises(CheckError, match=r"written as ONNX, z.loc differs"):
        to_onnx("encoder", export(vae, batch)["encoder"], trials(vae, batch)["encoder"], ["x"])


def test_packages_that_are_not_there_are_named(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs onnx, onnxscript, onnxruntime, not installed: .*ppl-vae\[onnx\]"):
        require_onnx()
