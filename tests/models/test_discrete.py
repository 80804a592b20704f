"""Discrete codes learn: what they know of a datum grows from the start, whatever estimator draws them."""

from functools import partial

import pytest
import torch

import ppl_vae as pv
from ppl_vae import estimators as e
from ppl_vae.nn.mlp import MLP, start_at_scale

ESTIMATORS = {
    "by default": lambda: None,
    "concrete": lambda: {"z": e.Concrete()},
    "straight through": lambda: {"z": e.Concrete(straight_through=True)},
    "score function, average": lambda: {"z": e.ScoreFunction(e.DecayingAverage())},
    "score function, neural": lambda: {"z": e.ScoreFunction(e.Neural())},
}


def independent_pixels(data: pv.datasets.Dataset) -> float:
    """The trivial baseline: −log p(x) of validation data under the training means, nats per datum."""
    mean = (data.train.batch()[0].float().mean(0) * len(data.train) + 0.5) / (len(data.train) + 1)
    x = data.validation.batch()[0].float()
    return float(torch.distributions.Bernoulli(mean).log_prob(x).sum((1, 2, 3)).mean())


@pytest.mark.slow
@pytest.mark.parametrize("code", ["onehot", "bernoulli"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_code_beats_independent_pixels(name: str, code: str) -> None:
    """1,200 steps on digits; where the first logits and the first layer are not scaled, one-hot codes stay at it."""
    data = pv.datasets.load("digits", binarization="static")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = pv.models.Discrete(data.spec, code=code)
        vae = pv.VAE(model, pv.guides.DiscreteAmortized(data.spec, model), estimators=ESTIMATORS[name]())
        adam = partial(torch.optim.Adam, lr=1e-3)
        history = pv.fit(vae, data, optimizer=adam, steps=1200, batch_size=100, seed=0, progress=False)
    assert history.result["validation/elbo"] > independent_pixels(data) + 0.5


def test_a_layer_that_starts_at_scale() -> None:
    """Of 20,000 draws of ten one-hot codes of 16: outputs vary as much as those of 160 standard normal inputs."""
    torch.manual_seed(0)
    layer = MLP(160, 400, [])[0]
    start_at_scale(layer, 1 / 16)
    codes = torch.nn.functional.one_hot(torch.randint(16, (20_000, 10)), 16).float().flatten(1)
    with torch.no_grad():
        out = layer(codes)
    assert abs(float(out.var(0).mean()) / (1 / 3) - 1) < 0.1
    assert abs(float(out.mean())) < 0.02
