import pytest
import torch

from ppl_vae.datasets import digits, load
from ppl_vae.datasets.load import SOURCES
from ppl_vae.errors import PplVaeError


def test_a_name_is_its_function():
    assert torch.equal(load("digits", seed=3).train.indices, digits(seed=3).train.indices)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digit", {}, r"data set 'digit', expected one of digits, mnist.*perhaps 'digits'"),
        ("digits", {"binarisation": "none"}, "Got binarisation='none' for digits, .*perhaps 'binarization'"),
        ("csv", {}, "no path for csv"),
    ],
)
def test_refuses(name, options, message):
    with pytest.raises(PplVaeError, match=message):
        load(name, **options)


def test_every_source_has_its_own_name():
    assert len({source.__name__ for source in SOURCES}) == len(SOURCES)
