"""A recorded graph of tensor operations, written as the source of a function."""

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from ppl_vae.errors import PplVaeError
from ppl_vae.guides.facts import BY_HAND, Facts, Truth

END = 2**63 - 1
"""Where a slice ends that goes on to the end."""

MOST = 1000
"""Elements of a constant that is written out."""


class Function:
    """A function of the batch, and of latents, that returns some of the outputs of a graph.

    Args:
        graph: of all facts.
        name: of the function.
        site: whose facts they are.
        outputs: of the graph.
        arguments: number of arguments of the model.
        order: names of all latents.
    """

    def __init__(
        self, graph: GraphModule, name: str, site: str, outputs: Sequence[Any], arguments: int, order: Sequence[str]
    ) -> None:
        self.name, self.site, self.count = name, site, len(outputs)
        kept, left = set[Node](), [n for n in outputs if isinstance(n, Node)]
        while left:
            node = left.pop()
            if node not in kept:
                kept.add(node)
                left.extend(node.all_input_nodes)
        told = {node.meta["told"] for node in kept if node.op == "placeholder"}
        self.latents = [latent for latent in order if ("latent", latent) in told]
        variables: dict[Any, str] = {("x", i): f"x{i or ''}" for i in range(arguments)}
        variables |= {("latent", latent): f"value_{order.index(latent)}" for latent in self.latents}
        lines, names = list[str](), dict[Node, str]()
        for node in graph.graph.nodes:
            if node not in kept:
                continue
            first: Any = node.args[0] if node.args else None
            names[node] = node.name
            if node.op == "placeholder":
                if node.meta["told"] not in variables:
                    raise _refusal(site, f"the parameter {node.meta['told'][1]!r}")
                names[node] = variables[node.meta["told"]]
            elif node.op == "get_attr":
                lines.append(f"{node.name} = {_literal(_attribute(graph, str(node.target)), site)}")
            elif torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
                raise _refusal(site, "chance")
            elif _is_whole_slice(node):
                names[node] = names[first]
            elif self.latents and node.target is torch.ops.aten.expand.default:
                names[node] = names[first]  # sizes are those without particles
            else:
                lines.append(f"{node.name} = {_call(node, names)}")
        returned = ", ".join(names[n] if isinstance(n, Node) else repr(n) for n in outputs)
        self.text = f"def {name}({', '.join(variables.values())}):\n"
        self.text += f"    # What the model has for {site!r}, as it was recorded.\n"
        self.text += "".join(f"    {line}\n" for line in lines) + f"    return ({returned},)\n"

    def require_equal(self, truth: Truth) -> None:
        """Raise unless the function returns what the model has."""
        scope: dict[str, Any] = {}
        exec("import operator\nimport torch\n" + self.text, scope)
        expected = truth.facts[self.site]
        with suppress(RuntimeError):  # sizes that were written into it, as they were
            values = [truth.latents[latent] for latent in self.latents]
            if expected.equals(Facts(expected.forms, scope[self.name](*truth.batch, *values))):
                return
        raise PplVaeError(
            f"what was recorded for the mask, scale or bound of site {self.site!r} is not what the model has on other "
            "sizes of the batch, or on several particles. Write sizes as x.shape[0], without branches on values. "
            f"{BY_HAND}"
        )


def _is_whole_slice(node: Node) -> bool:
    last: Any = node.args[3] if len(node.args) > 3 else 0
    return bool(node.target is torch.ops.aten.slice.Tensor and node.args[2] == 0 and last == END)


def _refusal(site: str, what: str) -> PplVaeError:
    return PplVaeError(
        f"the mask, scale or bound of site {site!r} depends on {what}, which the source of a derived "
        f"guide cannot hold: it knows data and latents alone. {BY_HAND}"
    )


def _attribute(graph: GraphModule, path: str) -> Any:
    value: Any = graph
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _literal(value: Any, site: str) -> str:
    if isinstance(value, nn.Parameter) or (isinstance(value, Tensor) and value.requires_grad):
        raise _refusal(site, "the model's parameters")
    if not isinstance(value, Tensor) or value.numel() > MOST:
        raise PplVaeError(
            f"the mask, scale or bound of site {site!r} takes a constant of {getattr(value, 'numel', int)()} numbers, "
            f"expected at most {MOST} to write out. Pass it to the model with the batch."
        )
    return f"torch.tensor({value.tolist()!r}, dtype={value.dtype}, device=x.device)"


INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "gt": ">", "lt": "<", "ge": ">=", "le": "<=", "eq": "=="}
INFIX |= {"ne": "!=", "bitwise_and": "&", "bitwise_or": "|", "logical_and": "&", "logical_or": "|"}


def _call(node: Node, names: dict[Node, str]) -> str:
    """An operation as one would write it; what says where and how its result is stored is left out."""
    plain = str(node.target).split(".")[1] if isinstance(node.target, torch._ops.OpOverload) else ""
    if plain in INFIX and len(node.args) == 2 and not node.kwargs:
        return f" {INFIX[plain]} ".join(_argument(a, names) for a in node.args)
    if plain and not node.kwargs and callable(getattr(torch, plain, None)):
        return f"torch.{plain}({', '.join(_argument(a, names) for a in node.args)})"
    arguments = [_argument(a, names) for a in node.args]
    storage = ("device", "layout", "pin_memory")
    arguments += [f"{k}={_argument(v, names)}" for k, v in node.kwargs.items() if k not in storage]
    if "device" in node.kwargs:
        arguments.append("device=x.device")
    target: Any = node.target
    place = getattr(target, "__module__", "")
    name = str(target) if isinstance(target, torch._ops.OpOverload) else f"{place}.{target.__name__}"
    name = f"torch.ops.{name}" if isinstance(target, torch._ops.OpOverload) else name.replace("_operator", "operator")
    return f"{name}({', '.join(arguments)})"


def _argument(value: Any, names: dict[Node, str]) -> str:
    if isinstance(value, Node):
        return names[value]
    if isinstance(value, list | tuple):
        inner = ", ".join(_argument(v, names) for v in value)
        return f"[{inner}]"
    text = repr(value)
    return re.sub(r"\binf\b", "torch.inf", re.sub(r"\bnan\b", "torch.nan", text))
