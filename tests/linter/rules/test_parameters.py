"""Parameters that are not finite."""

import pytest
import torch
from torch import nn

from tests.linter.pairs import Defects, good_guide, good_model, params

illegal = Defects()


@illegal("parameter not finite", mentions=("'model.weight'", "NaN"))
def a_weight_that_is_nan():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([1.0, torch.nan, 1.0]))

        def forward(self, x):
            good_model(x * self.weight.nan_to_num())

    return Model(), good_guide(), params()


@pytest.mark.parametrize("defect", illegal.known, ids=str)
def test_finds(defect):
    defect.assert_found()
