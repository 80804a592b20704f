"""The two halves of a pair as `torch.export` programs: the pair's own numbers, for batches of any size."""

import io
import subprocess
import sys

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.core.run import prepare
from ppl_vae.datasets import Spec
from ppl_vae.datasets.spec import Field
from ppl_vae.errors import CheckError
from ppl_vae.runs.export import export, parameters

SPEC = Spec((1, 4, 4), "binary")
LABELLED = Spec((1, 4, 4), "binary", fields=(*SPEC.fields, Field("y", (), "int64")), num_classes=3)


def pair(model, guide, *batch, spec=SPEC):
    made = getattr(pv.models, model)(spec)
    vae = pv.VAE(made, getattr(pv.guides, guide)(spec, made)).eval()
    batch = batch or (torch.randint(2, (9, 1, 4, 4)).float(),)
    prepare(vae, batch)
    return vae, batch


def test_the_programs_give_the_numbers_of_the_pair():
    vae, (x,) = pair("VAE", "Amortized")
    programs = export(vae, (x,))
    x = torch.randint(2, (33, 1, 4, 4)).float()
    z = programs["encoder"].module()(x)["z"]
    with torch.no_grad():
        expected = vae.guide.z(vae.guide.encoder(x)).base_dist
        torch.testing.assert_close(z, {"loc": expected.loc, "scale": expected.scale})
        logits = vae.model.likelihood(vae.model.decoder(z["loc"])).base_dist.logits
        torch.testing.assert_close(programs["decoder"].module()({"z": z["loc"]}), {"x": {"logits": logits}})


