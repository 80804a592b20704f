import pytest
import torch

from ppl_vae.datasets import sprites
from ppl_vae.datasets.sprites import render
from ppl_vae.errors import DataError


@pytest.fixture(scope="module")
def everything():
    return sprites(size=24, scales=2, angles=4, places=3, validation=0, test=0)


def test_every_combination_once(everything):
    assert everything.spec.factor_sizes == (3, 2, 4, 3, 3)
    assert len(everything.train) == 3 * 2 * 4 * 3 * 3
    assert len(everything.train.factors.unique(dim=0)) == len(everything.train)
    assert torch.equal(everything.train.labels, everything.train.factors[:, 0])


def test_no_two_pictures_are_alike(everything):
    assert len(everything.train.tensors[0].flatten(1).unique(dim=0)) == len(everything.train)


def test_places_move_the_centre_of_mass():
    grey = render(torch.tensor([[0, 0, 0, c, r] for c in range(3) for r in range(3)]), 24, 2, 4, 3).double()[:, 0]
    axis = torch.arange(24, dtype=torch.float64)
    total = grey.sum((1, 2))
    column, row = (grey.sum(1) @ axis) / total, (grey.sum(2) @ axis) / total
    assert (column.reshape(3, 3).diff(dim=0) > 3).all()
    assert (row.reshape(3, 3).diff(dim=1) > 3).all()
    torch.testing.assert_close(column.reshape(3, 3)[1], torch.full((3,), 11.5, dtype=torch.float64))


def test_scale_grows_and_nothing_is_cut_off():
    data = sprites(validation=0, test=0)
    x, factors = data.train.tensors[0].double(), data.train.factors
    area = [x[factors[:, 1] == scale].sum((1, 2, 3)).mean() for scale in range(3)]
    assert area[0] < area[1] < area[2]
    border = torch.cat([x[..., 0], x[..., -1], x[..., 0, :], x[..., -1, :]], -1)
    assert border.max() == 0


def test_a_single_value_of_a_factor_is_allowed():
    assert sprites(size=8, scales=1, angles=1, places=1, validation=0, test=0).spec.factor_sizes == (3, 1, 1, 1, 1)


@pytest.mark.parametrize("options", [{"size": 7}, {"scales": 0}, {"angles": 0}, {"places": 0}])
def test_refuses(options):
    with pytest.raises(DataError, match="at least"):
        sprites(**options)
