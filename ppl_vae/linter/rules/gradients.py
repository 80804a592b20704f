"""The objective on the pair: estimators it refuses, KL it cannot take in closed form, missing gradients."""

import inspect
from collections.abc import Iterator

import pyro
import torch
from torch.distributions import kl_divergence

from ppl_vae.core.plates import unchanged
from ppl_vae.errors import PplVaeError
from ppl_vae.frames import place_of
from ppl_vae.linter.report import Finding
from ppl_vae.linter.trace import PairTrace, kept_gradients


def find(trace: PairTrace) -> Iterator[Finding]:
    """Run the objective once."""
    yield from _pathwise_at_discrete(trace)
    yield from _mean_field(trace)
    try:
        grads = _gradients(trace)
    except PplVaeError as refusal:
        yield Finding(
            "objective",
            str(refusal),
            f"the objective {type(trace.objective).__name__}",
            "Its gradient would be biased or undefined.",
            "Choose one of the legal combinations that the message names.",
        )
        return
    except Exception as failure:  # whatever a user's program may raise with gradients on
        place = place_of(failure)
        yield Finding(
            "does not run",
            f"{type(failure).__name__}: {failure}",
            f"the objective {type(trace.objective).__name__}" + (f" ({place})" if place else ""),
            "Not a single step can be made.",
            "Read the message: it comes from torch or Pyro at this line.",
        )
        return
    yield from _missing(trace, grads)


def _gradients(trace: PairTrace) -> dict[str, bool]:
    """The trainable parameters, each with True if it takes part in the objective's gradient."""
    named = {n: p for n, p in trace.vae.named_parameters() if p.requires_grad}
    if not named:
        return {}
    with unchanged(trace.vae), kept_gradients(trace.vae), torch.enable_grad(), pyro.validation_enabled(False):
        bound = trace.objective(trace.vae, trace.batch)
        if not bound.surrogate.requires_grad:
            return dict.fromkeys(named, False)
        grads = torch.autograd.grad(bound.surrogate, list(named.values()), allow_unused=True)
    return {name: grad is not None for name, grad in zip(named, grads, strict=True)}


def _missing(trace: PairTrace, grads: dict[str, bool]) -> Iterator[Finding]:
    if not grads:
        yield Finding(
            "no parameters",
            "The pair has no trainable parameter.",
            "the pair",
            "There is nothing to train.",
            "Declare parameters by nn.Parameter, nn.Module or pyro.param; unfreeze them with requires_grad_(True).",
            "warning",
        )
        return
    left = [name for name, has in grads.items() if not has and not name.startswith("estimator_modules.")]
    if not left:
        return
    groups: dict[str, list[str]] = {}
    for name in left:
        groups.setdefault(name.rsplit(".", 1)[0] if not name.startswith("params.") else name, []).append(name)
    for group, names in groups.items():
        shown = _shown(trace, group)
        yield Finding(
            "no gradient",
            f"{len(names)} trainable {'parameter' if len(names) == 1 else 'parameters'} "
            f"({', '.join(n.rsplit('.', 1)[-1] for n in names)}) get no gradient from this batch.",
            shown,
            "They stay as they were initialized, silently.",
            "Use them in the program that they belong to, look for .detach(), .data, no_grad() or .item() on the way, "
            "or freeze them on purpose: requires_grad_(False).",
            "warning" if _optional(trace) else "error",
        )


def _shown(trace: PairTrace, name: str) -> str:
    if name.startswith("params."):
        plain = name.removeprefix("params.").replace("/", ".")
        for program in ("guide", "model"):
            place = trace.places.get((program, plain))
            if place:
                return f"pyro.param {plain!r} ({place})"
        return f"pyro.param {plain!r}"
    return f"parameters of {name}"


def _optional(trace: PairTrace) -> bool:
    """True if the pair takes other batches too, which may use what this one does not."""
    if len({key[0][0] for key in trace.vae.prepared}) > 1 or any(
        part is None or isinstance(part, (bool, str)) for part in trace.batch
    ):
        return True
    for program in (trace.vae.model, trace.vae.guide):
        call = getattr(program, "fn", program.forward)
        try:
            arguments = inspect.signature(call).parameters.values()
        except (TypeError, ValueError):
            continue
        if any(a.default is not a.empty for a in arguments):
            return True
    return False


def _pathwise_at_discrete(trace: PairTrace) -> Iterator[Finding]:
    from ppl_vae.estimators.implicit import has_implicit
    from ppl_vae.estimators.pathwise import Reparameterized

    if trace.prepared is None:
        return
    for name, estimator in trace.prepared.estimators.items():
        site = trace.run.latents.get(name)
        if site is None or not isinstance(estimator, Reparameterized):
            continue
        if not (getattr(site["fn"], "has_rsample", False) or has_implicit(site["fn"])):
            yield Finding(
                "discrete site without an estimator",
                f"{type(estimator).__name__} is asked for {type(site['fn']).__name__}, whose draws carry no gradient.",
                trace.at("guide", name),
                "A draw that is discrete cannot be differentiated.",
                "Use Enumerate (small supports), ScoreFunction with a baseline, or Concrete.",
            )


def _mean_field(trace: PairTrace) -> Iterator[Finding]:
    if getattr(trace.objective, "kl", None) != "analytic" or trace.prepared is None:
        return
    order = list(trace.run.guide)
    for name, q in trace.run.latents.items():
        p = trace.run.model.get(name)
        if p is None or p["is_observed"]:
            continue
        late = sorted(trace.prepared.plates.parents.get(name, frozenset()) - set(order[: order.index(name)]))
        try:
            with torch.no_grad():
                kl_divergence(q["fn"], p["fn"])
        except (NotImplementedError, RuntimeError):
            continue
        if late:
            yield Finding(
                "mean-field assumption",
                f"In the model {name!r} depends on {late}, which the guide draws later: its KL has no closed form.",
                trace.at("guide", name),
                "log p of the site depends on its own value through them; the KL is sampled here "
                "(TraceMeanField_ELBO would be silently wrong).",
                f"Nothing, or draw {late} before {name!r} in the guide.",
                "warning",
            )
