"""The derived guide of random models: it builds, its bound is finite, or it is refused with the reason."""

import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import PplVaeError

from .compare import build, double
from .generate import generate

FAMILIES = ("diagonal", "full_rank", "flow")
COUNT = 15


@pytest.mark.parametrize("family", FAMILIES)
def test_builds_and_is_bounded_or_is_refused(family):
    built = 0
    for seed in range(COUNT):
        with double():
            names = build(generate(seed))
            torch.manual_seed(0)
            guide = pv.guides.Derived(names["model"], hidden=[4], family=family)
            vae = pv.VAE(names["model"], guide)
            try:
                bound = pv.objectives.ELBO(num_particles=2)(vae, names["batch"], total=names["total"])
            except PplVaeError:
                continue
            assert bound.value.isfinite(), seed
            assert all(p.isfinite().all() for p in guide.parameters()), seed
            built += 1
    assert built >= COUNT // 2, built
