"""The type of objectives, and what all share: their result, metrics, the surrogate of score functions, legality."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from ppl_vae.core.series import summed
from ppl_vae.core.terms import Terms, analytic_kl, same, squeezed
from ppl_vae.display import Displayed, View
from ppl_vae.distributions.unwrap import elements
from ppl_vae.distributions.vector_quantized import StraightThrough
from ppl_vae.errors import ArgumentError, CheckError
from ppl_vae.frames import module_of
from ppl_vae.schedules import Schedule

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


@dataclass(frozen=True, repr=False)
class Bound(Displayed):
    """A bound on one batch, in nats per datum.

    Attributes:
        value: The bound, with the objective's own weights (β, user scale); no gradient.
        surrogate: Its gradient is an estimate of the bound's; its value may be anything. To be maximized.
        metrics: Detached 0-d tensors by name: `elbo` (unweighted), `log_likelihood`, `kl/SITE`.
    """

    value: Tensor
    surrogate: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)

    def _view(self) -> View:
        rows = [("bound", float(self.value)), *((name, float(value)) for name, value in self.metrics.items())]
        return View("Bound (nats per datum)", rows=rows)


class Objective(ABC, nn.Module):
    """A function from a batch to a bound, by which a pair is trained; its parameters and schedules are, too.

    Attributes:
        num_particles: The draws per datum that it takes.
        legal: The estimators that have a gradient under it.
        mean_over_data: Whether the bound of a batch is the mean over its data, so that a batch may be divided into
            shares (`trainer.accumulate`, `engine=distributed`): it is their mean, weighted by how many data each has.
            A term of all codes of a batch together, as in a total correlation, is not.
    """

    num_particles: int = 1
    legal: ClassVar[Sequence[type] | None] = None
    mean_over_data: bool = False

    @abstractmethod
    def forward(self, vae: "VAE", batch: Any, total: float | None = None) -> Bound:
        """The bound on one batch of a data set of `total` data, 0-d tensors in nats per datum."""


class Function(Objective):
    """A user's own function (or module) of a pair, a batch and N that returns a `Bound`."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.num_particles = int(getattr(function, "num_particles", 1))
        self.mean_over_data = bool(getattr(function, "mean_over_data", False))

    def forward(self, vae: "VAE", batch: Any, total: float | None = None) -> Bound:
        """The result of the function.

        Raises:
            ArgumentError: It is no `Bound`.
        """
        bound = self.function(vae, batch, total=total)
        if not isinstance(bound, Bound):
            raise ArgumentError(
                f"Got {type(bound).__name__} from the objective {_name(self.function)}, expected a Bound. "
                "Return pv.objectives.Bound(value=…, surrogate=…): the number to report, and what to differentiate."
            )
        return bound

    def extra_repr(self) -> str:  # noqa: D102
        return "" if isinstance(self.function, nn.Module) else _name(self.function)


def _name(function: Any) -> str:
    return repr(getattr(function, "__qualname__", type(function).__name__))


def as_objective(objective: Any) -> Objective:
    """An objective as it is, or a user's function as one.

    Raises:
        ArgumentError: a class, a name, an ELBO of Pyro's, or what takes other arguments.

    Example:
        >>> as_objective(lambda vae, batch, total=None: Bound(value=0.0, surrogate=0.0)).num_particles
        1
    """
    if isinstance(objective, Objective):
        return objective
    expected = "expected an objective of ppl_vae, or a function of (vae, batch, total) that returns a Bound"
    if isinstance(objective, type):
        raise ArgumentError(f"Got the class {objective.__name__}, {expected}. Make one of it: {objective.__name__}().")
    if module_of(type(objective)).split(".")[0] == "pyro":
        raise ArgumentError(
            f"Got {type(objective).__name__} of Pyro, {expected}. Use pv.objectives.ELBO(): it takes what Trace_ELBO, "
            "TraceMeanField_ELBO, TraceGraph_ELBO and TraceEnum_ELBO are for, by the estimators of the sites."
        )
    if not callable(objective):
        raise ArgumentError(f"Got {objective!r:.60}, {expected}, such as pv.objectives.ELBO().")
    try:
        inspect.signature(objective).bind(None, None, total=None)
    except TypeError as error:
        raise ArgumentError(f"Got {_name(objective)}, {expected}; called so, it fails: {error}.") from None
    except ValueError:  # a callable without a signature
        pass
    return Function(objective)


def advance(objective: "nn.Module", step: int, epoch: float) -> None:
    """Set every schedule inside an objective (or a pair) for a step and an epoch."""
    for module in objective.modules():
        if isinstance(module, Schedule):
            module.advance(step, epoch)


