"""`check`: everything the linter looks for, in one call."""

from typing import TYPE_CHECKING, Any

from ppl_vae import rng
from ppl_vae.core.data import take_batch
from ppl_vae.core.fields import check_values
from ppl_vae.core.plates import unchanged
from ppl_vae.core.programs import exclusive
from ppl_vae.distributions.unwrap import family
from ppl_vae.errors import CheckError
from ppl_vae.estimators.quantize import Quantize
from ppl_vae.frames import place_of
from ppl_vae.linter.report import Finding, Report
from ppl_vae.linter.rules import amortization, data_axis, parameters, plates, scales, sites, supports
from ppl_vae.linter.rules import gradients as training
from ppl_vae.linter.trace import PairTrace, trace
from ppl_vae.objectives import ELBO, as_objective

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


@exclusive
def check(vae: "VAE", batch: Any, objective: Any = None, *, total: float | None = None) -> Report:
    """Look for what is wrong with a pair before it is trained, and explain each finding with its fix.

    It looks at the sites, shapes, plates, supports, scales and masks of both programs, at how they follow the batch,
    and at the gradients that the objective gives. Random number generators, buffers, gradients and modes stay as
    they were.

    Args:
        vae: The pair.
        batch: A tensor, or a tuple of what the programs take: one batch as `fit` will pass it.
        objective: What the pair is to be trained by; the ELBO by default.
        total: N, the size of the data set, if it is known: a batch of all data may be guided row by row.

    Returns:
        What was found out: warnings, the data plate, each site's estimator and the particle strategy, with reasons.

    Raises:
        CheckError: The pair cannot be trained as it stands; the message lists every finding, `findings` holds them.

    Example:
        >>> import torch, pyro, ppl_vae as pv, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", x.shape[0]):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> def guide(x):
        ...     slope = pyro.param("slope", torch.tensor(0.5))
        ...     with pyro.plate("data", x.shape[0]):
        ...         pyro.sample("z", dist.Normal(slope * x, 1.0))
        >>> print(pv.check(pv.VAE(model, guide), torch.randn(5)))
        data plate: 'data'
        estimators:
          z  Pathwise: draws of Normal can be differentiated
        particles: plate
        no warnings
    """
    batch = take_batch(vae, batch)
    check_values(vae, batch)
    with unchanged(vae), rng.forked(vae.device, seed=0):  # one verdict, whatever the caller has drawn
        first = (
            list(parameters.find(vae))
            or list(data_axis.at_fault(vae, batch))
            or list(parameters.find(vae))  # those that the first run has made
        )
        if first:  # whatever else would be found follows from it
            raise CheckError(_message(first), first)
        seen = trace(vae, batch, ELBO() if objective is None else as_objective(objective), total)
        findings = _find(seen)
    errors = [f for f in findings if f.severity == "error"]
    warnings = tuple(f for f in findings if f.severity == "warning")
    if errors:
        raise CheckError(_message(findings), findings)
    known = seen.prepared
    assert known is not None
    told = {name: (type(e).__name__, _why(seen, name, e)) for name, e in known.estimators.items()}
    return Report(warnings, known.plates.data_plates, told, known.strategy, dict(known.reasons))


def _find(seen: PairTrace) -> list[Finding]:
    run = seen.run
    if run.failure is not None:
        place = place_of(run.failure)
        first = Finding(
            "does not run",
            f"{type(run.failure).__name__}: {run.failure}",
            f"the {run.failed}" + (f" ({place})" if place else ""),
            "Not a single step can be made.",
            "Read the message: it comes from torch or Pyro at this line, with batch arguments "
            f"{[_argument(part) for part in seen.batch]}.",
        )
        return [first, *(plates.between(seen) if run.failed == "model" else ())]
    findings = [f for part in (sites, plates, data_axis, supports, amortization, scales) for f in part.find(seen)]
    if seen.refusal is not None and not any(f.severity == "error" for f in findings):
        why = "Particles, minibatch scale and everything per datum hang on it."
        findings.append(Finding("refused", str(seen.refusal), "the pair", why, "As the message says."))
    if not any(f.severity == "error" for f in findings):
        findings += training.find(seen)
    else:  # gradients can still be looked at where the programs at least run together
        findings += [f for f in training.find(seen) if f.kind in ("no gradient", "mean-field assumption")]
    return findings


def _argument(part: Any) -> str:
    shape = getattr(part, "shape", None)
    return f"{type(part).__name__}{tuple(shape)}" if shape is not None else type(part).__name__


def _message(findings: list[Finding]) -> str:
    errors = sum(f.severity == "error" for f in findings)
    rest = len(findings) - errors
    head = f"The pair cannot be trained as it stands: {errors} {'error' if errors == 1 else 'errors'}"
    head += f", {rest} {'warning' if rest == 1 else 'warnings'}" if rest else ""
    return "\n".join([f"{head}.", *(str(f) for f in sorted(findings, key=lambda f: f.severity == "warning"))])


def _why(seen: PairTrace, name: str, estimator: Any) -> str:
    vae, site = seen.vae, seen.run.latents.get(name)
    if name in vae.estimators or "*" in vae.estimators:
        return "as the pair says"
    if site is None:
        return "as found when the pair was prepared"
    kind = family(site["fn"])
    if getattr(estimator, "enumerates", False):
        asked = site["infer"].get("enumerate")
        return "the program asks for it" if asked else f"{kind} has a small finite support, which is summed exactly"
    if isinstance(estimator, Quantize):
        return "the gradient goes straight through to what is quantized, and the codebook learns"
    if getattr(estimator, "score", False):
        return f"draws of {kind} cannot be differentiated, and its support is not small and finite; add a baseline"
    return f"draws of {kind} can be differentiated"
