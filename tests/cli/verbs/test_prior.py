"""`ppl-vae prior`: a run of its own with the prior in it, which every verb opens; the other run stays as it was."""

import json

import pytest
import torch

import ppl_vae as pv


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name != ".lock"}


@pytest.mark.parametrize("prior", ["normal", "mixture", "flow"])
def test_the_new_run_is_the_pair_with_the_prior(cli, run_copy, prior):
    before = contents(run_copy)
    called = cli("prior", f"run={run_copy}", f"prior={prior}", "epochs=2", "hydra.run.dir=new", "format=json")
    assert called.code == 0, called.err
    (told,) = called.json
    assert contents(run_copy) == before
    run, old = pv.Run.load("new"), pv.Run.load(run_copy)
    assert run.record["parent"] == {"run": str(run_copy), "epochs": len(old.metrics)}
    assert run.status == "finished"
    assert run.result == {k: told[k] for k in run.result}
    vae = pv.fit_prior(old.vae, old.data, prior, epochs=2).vae
    for name, value in vae.state_dict().items():
        assert torch.equal(run.vae.state_dict()[name], value), name
    z = torch.zeros(old.vae.model.latent_dim)
    assert run.vae.model.prior().log_prob(z) != old.vae.model.prior().log_prob(z)
    for verb in ("generate", "evaluate", "encode", "report"):
        few = ["num_particles=5"] if verb == "evaluate" else []
        assert cli(verb, "run=new", *few).code == 0, verb
    page = (run.directory / "report.html").read_text()
    assert "FullMixturePrior" in page or "FlowPrior" in page


def test_quantized_codes_and_a_prior_over_them(cli):
    words = ["model=quantized", "guide=quantized", "model.levels=[4,3]", "model.hidden=[8]", "guide.hidden=[8]"]
    few = ["trainer.epochs=1", "results.num_particles=2", "results.draws=2", "results.data=3", "results.figures=false"]
    called = cli("train", *words, *few, "hydra.run.dir=run")
    assert called.code == 0, called.err
    assert "test nll" in called.out  # the sum over all codes
    assert cli("encode", "run=run", "save=npz").code == 0
    assert cli("prior", "run=run").code == 1  # a mixture of normals
    called = cli("prior", "run=run", "prior=autoregressive", "epochs=2", "hydra.run.dir=new")
    assert called.code == 0, called.err
    assert type(pv.Run.load("new").vae.model.prior).__name__ == "AutoregressiveCodes"
    for verb in ("generate", "report", "reconstruct"):
        assert cli(verb, "run=new").code == 0, verb


def test_the_latest_run_is_that_with_the_prior_and_a_prior_can_be_fitted_again(cli, train):
    assert train("hydra.run.dir=outputs/a/1").code == 0
    assert cli("prior", "run=latest", "prior=normal").code == 0
    called = cli("prior", "run=latest", "components=2", "format=json")
    assert called.code == 0, called.err
    assert "prior_mixture" in called.json[0]["run"]
    assert "prior_normal" in pv.Run.load("latest").record["parent"]["run"]
    assert pv.Run.load("latest").vae.model.prior().mixture_distribution.logits.shape == (2,)


def test_a_sweep_over_priors(cli, run_copy):
    called = cli("prior", "-m", f"run={run_copy}", "prior=normal,mixture", "hydra.sweep.dir=both")
    assert called.code == 0, called.err
    names = [pv.Run.load(f"both/{n}").plain_config["prior"]["components"] for n in (0, 1)]
    assert names[0] == 1


def test_a_run_that_is_not_ours_is_opened_and_its_prior_held_to_the_list(cli, run_copy):
    assert cli("prior", f"run={run_copy}", "prior=normal", "hydra.run.dir=new").code == 0
    config = pv.Run.load("new").directory / "config.yaml"
    text = config.read_text()
    config.write_text("\n".join(line for line in text.splitlines() if not line.startswith("#")) + "\n")
    record = config.parent / "run.json"
    plain = {k: v for k, v in json.loads(record.read_text()).items() if k not in ("checksum", "config")}
    record.write_text(json.dumps(plain))
    assert cli("generate", "run=new", "n=2").code == 0
    config.write_text(config.read_text().replace("ppl_vae.nn.FullMixturePrior", "os.system"))
    called = cli("generate", "run=new", "n=2")
    assert called.code == 1
    assert "os.system (prior)" in called.err


def test_what_cannot_be_is_refused_and_leaves_nothing(cli, run_copy):
    for words, code, told in (
        (["prior=vamp"], 2, "prior"),
        (["at=decoder.net"], 1, "gives no distribution when it is called without arguments"),
        (["at=nothing"], 1, "without a module 'nothing'"),
        (["components=100000"], 1, "expected at most as many"),
        (["site=w"], 1, "site='w'"),
        (["draws=0"], 1, "draws"),
    ):
        called = cli("prior", f"run={run_copy}", "hydra.run.dir=new", *words)
        assert called.code == code, (words, called.err)
        assert told in called.err, called.err
        assert not (called.folder / "new" / "run.json").exists()
    called = cli("train", f"resume={run_copy}")
    assert cli("prior", f"run={run_copy}", "prior=normal", "hydra.run.dir=new").code == 0
    called = cli("train", "resume=new")
    assert called.code == 1
    assert "a run of ppl-vae prior" in called.err


def test_of_data_of_which_some_have_labels(cli):
    """Codes of both parts are fitted: those of labelled data are drawn given their label."""
    words = ["model=semi_supervised", "guide=semi_supervised", "dataset.labelled=100", "model.latent_dim=2"]
    few = ["trainer.epochs=2", "results.num_particles=2", "results.draws=2", "results.data=3", "results.figures=false"]
    assert cli("train", *words, *few, "hydra.run.dir=run").code == 0
    called = cli("prior", "run=run", "prior=normal", "site=z", "hydra.run.dir=new", "format=json")
    assert called.code == 0, called.err
    run, old = pv.Run.load("new"), pv.Run.load("run")
    parts = [pv.encode(old.vae, part)["z"].loc for part in old.data.train.parts]
    assert [len(part) for part in parts] == [len(part) for part in old.data.train.parts]
    assert len(parts) == 2
    mean = torch.cat(parts).mean(0)
    torch.testing.assert_close(run.vae.model.prior().mean.detach(), mean, rtol=0, atol=0.1)
    for verb in ("generate", "evaluate"):
        assert cli(verb, "run=new", *(["num_particles=5"] if verb == "evaluate" else [])).code == 0, verb
