"""Averages over data."""

import math

import pytest
import torch

from ppl_vae.compile.meter import Meter


def test_average_over_data_not_over_batches():
    meter = Meter()
    data = torch.arange(7.0)
    for part in data.split(3):
        meter.add({"x": part.mean(), "square": part.square().mean()}, len(part))
    assert meter.read() == pytest.approx({"x": float(data.mean()), "square": float(data.square().mean())})


def test_metrics_may_differ_from_batch_to_batch():
    meter = Meter()
    meter.add({"x": torch.tensor(1.0), "y": torch.tensor(5.0)}, 2)
    meter.add({"x": torch.tensor(4.0)}, 1)
    assert meter.read() == {"x": 2.0, "y": 5.0}


def test_the_kl_of_a_site_is_averaged_over_all_data():
    """A batch that holds the site no more has spent nothing on it."""
    meter = Meter()
    meter.add({"elbo": torch.tensor(-9.0), "kl/z": torch.tensor(2.0), "kl/y": torch.tensor(3.0)}, 2)
    meter.add({"elbo": torch.tensor(-6.0), "kl/z": torch.tensor(5.0)}, 1)
    assert meter.read() == {"elbo": -8.0, "kl/z": 3.0, "kl/y": 2.0}


def test_many_small_numbers_are_summed_in_double_precision():
    meter = Meter()
    for _ in range(1000):
        meter.add({"x": torch.tensor(0.1)}, 1)
    assert meter.read()["x"] == pytest.approx(float(torch.tensor(0.1)), rel=1e-12)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays(value):
    meter = Meter()
    for v in (1.0, value, 2.0, -value):
        meter.add({"x": torch.tensor(v)}, 1)
    assert not math.isfinite(meter.read()["x"])


def test_goes_on_from_its_state():
    one, other = Meter(), Meter()
    one.add({"x": torch.tensor(1.0)}, 3)
    other.load(one.state(), torch.device("cpu"))
    for meter in (one, other):
        meter.add({"x": torch.tensor(2.0)}, 1)
    assert one.read() == other.read() == {"x": 1.25}
