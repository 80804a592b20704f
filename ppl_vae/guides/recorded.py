"""What a derived guide takes from its model in each run, recorded as source: masks, scales, supports that move."""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions.torch_distribution import MaskedDistribution
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import transforms as T
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from ppl_vae.core.adapters import Adapters
from ppl_vae.distributions.bijections import bijection, elementary, joint_support
from ppl_vae.errors import PplVaeError
from ppl_vae.guides.derived import Derived
from ppl_vae.guides.inputs import data_tensors
from ppl_vae.guides.prototype import Prototype, is_subsample

MOST = 1000
"""Elements of a constant that is written out."""

BY_HAND = "Keep guide=derived, or write this site's guide by hand."

BARE = {T.ExpTransform: "ExpTransform()", T.SigmoidTransform: "SigmoidTransform()"} | {
    kind: f"{kind.__name__}()"
    for kind in (
        T.StickBreakingTransform,
        T.LowerCholeskyTransform,
        T.CorrCholeskyTransform,
        T.PositiveDefiniteTransform,
        T.SoftplusTransform,
        T.TanhTransform,
        T.SoftmaxTransform,
    )
}
"""Transforms without parameters."""


@dataclass(frozen=True)
class Facts:
    """What one site has of the model in one run, as expressions over tensors."""

    forms: dict[str, str]
    tensors: tuple[Tensor, ...]

    def equals(self, other: "Facts") -> bool:
        """True if expressions and tensors are the same."""
        return self.forms == other.forms and all(
            a.shape == b.shape and torch.equal(a, b) for a, b in zip(self.tensors, other.tensors, strict=True)
        )


class Recorded:
    """For each site that needs it, source of a function of the batch, and expressions over what it returns.

    The model is run with stand-ins in place of numbers (`torch.fx`), so that what depends on the data is written as
    what it does with the data. What the recorded functions return is compared with the model's own values, on the batch
    and on the batch twice over.

    Args:
        guide: a derived one that has seen a batch.
        batch: arguments of its model.
        needed: names of the sites.

    Raises:
        PplVaeError: a mask, scale or bound depends on a latent, on parameters or on chance, or is none of the
            operations on tensors that can be recorded.
    """

    def __init__(self, guide: Derived, batch: tuple[Any, ...], needed: Sequence[str]) -> None:
        self.functions: dict[str, str] = {}
        self.forms: dict[str, dict[str, str]] = {}
        if not needed:
            return
        assert guide.prototype is not None
        _require_tensors(batch, needed[0])
        look = _Look(guide, guide.prototype, needed)
        devices = {t.device for t in batch if isinstance(t, Tensor) and t.is_cuda}
        with torch.random.fork_rng(devices=list(devices)), torch.no_grad(), pyro.validation_enabled(False):
            truths = [(batch, look(batch))]
            latents, parameters = look.latents, look.parameters
            indices = [i for i, _ in data_tensors(batch)]
            with suppress(Exception):  # a model may be for one number of data alone
                twice = tuple(torch.cat([t, t]) if i in indices else t for i, t in enumerate(batch))
                truths.append((twice, look(twice)))
            look.latents, look.parameters = latents, parameters
            graph = _traced(look, batch, needed)
        outputs = list(_output(graph).args[0])  # type: ignore[arg-type]
        for i, name in enumerate(needed):
            facts = truths[0][1][name]
            mine, outputs = outputs[: len(facts.tensors)], outputs[len(facts.tensors) :]
            self.forms[name] = {what: form.replace("#", f"given_{i}_") for what, form in facts.forms.items()}
            if not mine:
                continue
            text = self.functions[f"given_{i}"] = _function(graph, f"given_{i}", name, mine, len(batch))
            for arguments, truth in truths:
                _require_equal(text, f"given_{i}", arguments, truth[name], name)

    def calls(self, name: str, needed: Sequence[str]) -> list[str]:
        """Lines that compute what the expressions of a site are over."""
        i = needed.index(name)
        text = self.functions.get(f"given_{i}")
        if text is None:
            return []
        count = text.rpartition("return (")[2].count(",")
        names = ", ".join(f"given_{i}_{j}" for j in range(count))
        return [f"{names}{',' if count == 1 else ''} = given_{i}(*batch)"]


