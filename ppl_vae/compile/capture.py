"""A step as a graph of tensor operations: bound, metrics and gradient in one, without Pyro and without autograd."""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from ppl_vae.compile.adam import total_norm
from ppl_vae.compile.verify import CaptureError
from ppl_vae.core.functional import call_with
from ppl_vae.imports import unsearched

aten = torch.ops.aten


@dataclass(frozen=True)
class State:
    """The tensors that a step reads beside its batch: those that get a gradient, then all others."""

    module: nn.Module
    trained: dict[str, Tensor]
    constants: dict[str, Tensor]

    @staticmethod
    def of(module: nn.Module) -> State:
        """Parameters and buffers of a module, each once."""
        parameters = dict(module.named_parameters())
        return State(
            module,
            {name: p for name, p in parameters.items() if p.requires_grad},
            {name: p for name, p in parameters.items() if not p.requires_grad} | dict(module.named_buffers()),
        )

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them, in order."""
        return (*self.trained.values(), *self.constants.values())

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The same memory, without gradients."""
        return tuple(t.detach() for t in self.tensors)


def tracer() -> Callable[..., Any]:
    """The recorder, `make_fx` of torch, which imports its compilers when it is first called."""
    with unsearched():
        import torch._dynamo
        import torch._inductor.config  # noqa: F401
        from torch.fx.experimental.proxy_tensor import make_fx

    return make_fx


def trace(module: nn.Module, batch: Sequence[Tensor]) -> tuple[fx.GraphModule, State]:
    """Record what a step does, gradient included: `(*state.tensors, *batch)` to `[*results, norm, *gradients]`.

    The program runs once on tensors without values, so that nothing that depends on a value can be baked in
    unseen: a program that looks at one raises. Autograd runs too, and what it does is recorded like everything
    else, custom functions and hooks inside the program included.

    Args:
        module: takes a batch, gives a tuple of 0-d tensors: results, of which the second is to be maximized.
        batch: one batch; the graph holds for its shapes and dtypes.
    """
    state = State.of(module)
    count, places = len(state.trained), [id(t) for t in state.tensors]

    def step(*tensors: Tensor) -> list[Tensor | None]:
        parameters = [t.detach().requires_grad_() for t in tensors[:count]]
        values = dict(zip(places, [*parameters, *tensors[count : len(places)]], strict=True))
        with torch.enable_grad():
            results = call_with(module, values, *tensors[len(places) :])
            gradients = torch.autograd.grad(-results[1], parameters, allow_unused=True)
        if any(g is not None and g.layout is not torch.strided for g in gradients):
            raise CaptureError("a gradient is sparse")
        norm = total_norm(gradients)
        return [*(r.detach() for r in results), norm, *(None if g is None else g.contiguous() for g in gradients)]

    traced = tracer()(step, tracing_mode="fake", _allow_non_fake_inputs=True)(*state.tensors, *batch)
    simplify(traced)
    _keep_apart(traced, count)
    devices = {t.device for t in state.trained.values() if t.device.type != "cpu"}
    if devices:
        settle(traced, devices.pop())
    return traced, state


def simplify(graph: fx.GraphModule) -> None:
    """Remove what changes no bit: autograd's marks, operations that do nothing, and what is computed twice.

    The order of what is left stays, and so do the random numbers.
    """
    for node in list(graph.graph.nodes):
        if (same := _same_as(node)) is not None:
            node.replace_all_uses_with(same)
            graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    if not any(_mutates(node) for node in graph.graph.nodes):
        _merge(graph.graph)
    graph.recompile()


def record(
    function: Callable[..., list[Tensor]],
    inputs: Sequence[Tensor],
    decompositions: Mapping[Any, Callable[..., Any]] | None = None,
) -> fx.GraphModule:
    """Record what a function of tensors does, without gradient; parameters it reads are constants of the graph."""
    table = None if decompositions is None else dict(decompositions)
    with torch.no_grad():
        traced = tracer()(function, table, tracing_mode="fake", _allow_non_fake_inputs=True)(*inputs)
    simplify(traced)
    return traced


def recorded(module: nn.Module, batch: Sequence[Tensor]) -> tuple[fx.GraphModule, State]:
    """Record what a module gives, without gradient: `(*state.tensors, *batch)` to its results.

    Args:
        module: takes a batch, gives a tuple of tensors.
        batch: one batch; the graph holds for its shapes and dtypes.
    """
    state = State.of(module)
    places = [id(t) for t in state.tensors]

    def run(*inputs: Tensor) -> list[Tensor]:
        values = dict(zip(places, inputs[: len(places)], strict=True))
        return list(call_with(module, values, *inputs[len(places) :]))

    return record(run, [*state.inputs, *batch]), state


