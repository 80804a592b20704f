"""Masks, scales and supports that a derived guide takes from its model in each run, recorded as source."""

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

import pyro
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.fx.experimental import _config
from torch.fx.experimental.proxy_tensor import make_fx

from ppl_vae.errors import PplVaeError
from ppl_vae.guides.derived import Derived
from ppl_vae.guides.facts import BY_HAND, Facts, Look, Truth
from ppl_vae.guides.inputs import data_tensors

END = 2**63 - 1
"""Where a slice ends that goes on to the end."""

MOST = 1000
"""Elements of a constant that is written out."""


class Recorded:
    """Functions of the batch for each site that needs one, and expressions over what they return.

    The model is run with stand-ins in place of numbers (`torch.fx`), so that what depends on data and latents is
    written as what it does with them. What the recorded functions return is compared with the model's own
    values, on the batch, on the batch twice over, and on two particles.

    Args:
        guide: a derived one that has seen a batch.
        batch: arguments of its model.
        needed: names of the sites.

    Raises:
        PplVaeError: a mask, scale or bound depends on parameters or on chance, or is none of the
            operations on tensors that can be recorded.
    """

    def __init__(self, guide: Derived, batch: tuple[Any, ...], needed: Sequence[str]) -> None:
        self.functions: dict[str, Function] = {}
        self.forms: dict[str, dict[str, str]] = {}
        if not needed:
            return
        assert guide.prototype is not None
        _require_tensors(batch, needed[0])
        look = Look(guide, guide.prototype, needed)
        order = [site.name for site in guide.prototype.sites]
        devices = {t.device for t in batch if isinstance(t, Tensor) and t.is_cuda}
        with torch.random.fork_rng(devices=list(devices)), torch.no_grad(), pyro.validation_enabled(False):
            truths = [look.at(batch, particles=2), look.at(batch)]
            indices = [i for i, _ in data_tensors(batch)]
            with suppress(Exception):  # a model may be for one number of data alone
                twice = tuple(torch.cat([t, t]) if i in indices else t for i, t in enumerate(batch))
                truths.append(look.at(twice))
            look.latents, look.parameters = truths[1].latents, truths[1].parameters
            graph = _traced(look, batch, needed)
        outputs: list[Any] = list(_output(graph).args[0])  # type: ignore[arg-type]
        for i, name in enumerate(needed):
            facts = truths[1].facts[name]
            mine, outputs = outputs[: len(facts.tensors)], outputs[len(facts.tensors) :]
            self.forms[name] = {what: form.replace("#", f"given_{i}_") for what, form in facts.forms.items()}
            if not mine:
                continue
            function = Function(graph, f"given_{i}", name, mine, len(batch), order)
            for truth in truths:
                function.require_equal(truth)
            self.functions[name] = function

    def used(self) -> set[str]:
        """The latents whose values a function takes."""
        return {name for function in self.functions.values() for name in function.latents}

    def call(self, name: str, values: dict[str, str]) -> list[str]:
        """The line that computes what the expressions of a site are over; `values` has the variables of latents."""
        function = self.functions.get(name)
        if function is None:
            return []
        names = ", ".join(f"{function.name}_{j}" for j in range(function.count))
        arguments = ", ".join(["*batch", *(values[latent] for latent in function.latents)])
        return [f"{names}{',' if function.count == 1 else ''} = {function.name}({arguments})"]


def _require_tensors(batch: tuple[Any, ...], name: str) -> None:
    for i, value in enumerate(batch):
        if value is not None and not isinstance(value, Tensor):
            raise PplVaeError(
                f"argument {i} of the batch is a {type(value).__name__}, expected a tensor: the mask, scale or bound "
                f"of site {name!r} could not be recorded as a function of it. {BY_HAND}"
            )


def _traced(look: Look, batch: tuple[Any, ...], needed: Sequence[str]) -> GraphModule:
    """A graph from the batch, the latents and the parameters to all tensors of facts."""
    places = [i for i, value in enumerate(batch) if isinstance(value, Tensor)]
    latents, parameters = list(look.latents), list(look.parameters)

    def run(*flat: Tensor) -> list[Tensor]:
        values = list(flat)
        arguments = list(batch)
        for i in places:
            arguments[i] = values.pop(0)
        look.latents = {name: values.pop(0) for name in latents}
        look.parameters = {name: values.pop(0) for name in parameters}
        found = look.run(tuple(arguments))
        return [t for name in needed for t in found[name].tensors]

    flat = [*(batch[i] for i in places), *look.latents.values(), *look.parameters.values()]
    try:
        functional, alone = torch.func.functionalize(run), cast(Any, _config)
        with alone.patch(use_duck_shape=False):  # else what is as long as the batch by accident fixes its length
            graph = make_fx(functional, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*flat)
    except Exception as error:
        raise PplVaeError(
            f"what the model does for the mask, scale or bound of {', '.join(map(repr, needed))} could not be recorded "
            f"({type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}). {BY_HAND}"
        ) from error
    told: list[Any] = [("x", i) for i in places] + [("latent", n) for n in latents]
    told += [("parameter", n) for n in parameters]
    for node, name in zip((n for n in graph.graph.nodes if n.op == "placeholder"), told, strict=True):
        node.meta["told"] = name
    return graph


def _output(graph: GraphModule) -> Node:
    return next(node for node in reversed(graph.graph.nodes) if node.op == "output")


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