class _Look(Messenger):
    """Runs a model up to its last latent, on values that are given, and tells what its sites have.

    Args:
        guide: from which the values of latents are drawn.
        proto: what it was built from.
        needed: names of the sites to tell of.
    """

    def __init__(self, guide: Derived, proto: Prototype, needed: Sequence[str]) -> None:
        super().__init__()
        self.guide, self.proto, self.needed = guide, proto, needed
        self.sites = {site.name: site for site in proto.sites}
        self.latents: dict[str, Tensor] = {}
        self.parameters: dict[str, Tensor] = {}
        self.found: dict[str, Facts] = {}

    def __call__(self, batch: tuple[Any, ...]) -> dict[str, Facts]:
        """The facts of the sites, from the model's own run."""
        trace = poutine.trace(self.guide).get_trace(*batch)
        self.latents = {name: trace.nodes[name]["value"] for name in self.sites}
        self.parameters = {}
        return self.run(batch)

    def run(self, batch: tuple[Any, ...]) -> dict[str, Facts]:
        """The facts of the sites, at the present values of latents and parameters."""
        self.found = {}
        with suppress(_Seen), poutine.block(), self, Adapters(), pyro.get_param_store().scope():
            self.guide.model(*batch)
        return self.found

    def _pyro_param(self, msg: Any) -> None:
        if msg["name"] in self.parameters:
            msg["value"], msg["done"], msg["stop"] = self.parameters[msg["name"]], True, True

    def _pyro_post_param(self, msg: Any) -> None:
        self.parameters.setdefault(msg["name"], msg["value"].detach())

    def _pyro_sample(self, msg: Any) -> None:
        if is_subsample(msg) or msg["is_observed"] or msg["name"] not in self.sites:
            return
        if msg["name"] in self.needed:
            self.found[msg["name"]] = self._facts(msg)
        msg["value"], msg["done"] = self.latents[msg["name"]], True

    def _pyro_post_sample(self, msg: Any) -> None:
        if len(self.found) == len(self.needed):
            raise _Seen

    def _facts(self, msg: Any) -> Facts:
        site, fn = self.sites[msg["name"]], msg["fn"]
        tensors: list[Tensor] = []

        def put(value: Any) -> str:
            if isinstance(value, Tensor):
                tensors.append(value)
                return f"#{len(tensors) - 1}"
            return repr(value)

        forms = {}
        if msg["mask"] is not None:
            forms["mask"] = put(msg["mask"])
        if isinstance(fn, MaskedDistribution):
            forms["own mask"] = put(fn._mask)
        scale = msg["scale"]
        for frame in msg["cond_indep_stack"]:
            if frame.vectorized and frame.full_size and frame.size < frame.full_size:
                scale = scale * (frame.size / frame.full_size)  # the plate of the guide scales by itself
        if isinstance(scale, Tensor) or abs(scale - 1) > 1e-9:
            forms["scale"] = put(scale)
        label = site.family.label
        if label == "root_normal":
            bound = getattr(elementary(joint_support(fn)), "upper_bound", None)
            if bound is not None:
                forms["upper"] = put(bound)
        elif not joint_support(fn).is_discrete and label != "von_mises":
            way = _transform(site.name, bijection(fn), put)
            if way:
                forms["way"] = way
        return Facts(forms, tuple(tensors))


class _Seen(BaseException):
    """All sites have been told of: what is left of the model is of no concern."""


def _transform(name: str, t: Any, put: Callable[[Any], str]) -> str:
    """A transform as an expression; "" for the identity."""
    if type(t) in BARE:
        return f"transforms.{BARE[type(t)]}"
    if isinstance(t, T.AffineTransform):
        event = f", event_dim={t.event_dim}" if t.event_dim else ""
        return f"transforms.AffineTransform({put(t.loc)}, {put(t.scale)}{event})"
    if isinstance(t, T.ComposeTransform):
        parts = [text for part in t.parts if (text := _transform(name, part, put))]
        return f"transforms.ComposeTransform([{', '.join(parts)}])" if len(parts) > 1 else "".join(parts)
    if isinstance(t, T.IndependentTransform):
        base = _transform(name, t.base_transform, put)
        return f"transforms.IndependentTransform({base}, {t.reinterpreted_batch_ndims})" if base else ""
    raise PplVaeError(
        f"the way onto the support of site {name!r} takes a {type(t).__name__}, which the source of a derived guide "
        f"cannot hold. {BY_HAND}"
    )


