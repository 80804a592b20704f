import math

import pytest
import torch

from ppl_vae.datasets import Bars, bars
from ppl_vae.errors import DataError


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_evidence_sums_to_one(noise):
    pictures = ((torch.arange(2**9)[:, None] >> torch.arange(9)) & 1).reshape(-1, 1, 3, 3)
    evidence = Bars(3, 0.3, noise).log_evidence(pictures).exp()
    torch.testing.assert_close(evidence.sum(), torch.tensor(1.0, dtype=torch.float64))


def test_evidence_of_what_cannot_be():
    picture = torch.eye(3)[None, None]
    assert Bars(3, 0.3, 0.0).log_evidence(picture).item() == -math.inf


def test_evidence_of_too_many_causes():
    with pytest.raises(DataError, match="at most 8"):
        Bars(9, 0.3, 0.1).log_evidence(torch.zeros(1, 1, 9, 9))


def test_pictures_are_their_bars():
    data = bars(noise=0, size=4)
    for split in data.splits.values():
        assert torch.equal(data.truth.render(split.factors), split.tensors[0])
    assert data.spec.factor_names[:2] == ("row 0", "row 1")
    assert set(data.spec.factor_sizes) == {2}
    assert data.spec.support == "binary"


def test_pixels_are_flipped_at_the_rate_said():
    """5,000 pictures of 16 pixels; within 4.5 standard errors, false alarms below 1e-5."""
    data = bars(noise=0.05, size=4, validation=0, test=0)
    flipped = (data.truth.render(data.train.factors) != data.train.tensors[0]).double()
    assert abs(flipped.mean() - 0.05) < 4.5 * (0.05 * 0.95 / flipped.numel()) ** 0.5


@pytest.mark.parametrize(
    "options", [{"size": 0}, {"num_data": 0}, {"probability": 0}, {"probability": 1}, {"noise": -0.1}, {"noise": 1}]
)
def test_refuses(options):
    with pytest.raises(DataError, match="expected"):
        bars(**options)
