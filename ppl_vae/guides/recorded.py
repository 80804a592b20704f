"""Masks, scales and supports that a derived guide takes from its model in each run, recorded as source."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

import pyro
import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental import _config
from torch.fx.experimental.proxy_tensor import make_fx

from ppl_vae.errors import PplVaeError
from ppl_vae.guides.derived import Derived
from ppl_vae.guides.facts import BY_HAND, Look, Truth
from ppl_vae.guides.inputs import data_tensors
from ppl_vae.guides.written import Function


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
            truths = [_refused_in_words(look, batch, needed)]
            with suppress(Exception):  # a model may be right for one particle at a time alone
                truths.append(look.at(batch, particles=2))
            indices = [i for i, _ in data_tensors(batch)]
            with suppress(Exception):  # a model may be for one number of data alone
                twice = tuple(torch.cat([t, t]) if i in indices else t for i, t in enumerate(batch))
                truths.append(look.at(twice))
            look.latents, look.parameters = truths[0].latents, truths[0].parameters
            graph = _traced(look, batch, needed)
        outputs: list[Any] = list(_output(graph).args[0])  # type: ignore[arg-type]
        for i, name in enumerate(needed):
            facts = truths[0].facts[name]
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


def _refused_in_words(look: Look, batch: tuple[Any, ...], needed: Sequence[str]) -> Truth:
    try:
        return look.at(batch)
    except PplVaeError:
        raise
    except Exception as error:
        raise PplVaeError(
            f"the model does not run by itself on this batch ({type(error).__name__}: {error}), as it must for the "
            f"mask, scale or bound of {', '.join(map(repr, needed))} to be recorded. {BY_HAND}"
        ) from error


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