def _require_tensors(batch: tuple[Any, ...], name: str) -> None:
    for i, value in enumerate(batch):
        if value is not None and not isinstance(value, Tensor):
            raise PplVaeError(
                f"argument {i} of the batch is a {type(value).__name__}, expected a tensor: the mask, scale or bound of "
                f"site {name!r} could not be recorded as a function of it. {BY_HAND}"
            )


def _traced(look: _Look, batch: tuple[Any, ...], needed: Sequence[str]) -> GraphModule:
    """A graph whose inputs are the batch, the latents and the parameters, and whose outputs are all tensors of facts."""
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
        functional = torch.func.functionalize(run)
        graph = make_fx(functional, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*flat)
    except Exception as error:
        raise PplVaeError(
            f"what the model does for the mask, scale or bound of {', '.join(map(repr, needed))} could not be recorded "
            f"({type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}). {BY_HAND}"
        ) from error
    names = [f"x{i or ''}" for i in places] + [f"latent {n!r}" for n in latents]
    names += [f"the parameter {n!r}" for n in parameters]
    for node, name in zip((n for n in graph.graph.nodes if n.op == "placeholder"), names, strict=True):
        node.meta["told"] = name
    return graph


def _output(graph: GraphModule) -> Node:
    return next(node for node in reversed(graph.graph.nodes) if node.op == "output")


def _function(graph: GraphModule, function: str, site: str, outputs: Sequence[Node], arguments: int) -> str:
    """Source of a function of the batch that returns some of the outputs."""
    kept, left = set[Node](), [n for n in outputs if isinstance(n, Node)]
    while left:
        node = left.pop()
        if node not in kept:
            kept.add(node)
            left.extend(node.all_input_nodes)
    constants = [f"x{i or ''}" for i in range(arguments)]
    lines, names = list[str](), dict[Node, str]()
    for node in graph.graph.nodes:
        if node not in kept:
            continue
        names[node] = node.name
        if node.op == "placeholder":
            names[node] = node.meta["told"]
            if names[node] not in constants:
                raise _refusal(site, names[node])
        elif node.op == "get_attr":
            lines.append(f"{node.name} = {_literal(_attribute(graph, str(node.target)), site, node)}")
        elif node.op == "call_function":
            if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
                raise _refusal(site, "chance")
            lines.append(f"{node.name} = {_call(node, names)}")
        else:
            raise _refusal(site, f"a {node.op}")
    returned = ", ".join(names[n] if isinstance(n, Node) else repr(n) for n in outputs)
    head = f"def {function}({', '.join(constants)}):\n"
    head += f"    # What the model has for {site!r}, as it was recorded.\n"
    return head + "".join(f"    {line}\n" for line in lines) + f"    return ({returned},)\n"


def _refusal(site: str, what: str) -> PplVaeError:
    return PplVaeError(
        f"the mask, scale or bound of site {site!r} depends on {what}, which the source of a derived guide cannot hold: "
        f"it knows the data alone. {BY_HAND}"
    )


def _attribute(graph: GraphModule, path: str) -> Any:
    value: Any = graph
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _literal(value: Any, site: str, node: Node) -> str:
    if isinstance(value, nn.Parameter) or (isinstance(value, Tensor) and value.requires_grad):
        raise _refusal(site, "the model's parameters")
    if not isinstance(value, Tensor) or value.numel() > MOST:
        raise PplVaeError(
            f"the mask, scale or bound of site {site!r} takes a constant of {getattr(value, 'numel', int)()} numbers, "
            f"expected at most {MOST} to write out. Pass it to the model with the batch."
        )
    return f"torch.tensor({value.tolist()!r}, dtype={value.dtype}, device=x.device)"


def _call(node: Node, names: dict[Node, str]) -> str:
    """A call of one operation, without what says where and how its result is stored."""
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


def _require_equal(text: str, function: str, batch: tuple[Any, ...], truth: Facts, site: str) -> None:
    scope: dict[str, Any] = {}
    exec("import operator\nimport torch\n" + text, scope)
    found = Facts(truth.forms, scope[function](*batch))
    if not truth.equals(found):
        raise PplVaeError(
            f"what was recorded for the mask, scale or bound of site {site!r} is not what the model has on "
            f"{len(data_tensors(batch)[0][1])} data. Write sizes as x.shape[0], without branches on values. {BY_HAND}"
        )
