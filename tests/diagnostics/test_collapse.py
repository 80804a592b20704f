"""The alarm goes off for a guide that gives the prior, once, and not for one that works."""

from functools import partial

import pytest
import torch

import ppl_vae as pv
from ppl_vae.core.pair import VAE
from ppl_vae.diagnostics.collapse import CollapseAlarm
from tests import oracles


@pytest.fixture
def oracle():
    return oracles.linear_gaussian(num_data=60)


def test_collapse_during_training(oracle):
    """Under β = 1000 the guide has to become the prior; the alarm names the site, once."""
    vae, told = VAE(*oracle.pair(diagonal=True)), []
    alarm = CollapseAlarm(vae, oracle.x, warn=told.append)
    optimizer = partial(torch.optim.Adam, lr=0.05)
    pv.fit(
        vae,
        oracle.x,
        pv.objectives.ELBO(kl="analytic", beta=1e3),
        optimizer,
        epochs=40,
        batch_size=20,
        callbacks=[alarm],
    )
    assert len(told) == 1
    assert "'z'" in told[0]
    assert alarm.collapsed == ["z"]
    assert alarm.history[-1]["z"] == 0


def test_no_false_alarm_and_same_training(oracle):
    """A good pair: no alarm in 20 epochs, and the run is the one without a callback."""

    def train(*callbacks):
        torch.manual_seed(0)
        vae = VAE(*oracle.pair(diagonal=True))
        history = pv.fit(vae, oracle.x, epochs=20, batch_size=20, callbacks=[c(vae) for c in callbacks])
        return history.rows[-1]["train/bound"]

    told = []
    assert train(lambda vae: CollapseAlarm(vae, oracle.x, patience=1, warn=told.append)) == train()
    assert told == []


def test_recovery_starts_the_count_again(oracle):
    vae, told = VAE(*oracle.pair(diagonal=True)), []
    alarm = CollapseAlarm(vae, oracle.x, patience=2, warn=told.append)
    gain = vae.guide.gain.detach().clone()
    for factor in (0.0, 1.0, 0.0, 1.0):
        with torch.no_grad():
            vae.guide.gain.copy_(factor * gain)
        alarm({"epoch": 1})
    assert told == []
    assert [row["z"] for row in alarm.history] == [0, 2, 0, 2]


def test_a_site_has_time_to_become_active(oracle):
    vae, told = VAE(*oracle.pair(diagonal=True)), []
    alarm = CollapseAlarm(vae, oracle.x, patience=2, after=500, warn=told.append)
    with torch.no_grad():
        vae.guide.gain.zero_()
    for step in (10, 100, 400):
        alarm({"epoch": 1, "step": step})
    assert told == []
    for step in (500, 510):
        alarm({"epoch": 2, "step": step})
    assert len(told) == 1
