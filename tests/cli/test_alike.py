"""Jobs composed as copies: each config is the one that Hydra composes, whatever differs from job to job."""

import random

import pytest
from omegaconf import OmegaConf

from ppl_vae.cli import alike
from ppl_vae.cli.composition import Loader
from tests.cli.small import SMALL

DIFFER = (
    "seed=0,1,2",
    "optimizer.lr=1e-3,0.1,3",
    "trainer.epochs=1,2,3",
    "trainer.grad_clip=null,1.0,2",
    "results.figures=true,false",
    "objective=elbo,iwae,renyi",
    "objective.beta=0.5,1,2",
    "+objective.more=1,2",
    "model=vae,conditional",
    "model.hidden=[4],[8,8]",
    "trainer.keep=best,last",
    "name=a,b",
    "dataset.noise=0.1,0.2",
    "++trainer.batch_size=16,32",
    "~scheduler",
    "optimizer._target_=torch.optim.SGD,torch.optim.Adam",
    "optimizer.momentum=0.5,0.9",
    "estimator.z._target_=ppl_vae.estimators.Pathwise",
    "trainer.batch_size=16,many",
)
"""Words of a sweep; some fit no other, and are refused by Hydra or by us: then, too, all is as composed one by one."""


class Stop(Exception):
    """Enough is seen."""


@pytest.fixture
def both(cli, monkeypatch):
    """`both(words)`: the configs of a sweep's jobs as they are made and as they are composed, or what either raised."""

    def look(*words):
        seen = []

        def compare(compose, jobs):
            for make in (lambda: list(real(compose, jobs)), lambda: [compose(list(job)) for job in jobs]):
                try:
                    seen.append([(OmegaConf.to_container(c), str(c.hydra.job.override_dirname)) for c in make()])
                except Exception as error:
                    seen.append((type(error), str(error)))
            raise Stop

        real = alike.Configs
        monkeypatch.setattr(alike, "Configs", compare)
        cli("train", "-m", "hydra/launcher=batched", "hydra.sweep.dir=sweep", *words)
        monkeypatch.setattr(alike, "Configs", real)
        return seen

    return look


def assert_equal(seen):
    made, composed = seen
    assert repr(made) == repr(composed)


def test_jobs_that_differ_in_numbers_are_copies(both, monkeypatch):
    """One config is composed for all, and one to look whether copies hold."""
    called = []
    real = Loader._composed
    monkeypatch.setattr(Loader, "_composed", lambda *words: called.append(words) or real(*words))
    seen = both(*SMALL, "seed=0,1,2", "optimizer.lr=1e-3,1e-2")
    assert len(called) == 2 + 2 + 6  # the sweep's own (twice), the copies', each for comparison
    assert len(seen[0]) == 6
    assert_equal(seen)


def test_a_config_is_the_callers_own(both, monkeypatch):
    """A job that changes its config changes no other's."""
    kept = []
    real = alike.Configs.__init__

    def init(self, *words):
        real(self, *words)
        kept.append(self)

    monkeypatch.setattr(alike.Configs, "__init__", init)
    both(*SMALL, "seed=0,1,2")
    configs = kept[0]
    before = [OmegaConf.to_container(configs[k]) for k in range(3)]
    for k in range(3):
        configs[k].seed = 7
    assert [OmegaConf.to_container(configs[k]) for k in range(3)] == before


@pytest.mark.slow
@pytest.mark.parametrize("draw", range(8))
def test_sweeps_of_any_words(both, draw):
    random.seed(draw)
    words = random.sample(DIFFER, random.randint(1, 3))
    several = [w for w in words if "," in w] or ["seed=0,1"]
    seen = both(*SMALL, *(w for w in words if w not in several), *several)
    if seen:  # a line that is refused before any job is composed leaves nothing to compare
        assert_equal(seen)
