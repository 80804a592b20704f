"""The derived guide trains every program of the catalogue, or says why it cannot."""

import pyro
import pytest

import ppl_vae as pv
from ppl_vae.errors import PplVaeError
from ppl_vae.guides import Derived
from tests.catalogue import CASES

REFUSED = {
    "subsampling_by_the_programs": "draws 4 of 20 indices",  # its data never reach the guide
    "semi_supervised_labels_first": "encoder=",  # latents differ from batch to batch
    "semi_supervised_by_enumeration_labels_first": "encoder=",
}
NEEDS_ITS_GUIDE = {"param_read_without_initial_value"}  # the model reads what the guide declares


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pyro's, of the cases themselves
@pytest.mark.parametrize("case", [c for c in CASES.values() if c.name not in NEEDS_ITS_GUIDE], ids=str)
def test_derived_guide_trains_it(case):
    pyro.set_rng_seed(1)
    model, _, *batches = case.build()
    guide = Derived(model, hidden=[8], head_hidden=[4])
    vae = pv.VAE(model, guide, **case.pair)

    def train():
        for batch in batches:
            bound = pv.objectives.ELBO(num_particles=2)(vae, batch, total=100)
            (-bound.surrogate).backward()
            assert bound.value.isfinite()

    if case.name in REFUSED:
        with pytest.raises(PplVaeError, match=REFUSED[case.name]):
            train()
        return
    train()
    gradients = [p.grad for head in guide.heads.values() for p in head.parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients)
