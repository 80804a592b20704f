"""Concrete: a discrete draw relaxed to a continuous one, or straightened back."""

from typing import TYPE_CHECKING, Any, ClassVar, final

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppl_vae.distributions.relaxed import relaxable
from ppl_vae.errors import ArgumentError
from ppl_vae.estimators.base import Estimator
from ppl_vae.schedules import Schedule, as_schedule

if TYPE_CHECKING:
    from ppl_vae.core.axes import Axes


@final
class Concrete(Estimator, nn.Module):
    r"""Draw a relaxed one-hot (or binary) value, and differentiate through it (Gumbel-softmax).

    $$z = \mathrm{softmax}\big((\log \pi + g) / \tau\big), \qquad g_c \sim \mathrm{Gumbel}(0, 1)$$

    The relaxed value goes into the model; log p and log q of the site are continued linearly, Σ_c z_c log π_c. The
    gradient is **biased** for the discrete site's expectation; the bias falls, and the variance grows, as τ → 0. With
    `straight_through` the value is the discrete one-hot draw, and only its gradient is the relaxed one's: the value of
    the bound is then right, its gradient still biased.

    Args:
        temperature: τ > 0, a number or a schedule.
        straight_through: Whether the model sees the discrete value.

    References:
        Maddison, Mnih and Teh (2017), The Concrete Distribution: A Continuous Relaxation of Discrete Random Variables,
            https://arxiv.org/abs/1611.00712
        Jang, Gu and Poole (2017), Categorical Reparameterization with Gumbel-Softmax, https://arxiv.org/abs/1611.01144
    """

    relaxes: ClassVar[bool] = True

    def __init__(self, temperature: float | Schedule = 0.5, straight_through: bool = False) -> None:
        super().__init__()
        self.temperature = as_schedule(temperature, "temperature")
        if not float(self.temperature.value) > 0:
            raise ArgumentError(f"Got temperature={float(self.temperature.value)}, expected a number above 0.")
        self.straight_through = straight_through

    def draw(self, q: Any, axes: "Axes | None" = None) -> Tensor:
        """A relaxed draw that carries a gradient."""
        base = relaxable(q)
        tau = self.temperature.value
        tiny = torch.finfo(base.logits.dtype).tiny
        u = torch.rand_like(base.logits.expand(base.batch_shape + base.event_shape)).clamp(tiny, 1 - 1e-7)
        if isinstance(base, dist.OneHotCategorical):
            soft = F.softmax((base.logits - torch.log(-torch.log(u))) / tau, -1)
            hard = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft)
        else:
            soft = torch.sigmoid((base.logits + torch.log(u) - torch.log1p(-u)) / tau)
            hard = (soft > 0.5).to(soft)
        return hard + soft - soft.detach() if self.straight_through else soft

    def extra_repr(self) -> str:  # noqa: D102
        return f"straight_through={self.straight_through}"
