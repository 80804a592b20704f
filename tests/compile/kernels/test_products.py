"""Products by other means are MKL's to rounding, whatever the layout."""

import os
import shutil
import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn

from ppl_vae.compile.capture import record
from ppl_vae.compile.kernels import products
from ppl_vae.compile.kernels.products import with_onednn


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
def test_large_products_are_the_same_to_rounding():
    torch.manual_seed(0)
    linear, x = nn.Linear(300, 200), torch.randn(128, 300)

    def products(x):
        h = linear(x)
        return [h, h.t() @ x, h @ linear.weight, h[:5] @ linear.weight]

    graph = record(products, (x,))
    fast = with_onednn(graph)
    replaced = [node for node in fast.graph.nodes if "linear_pointwise" in str(node.target)]
    assert len(replaced) == 3  # the last is small
    for a, b in zip(graph(x), fast(x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="Inductor compiles C++")
@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() != "AVX512", reason="a processor without AVX-512")
def test_generated_code_multiplies_right_whatever_the_sizes_and_layouts(tmp_path):
    """In a process of its own: torch's compiler changes sys.path and the environment."""
    script = """
        import itertools, torch
        from ppl_vae.compile import capture as graphs
        from ppl_vae.compile.kernels import products
        products.takes_own = products.takes_onednn = lambda: True  # whether it pays or not
        torch.manual_seed(0)
        rows, inner, columns = (5, 6, 19), (1, 16, 37), (1, 64, 100)
        sizes = [s for s in itertools.product(rows, inner, columns) if 2 * s[0] * s[1] * s[2] >= products.SMALL]
        sizes += [(130, 400, 200), (40, 33, 130)]  # the first is oneDNN's
        pairs, biases = [], []
        for m, k, n in sizes:
            for left in (torch.randn(m, k), torch.randn(k, m).t(), torch.randn(m, 2 * k)[:, ::2]):
                for right in (torch.randn(k, n), torch.randn(n, k).t(), torch.randn(k, 3, n)[:, 1]):
                    pairs.append((left, right))
                    biases.append(torch.randn(n))
        inputs = [*(t for pair in pairs for t in pair), *biases]
        def all_products(*tensors):
            those, added = tensors[: 2 * len(pairs)], tensors[2 * len(pairs) :]
            each = list(zip(those[::2], those[1::2], added))
            return [a @ b for a, b, _ in each] + [torch.addmm(c, a, b) for a, b, c in each]
        graph = graphs.record(all_products, inputs)
        replaced = products.with_faster(graph).graph.nodes
        assert sum("product" in str(n.target) for n in replaced) == 2 * len(pairs) > 100
        run = graphs.compiled(graph, inputs)
        exact = all_products(*(t.double() for t in inputs))
        for expected, found in zip(exact, run(*inputs)):
            torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr


def test_a_product_that_cannot_be_compiled_is_told_and_left_to_torch(monkeypatch, caplog):
    """As with a torch whose interface is another one: the step is compiled all the same."""

    def broken():
        raise RuntimeError("product.cpp:133: error: not declared")

    monkeypatch.setattr(products, "is_possible", lambda: True)
    monkeypatch.setattr(products, "product", broken)
    products._is_there.cache_clear()
    try:
        assert not products.takes_own()
        assert "cannot be compiled (product.cpp:133: error: not declared)" in caplog.text
    finally:
        products._is_there.cache_clear()
