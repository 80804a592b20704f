"""Sequences of varying length: a deep Markov model."""

from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from ppl_vae.errors import DataError
from ppl_vae.likelihoods.known import masked
from ppl_vae.models.latent import likelihood_of
from ppl_vae.nn.features import DataSpec, arguments_of
from ppl_vae.nn.heads import positive
from ppl_vae.nn.mlp import MLP, Activation
from ppl_vae.nn.sequences import GatedTransition, steps


class StateSpace(nn.Module):
    r"""$p(x, z) = p(z_0)\, p(x_0 \mid z_0) \prod_{t=1}^{T-1} p(z_t \mid z_{t-1})\, p(x_t \mid z_t)$ up to length T.

    z_0 is normal, the transition a gated normal one, and x_t depends on z_t by a network, the same at each step. What
    is after the end of a sequence is masked: it is neither in a density nor in the posterior.

    Args:
        spec: the dataset's spec; x is a sequence `(time, features)`, with the field `lengths` where lengths vary.
        likelihood: p(x | parameters), of independent elements; None takes the one that fits the data.
        latent_dim: size of z_t.
        hidden: widths of the hidden layers of transition and emission.
        activation: after each of them.

    Raises:
        DataError: x is no sequence, or the likelihood has no element of its own for each step and feature.

    References:
        Krishnan, Shalit and Sontag (2017), Structured Inference Networks for Nonlinear State Space Models,
            https://arxiv.org/abs/1609.09869

    Example:
        >>> from ppl_vae.datasets.spec import Spec
        >>> model = StateSpace(Spec((6, 2), "real", time=6), latent_dim=3)
        >>> trace = poutine.trace(model).get_trace(torch.zeros(4, 6, 2), torch.tensor([6, 1, 3, 2]))
        >>> trace.nodes["z_5"]["value"].shape, trace.nodes["z_5"]["mask"].tolist()
        (torch.Size([4, 3]), [True, False, False, False])
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        latent_dim: int = 8,
        hidden: Sequence[int] = (32,),
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.data_fields = arguments_of(spec)
        if len(spec.shape) != 2:
            raise DataError(
                f"model=state_space is for sequences, (time, features), got x of shape {tuple(spec.shape)}. Give a "
                "list of arrays (steps, features), or an array with lengths (dataset.lengths=NAME)."
            )
        self.likelihood = likelihood_of(spec, likelihood)
        self.params = (self.likelihood.num_params, spec.shape[1])
        shape = (self.likelihood.num_params, *spec.shape)
        if tuple(getattr(self.likelihood, "params_shape", shape)) != shape:
            raise DataError(
                f"Got {type(self.likelihood).__name__} for model=state_space, expected a likelihood with as many "
                "parameters for each element of x."
            )
        self.latent_dim = latent_dim
        self.loc = nn.Parameter(torch.zeros(latent_dim))
        self.raw_scale = nn.Parameter(torch.full((latent_dim,), 0.5413))  # softplus of it is 1
        self.transition = GatedTransition(latent_dim, hidden, activation)
        self.emission = MLP(latent_dim, self.params[0] * self.params[1], hidden, activation)
        bias = getattr(self.likelihood, "initial_bias", lambda: None)()
        if bias is not None:  # (num_params, time, features), at the training means
            start = bias.mean(1).flatten()
            with torch.no_grad():
                self.emission[-1].bias.copy_(start)  # type: ignore[operator]

    def forward(self, x: Tensor, lengths: Tensor, *_: Any) -> None:
        """Data `(data, time, features)`, observed at site x, of `lengths` `(data,)`; latents at z_0, z_1 and so on."""
        present = steps(lengths, x.shape[1])
        with pyro.plate("data", x.shape[0]):
            z: list[Tensor] = []
            for t in range(x.shape[1]):
                prior = self.transition(z[-1]) if z else self.initial()
                with poutine.mask(mask=present[t]):
                    z.append(pyro.sample(f"z_{t}", prior))
            path = torch.stack(torch.broadcast_tensors(*z), -2)
            params = self.emission(path).unflatten(-1, self.params).movedim(-2, -3)
            is_there = torch.stack(present, -1).unsqueeze(-1)
            infer: Any = {"padding": True}
            pyro.sample("x", masked(self.likelihood(params), is_there), obs=x, infer=infer)

    def initial(self) -> Any:
        """p(z_0)."""
        return dist.Normal(self.loc, positive(self.raw_scale)).to_event(1)