def metrics(t: Terms) -> dict[str, Tensor]:
    """The unweighted ELBO, log p(x | z) and KL per site (or series of sites), on the same draws, nats per datum.

    Beside them, for a site of vectors of a codebook, how many codes the batch takes, as the exponential of an entropy.
    """
    scale = t.data_scale / t.total
    result = {"elbo": t.elbo.detach(), "log_likelihood": t.log_likelihood.detach().sum(-1).mean() * scale}
    result |= {f"kl/{name}": per_datum(t, kl).detach() for name, kl in summed(t, t.kl()).items()}
    books = {name: q for name, site in t.guide.items() if isinstance(q := elements(site.fn), StraightThrough)}
    return result | {f"perplexity/{name}": q.codebook.perplexity(q.z) for name, q in books.items()}


def per_datum(t: Terms, kl: Tensor) -> Tensor:
    """A KL `(particles, data)`, or `(particles,)` of global sites, 0-d, in nats per datum."""
    return (kl.sum(-1) * t.data_scale if kl.dim() > 1 else kl).mean() / t.total


def charged_kl(t: Terms) -> dict[str, Tensor]:
    """The KL of each site as objectives charge it, 0-d, nats per datum: weighted, and analytic where that is legal."""
    result = {}
    for name, kl in t.kl().items():
        if name in t.latents and name in t.model:
            q, p = t.guide[name], t.model[name]
            exact = analytic_kl(t, name) if alike(t, name) else None
            expect = t.expect_local if q.is_local else t.expect_global
            kl = expect(q.term(True) - p.term(True) if exact is None else exact * q.weight)
            kl = squeezed(kl, 2) if q.is_local else kl
        result[name] = per_datum(t, kl)
    return result


def alike(t: Terms, name: str) -> bool:
    """True if both programs give a site the same `poutine.scale` and mask: else its log p − log q is no weighted KL."""
    q, p = t.guide[name], t.model.get(name)
    return p is None or (same(q.weight, p.weight) and same(q.mask, p.mask))


def require(t: Terms, legal: Sequence[type], objective: str, why: str, sites: Container[str] | None = None) -> None:
    """Refuse estimators that are biased or undefined under an objective, naming the legal ones."""
    for name, estimator in t.estimators.items():
        if type(estimator) not in legal and (sites is None or name in sites):
            raise CheckError(
                f"{type(estimator).__name__} at site {name!r} cannot be used with {objective}: {why}. "
                f"Legal here: {', '.join(e.__name__ for e in legal)}."
            )


def local_only(t: Terms, objective: str, what: str) -> None:
    """Refuse global latents where an objective is defined per datum."""
    shared = [name for name, site in t.latents.items() if not site.is_local]
    if shared:
        raise CheckError(
            f"{objective} {what}, and is not defined for global latents, here {shared}. "
            "Legal with global latents: ELBO, IWAE, MIWAE, PIWAE, CIWAE, Renyi."
        )


def positive(name: str, number: int) -> int:
    """A number of at least 1."""
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ArgumentError(f"Got {name}={number!r}, expected a whole number of at least 1.")
    return number


def describe(**settings: Any) -> str:
    """Settings as they are written in a call."""
    return ", ".join(f"{k}={v!r}" for k, v in settings.items())


def score_function_surrogate(t: Terms, local: Tensor, joint: Tensor) -> Tensor:
    r"""A surrogate whose gradient estimates that of E[g + (N/B) Σᵢ fᵢ] / N.

    Pathwise draws carry their gradient inside f and g. A score-function site adds (log q − stop(log q))·stop(cost − b),
    whose value is 0 and whose gradient is the score times the cost. The cost of a local site is its own datum's f: the
    other data's terms have expectation 0 against its score; that of a global site is g + (N/B) Σᵢ fᵢ. Where sites
    outside the plate depend on local latents, g is a part of the cost of these. What the guide enumerates below a site
    is summed out of its cost first; log q is that of the draw, masked or not.

    Args:
        t: The terms.
        local: f, `(enumerated…, particles, data)`.
        joint: g, `(enumerated…, particles)`.
    """
    cost = local.detach()
    total = (joint + t.data_scale * t.expect_local(local).sum(-1)).detach()
    if t.coupling:
        cost = cost + (joint.detach() / t.data_scale)[..., None]
    for name, estimator in t.estimators.items():
        if not estimator.score:
            continue
        site = t.guide[name]
        assert site.log_mass is not None
        score = site.log_mass - site.log_mass.detach()
        if site.is_local:
            advantage, loss = estimator.advantage(t.expect_local(cost, but=score).detach(), t, -2)
            local = local + score * advantage
        else:
            advantage, loss = estimator.advantage(t.expect_global(total, but=score).detach(), t, -1)
            joint = joint + score * advantage
        if loss is not None:
            joint = joint - loss
    return t.expect(local, joint).mean() / t.total
