"""Mixed precision: products alone are coarse; log-densities, parameters, optimizer and evaluation are float32."""

import pyro
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ppl_vae as pv
from ppl_vae.compile.precision import PRODUCTS, Mixed
from tests.training import pairs


@pytest.mark.parametrize("function", sorted(PRODUCTS, key=lambda f: f.__name__), ids=lambda f: f.__name__)
def test_each_product_takes_and_gives_float32(function) -> None:
    """Against the product of rounded factors, which is exact to float32's own rounding of the sum, then rounded."""
    generator = torch.Generator().manual_seed(0)
    n = {"1d": 3, "2d": 4, "3d": 5}.get(function.__name__[-2:], 2)
    if function is F.scaled_dot_product_attention:
        given = [torch.randn(1, 2, 4, 8, generator=generator) for _ in range(3)]
    elif function is F.bilinear:
        given = [torch.randn(*s, generator=generator) for s in ((5, 3), (5, 4), (2, 3, 4))]
    else:
        given = [
            torch.randn(4, 4, *(5,) * (n - 2), generator=generator),
            torch.randn(4, 4, *(3,) * (n - 2), generator=generator),
        ]
    given = [x.requires_grad_() for x in given]
    with Mixed():
        found = function(*given)
    assert found.dtype == torch.float32
    exact = function(*given).detach()
    assert not torch.equal(found, exact)
    assert torch.allclose(found.detach(), exact, atol=0.03 * float(exact.abs().max()))  # three roundings to eight bits
    gradients = torch.autograd.grad(found.sum(), given)
    assert all(g.dtype == torch.float32 for g in gradients)


def test_all_else_is_computed_as_it_was() -> None:
    x = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    for function in (torch.matmul, torch.sum, torch.exp, lambda a, b=None: a * 3, F.softplus):
        arguments = (x, x) if function is torch.matmul else (x,)
        plain = function(*arguments)
        with Mixed():
            assert torch.equal(function(*arguments), plain)
    with Mixed():
        assert F.linear(x.double(), x.double()).dtype == torch.float64


def bound_of(vae: pv.VAE, precision: str) -> float:
    from ppl_vae.compile.precision import computing

    (x,) = pairs.dataset().train.batch()
    with torch.no_grad(), computing(precision):
        pyro.set_rng_seed(0)
        bound = pv.objectives.ELBO()(vae, x, total=50)
    assert bound.value.dtype == torch.float32
    t = pv.terms(vae, x)
    assert all(site.log_prob.dtype == torch.float32 for p in (t.guide, t.model) for site in p.values())
    return float(bound.value)


def test_the_bound_is_that_of_full_precision_to_three_digits() -> None:
    """Eight bits are 0.4 % of each factor, at random over the products: a tenth of that in a sum over 50 data."""
    vae = pairs.pair()
    full, mixed = (bound_of(vae, p) for p in ("full", "bf16-mixed"))
    assert full != mixed
    assert mixed == pytest.approx(full, rel=1e-3)


def trained(how: str, precision: str, **options):
    vae = pairs.pair(dropout=True)
    history = pairs.quiet(
        vae,
        pairs.dataset("dynamic"),
        epochs=3,
        batch_size=16,
        optimizer=pairs.adam,
        compile=how,
        precision=precision,
        **options,
    )
    return vae, history


@pytest.mark.slow
def test_trains_alike_by_program_and_graph_and_stays_near_full_precision() -> None:
    """Graphs record the roundings, and are held to the bits of the program; parameters and optimizer are float32."""
    vae, history = trained("off", "bf16-mixed")
    other, graph = trained("export", "bf16-mixed")
    assert graph.compiled == "export: asked for"
    assert pairs.identical(pairs.weights(vae), pairs.weights(other))
    assert all(p.dtype == torch.float32 for p in vae.parameters())
    _, full = trained("off", "full")
    assert history.rows[-1]["train/bound"] != full.rows[-1]["train/bound"]
    assert history.rows[-1]["validation/bound"] == pytest.approx(full.rows[-1]["validation/bound"], rel=1e-3)


def test_validation_is_computed_in_full() -> None:
    """Steps of length zero: the weights are those of before, and so are the figures, to the bit."""
    figures = []
    for precision in ("full", "bf16-mixed"):
        vae = pairs.pair()
        history = pairs.quiet(
            vae, pairs.dataset(), epochs=1, optimizer=lambda p: torch.optim.SGD(p, lr=0.0), precision=precision
        )
        figures.append(history.rows[-1])
    assert figures[0]["validation/bound"] == figures[1]["validation/bound"]
    assert figures[0]["train/bound"] != figures[1]["train/bound"]


@pytest.mark.slow
def test_a_resumed_run_has_the_bits_of_an_unbroken_one(tmp_path) -> None:
    options = {"precision": "bf16-mixed"}
    expected = pairs.pair(dropout=True)
    pairs.train(expected, tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        pairs.train(pairs.pair(dropout=True), tmp_path / "run", objective=pairs.interrupt_at(7), **options)
    resumed = pairs.pair(dropout=True, seed=1)
    pairs.train(resumed, tmp_path / "run", resume=True, **options)
    assert pairs.identical(pairs.weights(resumed), pairs.weights(expected))
    with pytest.raises(pv.errors.RunError, match="precision full to go on"):
        pairs.train(pairs.pair(dropout=True), tmp_path / "run", resume=True)


def test_layers_of_users_are_met() -> None:
    """By the functions that they call, whatever the class."""

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))

        def forward(self, x):
            return F.linear(x, self.weight)

    layer, x = Own(), torch.randn(2, 3, generator=torch.Generator().manual_seed(1))
    with Mixed():
        found = layer(x)
    assert found.dtype == torch.float32
    assert not torch.equal(found, layer(x))
