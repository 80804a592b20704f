"""Parts on the command line: chosen, swept over, saved; refusals name what to do."""

import pytest

from ppl_vae.runs.run import Run
from tests.cli.small import DATA, TRAINING

PARTS = ("prior=mixture", "prior.components=3", "encoder=mlp", "encoder.hidden=[4]")


def test_a_run_of_parts_opens_with_them(cli):
    called = cli("train", *DATA, *TRAINING, *PARTS, "model.latent_dim=2", "hydra.run.dir=run")
    assert called.code == 0, called.err
    run = Run.load("run")
    assert run.plain_config["prior"] == {"_target_": "ppl_vae.nn.MixturePrior", "components": 3}
    assert run.vae.model.prior.loc.shape == (3, 2)
    assert run.vae.guide.encoder.out_features == 4


def test_the_old_name_is_the_part(cli):
    called = cli("train", *DATA, *TRAINING, "model.prior=mixture", "hydra.run.dir=run")
    assert called.code == 0, called.err
    config = Run.load("run").plain_config
    assert config["prior"]["_target_"] == "ppl_vae.nn.MixturePrior"
    assert "prior" not in config["model"]


REFUSED = {
    "the VampPrior": (["prior=vamp"], 2, "model=vamp guide=vamp"),
    "no option": (["prior.components=3"], 2, "until one is chosen, prior=OPTION"),
    "nobody takes it": (["prior=flow", "model=gmvae", "guide=gmvae"], 2, "these have: "),
    "no image": (["encoder=conv"], 1, "encoder=mlp"),
    "no name of a prior": (["model.prior=blah"], 2, "model.prior: got 'blah'"),
    "no y": (["prior=conditional"], 1, "ConditionalPrior"),
}


@pytest.mark.parametrize(("words", "code", "said"), REFUSED.values(), ids=REFUSED)
def test_refused(cli, words, code, said):
    called = cli("train", *DATA, *TRAINING, *words, "hydra.run.dir=run")
    assert (called.code, said in called.err) == (code, True), called.err
