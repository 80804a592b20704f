"""The pair as a module: parameters, states, devices, layouts per structure of a batch."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import nn

import ppl_vae as pv
from ppl_vae.core.batch import batch_length, structure, take
from ppl_vae.errors import CheckError
from tests.catalogue import CASES

D = 3


def pair(name):
    pyro.set_rng_seed(1)
    model, guide, *batches = CASES[name].build()
    return pv.VAE(model, guide, **CASES[name].pair), batches


def test_parameters_are_those_of_both_programs():
    vae, batches = pair("bound_methods")
    names = {n for n, _ in vae.named_parameters()}
    assert any("encoder" in n for n in names)
    assert any("decoder" in n for n in names)
    assert len(list(vae.parameters())) == 6 + 4
    pv.prepare(vae, batches[0])
    assert {n for n, _ in vae.named_parameters()} == names


def test_lazy_parameters_appear_when_prepared():
    vae, batches = pair("auto_normal")
    assert not list(vae.parameters())
    pv.prepare(vae, batches[0])
    assert len(list(vae.parameters())) == 6


def test_buffers_are_owned_and_follow_the_mode():
    vae, batches = pair("convolutions_and_batch_norm")
    names = {n for n, _ in vae.named_buffers()}
    assert any("running_mean" in n for n in names)
    pv.prepare(vae, batches[0])
    before = {n: b.clone() for n, b in vae.named_buffers()}
    vae.eval()
    pv.terms(vae, batches[0])
    assert all(torch.equal(b, before[n]) for n, b in vae.named_buffers())
    vae.train()
    pv.terms(vae, batches[0])
    assert any(not torch.equal(b, before[n]) for n, b in vae.named_buffers())


def test_a_state_of_another_pair_is_refused():
    """Before the first run it cannot be known; at the first run it is."""
    vae, batches = pair("auto_normal")
    pv.prepare(vae, batches[0])
    other, (batch,) = pair("auto_delta")
    other.load_state_dict(vae.state_dict())
    with pytest.raises(CheckError, match=r"another pair's"):
        pv.prepare(other, batch)


def test_a_prepared_pair_refuses_unknown_keys():
    vae, batches = pair("bound_methods")
    pv.prepare(vae, batches[0])
    with pytest.raises(RuntimeError, match="Unexpected key"):
        vae.load_state_dict({**vae.state_dict(), "guide.nowhere.weight": torch.zeros(1)})


def test_a_state_inside_a_larger_module():
    vae, batches = pair("auto_normal")
    pv.prepare(vae, batches[0])
    state = nn.ModuleDict({"vae": vae}).state_dict()
    other, _ = pair("auto_normal")
    nn.ModuleDict({"vae": other}).load_state_dict(state)
    pv.prepare(other, batches[0])
    for p, q in zip(other.parameters(), vae.parameters(), strict=True):
        assert torch.equal(p, q)


def structures(vae):
    return {structure for (structure, *_), mode in vae.prepared}


def test_labelled_and_unlabelled_batches_are_prepared_apart():
    vae, (unlabelled, labelled) = pair("semi_supervised_by_enumeration")
    assert set(pv.terms(vae, unlabelled, 2).estimators) == {"y", "z"}
    assert set(pv.terms(vae, labelled, 2).estimators) == {"z"}
    assert set(pv.terms(vae, unlabelled, 2).estimators) == {"y", "z"}
    assert len(structures(vae)) == 2
    assert torch.equal(vae.reference_batch[0], unlabelled[0][:2])


def test_longer_sequences_have_more_sites():
    net = nn.Linear(1, 1)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = x.new_zeros(())
            for t in pyro.markov(range(x.shape[1])):
                z = pyro.sample(f"z_{t}", dist.Normal(z, 1.0))
                pyro.sample(f"x_{t}", dist.Normal(z, 1.0), obs=x[:, t])

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            for t in range(x.shape[1]):
                pyro.sample(f"z_{t}", dist.Normal(net(x[:, t, None])[..., 0], 1.0))

    vae = pv.VAE(model, guide)
    for length in (2, 4, 3):
        t = pv.terms(vae, torch.randn(5, length), 2)
        assert len(t.estimators) == length
        assert t.log_weights.shape == (2, 5)


def test_other_batch_sizes_are_prepared_together():
    vae, _ = pair("closures_with_pyro_module")
    for n in (5, 3, 1):
        pv.terms(vae, torch.bernoulli(torch.full((n, 6), 0.5)), 2)
    assert len(structures(vae)) == 1


def test_estimators_name_sites_of_the_guide():
    vae, (batch,) = pair("partial")
    vae.estimators = {"zz": pv.estimators.Pathwise()}
    with pytest.raises(CheckError, match="zz"):
        pv.terms(vae, batch)


def test_data_plate_is_named():
    vae, (batch,) = pair("partial")
    vae.data_plate = "dta"
    with pytest.raises(CheckError, match="names no plate"):
        pv.terms(vae, batch)


def test_autoguide_inside_a_guide_function_needs_no_store():
    def model(x):
        w = pyro.sample("w", dist.Normal(x.new_zeros(D), 1.0).to_event(1))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("x", dist.Normal(w, pyro.param("s", torch.ones(()))).to_event(1), obs=x)

    inner = AutoNormal(model)
    vae = pv.VAE(model, lambda x: inner(x))
    pv.terms(vae, torch.randn(4, D))
    assert len(list(vae.parameters())) == 3


def test_batches_are_taken_through_what_holds_them():
    packed = nn.utils.rnn.pack_padded_sequence(
        torch.arange(6.0).reshape(3, 2, 1), torch.tensor([2, 2, 1]), batch_first=True
    )
    batch = ({"x": torch.arange(3), "w": torch.ones(2)}, [torch.arange(3)], packed, None, 0.5)
    assert batch_length(batch) == 3
    out = take(batch, torch.tensor([2, 0]))
    assert out[0]["x"].tolist() == [2, 0]
    assert out[0]["w"].shape == (2,)
    assert out[1][0].tolist() == [2, 0]
    padded, lengths = nn.utils.rnn.pad_packed_sequence(out[2], batch_first=True)
    assert lengths.tolist() == [1, 2]
    assert padded[1, :, 0].tolist() == [0.0, 1.0]
    assert out[3:] == (None, 0.5)


def test_structure_is_what_sites_may_depend_on():
    x = torch.zeros(4, 2)
    assert structure((x, 1.0)) == structure((torch.zeros(9, 2), 2.0))
    assert structure((x, None)) != structure((x, x))
    assert structure((x, True)) != structure((x, False))
    assert structure((x,)) != structure((torch.zeros(4, 3),))
