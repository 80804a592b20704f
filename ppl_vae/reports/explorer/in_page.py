"""A decoder as a list of steps that a page can take by itself, without Python and without a network."""

import base64
import math
import operator
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

aten = torch.ops.aten

MOST = 1_000_000
"""Weights of a decoder that goes into the page: 4 MB, as text a third more."""

MOVES = {
    aten.view, aten._unsafe_view, aten.reshape, aten.unsqueeze, aten.squeeze, aten.clone, aten.alias, aten.expand,
    aten._to_copy, aten.detach, aten.permute, aten.transpose, aten.t, aten.slice, aten.select, aten.flip, aten.repeat,
}  # fmt: skip
"""Operations that only say which numbers stand where."""

PARTS = {aten.split_with_sizes, aten.split, aten.unbind}
"""The same, of several results."""

SINGLE = {
    aten.relu: "relu", aten.tanh: "tanh", aten.sigmoid: "sigmoid", aten.exp: "exp", aten.log: "log", aten.neg: "neg",
    aten.log1p: "log1p", aten.expm1: "expm1", aten.sqrt: "sqrt", aten.rsqrt: "rsqrt", aten.reciprocal: "reciprocal",
    aten.abs: "abs", aten.softplus: "softplus", aten.elu: "elu", aten.gelu: "gelu", aten.leaky_relu: "leaky_relu",
    aten.sin: "sin", aten.cos: "cos",
}  # fmt: skip
"""Functions of one number, by their names in `explorer.js`; those with options of their own have torch's defaults."""

DEFAULTS: dict[Any, tuple[Any, ...]] = {
    aten.softplus: (1, 20), aten.elu: (1, 1, 1), aten.gelu: ("none",), aten.leaky_relu: (0.01,),
}  # fmt: skip

SEVERAL = {
    aten.add: "add", aten.sub: "sub", aten.mul: "mul", aten.div: "div", aten.gt: "gt", aten.ge: "ge", aten.lt: "lt",
    aten.le: "le", aten.where: "where", aten.maximum: "maximum", aten.minimum: "minimum",
}  # fmt: skip
"""Functions of two numbers or three; a comparison gives 1 or 0."""


class NotInPage(Exception):  # noqa: N818 - an answer, not a failure
    """The decoder does something that the page cannot do."""


def steps_of(decode: Callable[[Tensor], Tensor], latents: int, dtype: torch.dtype) -> dict[str, Any]:
    """The decoder of one latent vector as steps, for `explorer.js`.

    What does not depend on the latent is worked out here. Each step has a name, an operation and its inputs: names of
    steps before it, or of constants, which are float32 in base64.

    Args:
        decode: latents `(1, latents)` to E[x | z], `(1, …)`.
        latents: the number of elements of z.
        dtype: of z.

    Returns:
        `{"steps": […], "constants": {name: text}, "out": name}`; the input is called z.

    Raises:
        NotInPage: there is an operation that is not listed here, or too many weights; the message says which.
    """
    z = torch.zeros(1, latents, dtype=dtype)
    graph = _graph(decode, z)
    return _Translation(graph, z).told()


