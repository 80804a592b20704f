"""oneDNN's products are MKL's to rounding, whatever the layout."""

import pytest
import torch
from torch import nn

from ppl_vae.training.graphs import record
from ppl_vae.training.products import with_fast_products


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
def test_large_products_are_the_same_to_rounding():
    torch.manual_seed(0)
    linear, x = nn.Linear(300, 200), torch.randn(128, 300)

    def products(x):
        h = linear(x)
        return [h, h.t() @ x, h @ linear.weight, h[:5] @ linear.weight]

    graph = record(products, (x,))
    fast = with_fast_products(graph)
    replaced = [node for node in fast.graph.nodes if "product" in str(node.target)]
    assert len(replaced) == 3  # the last is small
    for a, b in zip(graph(x), fast(x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
