"""Reweighted wake-sleep: the guide learns from weighted draws, or from dreams."""

from typing import TYPE_CHECKING, Any, final

import torch
from pyro import poutine
from pyro.distributions import Unit
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from torch import Tensor

from ppl_vae.core.particles import Runner
from ppl_vae.core.plates import sample_sites
from ppl_vae.core.programs import exclusive
from ppl_vae.core.run import prepare
from ppl_vae.errors import ArgumentError, CheckError
from ppl_vae.estimators import Pathwise, ScoreFunction
from ppl_vae.objectives.base import Bound, Objective, describe, local_only, metrics, positive, require
from ppl_vae.objectives.multisample import log_mean_exp, nested_terms
from ppl_vae.schedules import Schedule, as_schedule

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


def dream_log_q(vae: "VAE", batch: tuple[Any, ...]) -> Tensor:
    """The mean over dreams (x', z') ~ p of log q(z' | x'), 0-d, nats per datum; dreams are constants."""
    latents, dream = ancestral_sample(vae, batch)
    guide = Runner(vae, dream, prepare(vae, dream, mode="draw")).guide(values=latents)[1]
    strangers = sorted(n for n, s in guide.items() if not s.is_observed and n not in latents)
    if strangers:
        raise _refusal(f"the guide also draws {strangers}, which the model does not")
    log_q = [site.term(True) for site in guide.values() if not site.is_observed]
    return torch.stack([term.squeeze(0) for term in log_q]).sum(0).mean()


def ancestral_sample(vae: "VAE", batch: tuple[Any, ...]) -> tuple[dict[str, Tensor], tuple[Any, ...]]:
    """One draw of the model with its observations released: its latent values, and the batch that it would be.

    The argument of the batch that an observed site takes is found by identity (the same memory, seen through any
    view of all of it), else by equal values.

    Raises:
        CheckError: A site takes no argument of the batch, or a part of one, or two take the same one.
    """
    with torch.no_grad(), poutine.uncondition():
        try:
            trace = poutine.trace(vae.run_model).get_trace(*batch)
        except NotImplementedError as error:
            raise _refusal(f"the model cannot be drawn from ({error})") from None
    latents: dict[str, Tensor] = {}
    dream, taken = list(batch), dict[int, str]()
    for name, site in sample_sites(trace).items():
        if isinstance(site["fn"], Unit):
            raise _refusal(f"the model weights its draws by pyro.factor({name!r}), so that they are not its own")
        infer = site["infer"]
        if not infer.get("was_observed"):
            latents[name] = site["value"]
        elif not infer.get("_deterministic"):
            index = _argument(infer["obs"], batch, name)
            if index in taken:
                raise _refusal(f"sites {taken[index]!r} and {name!r} take the same argument of the batch")
            taken[index] = name
            dream[index] = site["value"].reshape(batch[index].shape).to(batch[index].dtype)
    return latents, tuple(dream)


def _argument(obs: Tensor, batch: tuple[Any, ...], name: str) -> int:
    """The position of the argument that a site observes."""
    for i, x in enumerate(batch):
        if x is obs:
            return i
    whole = {i: x for i, x in enumerate(batch) if isinstance(x, Tensor) and x.numel() == obs.numel()}
    for i, x in whole.items():
        if x.untyped_storage().data_ptr() == obs.untyped_storage().data_ptr() and x.data_ptr() == obs.data_ptr():
            return i
    for i, x in whole.items():
        if torch.equal(x.flatten().to(obs.dtype), obs.flatten()):
            return i
    raise _refusal(
        f"site {name!r} observes a tensor of shape {tuple(obs.shape)} that is none of the batch's, whose shapes are "
        f"{[tuple(x.shape) for x in batch if isinstance(x, Tensor)]}"
    )


def _refusal(why: str) -> CheckError:
    return CheckError(
        f"Sleep cannot feed dreams back to the guide: {why}. Give each observed site one whole tensor of the batch "
        "(obs=x), or use WakeSleep(insomnia=1), which learns from the data alone."
    )


