"""Flows invert, and their log-determinant is the autograd Jacobian's."""

import pytest
import torch

from ppl_vae.nn.flows import MADE, Autoregressive, Coupling
from ppl_vae.nn.priors import FlowPrior, MixturePrior, StandardNormal

FLOWS = {
    "coupling": lambda context: Coupling(5, context),
    "coupling, flipped": lambda context: Coupling(5, context, flip=True),
    "autoregressive": lambda context: Autoregressive(5, context, hidden=[32, 32]),
    "autoregressive, reversed": lambda context: Autoregressive(5, context, hidden=[32], reverse=True),
}


def trained(flow):
    """A flow far from the identity at which it starts."""
    flow = flow.double()
    for p in flow.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return flow


@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize("name", FLOWS)
def test_inverse_and_log_determinant(name, context):
    flow = trained(FLOWS[name](context))
    given = [torch.randn(4, context, dtype=torch.float64)] if context else []
    x = torch.randn(4, 5, dtype=torch.float64)
    y = flow(*given)(x)
    torch.testing.assert_close(flow(*given).inv(y), x, rtol=1e-7, atol=1e-7)
    log_det = flow(*given).log_abs_det_jacobian(x, y)
    for i in range(4):
        one = flow(*(g[i] for g in given))
        jacobian = torch.autograd.functional.jacobian(one, x[i])
        torch.testing.assert_close(log_det[i], torch.linalg.slogdet(jacobian).logabsdet)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("hidden", [[], [16], [16, 32], [2]])
def test_autoregressive_property(hidden, reverse):
    """Outputs of component i do not depend on component i nor on those after it, and do on the context."""
    net = MADE(6, context=2, hidden=hidden, reverse=reverse)
    for p in net.parameters():
        torch.nn.init.uniform_(p, 0.5, 1.0)
    x, c = torch.randn(6), torch.randn(2)
    d_x, d_c = torch.autograd.functional.jacobian(lambda x, c: net(x, c).unflatten(-1, (2, 6)), (x, c))
    allowed = torch.ones(6, 6).triu(1) if reverse else torch.ones(6, 6).tril(-1)
    assert (d_x[:, allowed == 0] == 0).all()
    assert (d_c != 0).all()
    if len(hidden) and hidden[0] >= 16:
        assert (d_x[:, allowed == 1] != 0).all()


@pytest.mark.parametrize("prior", [StandardNormal(2), MixturePrior(2), FlowPrior(2)], ids=lambda p: type(p).__name__)
def test_priors_integrate_to_one(prior):
    prior = prior.double()
    if isinstance(prior, FlowPrior):
        for p in prior.parameters():
            p.data.add_(0.05 * torch.randn_like(p))
    axis = torch.linspace(-12, 12, 481, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        mass = prior().log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    torch.testing.assert_close(mass, torch.ones_like(mass), rtol=1e-4, atol=0)
    assert prior().expand([7]).sample().shape == (7, 2)
