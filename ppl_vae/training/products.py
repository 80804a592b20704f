"""Matrix products where torch's own choice, MKL, leaves half of a processor idle."""

from __future__ import annotations

import copy
import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten

LARGE = 8_000_000
"""Operations (two per multiplication) from which oneDNN pays when Python calls it: below, calls cost what it saves."""

SMALL = 10_000
"""Operations below which generated code, too, has nothing to win."""


@functools.cache
def mkl_is_slow() -> bool:
    """Whether this processor has AVX-512 that MKL does not use, because Intel did not make it.

    Told by what the machine is, not by timing it: equal runs give equal numbers.
    """
    if not torch.backends.mkldnn.is_available() or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text()[:1000]
    except OSError:
        return False


@functools.cache
def _product() -> Any:
    """`left @ weight.T + bias`, an operation that Inductor calls as it is.

    (It knows oneDNN's own operation too, but only with constant weights.)
    """
    library = torch.library.Library("ppl_vae", "FRAGMENT")
    library.define("product(Tensor left, Tensor weight, Tensor? bias) -> Tensor")

    def multiply(left: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        result: Tensor = torch.ops.mkldnn._linear_pointwise(left, weight, bias, "none", [], "")
        return result

    library.impl("product", multiply, "CPU")
    torch.library.register_fake(
        "ppl_vae::product", lambda left, weight, bias: left.new_empty(left.shape[0], weight.shape[0]), lib=library
    )
    _LIBRARIES.append(library)  # it lives as long as it is held
    return torch.ops.ppl_vae.product.default


_LIBRARIES: list[Any] = []


@functools.cache
def direct_calls() -> dict[str, Any]:
    """Options of Inductor by which generated C++ calls the product of `product.cpp`, without Python in between."""
    from torch._inductor.codecache import CppCodeCache

    library: Any = CppCodeCache.load(Path(__file__).with_name("product.cpp").read_text())
    _LIBRARIES.append(ctypes.CDLL(library._name, mode=ctypes.RTLD_GLOBAL))  # where generated code looks for it
    handle = "AtenTensorHandle"
    declared = f"AOTITorchError aoti_torch_cpu_product({handle}, {handle}, {handle}*, {handle}*)"
    return {"aot_inductor.custom_ops_to_c_shims": {_product(): [declared]}}


def with_fast_products(graph: fx.GraphModule, least: int = LARGE) -> fx.GraphModule:
    """The same graph with its float32 products of at least so many operations done otherwise; equal to rounding."""
    graph = copy.deepcopy(graph)
    for node in list(graph.graph.nodes):
        if node.target in (aten.mm.default, aten.addmm.default) and not node.kwargs and _fits(node, graph, least):
            *bias, left, right = node.args
            with graph.graph.inserting_before(node):
                weight = graph.graph.call_function(aten.t.default, (right,))
                value = _value(right, graph)
                weight.meta = dict(node.meta) | {"val": value.t()}
                product = graph.graph.call_function(_product(), (left, weight, bias[0] if bias else None))
            product.meta = dict(node.meta)
            node.replace_all_uses_with(product)
            graph.graph.erase_node(node)
    graph.recompile()
    return graph


def _fits(node: fx.Node, graph: fx.GraphModule, least: int) -> bool:
    tensors = [_value(a, graph) for a in node.args]
    if not all(isinstance(t, Tensor) and t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors):
        return False
    *bias, left, right = tensors
    return all(b.dim() == 1 for b in bias) and 2 * left.numel() * right.shape[1] >= least


def _value(argument: Any, graph: fx.GraphModule) -> Any:
    """The tensor that an argument stands for; a constant of the graph is an attribute of its module."""
    if not isinstance(argument, fx.Node):
        return None
    if argument.op == "get_attr":
        return getattr(graph, str(argument.target), None)
    return argument.meta.get("val")
