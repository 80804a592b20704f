"""Everything a pair can be asked for, over the catalogue: it answers, or says why it cannot."""

import pyro
import pytest
import torch

import ppl_vae as pv
from ppl_vae.core.batch import batch_length
from ppl_vae.errors import PplVaeError
from tests.catalogue import CASES, Case

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*was not registered in the param store because requires_grad=False:UserWarning",
    "ignore:.*k̂:UserWarning",
)


def is_data(case: Case) -> bool:
    """Whether the first batch is tensors along one axis of data, as `fit` takes them."""
    *_, batch = case.build()[:3]
    return bool(batch) and all(torch.is_tensor(x) and x.dim() and len(x) == batch_length(batch) for x in batch)


DATA = pytest.mark.parametrize("case", [c for c in CASES.values() if is_data(c)], ids=str)


def pair(case):
    model, guide, batch, *_ = case.build()
    return pv.VAE(model, guide, **case.pair), batch


@DATA
def test_fit(case):
    """Two epochs: on minibatches, or on all data where the guide keeps parameters for each row."""
    vae, batch = pair(case)
    n = batch_length(batch)
    rows = "one batch size" in case.warnings
    history = pv.fit(vae, batch, epochs=2, batch_size=n if rows else -(-n // 2), compile="off", progress=False)
    assert history.status == "finished"
    assert all(torch.isfinite(torch.tensor(history["train/bound"])))
    assert {f.kind for f in history.warnings} <= case.warnings
    if rows:
        with pytest.raises(PplVaeError, match="one batch size"):
            pv.fit(pair(case)[0], batch, epochs=1, batch_size=n - 1, compile="off", progress=False)


@pytest.mark.slow
@DATA
def test_captured_steps_are_the_same_bits(case):
    """Whatever the program: its steps are recorded faithfully, or run as they are with the reason."""
    found = []
    for mode in ("off", "export"):
        pyro.clear_param_store()
        torch.manual_seed(0)
        vae, batch = pair(case)
        history = pv.fit(vae, batch, epochs=3, batch_size=batch_length(batch), compile=mode, progress=False)
        found.append((history["train/bound"], {k: v.clone() for k, v in vae.state_dict().items()}))
    assert history.compiled == "export: asked for" or history.compiled.startswith("eager: it cannot be captured (")
    (expected, weights), (bounds, others) = found
    assert bounds == expected
    assert weights.keys() == others.keys()
    assert all(torch.equal(value, others[name]) for name, value in weights.items())


@DATA
def test_evaluate_and_posterior(case):
    vae, batch = pair(case)
    if not case.data:
        with pytest.raises(PplVaeError, match="joint observation"):
            pv.evaluate(vae, batch, num_particles=5)
        return
    if "one batch size" in case.warnings:
        pytest.skip("the guide keeps parameters for each row")
    evaluation = pv.evaluate(vae, batch, num_particles=20)
    assert len(evaluation.table) == batch_length(batch)
    groups = pv.posterior(vae, batch, draws=4)
    assert (
        "posterior" in (groups.groups() if callable(groups.groups) else groups.groups)
        or case.name == "maximum_likelihood"
    )


@pytest.mark.parametrize("case", CASES.values(), ids=str)
def test_generate(case):
    """New data from the model, of the shape of the old."""
    vae, batch = pair(case)
    if not case.data:
        with pytest.raises(PplVaeError, match="joint observation"):
            pv.generate(vae, 3, like=batch)
        return
    if case.random and not is_data(case):
        pytest.skip("the programs take their own minibatch of the data they hold")
    assert pv.generate(vae, 3, like=batch) is not None
