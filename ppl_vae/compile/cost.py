"""When to record a program and when to compile its graph, estimated from the graph alone.

Compiled code gives other bits. Equal runs choose equally, therefore, however busy the machine is.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, fx

from ppl_vae.compile.capture import is_view
from ppl_vae.compile.kernels.products import is_possible, operations, takes_onednn

aten = torch.ops.aten

CAPTURE_STEPS = 1000
"""Steps from which a capture pays: half a second against half a millisecond and more a step."""

CAPTURE_STEPS_OF_GPU = 300
"""The same where a capture is one CUDA graph: up to a second and a half against four to six milliseconds a step."""

CAPTURE_TILES = 16
"""Tiles of an evaluation from which a capture pays: it takes as long as some ten tiles."""

CALL, BYTE, MULTIPLICATION = 5e-6, 1 / 4e9, 5e-12
"""Seconds that a fused operation saves, those per byte that it would have written, and those per operation of a product
where MKL leaves half of a processor idle: where oneDNN is faster, which is known without compiling anything."""

START, NODE = 10.0, 0.05
"""Seconds that it takes to compile anything, and those per operation."""

KEPT = (
    aten.mm.default,
    aten.addmm.default,
    aten.bmm.default,
    aten.convolution.default,
    aten.convolution_backward.default,
)
"""Operations that stay what they are."""


def steps_to_capture(device: torch.device) -> int:
    """The steps of a run from which it pays to record its step."""
    return CAPTURE_STEPS_OF_GPU if device.type == "cuda" else CAPTURE_STEPS


def saved_seconds(graph: fx.GraphModule) -> float:
    """The seconds that a step may become shorter by: the cost of everything but products and convolutions."""
    fused = sum(CALL + BYTE * _size(node) for node in graph.graph.nodes if _is_fused(node))
    products = sum(map(operations, graph.graph.nodes))
    return fused + (MULTIPLICATION * products if products and is_possible() and takes_onednn() else 0.0)


def compile_seconds(graph: fx.GraphModule) -> float:
    """The seconds that a compiler takes, the first time."""
    return START + NODE * len(graph.graph.nodes)


def runs_to_pay(graph: fx.GraphModule, device: torch.device) -> float:
    """The number of runs after which compiling would have paid for itself; infinite where it never does.

    No more time is wasted than has been used, however soon the runs end; and the number depends on the graph alone, so
    that runs which are equal up to some step have equal bits up to it, whatever the number of steps and the clock.
    """
    saved = saved_seconds(graph) if device.type == "cpu" else 0.0  # estimates are of CPUs
    return compile_seconds(graph) / saved if saved else math.inf


def _is_fused(node: fx.Node) -> bool:
    return node.op == "call_function" and node.target not in KEPT and _size(node) > 0


def _size(node: fx.Node) -> int:
    """The bytes that an operation writes; views write none."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or is_view(node):
        return 0
    return math.prod(value.shape) * value.element_size()
