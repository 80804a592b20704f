"""The two halves of a trained pair as `torch.export` programs, which run without Pyro and without this package."""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from ppl_vae.compile.substitute import Original, attempt, verify
from ppl_vae.compile.verify import CaptureError
from ppl_vae.core.batch import take
from ppl_vae.core.plates import run_pair, sample_sites
from ppl_vae.distributions.codes import OneCode
from ppl_vae.distributions.columns import Columns
from ppl_vae.distributions.elementwise import Elementwise
from ppl_vae.distributions.unwrap import innermost
from ppl_vae.distributions.vector_quantized import StraightThrough
from ppl_vae.errors import CheckError

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from ppl_vae.core.pair import VAE

Parameters = dict[str, dict[str, Tensor]]
Certain = (OneCode, StraightThrough)
"""Distributions of one value, which is what they say."""

SIZES = (5, 3, 1, 8)
"""Data in the batch that is captured, and in those it is verified on."""


class Encoder(nn.Module):
    r"""A batch to the parameters of $q(z \mid x)$, by site: `{"z": {"loc": …, "scale": …}}`.

    A latent that depends on another is given at that one's mean (its mode where it has no mean).
    """

    def __init__(self, vae: "VAE") -> None:
        super().__init__()
        self.vae = _half(vae, without="model")

    def forward(self, *batch: Tensor) -> Parameters:
        """Batch as for the model."""
        with _Still():
            trace = poutine.trace(self.vae.run_guide).get_trace(*batch)
        return {name: parameters(name, site["fn"]) for name, site in _drawn(trace).items()}


class Decoder(nn.Module):
    r"""Latents by site to the parameters of $p(x \mid z)$, by observed site: `{"x": {"logits": …}}`.

    Args:
        vae: the pair.
        x: any data, for their shape `(data, *shape)` and dtype.
        data: gives the number of data from the latents.
    """

    like: Tensor

    def __init__(self, vae: "VAE", x: Tensor, data: Callable[[Mapping[str, Tensor]], int]) -> None:
        super().__init__()
        self.vae = _half(vae, without="guide")
        self.data = data
        self.register_buffer("like", x[:1].clone(), persistent=False)

    def forward(self, latents: dict[str, Tensor], *conditions: Tensor) -> Parameters:
        """Latents `(data, *event)` by site; what a batch holds beside x."""
        return {name: parameters(name, fn) for name, fn in self.distributions(latents, *conditions).items()}

    def distributions(self, latents: dict[str, Tensor], *conditions: Tensor) -> dict[str, Any]:
        r"""$p(x \mid z)$ by observed site."""
        x = self.like.expand(self.data(latents), *self.like.shape[1:])
        program = poutine.condition(poutine.uncondition(self.vae.run_model), data=latents)
        with _Still():
            trace = poutine.trace(program).get_trace(x, *conditions)
        return {n: site["fn"] for n, site in sample_sites(trace).items() if site["infer"].get("was_observed")}


def _half(vae: "VAE", without: str) -> "VAE":
    """The pair without one program, whose weights then stay out of the file."""
    half = copy.copy(vae)
    half._modules = {**vae._modules, without: nn.Identity()}
    return half


class _Still(Messenger):
    """Draws nothing: a site without a value gets its distribution's mean, or its mode."""

    def _pyro_sample(self, msg: Any) -> None:
        if msg["value"] is None and not pyro.poutine.util.site_is_subsample(msg):
            fn = msg["fn"]
            observed = msg["infer"].get("was_observed")  # its value reaches nothing that is given
            msg["value"] = torch.zeros(fn.shape()) if observed else _middle(msg["name"], fn).expand(fn.shape())
            msg["done"] = True


def _middle(name: str, fn: Any) -> Tensor:
    base = innermost(fn)
    if isinstance(base, Certain):
        return base.mean
    for kind in ("mean", "mode") if base.support is None or not base.support.is_discrete else ("mode",):
        try:
            value = getattr(fn, kind)
        except (NotImplementedError, AttributeError):
            continue
        return value
    raise CheckError(
        f"site {name!r} has the distribution {type(base).__name__}, without parameters of its own that could be given "
        "in place of draws, so that this pair cannot be exported; use vae.guide and vae.model in Python."
    )


def parameters(name: str, fn: Any) -> dict[str, Tensor]:
    """The parameters of a distribution, as it was made: loc and scale, logits, concentration; of columns by their kind.

    Of a code, on which all mass is, its value.

    Raises:
        CheckError: if it has none, as a flow.

    Example:
        >>> import pyro.distributions as dist
        >>> sorted(parameters("z", dist.Normal(torch.zeros(3), 1.0).to_event(1)))
        ['loc', 'scale']
    """
    base = innermost(fn)
    if isinstance(base, Certain):
        return {"value": base.mean}
    if isinstance(base, Elementwise):
        return dict(zip(base.names, base.parameters, strict=True))
    if isinstance(base, Columns):
        parts = base.named_parts.items()
        return {f"{part}.{key}": value for part, fn in parts for key, value in parameters(name, fn).items()}
    keys = [key for key in base.arg_constraints if key in vars(base) or _is_property(base, key)]
    if "logits" in keys:
        keys = [key for key in keys if key != "probs"]  # either is worked out from the other
    own = {key: getattr(base, key) for key in keys}
    if not own:
        raise CheckError(
            f"site {name!r} has the distribution {type(base).__name__}, which has no parameters that a program could "
            "give, so that this pair cannot be exported; normal, Bernoulli, gamma and their like can."
        )
    return {key: torch.as_tensor(value) for key, value in own.items() if key != "log_density"}


