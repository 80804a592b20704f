"""The loop on the page is `fit`: the same bits of weights, the same validation bound."""

import re

import pytest
import torch

import ppl_vae as pv
from ppl_vae import rng
from tests.training.pairs import adam, dataset, identical, pair, quiet, weights


def loop(vae, data, objective, optimizer, *, epochs, size, seed):
    """As docs/training.md has it."""
    total, validation = len(data.train), []
    pv.prepare(vae, data.train[:size].batch())
    rng.seed_all(rng.derive(seed, 1), vae.device)
    for epoch in range(epochs):
        vae.train()
        order = torch.Generator().manual_seed(rng.derive(seed, 2, epoch))
        for batch in data.train.batches(size, shuffle=True, generator=order):
            bound = objective(vae, batch, total=total)
            optimizer.zero_grad()
            (-bound.surrogate).backward()
            optimizer.step()
        vae.eval()
        with torch.no_grad(), rng.forked(vae.device, seed=0):
            parts = [
                (float(objective(vae, batch, total=total).value), len(batch[0]))
                for batch in data.validation.batches(size)
            ]
        validation.append(sum(value * n for value, n in parts) / len(data.validation))
    return validation


@pytest.mark.parametrize("compile_", ["off", "export"])
@pytest.mark.parametrize("objective", [pv.objectives.ELBO(), pv.objectives.IWAE(3)], ids=["elbo", "iwae"])
@pytest.mark.parametrize("norm", [False, True], ids=["plain", "norm and dropout"])
def test_the_loop_is_fit_to_the_bit(compile_, objective, norm):
    vae, other = pair(norm=norm, dropout=norm), pair(norm=norm, dropout=norm)
    options = {"optimizer": adam, "epochs": 4, "batch_size": 16, "seed": 3, "keep": "last", "compile": compile_}
    history = quiet(other, dataset("dynamic"), objective, **options)
    optimizer = torch.optim.Adam(vae.parameters(), lr=0.01, fused=True)
    found = loop(vae, dataset("dynamic"), objective, optimizer, epochs=4, size=16, seed=3)
    assert identical(weights(vae), weights(other))
    assert found == pytest.approx(history["validation/bound"], rel=1e-6)  # means are summed in another order


def test_the_page_has_this_loop(repository):
    page = (repository / "docs" / "training.md").read_text(encoding="utf-8")
    for line in (
        "bound = objective(vae, batch, total=total)",
        "(-bound.surrogate).backward()",
        "rng.derive(seed, 2, epoch)",
    ):
        assert line in page
    block = next(b for b in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "surrogate" in b)
    assert len(block.splitlines()) <= 40
