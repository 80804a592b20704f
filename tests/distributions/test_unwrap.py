"""What is wrapped around a distribution is taken off again."""

import pyro.distributions as dist
import pytest
import torch
from pyro.distributions.torch_distribution import ExpandedDistribution

from ppl_vae.distributions.unwrap import (
    elements,
    factors,
    innermost,
    is_detached,
    is_masked,
    mask_of,
    support_of,
    unmasked,
)

KEPT = torch.tensor([True, False])
PLAIN = dist.Bernoulli(torch.tensor([0.25, 0.5]))
WRAPPED = {
    "mask": PLAIN.mask(KEPT),
    "mask within an event": PLAIN.mask(KEPT).to_event(1),
    "mask of an event": PLAIN.to_event(1).mask(False),
    "mask of a mask": PLAIN.mask(KEPT).mask(False),
    "expanded": PLAIN.mask(KEPT).expand([3, 2]),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_without_its_masks_it_has_all_its_mass(name):
    fn = WRAPPED[name]
    assert is_masked(fn)
    assert not is_masked(unmasked(fn))
    value = torch.ones(fn.batch_shape + fn.event_shape)
    log_prob = PLAIN.log_prob(torch.ones(2)).expand(value.shape)
    assert torch.allclose(unmasked(fn).log_prob(value), log_prob.sum(-1) if fn.event_shape else log_prob)
    assert isinstance(elements(PLAIN.mask(KEPT).to_event(1)), dist.Bernoulli)


def test_what_is_not_masked_is_left_alone():
    fn = dist.Normal(torch.zeros(2), 1.0).to_event(1)
    assert unmasked(fn) is fn
    assert mask_of(fn) is None
    assert mask_of(WRAPPED["mask within an event"]) is KEPT


def test_each_function_takes_off_what_it_says():
    fn = PLAIN.mask(KEPT).to_event(1)
    assert factors(fn) is fn.base_dist
    assert factors(PLAIN) is elements(PLAIN) is innermost(PLAIN) is PLAIN
    assert elements(fn) is innermost(fn) is PLAIN
    wide = ExpandedDistribution(PLAIN.mask(KEPT), torch.Size([3, 2]))
    assert elements(wide) is wide
    assert innermost(wide) is PLAIN
    assert is_masked(wide)
    assert not is_masked(unmasked(wide))


def test_a_distribution_that_is_made_of_another_is_no_wrapper():
    for fn in (dist.LogNormal(torch.zeros(2), 1.0), dist.ZeroInflatedPoisson(torch.ones(2), gate=torch.tensor(0.5))):
        assert innermost(fn) is elements(fn) is fn


def test_a_support_is_that_of_single_elements():
    assert support_of(PLAIN.mask(KEPT).to_event(1)) is PLAIN.support
    assert support_of(None) is None


def test_the_word_of_the_user_is_heard_through_wrappers():
    assert is_detached(dist.Normal(torch.zeros(2), 1.0).has_rsample_(False).to_event(1))
    assert not is_detached(dist.Normal(torch.zeros(2), 1.0).to_event(1))
    assert not is_detached(dist.Categorical(torch.ones(2)))