def _is_property(fn: Any, key: str) -> bool:
    """True if a distribution gives a parameter of its base as its own (a lazy one is another form of what it holds)."""
    return isinstance(inspect.getattr_static(type(fn), key, None), property)


def _drawn(trace: Any) -> dict[str, Any]:
    return {n: s for n, s in sample_sites(trace).items() if not s["is_observed"]}


def export(vae: "VAE", batch: tuple[Any, ...]) -> "dict[str, ExportedProgram]":
    """Capture `encoder` and `decoder`, for batches of any size, and verify them against the pair.

    Args:
        vae: the pair, in evaluation mode for the weights as they stand.
        batch: some data, at least 8.

    Returns:
        `encoder`: `program.module()(*batch)` gives parameters by latent site; `decoder`:
        `program.module()(latents, *batch[1:])` gives parameters by observed site.

    Raises:
        CheckError: if the pair cannot be captured, or the capture gives anything else than the pair.
    """
    with _quiet(), torch.no_grad():
        inputs = trials(vae, batch)
        batches, latents = inputs["encoder"], [given[0] for given in inputs["decoder"]]
        axes = {n: _moving(latents[0][n].shape, latents[1][n].shape, SIZES[0], SIZES[1]) for n in latents[0]}
        local = next((n for n, axis in axes.items() if axis is not None), None)
        if local is None:
            raise CheckError("no latent of this pair has an axis of data, so that it has no decoder of a datum.")
        axis = axes[local] or 0
        decoder, *others = (
            Decoder(vae, batch[0][first:], lambda z: z[local].shape[axis])
            for first in range(min(max(SIZES), len(batch[0])))
        )
        _refuse_data(decoder, others, latents[0], batches[0][1:])
        size = torch.export.Dim("data", min=1)
        shapes = [{0: size} for _ in batch]
        named = {n: {} if a is None else {a: size} for n, a in axes.items()}
        return {
            "encoder": _captured("encoder", Encoder(vae), batches, (tuple(shapes),)),
            "decoder": _captured(
                "decoder", decoder, inputs["decoder"], (named, tuple(shapes[1:])) if shapes[1:] else (named,)
            ),
        }


def trials(vae: "VAE", batch: tuple[Any, ...]) -> dict[str, list[tuple[Any, ...]]]:
    """Inputs of the two halves, of `SIZES` data each, to verify them on; latents are draws."""
    with _quiet(), torch.no_grad():
        batches = [take(batch, torch.arange(size)) for size in SIZES]
        return {"encoder": batches, "decoder": [(_latents(vae, b), *b[1:]) for b in batches]}


def _refuse_data(decoder: Decoder, others: list[Decoder], latents: dict[str, Tensor], given: tuple[Any, ...]) -> None:
    """Refuse a decoder that depends on the data which it is to give: it would hold for those that it was made from."""
    own = decoder(latents, *given)
    for other in others:
        for site, values in other(latents, *given).items():
            for key, value in values.items():
                if not torch.equal(value, own[site][key]):
                    raise CheckError(
                        f"the {key} of {site!r} depend on the data themselves, such as the sum of their counts, so "
                        "that this pair has no decoder of latents alone. Give it as a field of the data (model=counts: "
                        "model.exposure=NAME)."
                    )


def _captured(name: str, module: nn.Module, inputs: list[tuple[Any, ...]], shapes: Any) -> "ExportedProgram":
    """The program of a half, verified on batches of other sizes; what it depends on beside its inputs shows there."""

    def told(run: Callable[..., Parameters]) -> Callable[[tuple[Any, ...]], dict[str, Tensor]]:
        return lambda given: {
            f"{key} of {site!r}": v for site, values in run(*given).items() for key, v in values.items()
        }

    original = Original(told(module), least=0.1)
    for given in inputs:
        module(*given)  # first: what cannot be given at all says so itself
    try:
        program = attempt(
            "captured", lambda: torch.export.export(module, inputs[0], dynamic_shapes=shapes, strict=False)
        )
    except CaptureError as error:
        if isinstance(error.__cause__, CheckError):
            raise error.__cause__ from None
        raise CheckError(
            f"the {name} of this pair cannot be captured by torch.export for batches of any size ({error}). "
            "Branches on values and len(x) in a plate forbid it; x.shape[0] does not."
        ) from error
    try:
        verify(original, told(program.module()), inputs, "captured")
    except CaptureError as error:
        raise CheckError(
            f"the {name} of this pair is captured by torch.export, but does not give what the pair itself gives "
            f"({error}): it depends on more than its inputs."
        ) from error
    return program


def _latents(vae: "VAE", batch: tuple[Any, ...]) -> dict[str, Tensor]:
    """Latents of the model, drawn from the guide where it has them, so that they are inside the support.

    What follows from others, as the vectors of codes do, is left to the model.
    """
    drawn = _drawn(run_pair(vae, batch)[1]).items()
    return {name: site["value"] for name, site in drawn if not isinstance(innermost(site["fn"]), dist.Delta)}


def _moving(first: torch.Size, second: torch.Size, one: int, other: int) -> int | None:
    """The axis of data: where two batches differ."""
    return next((i for i, sizes in enumerate(zip(first, second, strict=True)) if sizes == (one, other)), None)


@contextmanager
def _quiet() -> Iterator[None]:
    """No checks of values, which a capture cannot make."""
    with pyro.validation_enabled(False):
        yield
