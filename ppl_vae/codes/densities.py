"""Densities fitted to vectors by maximum likelihood, each chosen by the log-likelihood of vectors that are held out."""

import copy
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ppl_vae.errors import ArgumentError
from ppl_vae.nn.codes import AutoregressiveCodes, CategoricalCodes
from ppl_vae.nn.priors import FlowPrior, FullMixturePrior
from ppl_vae.rng import derive, forked

COMPONENTS = (1, 2, 4, 8, 16, 32, 64)
"""Numbers of components that are tried, as long as one is better than the one before it."""

PATIENCE = 10
"""Passes through the vectors without a better held-out density after which a gradient fit ends."""

BATCH = 512
"""Vectors of a step of a gradient fit."""

RATE = 2e-3
"""Step size of a gradient fit, of Adam."""

FLOOR = 1e-6
"""Added to each variance that EM finds, as a part of that of all vectors: a component cannot shrink to a point."""


@dataclass(frozen=True)
class Fitted:
    """A density that was fitted.

    Attributes:
        module: called without arguments it gives the distribution, in evaluation mode.
        arguments: what its class is made from.
        held_out: mean log density of the held-out vectors, nats per vector.
        tried: the same of all that were tried, in their order.
    """

    module: nn.Module
    arguments: dict[str, Any]
    held_out: float
    tried: dict[str, float]


def mean_log_prob(module: nn.Module, z: Tensor) -> float:
    """Mean of log p(z) over vectors `(n, *event)`, in nats."""
    with torch.no_grad():
        parts = [module().log_prob(part).double().sum() for part in z.split(16 * BATCH)]
    return float(torch.stack(parts).sum() / len(z))


def fit_mixture(z: Tensor, held_out: Tensor, components: int | None, seed: int) -> Fitted:
    """Fit normals with full covariances by EM.

    Args:
        z: vectors `(n, dim)`.
        held_out: more of them.
        components: how many; None tries 1, 2, 4, … and takes the best on `held_out`.
        seed: of where EM begins.

    Raises:
        ArgumentError: for fewer vectors than components.
    """
    if components is not None and components > len(z):
        raise ArgumentError(f"Got components={components} for {len(z)} codes, expected at most as many.")
    tried: dict[str, float] = {}
    best: Fitted | None = None
    for number in (n for n in (COMPONENTS if components is None else (components,)) if n <= len(z)):
        module = _em(z, number, seed)
        tried[f"{number} components"] = value = mean_log_prob(module, held_out)
        if best is not None and not value > best.held_out:
            break
        best = Fitted(module, {"dim": z.shape[1], "components": number}, value, tried)
    assert best is not None
    return best


def _em(z: Tensor, components: int, seed: int) -> FullMixturePrior:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    mean, scale = _moments(z)
    white = ((z - mean) / scale).double().cpu().numpy()
    em = GaussianMixture(components, max_iter=200, reg_covar=FLOOR, random_state=derive(seed, components) % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what counts is the density of what is held out
        em.fit(white)
    with forked(torch.device("cpu")):
        module = FullMixturePrior(z.shape[1], components)
    tril = torch.linalg.cholesky(torch.from_numpy(em.covariances_)) * scale.double().cpu()[:, None]
    loc = torch.from_numpy(em.means_) * scale.double().cpu() + mean.double().cpu()
    module.set(torch.from_numpy(em.weights_), loc, tril)
    return module.to(z)


def _moments(z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each element; 1 for one that does not vary."""
    scale = z.std(0, correction=0)
    return z.mean(0), torch.where(scale > 0, scale, torch.ones_like(scale))


def fit_flow(z: Tensor, held_out: Tensor, epochs: int, seed: int) -> Fitted:
    """Fit a flow of coupling layers by gradient, from the means and deviations of the vectors; see `climb`."""
    with forked(torch.device("cpu"), seed=derive(seed, 1)):
        module = FlowPrior(z.shape[1], affine=True).to(z)
    mean, scale = _moments(z)
    assert module.loc is not None
    assert module.log_scale is not None
    with torch.no_grad():
        module.loc.copy_(mean)
        module.log_scale.copy_(scale.log())
    return climb(module, {"dim": z.shape[1], "affine": True}, z, held_out, epochs, seed)


def fit_categorical(z: Tensor, held_out: Tensor, levels: Sequence[int]) -> Fitted:
    """Fit independent elements to codes by their frequencies, half a count added to each value."""
    module = CategoricalCodes(levels).to(z)
    with torch.no_grad():
        module.logits.copy_(_log_counts(z, levels))
    value = mean_log_prob(module, held_out)
    return Fitted(module, {"levels": list(levels)}, value, {"frequencies": value})


def _log_counts(z: Tensor, levels: Sequence[int]) -> Tensor:
    counts = [torch.bincount(column, minlength=max(levels)) for column in z.long().T]
    return (torch.stack(counts).to(z) + 0.5).log()


def fit_autoregressive(
    z: Tensor, held_out: Tensor, levels: Sequence[int], epochs: int, seed: int, ways: Sequence[bool] = (True, False)
) -> Fitted:
    """Fit masked networks to codes by gradient, from independent elements on; see `climb`.

    Args:
        z: codes `(n, dim)`.
        held_out: more of them.
        levels: the number of values of each element.
        epochs: passes through z, at most.
        seed: of the networks and of the order of codes.
        ways: true for a network that sees values by their size, false for one that sees which they are; the better one
            is kept.
    """
    found = []
    for ordered in ways:
        with forked(torch.device("cpu"), seed=derive(seed, 1)):
            module = AutoregressiveCodes(levels, ordered=ordered).to(z)
        last: Any = module.net.layers[-1]
        with torch.no_grad():
            last.bias.copy_(_log_counts(z, levels).T.flatten())
        found.append(climb(module, {"levels": list(levels), "ordered": ordered}, z, held_out, epochs, seed))
    how = ["values by size" if ordered else "values by name" for ordered in ways]
    tried = {
        f"{words}, {name}": value for words, fit in zip(how, found, strict=True) for name, value in fit.tried.items()
    }
    return replace(max(found, key=lambda fit: fit.held_out), tried=tried)


def climb(module: nn.Module, arguments: dict[str, Any], z: Tensor, held_out: Tensor, epochs: int, seed: int) -> Fitted:
    """Maximize the mean log density of vectors by Adam; the weights that are best on `held_out` are kept.

    Args:
        module: called without arguments it gives a distribution; it is changed.
        arguments: what its class is made from.
        z: vectors `(n, *event)`.
        held_out: more of them.
        epochs: passes through z, at most.
        seed: of the order of vectors.
    """
    optimizer = torch.optim.Adam(module.parameters(), lr=RATE)
    best, kept = mean_log_prob(module, held_out), copy.deepcopy(module.state_dict())
    tried, since = {"0 epochs": best}, 0
    with torch.enable_grad():
        for epoch, order in enumerate(_orders(len(z), epochs, seed), 1):
            for rows in order.split(BATCH):
                loss = -module().log_prob(z[rows.to(z.device)]).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            value = mean_log_prob(module, held_out)
            since += 1
            if value > best or math.isnan(best):
                best, since, kept = value, 0, copy.deepcopy(module.state_dict())
                tried[f"{epoch} epochs"] = value
            if since >= PATIENCE:
                break
    module.load_state_dict(kept)
    return Fitted(module, arguments, best, tried)


def _orders(n: int, epochs: int, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(derive(seed, 2) % 2**63)
    for _ in range(epochs):
        yield torch.randperm(n, generator=generator)