def settle(graph: fx.GraphModule, device: torch.device) -> None:
    """Take out what a GPU would be waited for in each step: constants made on the CPU, the checks of `torch.normal`.

    Whatever depends on no input and no noise is computed now, and lies on the device. What the program reads of
    tensors that are no part of it stays as it is: it may change them.
    """
    for node in list(graph.graph.nodes):
        if node.target is aten.normal.Tensor_Tensor:
            _draw_standard(graph.graph, node)
    values: dict[fx.Node, Any] = {}
    fixed = _fixed(graph.graph)
    for node in graph.graph.nodes:
        if node in fixed:
            args, kwargs = fx.node.map_arg(
                (node.args, node.kwargs), lambda n: values[n] if n in values else getattr(graph, str(n.target)).clone()
            )
            values[node] = node.target(*args, **kwargs)
    for number, (node, value) in enumerate(values.items()):
        outside = [user for user in node.users if user not in fixed]
        if not outside or not isinstance(value, Tensor):
            continue
        graph.register_buffer(name := f"literal_{number}", value.to(device, copy=True), persistent=False)
        with graph.graph.inserting_before(node):
            new = graph.graph.get_attr(name)
        new.meta = dict(node.meta)
        for user in outside:
            user.replace_input_with(node, new)
    for node in reversed(list(values)):
        if not node.users:
            graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _fixed(graph: fx.Graph) -> set[fx.Node]:
    """The nodes whose value is the same in each step."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "call_function" and not is_random(node):
            literal = node.target in (aten.lift_fresh_copy.default, aten.lift_fresh.default)
            if all(other in found or (literal and other.op == "get_attr") for other in node.all_input_nodes):
                found.add(node)
    while changed := {m for n in found if any(_mutates(u) and u not in found for u in n.users) for m in (n, _base(n))}:
        while changed:  # with all that is made of them
            found -= changed
            changed = {n for n in found if any(other in changed for other in n.all_input_nodes)}
    return found


def _base(node: fx.Node) -> fx.Node:
    """The node that made the memory which a node gives."""
    while is_view(node) and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node


def _draw_standard(graph: fx.Graph, node: fx.Node) -> None:
    """N(loc, scale) as loc + scale ε: the same bits, without a look at whether a scale is negative."""
    loc, scale = node.args[:2]
    value = node.meta["val"]
    with graph.inserting_before(node):
        noise = graph.call_function(
            aten.randn.default, (list(value.shape),), {"dtype": value.dtype, "device": value.device}
        )
        scaled = graph.call_function(aten.mul.Tensor, (noise, scale))
        new = graph.call_function(aten.add.Tensor, (scaled, loc))
    for made in (noise, scaled, new):
        made.meta = dict(node.meta)
    node.replace_all_uses_with(new)
    graph.erase_node(node)


def held_by(graph: fx.GraphModule) -> list[Tensor]:
    """The tensors that a graph reads and that are none of its inputs."""
    found = (getattr(graph, str(node.target)) for node in graph.graph.nodes if node.op == "get_attr")
    return [value for value in found if isinstance(value, Tensor)]


def _keep_apart(graph: fx.GraphModule, count: int) -> None:
    """Give the last `count` results, the gradients, memory of their own, as `backward` does: clipping is in place."""
    *_, output = graph.graph.nodes
    results = list(output.args[0])
    owned: set[fx.Node] = set()
    for place in range(len(results) - count, len(results)):
        gradient = results[place]
        if gradient is not None:
            base = _base(gradient)
            if base in owned or base.op != "call_function":
                with graph.graph.inserting_before(output):
                    gradient = graph.graph.call_function(aten.clone.default, (gradient,))
            owned.add(base)
        results[place] = gradient
    output.args = (results,)
    graph.recompile()


def is_view(node: fx.Node) -> bool:
    """True if a node gives memory that another one made."""
    schema = getattr(node.target, "_schema", None)
    returned = None if schema is None else schema.returns[0].alias_info
    return (returned is not None and not returned.is_write) or node.target is operator.getitem


def _same_as(node: fx.Node) -> fx.Node | None:
    """The argument that an operation only passes on."""
    if node.op != "call_function" or not node.args or not isinstance(node.args[0], fx.Node):
        return None
    source = node.args[0]
    before, after = source.meta.get("val"), node.meta.get("val")
    if not (isinstance(before, Tensor) and isinstance(after, Tensor)):
        return None
    unchanged = (before.shape, before.stride(), before.dtype) == (after.shape, after.stride(), after.dtype)
    if not unchanged or any(_mutates(user) for user in (*node.users, *source.users)):
        return None
    if node.target in (aten.detach.default, aten.expand.default, aten.view.default, aten._unsafe_view.default):
        return source
    one = node.target in (aten.mul.Tensor, aten.mul.Scalar, aten.div.Tensor, aten.div.Scalar)
    return source if one and not isinstance(node.args[1], fx.Node) and node.args[1] == 1 else None


def _merge(graph: fx.Graph) -> None:
    """Compute once what is computed several times from the same inputs."""
    first: dict[Any, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function" or is_random(node):
            continue
        try:
            key = (node.target, _key(node.args), _key(node.kwargs))
            earlier = first.setdefault(key, node)
        except TypeError:  # an argument that cannot be compared
            continue
        if earlier is not node:
            node.replace_all_uses_with(earlier)
            graph.erase_node(node)


def _key(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(_key(part) for part in value)
    if isinstance(value, dict):
        return tuple((k, _key(v)) for k, v in value.items())
    hash(value)
    return type(value), value, str(value)  # 0.0 and −0.0 are equal, and differ


def _mutates(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def is_random(node: fx.Node) -> bool:
    """True if a node draws random numbers."""
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def compiled(graph: fx.GraphModule, inputs: Sequence[Tensor]) -> Callable[..., Any]:
    """A graph compiled by Inductor; random numbers stay torch's own, so that equal seeds give equal noise."""
    import torch._inductor

    from ppl_vae.compile.kernels.decompositions import decompositions
    from ppl_vae.compile.kernels.products import with_faster

    on_cpu = all(t.device.type == "cpu" for t in inputs)
    if on_cpu:
        graph = with_faster(record(graph, inputs, decompositions()))
    options: dict[str, Any] = {"fallback_random": True, "cpp_wrapper": on_cpu}
    log = logging.getLogger("torch._inductor")
    level = log.level
    log.setLevel(logging.ERROR)  # it warns of operations that it calls in a slower way, which is all there is to say
    try:
        run: Callable[..., Any] = torch._inductor.compile(graph, list(inputs), options=options)
    finally:
        log.setLevel(level)
    return run
