"""The evidence lower bound."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, final

from torch import Tensor

from ppl_vae.core.run import terms
from ppl_vae.core.site import Site
from ppl_vae.core.terms import Terms, analytic_kl
from ppl_vae.errors import CheckError, one_of
from ppl_vae.estimators import Concrete, Enumerate, Implicit, Pathwise, Quantize, ScoreFunction, StickingTheLanding
from ppl_vae.objectives.base import (
    Bound,
    Objective,
    alike,
    describe,
    metrics,
    positive,
    require,
    score_function_surrogate,
)
from ppl_vae.schedules import Schedule, as_schedule

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


@final
class ELBO(Objective):
    r"""The evidence lower bound, with particles, analytic KL, β and weights per site.

    $$\mathcal{L} = \mathbb{E}_{q(z \mid x)}\Big[\log p(x \mid z)
    - \beta \sum_s w_s \log\frac{q(z_s \mid \cdot)}{p(z_s \mid \cdot)}\Big]$$

    With β = 1 and all weights 1 it bounds log p(x), and it is log p(x) where q is the exact posterior. β and weights
    enter on both sides, log p and log q, and in the training bound only: the metric `elbo` has neither. Any mixture
    of estimators is legal; with score-function sites the surrogate per datum is
    f + Σₛ (log qₛ − stop(log qₛ))·stop(f − bₛ).

    Args:
        num_particles: Draws per datum.
        kl: `"auto"` takes KL(q ‖ p) in closed form for each site where that is known and legal, and samples the
            others, those with `StickingTheLanding` among them; `"analytic"` does so too, and refuses these; `"sampled"`
            samples all.
        beta: The weight of the KL: a number or a schedule.
        weights: Further weights wₛ by latent site, such as `{z: 0.5}`.

    Shapes:
        `objective(vae, batch, total=N)` gives 0-d tensors in nats per datum.

    Raises:
        CheckError: A weight names no latent site; sticking-the-landing is combined with `kl="analytic"`.

    References:
        Kingma and Welling (2014), Auto-Encoding Variational Bayes, https://arxiv.org/abs/1312.6114
        Higgins et al. (2017), beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework,
            https://openreview.net/forum?id=Sy2fzU9gl
    """

    legal = (Pathwise, Implicit, Concrete, StickingTheLanding, Quantize, ScoreFunction, Enumerate)
    mean_over_data = True

    def __init__(
        self,
        num_particles: int = 1,
        kl: Literal["auto", "analytic", "sampled"] = "auto",
        beta: float | Schedule = 1.0,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        one_of("kl", kl, ("auto", "analytic", "sampled"))
        self.num_particles = positive("num_particles", num_particles)
        self.kl = kl
        self.beta = as_schedule(beta, "beta")
        self.weights = dict(weights or {})

    def forward(self, vae: "VAE", batch: Any, total: float | None = None) -> Bound:
        """The bound on one batch of a data set of `total` data."""
        return self.of(terms(vae, batch, self.num_particles, total=total))

    def of(self, t: Terms, beta: Tensor | float | None = None) -> Bound:
        """The bound from terms that were made already, with another β if one is given."""
        require(t, self.legal, "ELBO", "it has no gradient of that form")
        self._check(t)
        t.require_elbo()
        local, joint = self._costs(t, beta)
        value = t.expect(local, joint).mean() / t.total
        surrogate = score_function_surrogate(t, local, joint)
        return Bound(value.detach(), surrogate, metrics(t))

    def _costs(self, t: Terms, beta: Tensor | float | None) -> tuple[Tensor, Tensor]:
        """The cost per datum, `(particles, data)`, and that of the global sites, `(particles,)`."""
        path = {n for n, e in t.estimators.items() if isinstance(e, StickingTheLanding)}
        closed = [n for n in t.latents if n not in path and alike(t, n)] if self.kl != "sampled" else []
        exact = {n: k for n in closed if (k := analytic_kl(t, n)) is not None}
        log_q = {n: t.guide_path[n] if n in path else site for n, site in t.guide.items()} if path else t.guide

        def weight(site: Site) -> Tensor | float:
            names = site.stands_for or (site.name,)
            if names[0] not in t.guide:
                return 1.0  # observed
            weights = {self.weights.get(name, 1.0) for name in names}
            if len(weights) > 1:
                raise CheckError(
                    f"The prior of {list(names)} is one sum over a site that only the model has, so that they take one "
                    f"weight together; got {sorted(weights)}."
                )
            return (self.beta.like(site.log_prob) if beta is None else beta) * weights.pop()

        def sampled(site: Site) -> bool:
            return site.name not in exact

        costs = []
        for is_local in (True, False):
            f = t.sum(t.model, is_local, where=sampled, weight=weight, weighted=True)
            f = f - t.sum(log_q, is_local, where=sampled, weight=weight, weighted=True)
            for name, kl in exact.items():
                if t.guide[name].is_local == is_local:
                    f = f - weight(t.guide[name]) * t.guide[name].weight * kl
            costs.append(f)
        return costs[0], costs[1]

    def _check(self, t: Terms) -> None:
        unknown = set(self.weights) - set(t.latents)
        if unknown:
            raise CheckError(f"weights names {sorted(unknown)}; the guide's latent sites are {sorted(t.latents)}.")
        if self.kl == "analytic":
            stl = [n for n, e in t.estimators.items() if isinstance(e, StickingTheLanding)]
            if stl:
                raise CheckError(
                    f"StickingTheLanding at {stl} removes the score from a sampled log q, and analytic KL has none. "
                    "Use ELBO(), which samples theirs, or Pathwise at these sites."
                )

    def extra_repr(self) -> str:  # noqa: D102
        return describe(
            num_particles=self.num_particles,
            kl=self.kl,
            **({"weights": self.weights} if self.weights else {}),
        )