@final
class WakeSleep(Objective):
    r"""Reweighted wake-sleep: neither program is differentiated through a draw, so latents may be discrete.

    $$\Delta_\theta = \mathbb{E}\Big[\sum_k \tilde w_k \nabla_\theta \log p_\theta(x, z_k)\Big], \qquad
    \Delta_\phi = \lambda\, \mathbb{E}\Big[\sum_k \tilde w_k \nabla_\phi \log q_\phi(z_k \mid x)\Big]
    + (1 - \lambda)\, \mathbb{E}_{p(x', z')}\big[\nabla_\phi \log q_\phi(z' \mid x')\big]$$

    The model climbs the importance-weighted bound (wake-θ). The guide descends KL(p ‖ q), on the data with weights that
    are normalized and so biased at finite K (wake-φ), or on what the model dreams, without bias (sleep-φ).

    Args:
        num_particles: K, draws per datum.
        insomnia: λ, the share of wake-φ, in [0, 1]: a number or a schedule. Below 1, dreams are fed back to the guide,
            which needs every observed site to take one tensor of the batch.

    Shapes:
        `objective(vae, batch, total=N)` gives 0-d tensors in nats per datum; the value is the importance-weighted
        bound. The metric `sleep` is E log q(z' | x').

    Raises:
        CheckError: The pair has no data plate, or global latents; dreams cannot be fed back.

    References:
        Bornschein and Bengio (2015), Reweighted Wake-Sleep, https://arxiv.org/abs/1406.2751
        Le et al. (2019), Revisiting Reweighted Wake-Sleep for Models with Stochastic Control Flow,
            https://arxiv.org/abs/1805.10469
    """

    legal = (Pathwise, ScoreFunction)
    mean_over_data = True

    def __init__(self, num_particles: int = 5, insomnia: float | Schedule = 1.0) -> None:
        super().__init__()
        self.num_particles = positive("num_particles", num_particles)
        if isinstance(insomnia, (int, float)) and not 0 <= insomnia <= 1:
            raise ArgumentError(f"Got insomnia={insomnia}, expected the share of wake-φ, in [0, 1].")
        self.insomnia = as_schedule(insomnia, "insomnia")
        self.sleeps = not (self.insomnia.final == 1 and self.insomnia.until == 0)

    @exclusive
    def forward(self, vae: "VAE", batch: Any, total: float | None = None) -> Bound:
        """The bound on one batch of a data set of `total` data."""
        with _Constant():
            t = nested_terms(vae, batch, self.num_particles, total, mode="draw")
            named = vae.estimators.keys() - {"*"} if "*" not in vae.estimators else t.estimators.keys()
            why = "it differentiates through no draw, so that only the law of draws counts"
            require(t, self.legal, "WakeSleep", why, sites=named)  # what is enumerated by default is drawn here
            local_only(t, "WakeSleep", "weights the draws of each datum")
            dreams = dream_log_q(vae, t.batch) if self.sleeps else None
        log_p, log_q = t.sum(t.model, True, weighted=True), t.sum(t.guide, True, weighted=True)
        log_w = (log_p - log_q).detach()
        weights = torch.softmax(log_w, 0)
        scale, joint = t.data_scale / t.total, t.sum(t.model, False, weighted=True).mean() / t.total
        insomnia = self.insomnia.like(log_w)
        wake = scale * (weights * log_p).sum() + joint
        surrogate = wake + insomnia * scale * (weights * log_q).sum()
        found = metrics(t)
        if dreams is not None:
            surrogate = surrogate + (1 - insomnia) * dreams
            found["sleep"] = dreams.detach()
        value: Tensor = scale * log_mean_exp(log_w).sum() + joint
        return Bound(value.detach(), surrogate, found)

    def extra_repr(self) -> str:  # noqa: D102
        return describe(num_particles=self.num_particles)


class _Constant(Messenger):
    """Draws are constants for autograd."""

    def _pyro_post_sample(self, msg: Message[..., Any]) -> None:
        if not msg["is_observed"] and isinstance(msg["value"], Tensor):
            msg["value"] = msg["value"].detach()
