"""Expectations of a cost before the draw is known; subtracted, they lower the variance of the score function."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn

from ppl_vae.errors import ArgumentError, CheckError
from ppl_vae.estimators.base import Baseline, Prediction

if TYPE_CHECKING:
    from ppl_vae.core.terms import Terms


@final
class DecayingAverage(Baseline):
    r"""The decaying average of past costs, one number a site.

    $$b \leftarrow \gamma\, b + (1 - \gamma)\, \overline{f}$$

    The current cost enters after its use, so b does not depend on the draw. The first cost initializes it.

    Args:
        decay: γ, in [0, 1).

    Example:
        >>> b = DecayingAverage(0.9)
        >>> b(torch.tensor([2.0]), None)[0], b(torch.tensor([4.0]), None)[0]
        (tensor(0.), tensor(2.))
    """

    average: Tensor
    started: Tensor

    def __init__(self, decay: float = 0.9) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ArgumentError(f"Got decay={decay}, expected a number in [0, 1).")
        self.decay = decay
        self.register_buffer("average", torch.zeros(()))
        self.register_buffer("started", torch.zeros(()))

    def forward(self, cost: Tensor, t: Any, axis: int = -2) -> Prediction:
        """The average before this cost; in training mode the cost then enters it."""
        before = self.average.clone()
        if self.training:
            with torch.no_grad():
                decay = self.decay * self.started
                self.average.copy_(decay * self.average + (1 - decay) * cost.mean())
                self.started.fill_(1.0)
        return before, None


@final
class Neural(Baseline):
    """A network from the batch to an expected cost per datum, trained by squared error along with the pair.

    Args:
        network: From the network's input to `(data,)` or `(data, 1)`. Its parameters are the pair's: an optimizer over
            `vae.parameters()` trains them. By default a layer of `hidden` tanh units.
        hidden: The width of the default network.
        inputs: From the batch to the network's input, if that is not the first tensor, flattened.

    References:
        Mnih and Gregor (2014), Neural Variational Inference and Learning in Belief Networks,
            https://arxiv.org/abs/1402.0030
    """

    def __init__(
        self, network: nn.Module | None = None, hidden: int = 100, inputs: Callable[..., Tensor] | None = None
    ) -> None:
        super().__init__()
        if network is None:
            network = nn.Sequential(nn.LazyLinear(hidden), nn.Tanh(), nn.Linear(hidden, 1))
        self.network = network
        self.inputs = inputs

    def forward(self, cost: Tensor, t: "Terms", axis: int = -2) -> Prediction:
        """The prediction, a constant, and the squared error per datum by which it learns."""
        prediction = self.predict(t.batch)
        if axis == -1:  # a global site: the cost of the whole
            prediction = t.data_scale * prediction.sum()
            return prediction.detach(), (prediction - cost).square().mean() / t.total
        if len(prediction) != cost.shape[-1]:
            raise CheckError(
                f"Got {len(prediction)} predictions of the neural baseline, expected {cost.shape[-1]}, one for each "
                "datum that the plate over data draws. Leave out subsample_size, or use DecayingAverage or LeaveOneOut."
            )
        return prediction.detach(), t.data_scale * (prediction - cost).square().flatten(0, -2).mean(0).sum()

    def predict(self, batch: tuple[Any, ...]) -> Tensor:
        """The expected cost per datum, `(data,)`; the first call gives a lazy network its size."""
        x: Any = batch[0].reshape(batch[0].shape[0], -1) if self.inputs is None else self.inputs(*batch)
        weight = next((p for p in self.network.parameters() if not isinstance(p, nn.UninitializedParameter)), None)
        return self.network(x if weight is None else x.to(weight.dtype)).reshape(-1)


@final
class OtherDraws(Baseline):
    r"""The mean cost of the other draws: the other particles of the datum or, of one particle, the other data.

    $$b_{ki} = \frac{1}{K - 1} \sum_{j \ne k} f_{ji}, \qquad K = 1: \quad b_i = \frac{1}{B - 1} \sum_{j \ne i} f_j$$

    Neither depends on the draw, nothing is learnt or kept, and it is there for any number of particles; so it is what
    `ScoreFunction` takes by itself. One draw alone (a global site with one particle, a batch of one datum), and data
    whose costs share a term, have none.

    Example:
        >>> b, _ = OtherDraws()(torch.tensor([[1.0, 2.0, 6.0]]), None)
        >>> b
        tensor([[4.0000, 3.5000, 1.5000]])
    """

    def forward(self, cost: Tensor, t: Any, axis: int = -2) -> Prediction:
        """The mean of the others."""
        if cost.shape[axis] == 1:  # of one particle, the other data, unless each cost holds a term of all of them
            if axis == -1 or (t is not None and t.coupling):
                return 0.0, None
            axis = -1
        others = cost.shape[axis] - 1
        return ((cost.sum(axis, keepdim=True) - cost) / others if others else 0.0), None


@final
class LeaveOneOut(Baseline):
    r"""The mean cost of the other particles.

    $$b_k = \frac{1}{K - 1} \sum_{j \ne k} f_j$$

    Particles are independent, so bₖ does not depend on draw k. Nothing is to be learnt or tuned; it needs K ≥ 2.

    References:
        Kool, van Hoof and Welling (2019), Buy 4 REINFORCE Samples, Get a Baseline for Free!,
            https://openreview.net/forum?id=r1lgTGL5DE
        Mnih and Rezende (2016), Variational Inference for Monte Carlo Objectives, https://arxiv.org/abs/1602.06725
    """

    def forward(self, cost: Tensor, t: Any, axis: int = -2) -> Prediction:
        """The mean of the others."""
        particles = cost.shape[axis]
        self.check(particles)
        return (cost.sum(axis, keepdim=True) - cost) / (particles - 1), None

    @staticmethod
    def check(particles: int) -> None:
        """Refuse a single particle."""
        if particles < 2:
            raise ArgumentError(
                f"A leave-one-out baseline needs at least 2 particles, got {particles}. "
                "Use num_particles=2 or more, or DecayingAverage()."
            )
