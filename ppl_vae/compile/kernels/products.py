"""Matrix products where torch's own choice, MKL, leaves half of a processor idle."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch.torch_version import TorchVersion

aten = torch.ops.aten

LARGE = 8_000_000
"""Operations (two per multiplication) from which oneDNN pays when Python calls it: below, calls cost what it saves."""

SMALL = 10_000
"""Operations below which generated code, too, has nothing to win."""


@functools.cache
def mkl_is_slow() -> bool:
    """True if this processor has AVX-512 that MKL does not use, because Intel did not make it.

    Told by what the machine is, not by timing it: equal runs give equal numbers.
    """
    if not torch.backends.mkldnn.is_available() or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text()[:1000]
    except OSError:
        return False


def has_own() -> bool:
    """True if `product` is worth having, and this torch has the interface that it is written for."""
    return mkl_is_slow() and TorchVersion(torch.__version__) >= "2.10"


@functools.cache
def product() -> Any:
    """`product.cpp`, compiled and loaded: `left @ weight.T + bias`, an operation that generated code calls directly.

    (Inductor knows oneDNN's own operation too, but only with constant weights.)
    """
    from torch._inductor.codecache import CppCodeCache

    CppCodeCache.load(Path(__file__).with_name("product.cpp").read_text())
    torch.library.register_fake(
        "ppl_vae::product", lambda left, weight, bias: left.new_empty(left.shape[0], weight.shape[0])
    )
    return torch.ops.ppl_vae.product.default


def with_onednn(graph: fx.GraphModule) -> fx.GraphModule:
    """The same graph with its large float32 products done by oneDNN; equal to rounding."""
    return _with_products(graph, LARGE, torch.ops.mkldnn._linear_pointwise.default, "none", [], "")


def with_own_products(graph: fx.GraphModule) -> fx.GraphModule:
    """The same graph with its float32 products done by `product`, for a compiler; equal to rounding."""
    return _with_products(graph, SMALL, product())


def _with_products(graph: fx.GraphModule, least: int, operation: Any, *options: Any) -> fx.GraphModule:
    graph = copy.deepcopy(graph)
    for node in list(graph.graph.nodes):
        if operations(node) >= least and _fits(node, graph):
            *bias, left, right = node.args
            with graph.graph.inserting_before(node):
                weight = graph.graph.call_function(aten.t.default, (right,))
                weight.meta = dict(node.meta) | {"val": _value(right, graph).t()}
                done = graph.graph.call_function(operation, (left, weight, bias[0] if bias else None, *options))
            done.meta = dict(node.meta)
            node.replace_all_uses_with(done)
            graph.graph.erase_node(node)
    graph.recompile()
    return graph


def operations(node: fx.Node) -> int:
    """Of a matrix product, two per multiplication; 0 of any other node."""
    if node.target not in (aten.mm.default, aten.addmm.default):
        return 0
    *_, left, right = (_value(a, node.graph.owning_module) for a in node.args)
    return 2 * left.numel() * right.shape[1]


def _fits(node: fx.Node, graph: fx.GraphModule) -> bool:
    """True if an operation for float32 on a CPU can take its place."""
    tensors = [_value(a, graph) for a in node.args]
    if not all(isinstance(t, Tensor) and t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors):
        return False
    *bias, _, right = tensors
    return not node.kwargs and all(b.shape == right.shape[1:] and b.stride() == (1,) for b in bias)


def _value(argument: Any, graph: Any) -> Any:
    """The tensor that an argument stands for; a constant of the graph is an attribute of its module."""
    if not isinstance(argument, fx.Node):
        return None
    if argument.op == "get_attr":
        return getattr(graph, str(argument.target), None)
    return argument.meta.get("val")