def _graph(decode: Callable[[Tensor], Tensor], z: Tensor) -> fx.GraphModule:
    class Module(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return decode(z)

    with torch.no_grad():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # of torch, about itself
                program = torch.export.export(Module(), (z,), strict=False).run_decompositions()
        except Exception as error:
            raise NotInPage(f"it cannot be captured ({type(error).__name__})") from error
    graph = program.module()
    assert isinstance(graph, fx.GraphModule)
    return graph


class _Translation(fx.Interpreter):
    """Runs the graph once, and notes what depends on z."""

    def __init__(self, graph: fx.GraphModule, z: Tensor) -> None:
        super().__init__(graph)
        self.steps: list[dict[str, Any]] = []
        self.constants: dict[str, Tensor] = {}
        self.names: dict[str, str] = {}  # of what depends on z: the step that has its numbers
        self.values: dict[str, Any] = {}
        self.parts: dict[str, tuple[fx.Node, Any]] = {}
        with torch.no_grad():
            self.run(z)

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        self.values[n.name] = value
        if n.op == "placeholder":
            self.names[n.name] = "z"
        elif n.op == "call_function" and any(a.name in self.names for a in n.all_input_nodes):
            self.names[n.name] = self._step(n, value)
        elif n.op == "output":
            found = n.args[0]
            while isinstance(found, (tuple, list)):
                found = found[0]
            if not isinstance(found, fx.Node) or found.name not in self.names:
                raise NotInPage("what it gives does not depend on the latent")
            self.out = self.names[found.name]
        return value

    def _step(self, n: fx.Node, value: Any) -> str:
        target: Any = getattr(n.target, "overloadpacket", n.target)
        args: list[Any] = list(n.args)
        call: Any = n.target
        first: Any = args[0] if args else None
        if target in PARTS:
            self.parts[n.name] = first, call(self._places(first), *args[1:], **n.kwargs)
            return ""
        if target is operator.getitem and first.name in self.parts:
            source, places = self.parts[first.name]
            return self._moved(n, source, places[args[1]])
        if not isinstance(value, Tensor):
            raise NotInPage(f"{n.target} is not one of its operations")
        if target in MOVES:
            return self._moved(n, first, call(self._places(first), *args[1:], **n.kwargs))
        if target in SINGLE:
            if n.kwargs or tuple(args[1:]) != DEFAULTS.get(target, ())[: len(args) - 1]:
                raise NotInPage(f"{n.target} with {args[1:]} is not one of its operations")
            return self._add(n, SINGLE[target], [first], {})
        if target in SEVERAL and not n.kwargs:
            return self._add(n, SEVERAL[target], [self._wide(a, value) for a in args], {})
        if target is aten.addmm and not n.kwargs:
            return self._add(n, "linear", [args[1], args[2], self._wide(args[0], value)], {})
        if target is aten.mm:
            return self._add(n, "linear", [*args, torch.zeros(value.numel())], {})
        if target is aten._softmax and args[1] in (-1, value.dim() - 1):
            return self._add(n, "softmax", [first], {"size": value.shape[-1]})
        if target is aten.convolution:
            x, weight, bias, stride, padding, dilation, transposed, _, groups = args
            if len(self.values[x.name].shape) == 4:
                kernel = self.values[weight.name]
                bias = torch.zeros(value.shape[1]) if bias is None else bias
                options = {
                    "into": list(self.values[x.name].shape[1:]), "out": list(value.shape[1:]),
                    "kernel": list(kernel.shape[2:]), "stride": stride, "padding": padding, "dilation": dilation,
                    "transposed": transposed, "groups": groups,
                }  # fmt: skip
                return self._add(n, "convolution", [x, weight, bias], options)
        raise NotInPage(f"{n.target} is not one of its operations")

    def _places(self, node: fx.Node) -> Tensor:
        """The number of each element, in its shape."""
        value = self.values[node.name]
        return torch.arange(value.numel()).reshape(value.shape)

    def _moved(self, n: fx.Node, source: fx.Node, places: Tensor) -> str:
        """Elements of another one: nothing to do where all are taken in their order."""
        taken, name = places.flatten(), self.names[source.name]
        if torch.equal(taken, torch.arange(self.values[source.name].numel())):
            return name
        self.steps.append({"name": n.name, "does": "take", "of": [name], "places": taken.tolist()})
        return n.name

    def _wide(self, argument: Any, value: Tensor) -> Any:
        """An argument as large as the result; what depends on z must be so already."""
        if isinstance(argument, fx.Node) and argument.name in self.names:
            if self.values[argument.name].numel() != value.numel():
                raise NotInPage("it spreads numbers that depend on the latent")
            return argument
        constant = self.values[argument.name] if isinstance(argument, fx.Node) else torch.tensor(float(argument))
        return constant.expand(value.shape)

    def _add(self, n: fx.Node, operation: str, inputs: list[Any], options: dict[str, Any]) -> str:
        taken = [
            self.names[a.name] if isinstance(a, fx.Node) and a.name in self.names else self._kept(a) for a in inputs
        ]
        self.steps.append({"name": n.name, "does": operation, "of": taken, **options})
        return n.name

    def _kept(self, argument: Any) -> str:
        value = self.values[argument.name] if isinstance(argument, fx.Node) else argument
        name = argument.name if isinstance(argument, fx.Node) else f"constant_{len(self.constants)}"
        self.constants[name] = value
        if sum(c.numel() for c in self.constants.values()) > MOST:
            raise NotInPage(f"it has more than {MOST:,} weights")
        return name

    def told(self) -> dict[str, Any]:
        kept = {name: base64_of(value.detach().float().numpy()) for name, value in self.constants.items()}
        return {"steps": self.steps, "constants": kept, "out": self.out}


def base64_of(array: Any) -> str:
    """The bytes of an array, row by row, as text; floats as float32, else as bytes."""
    kind = np.float32 if array.dtype.kind == "f" else np.uint8
    return base64.b64encode(np.ascontiguousarray(array, dtype=kind).tobytes()).decode()


def is_small(shape: tuple[int, ...]) -> bool:
    """True if a datum can be decoded while somebody drags a slider."""
    return math.prod(shape) <= 50_000