def test_a_file_holds_one_half_and_needs_no_pyro(tmp_path):
    vae, (x,) = pair("VAE", "Amortized")
    program = export(vae, (x,))["encoder"]
    assert not any("model" in name for name in program.state_dict)
    torch.export.save(program, tmp_path / "encoder.pt2")
    code = (
        "import sys, torch; sys.modules['pyro'] = sys.modules['ppl_vae'] = None\n"
        "z = torch.export.load('encoder.pt2').module()(torch.ones(2, 1, 4, 4))['z']\n"
        "print(*z['loc'].shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.split() == ["2", "8"], done.stderr


def test_a_latent_that_depends_on_another_is_given_at_its_mean():
    vae, (x,) = pair("Hierarchical", "BottomUp")
    found = export(vae, (x,))["encoder"].module()(x)
    with torch.no_grad():
        at_mean = _second_latent(vae, x, found["z1"]["loc"])
    torch.testing.assert_close(found["z2"]["loc"], at_mean)


def _second_latent(vae, x, z1):
    trace = pyro.poutine.trace(pyro.poutine.condition(vae.run_guide, data={"z1": z1})).get_trace(x)
    return trace.nodes["z2"]["fn"].base_dist.loc


def test_conditions_stand_beside_x_and_beside_the_latents():
    x, y = torch.randint(2, (9, 1, 4, 4)).float(), torch.arange(9) % 3
    vae, batch = pair("Conditional", "ConditionalAmortized", x, y, spec=LABELLED)
    programs = export(vae, batch)
    z = programs["encoder"].module()(x, y)["z"]["loc"]
    logits = programs["decoder"].module()({"z": z}, y)["x"]["logits"]
    assert not torch.allclose(logits, programs["decoder"].module()({"z": z}, (y + 1) % 3)["x"]["logits"])


def test_discrete_latents_are_given_by_logits():
    vae, (x,) = pair("GMVAE", "MixtureAmortized")
    programs = export(vae, (x,))
    found = programs["encoder"].module()(x)
    assert set(found["y"]) == {"logits"}
    latents = {"y": found["y"]["logits"].argmax(-1), "z": found["z"]["loc"]}
    assert programs["decoder"].module()(latents)["x"]["logits"].shape == x.shape


REFUSED = {
    "a flow": ("VAE", "FlowAmortized", "TransformedDistribution"),
    "an autoregressive likelihood": ("AutoregressiveVAE", "Amortized", "AutoregressiveDistribution"),
}


@pytest.mark.parametrize(("model", "guide", "says"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_parameters_is_refused(model, guide, says):
    with pytest.raises(CheckError, match=says):
        export(*pair(model, guide))


class Branching(nn.Module):
    def forward(self, x):
        scale = 1.0 if x.sum() > 3 else 2.0
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(torch.zeros(8), scale).to_event(1))


def test_what_cannot_be_captured_is_refused():
    made = pv.models.VAE(SPEC)
    vae = pv.VAE(made, Branching()).eval()
    x = torch.ones(9, 1, 4, 4)
    prepare(vae, (x,))
    with pytest.raises(CheckError, match=r"the encoder of this pair cannot be captured"):
        export(vae, (x,))


def test_randomness_inside_is_refused():
    class Noisy(nn.Module):
        def forward(self, x):
            with pyro.plate("data", x.shape[0]):
                pyro.sample("z", dist.Normal(torch.rand(8), 1.0).to_event(1))

    vae = pv.VAE(pv.models.VAE(SPEC), Noisy()).eval()
    x = torch.ones(9, 1, 4, 4)
    prepare(vae, (x,))
    with pytest.raises(CheckError, match="more than its inputs"):
        export(vae, (x,))


def test_parameters_are_those_a_distribution_was_made_with():
    logits = torch.tensor([0.0, 1.0])
    assert set(parameters("y", dist.OneHotCategorical(logits=logits))) == {"logits"}
    assert set(parameters("y", dist.Bernoulli(torch.tensor(0.3)))) == {"probs"}
    assert set(parameters("z", dist.Delta(logits).to_event(1))) == {"v"}
    assert set(parameters("z", dist.LogNormal(logits, 1.0).to_event(1))) == {"loc", "scale"}
    assert set(parameters("y", dist.ZeroInflatedPoisson(logits.exp(), gate_logits=logits))) == {"rate", "gate_logits"}
    assert set(parameters("z", dist.MultivariateNormal(logits, torch.eye(2)))) == {"loc", "covariance_matrix"}


LIKELIHOODS = {
    "Bernoulli": ("binary", ["logits"]),
    "ContinuousBernoulli": ("unit", ["logits"]),
    "Beta": ("unit", ["concentration0", "concentration1"]),
    "Categorical": ("integers", ["logits"]),
    "Binomial": ("integers", ["logits"]),
    "DiscretizedLogistic": ("integers", ["loc", "scale"]),
    "Poisson": ("counts", ["log_rate"]),
    "NegativeBinomial": ("counts", ["log_mean", "log_r"]),
    "Gamma": ("positive", ["concentration", "rate"]),
    "LogNormal": ("positive", ["loc", "scale"]),
    "StudentT": ("real", ["df", "loc", "scale"]),
}


@pytest.mark.parametrize(("name", "support", "keys"), [(n, *v) for n, v in LIKELIHOODS.items()], ids=LIKELIHOODS)
def test_every_likelihood_has_parameters(name, support, keys):
    spec = Spec((3,), support, levels=5 if support == "integers" else None)
    model = pv.models.VAE(spec, getattr(pv.likelihoods, name)(spec), latent_dim=2, hidden=[4])
    vae = pv.VAE(model, pv.guides.Amortized(spec, model, hidden=[4])).eval()
    x = torch.randint(1, 3, (8, 3)).float() / (4 if support == "unit" else 1)
    batch = ((x - 1) if support == "binary" else x,)
    prepare(vae, batch)
    z = torch.randn(7, 2)
    found = export(vae, batch)["decoder"].module()({"z": z})["x"]
    assert sorted(found) == keys
    with torch.no_grad():
        expected = parameters("x", model.likelihood(model.decoder(z)))
    torch.testing.assert_close(found, expected)


def test_a_saved_program_loads(tmp_path):
    vae, (x,) = pair("VAE", "FullRank")
    buffer = io.BytesIO()
    torch.export.save(export(vae, (x,))["encoder"], buffer)
    buffer.seek(0)
    assert torch.export.load(buffer).module()(x[:1])["z"]["scale_tril"].shape == (1, 8, 8)


def test_an_autoencoder_has_both_halves_though_no_prior():
    vae, (x,) = pair("Autoencoder", "Deterministic")
    programs = export(vae, (x,))
    code = programs["encoder"].module()(x[:3])["z"]["v"]
    logits = programs["decoder"].module()({"z": code})["x"]["logits"]
    with torch.no_grad():
        torch.testing.assert_close(logits, vae.model.likelihood(vae.model.decoder(code)).base_dist.logits)


CODES = {
    "vector quantized": ("VectorQuantized", "VectorQuantizedAmortized"),
    "rounded": ("Quantized", "QuantizedAmortized"),
}


@pytest.mark.parametrize(("model", "guide"), CODES.values(), ids=CODES)
def test_codes_are_given_themselves(model, guide):
    vae, (x,) = pair(model, guide)
    programs = export(vae, (x,))
    codes = pv.encode(vae, x)
    found = programs["encoder"].module()(x)
    assert {site: set(values) for site, values in found.items()} == {site: {"value"} for site in codes}
    for site, code in codes.items():
        torch.testing.assert_close(found[site]["value"], code.loc)
    x_of = programs["decoder"].module()({"z": codes["z"].loc})["x"]["logits"].sigmoid()
    torch.testing.assert_close(x_of, pv.decode(vae, {"z": codes["z"].loc}, like=x))
