"""Densities by quadrature, draws by their exact moments, gradients by finite differences, the KL by quadrature."""

import math

import pytest
import torch
from scipy import integrate, stats

import ppl_vae as pv
from ppl_vae.core.closed_kl import closed_kl
from ppl_vae.distributions import PowerSpherical, UniformSphere
from ppl_vae.distributions.sphere import log_area


def direction(dim, dtype=torch.float64):
    loc = torch.arange(1.0, dim + 1, dtype=dtype)
    return loc / loc.norm()


def over_cosines(q, f):
    """∫ f(z) dz over the sphere for f of the cosine t alone: area(S^{d−2}) ∫ f(t) (1 − t²)^{(d−3)/2} dt."""
    dim = q.event_shape[0]
    side = direction(dim).roll(1)
    side = side - (side @ q.loc) * q.loc
    side = side / side.norm()

    def integrand(angle):  # t = cos(angle), in which nothing is singular at the ends
        z = math.cos(angle) * q.loc + math.sin(angle) * side
        return f(z) * math.sin(angle) ** (dim - 2)

    area = 2.0 if dim == 2 else math.exp(log_area(dim - 1))
    return area * integrate.quad(integrand, 0, math.pi, epsabs=1e-12, limit=200)[0]


@pytest.mark.parametrize("dim", [2, 3, 8])
@pytest.mark.parametrize("kappa", [0.0, 0.3, 5.0, 80.0])
def test_density_entropy_and_kl_are_those_of_quadrature(dim, kappa):
    q = PowerSpherical(direction(dim), torch.tensor(kappa, dtype=torch.float64))
    assert over_cosines(q, lambda z: q.log_prob(z).exp().item()) == pytest.approx(1, abs=1e-8)
    entropy = over_cosines(q, lambda z: (-q.log_prob(z).exp() * q.log_prob(z)).item())
    assert q.entropy().item() == pytest.approx(entropy, abs=1e-7)
    p = UniformSphere(dim, like=q.loc)
    assert closed_kl(q, p).item() == pytest.approx(log_area(dim) - entropy, abs=1e-7)
    mean = over_cosines(q, lambda z: (q.log_prob(z).exp() * (z @ q.loc)).item())
    assert (q.mean @ q.loc).item() == pytest.approx(mean, abs=1e-8)
    if kappa == 0:
        assert q.log_prob(direction(dim).flip(0)).item() == pytest.approx(p.log_prob(direction(dim)).item())


@pytest.mark.parametrize("dim", [2, 3, 8])
@pytest.mark.parametrize("kappa", [0.0, 2.0, 200.0])
def test_draws_have_its_law(dim, kappa):
    """20,000 draws; the cosine against its Beta by Kolmogorov and Smirnov at 10⁻⁴, moments in 5 standard errors."""
    torch.manual_seed(0)
    q = PowerSpherical(direction(dim), torch.tensor(kappa, dtype=torch.float64))
    z = q.sample((20_000,))
    assert q.support.check(z).all()
    beta = (dim - 1) / 2
    assert stats.kstest(((z @ q.loc + 1) / 2).numpy(), stats.beta(beta + kappa, beta).cdf).pvalue > 1e-4
    error = z.std(0) / math.sqrt(len(z))
    assert ((z.mean(0) - q.mean).abs() < 5 * error).all()
    spread = (z - q.mean).square()
    assert ((spread.mean(0) - q.variance).abs() < 5 * spread.std(0) / math.sqrt(len(z))).all()


def test_uniform_draws_have_its_moments():
    """20,000 draws, 5 standard errors."""
    torch.manual_seed(0)
    p = UniformSphere(4, (3,))
    z = p.sample((20_000,))
    assert z.shape == (20_000, 3, 4)
    assert p.support.check(z).all()
    assert ((z.mean(0) - p.mean).abs() < 5 * z.std(0) / math.sqrt(len(z))).all()
    torch.testing.assert_close(z.var(0), p.variance, rtol=0.05, atol=0)
    torch.testing.assert_close(p.log_prob(z), p.entropy().neg().expand(20_000, 3))


@pytest.mark.parametrize("dim", [2, 5])
def test_pathwise_gradients_are_those_of_the_exact_mean(dim):
    """∇ E[z] over 40,000 draws against autograd of its closed form, in 5 standard errors, for μ and κ."""
    torch.manual_seed(0)
    raw = direction(dim).requires_grad_()
    kappa = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    weight = torch.linspace(-1, 2, dim, dtype=torch.float64)
    n = 40_000

    def law(raws, kappas):
        return PowerSpherical(torch.nn.functional.normalize(raws, dim=-1), kappas)

    exact = torch.autograd.grad((law(raw, kappa).mean * weight).sum(), [raw, kappa])
    raws, kappas = raw.detach().expand(n, dim).clone().requires_grad_(), torch.full((n,), 3.0).double().requires_grad_()
    drawn = torch.autograd.grad((law(raws, kappas).rsample() * weight).sum(), [raws, kappas])
    for each, of_mean in zip(drawn, exact, strict=True):
        error = each.std(0) / math.sqrt(n)
        assert ((each.mean(0) - of_mean).abs() < 5 * error + 1e-12).all()


def test_gradients_of_density_and_kl_are_those_of_finite_differences():
    raw, kappa = torch.randn(3, 4, dtype=torch.float64), torch.rand(3, dtype=torch.float64) + 0.5
    z = UniformSphere(4, (3,), raw).sample()

    def value(raw, kappa):
        q = PowerSpherical(torch.nn.functional.normalize(raw, dim=-1), kappa)
        return q.log_prob(z), closed_kl(q, UniformSphere(4, like=raw))

    assert torch.autograd.gradcheck(value, (raw.requires_grad_(), kappa.requires_grad_()))


def test_concentrated_draws_in_floats_stay_finite():
    torch.manual_seed(0)
    loc = direction(16, torch.float32).requires_grad_()
    kappa = torch.tensor([1e-3, 1e3, 1e6], requires_grad=True)
    q = PowerSpherical(loc, kappa, validate_args=False)
    z = q.rsample((1000,))
    (z.sum() + q.log_prob(z).sum()).backward()
    assert loc.grad.isfinite().all()
    assert kappa.grad.isfinite().all()


@pytest.mark.parametrize(
    ("loc", "kappa", "words"),
    [
        ([1.0, 0.0], 1.0, "expected a tensor"),
        (torch.tensor([1.0]), torch.tensor(1.0), "d at least 2"),
        (torch.ones(3, 2) / 2**0.5, torch.ones(2), "expected .* and"),
        (torch.tensor([1, 0]), torch.tensor(1.0), "tensor of floats"),
    ],
)
def test_what_does_not_go_together_is_refused(loc, kappa, words):
    with pytest.raises(pv.errors.ArgumentError, match=words):
        PowerSpherical(loc, kappa)


def test_vectors_that_are_no_directions_are_refused():
    with pytest.raises(ValueError, match="loc"):
        PowerSpherical(torch.ones(3), torch.tensor(1.0), validate_args=True)
    with pytest.raises(pv.errors.ArgumentError, match="at least 2"):
        UniformSphere(1)
