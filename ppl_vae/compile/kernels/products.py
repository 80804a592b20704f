"""Matrix products by what is faster on this processor than torch's own choice, MKL."""

from __future__ import annotations

import copy
import functools
import logging
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch.torch_version import TorchVersion

from ppl_vae.compile.kernels.choice import is_faster

aten = torch.ops.aten

log = logging.getLogger(__name__)

LARGE = 8_000_000
"""Operations (two per multiplication) from which oneDNN pays when Python calls it: below, calls cost what it saves."""

_CODE = Path(__file__).with_name("product.cpp")

SMALL = 10_000
"""Operations below which generated code, too, has nothing to win."""


def is_possible() -> bool:
    """True if `product.cpp` is written for this processor, and for the interface that this torch has."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and TorchVersion(torch.__version__) >= "2.10"


def takes_onednn() -> bool:
    """True if oneDNN is the faster one for large products."""
    return torch.backends.mkldnn.is_available() and is_faster("large", by_onednn)


def takes_own() -> bool:
    """True if `product` is the faster one for small products; it is compiled to be measured."""
    return is_possible() and _is_there() and is_faster("small", by_own, _CODE.read_text(encoding="utf-8"))


@functools.cache
def _is_there() -> bool:
    """True if `product.cpp` can be compiled with this torch; if not, its products stay torch's, and that is told."""
    try:
        product()
    except Exception as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        log.warning("ppl_vae's own matrix product cannot be compiled (%.200s): torch's is used in its place", said)
        return False
    return True


def by_onednn(left: Tensor, right: Tensor) -> Tensor:
    """`left @ right` by oneDNN."""
    done: Tensor = torch.ops.mkldnn._linear_pointwise.default(left, right.t(), None, "none", [], "")
    return done


def by_own(left: Tensor, right: Tensor) -> Tensor:
    """`left @ right` by `product`."""
    done: Tensor = product()(left, right.t(), None)
    return done


@functools.cache
def product() -> Any:
    """`product.cpp`, compiled and loaded: `left @ weight.T + bias`, an operation that generated code calls directly.

    (Inductor knows oneDNN's own operation too, but only with constant weights.)
    """
    from torch._inductor.codecache import CppCodeCache

    CppCodeCache.load(_CODE.read_text(encoding="utf-8"))
    torch.library.register_fake(
        "ppl_vae::product", lambda left, weight, bias: left.new_empty(left.shape[0], weight.shape[0])
    )
    return torch.ops.ppl_vae.product.default


def with_onednn(graph: fx.GraphModule) -> fx.GraphModule:
    """The same graph with its large float32 products done by oneDNN; equal to rounding."""
    return _with_products(graph, range(LARGE, sys.maxsize), torch.ops.mkldnn._linear_pointwise.default, "none", [], "")


def with_faster(graph: fx.GraphModule) -> fx.GraphModule:
    """The same graph with what is faster here for its float32 products, for a compiler; equal to rounding.

    `product` does the small ones, and passes large ones on to oneDNN.
    """
    if not is_possible():
        return graph
    for taken, sizes in ((takes_own, range(SMALL, LARGE)), (takes_onednn, range(LARGE, sys.maxsize))):
        if any(operations(node) in sizes for node in graph.graph.nodes) and taken():
            graph = _with_products(graph, sizes, product())
    return graph


def _with_products(graph: fx.GraphModule, sizes: range, operation: Any, *options: Any) -> fx.GraphModule:
    graph = copy.deepcopy(graph)
    for node in list(graph.graph.nodes):
        if operations(node) in sizes and _fits(node, graph):
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
