"""Hierarchies on the command line: trained, saved, opened again by every verb."""

import pytest

import ppl_vae as pv


@pytest.mark.slow
def test_it_trains_on_the_command_line_and_every_verb_opens_the_run(cli):
    small = ["model.latent_channels=[1,2]", "model.channels=4", "guide.channels=4", "trainer.epochs=1"]
    words = ["model=conv_hierarchy", "guide=conv_ladder", "dataset=digits", "hydra.run.dir=run", *small]
    called = cli("train", *words, "results.num_particles=2", "results.draws=2", "results.data=5")
    assert called.code == 0, called.err
    vae = pv.Run.load("run").vae
    assert vae.guide.groups is vae.model.groups  # shared after opening, too
    verbs = ["evaluate num_particles=2", "encode", "reconstruct", "interpolate", "generate n=4", "posterior draws=2"]
    for verb in verbs:
        name, *more = verb.split()
        called = cli(name, "run=run", *more)
        assert called.code == 0, (verb, called.err)


def test_a_guide_of_other_latents_is_refused(cli):
    called = cli("train", "model=conv_hierarchy", "trainer.epochs=1")
    assert called.code == 1
    assert "Take guide=conv_ladder, guide=derived" in called.err
