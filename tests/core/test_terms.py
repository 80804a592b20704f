"""Terms: shapes, scales, weights, replays; against closed forms."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

import ppl_vae as pv
from ppl_vae.core.terms import analytic_kl
from ppl_vae.errors import CheckError
from tests.oracles import linear_gaussian

X = torch.tensor([0.3, -1.2, 2.2, 0.8])


def model(x):
    with pyro.plate("data", x.shape[0]):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def guide(x):
    with pyro.plate("data", x.shape[0]):
        pyro.sample("z", dist.Normal(x / 2, 0.7))


def hierarchical(x):
    w = pyro.sample("w", dist.Normal(0.0, 2.0).expand([3]).to_event(1))
    with pyro.plate("rows", x.shape[0]):
        z = pyro.sample("z", dist.Normal(w.sum(-1, keepdim=True), 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def hierarchical_guide(x):
    pyro.sample("w", dist.Normal(0.1, 0.5).expand([3]).to_event(1))
    with pyro.plate("rows", x.shape[0]):
        pyro.sample("z", dist.Normal(x / 2, 0.7))


def test_exact_posterior_makes_every_weight_the_evidence():
    oracle = linear_gaussian()
    vae = pv.VAE(*oracle.pair())
    t = pv.terms(vae, oracle.x, particles=5)
    assert t.log_weights.shape == (5, len(oracle.x))
    assert torch.allclose(t.log_weights, oracle.log_evidence().expand(5, -1), atol=1e-9)


@pytest.mark.parametrize("strategy", ["plate", "tile", "loop"])
def test_shapes_under_every_strategy(strategy):
    t = pv.terms(pv.VAE(model, guide), X, particles=3, strategy=strategy)
    assert t.guide["z"].value.shape == t.guide["z"].log_prob.shape == (3, 4)
    assert t.model["x"].value.shape == (3, 4)
    expected = dist.Normal(X / 2, 0.7).log_prob(t.guide["z"].value)
    assert torch.allclose(t.guide["z"].log_prob, expected)
    assert t.guide["z"].value.unique().numel() == 12


def test_global_and_local_sites():
    t = pv.terms(pv.VAE(hierarchical, hierarchical_guide), X, particles=6, total=40)
    assert t.guide["w"].value.shape == (6, 3)
    assert t.guide["w"].log_prob.shape == (6,)
    assert t.global_log_weights.shape == (6,)
    assert t.log_weights.shape == (6, 4)
    assert (t.data_scale, t.total, t.batch_size) == (10, 40, 4)
    assert t.model["z"].plate_scale == 10
    assert t.model["w"].plate_scale == 1
    by_hand = (t.global_log_weights + 10 * t.log_weights.sum(-1)).mean() / 40
    assert torch.allclose(t.elbo, by_hand)


@pytest.mark.parametrize("strategy", ["plate", "loop"])
def test_shared_global_draws(strategy):
    vae = pv.VAE(hierarchical, hierarchical_guide)
    t = pv.terms(vae, X, particles=4, shared_global=True, strategy=strategy)
    assert torch.equal(t.guide["w"].value, t.guide["w"].value[:1].expand(4, -1))
    assert t.guide["z"].value.unique().numel() == 16


def test_tiling_is_passed_over_where_global_latents_need_draws_of_their_own():
    class Columns(nn.Module):  # counts axes from the left, so an outer plate fails
        def forward(self, x):
            w = pyro.sample("w", dist.Normal(0.0, 1.0))
            with pyro.plate("data", x.shape[0]):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(w + torch.stack([z[:, 0], z[:, 1]]).sum(0), 1.0), obs=x)

    def columns_guide(x):
        pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    vae = pv.VAE(Columns(), columns_guide)
    pv.terms(vae, X, particles=3)
    prepared = pv.prepare(vae, X, 3)
    assert prepared.strategy == "loop"
    assert "global latent" in prepared.reasons["tile"]


def test_user_scale_is_a_weight_and_not_a_term():
    with_scale = pv.VAE(poutine.scale(model, 0.25), poutine.scale(guide, 0.25))
    plain = pv.VAE(model, guide)
    torch.manual_seed(0)
    a = pv.terms(with_scale, X, particles=3)
    torch.manual_seed(0)
    b = pv.terms(plain, X, particles=3)
    assert a.model["z"].weight == 0.25
    assert a.model["z"].plate_scale == 1
    assert torch.equal(a.elbo, b.elbo)
    torch.manual_seed(0)
    bound = pv.objectives.ELBO(3, kl="sampled")(with_scale, X)
    assert torch.allclose(bound.value, 0.25 * b.elbo)
    assert torch.allclose(bound.metrics["elbo"], b.elbo)


def test_a_plate_that_subsamples_itself_is_never_rescaled():
    def subsampled(x):
        with pyro.plate("data", x.shape[0], subsample_size=2) as index:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[index])

    def subsampled_guide(x):
        with pyro.plate("data", x.shape[0], subsample_size=2) as index:
            pyro.sample("z", dist.Normal(x[index] / 2, 0.7))

    t = pv.terms(pv.VAE(subsampled, subsampled_guide), X, particles=3, total=4)
    assert (t.data_scale, t.total, t.batch_size) == (2, 4, 2)
    assert t.model["z"].plate_scale == 2
    assert t.model["z"].weight == 1


def test_an_inner_plate_that_subsamples_scales_its_terms():
    def rows(y):
        with pyro.plate("data", y.shape[0], dim=-2):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0))
            with pyro.plate("columns", 10, subsample=torch.tensor([1, 3, 4]), dim=-1):
                pyro.sample("y", dist.Normal(z, 1.0), obs=y)

    def rows_guide(y):
        with pyro.plate("data", y.shape[0], dim=-2):
            pyro.sample("z", dist.Normal(torch.zeros(1), 1.0))

    y = torch.randn(5, 3)
    t = pv.terms(pv.VAE(rows, rows_guide), y)
    plain = dist.Normal(t.guide["z"].value[0][:, None], 1.0).log_prob(y).sum(-1)
    assert torch.allclose(t.model["y"].log_prob[0], plain)
    assert torch.allclose(t.model["y"].term()[0], plain * 10 / 3)


def test_analytic_kl_only_where_the_parents_come_first():
    def two(x):
        with pyro.plate("data", x.shape[0]):
            top = pyro.sample("top", dist.Normal(0.0, 1.0))
            z = pyro.sample("z", dist.Normal(top, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def bottom_up(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x / 2, 0.7))
            pyro.sample("top", dist.Normal(z / 2, 0.7))

    def top_down(x):
        with pyro.plate("data", x.shape[0]):
            top = pyro.sample("top", dist.Normal(x / 3, 0.7))
            pyro.sample("z", dist.Normal(top, 0.7))

    t = pv.terms(pv.VAE(two, bottom_up), X)
    assert analytic_kl(t, "z") is None
    assert analytic_kl(t, "top") is not None
    t = pv.terms(pv.VAE(two, top_down), X)
    assert analytic_kl(t, "z") is not None


def test_cut_runs_the_model_on_leaves():
    vae = pv.VAE(model, guide)
    t = pv.terms(vae, X, particles=3, cut=True)
    leaf = t.leaves["z"]
    assert leaf.is_leaf
    (gradient,) = torch.autograd.grad(t.model["x"].log_prob.sum(), leaf)
    assert torch.allclose(gradient, X - t.guide["z"].value)


def test_guide_path_is_the_same_density_with_constant_parameters():
    def own(x):
        loc = pyro.param("loc", torch.tensor(0.5))
        with pyro.plate("data", x.shape[0]):
            a = pyro.sample("a", dist.Normal(loc, 1.0))
            pyro.sample("b", dist.Normal(loc * a, 1.0))

    def both(x):
        with pyro.plate("data", x.shape[0]):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(a + b, 1.0), obs=x)

    vae = pv.VAE(both, own)
    t = pv.terms(vae, X, particles=2)
    for name, site in t.guide_path.items():
        assert torch.equal(site.log_prob, t.guide[name].log_prob)
    loc = vae.params.loc
    (through_z,) = torch.autograd.grad(t.guide_path["b"].log_prob.sum(), loc, retain_graph=True)
    a, b = t.guide["a"].value, t.guide["b"].value
    residual = b - loc.detach() * a  # d log N(b; loc·a, 1) along dz/dloc: da = 1, db = a + loc
    by_hand = (-residual * ((a + loc.detach()) - loc.detach())).sum()
    assert torch.allclose(through_z, by_hand, atol=1e-5)


def test_guide_path_with_dropout_repeats_the_same_masks():
    class Dropped(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(1, 16), nn.Dropout(0.5), nn.Linear(16, 1))

        def forward(self, x):
            with pyro.plate("data", x.shape[0]):
                pyro.sample("z", dist.Normal(self.net(x[..., None])[..., 0], 0.7))

    t = pv.terms(pv.VAE(model, Dropped()), X, particles=3)
    assert torch.equal(t.guide_path["z"].log_prob, t.guide["z"].log_prob)


def test_a_joint_observation_has_no_weights_per_datum():
    def joint(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0).expand(x.shape).to_event(1), obs=x)

    vae = pv.VAE(joint, lambda x: pyro.sample("z", dist.Normal(0.0, 1.0)))
    t = pv.terms(vae, X, particles=3)
    assert t.global_log_weights.shape == (3,)
    with pytest.raises(CheckError, match="one joint observation"):
        _ = t.log_weights
    with pytest.raises(CheckError, match="one joint observation"):
        pv.objectives.IWAE(3)(vae, X)


def test_mismatched_sites_name_the_near_one():
    def misspelt(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("zz", dist.Normal(0.0, 1.0))

    with pytest.raises(CheckError, match="did the guide's 'zz' mean it"):
        pv.terms(pv.VAE(model, misspelt), X)


def test_probing_leaves_generators_and_buffers():
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(1)

        def forward(self, x):
            with pyro.plate("data", x.shape[0]):
                pyro.sample("z", dist.Normal(self.norm(x[..., None])[..., 0], 0.7))

    vae = pv.VAE(model, Normed())
    before, state = vae.guide.norm.running_mean.clone(), torch.get_rng_state()
    pv.prepare(vae, X, 3)
    assert torch.equal(vae.guide.norm.running_mean, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_values_take_the_place_of_draws():
    z = torch.tensor([0.1, 0.2, 0.3, 0.4])
    t = pv.terms(pv.VAE(model, guide), X, values={"z": z})
    assert torch.equal(t.guide["z"].value[0], z)
    assert torch.allclose(t.log_likelihood[0], dist.Normal(z, 1.0).log_prob(X))


def test_a_mask_on_one_side_leaves_no_closed_form():
    mask = torch.tensor([True, False, True, False])

    def masked(x):
        with pyro.plate("data", x.shape[0]):
            with poutine.mask(mask=mask):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    t = pv.terms(pv.VAE(masked, guide), X, particles=3)
    assert analytic_kl(t, "z") is None
    assert torch.allclose(t.kl()["z"], t.guide["z"].log_prob - t.model["z"].log_prob)
