"""The derived guide: any support, any plates, conditioning, and everything inherited from the model."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import ppl_vae as pv
from ppl_vae.datasets.spec import Spec
from ppl_vae.errors import PplVaeError
from ppl_vae.guides import Derived
from ppl_vae.guides.prototype import prototype

B = 6
PRIORS = {
    "Normal": lambda: dist.Normal(0.0, 1.0),
    "Normal, vector": lambda: dist.Normal(torch.zeros(3), 1.0).to_event(1),
    "Normal, matrix": lambda: dist.Normal(torch.zeros(3, 2), 1.0).to_event(2),
    "MultivariateNormal": lambda: dist.MultivariateNormal(torch.zeros(3), torch.eye(3)),
    "StudentT": lambda: dist.StudentT(3.0, 0.0, 1.0),
    "LogNormal": lambda: dist.LogNormal(0.0, 1.0),
    "Gamma": lambda: dist.Gamma(2.0, torch.ones(4)).to_event(1),
    "HalfCauchy": lambda: dist.HalfCauchy(1.0),
    "Beta": lambda: dist.Beta(2.0, 3.0),
    "Uniform": lambda: dist.Uniform(-2.0, 5.0),
    "Dirichlet": lambda: dist.Dirichlet(torch.ones(4)),
    "Dirichlet, several": lambda: dist.Dirichlet(torch.ones(2, 4)).to_event(1),
    "VonMises": lambda: dist.VonMises(0.0, 1.0),
    "LKJCholesky": lambda: dist.LKJCholesky(3, 1.0),
    "Bernoulli": lambda: dist.Bernoulli(0.3 * torch.ones(4)).to_event(1),
    "Categorical": lambda: dist.Categorical(torch.ones(5)),
    "Categorical, several": lambda: dist.Categorical(torch.ones(3, 5)).to_event(1),
    "OneHotCategorical": lambda: dist.OneHotCategorical(torch.ones(5)),
    "OneHotCategorical, several": lambda: dist.OneHotCategorical(torch.ones(3, 5)).to_event(1),
    "Binomial": lambda: dist.Binomial(4, 0.3),
    "Poisson": lambda: dist.Poisson(3.0),
    "MixtureSameFamily": lambda: dist.MixtureSameFamily(
        dist.Categorical(torch.ones(2)), dist.Normal(torch.zeros(2, 3), 1.0).to_event(1)
    ),
    "masked": lambda: dist.Normal(torch.zeros(3), 1.0).mask(torch.tensor(True)).to_event(1),
}


def run(model, guide, *batch, particles=None, depth=1):
    def both():
        q = poutine.trace(guide).get_trace(*batch)
        p = poutine.trace(poutine.replay(model, q)).get_trace(*batch)
        q.compute_log_prob()
        p.compute_log_prob()
        return p, q

    if not particles:
        return both()
    with pyro.plate("particles", particles, dim=-1 - depth):
        return both()


@pytest.mark.parametrize("particles", [None, 4])
@pytest.mark.parametrize("place", ["local", "global", "nested left", "nested right"])
@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS.keys())
def test_any_support_shape_and_place(prior, place, particles):
    """Each latent is drawn inside its support, at the shape it has in the model; the first conditions the second."""

    def model(x):
        data = pyro.plate("data", x.shape[0], dim=-2 if place == "nested right" else -1)
        if place == "global":
            pyro.sample("a", prior())
            pyro.sample("b", prior())
        elif place == "local":
            with data:
                pyro.sample("a", prior())
                pyro.sample("b", prior())
        else:
            other = pyro.plate("other", 3, dim=-1 if place == "nested right" else -2)
            with data, other:
                pyro.sample("a", prior())
                pyro.sample("b", prior())
        with data:
            loc = torch.zeros(x.shape[0], 1) if place == "nested right" else torch.zeros(x.shape[0])
            pyro.sample("x", dist.Normal(loc, 1.0), obs=x.reshape(loc.shape))

    x = torch.randn(B)
    guide = Derived(model, hidden=[8])
    # Event shapes differ inside and outside of a plate only by the plate's own axes.
    p, q = run(model, guide, x, particles=particles, depth=2)
    for name in "ab":
        mine, theirs = q.nodes[name], p.nodes[name]
        assert mine["fn"].event_shape == theirs["fn"].event_shape
        assert theirs["fn"].support.check(mine["value"]).all()
        assert mine["log_prob"].shape == theirs["log_prob"].shape
        assert mine["log_prob"].isfinite().all()
        assert theirs["log_prob"].isfinite().all()
        alone = prior()
        plates = {"local": (B,), "global": (), "nested left": (3, B), "nested right": (B, 3)}[place]
        expected = (*alone.expand([]).batch_shape, *plates, *alone.event_shape)
        assert mine["value"].shape[-len(expected) or mine["value"].ndim :] == expected
    torch.autograd.grad(sum(q.nodes[n]["log_prob"].sum() for n in "ab"), list(guide.parameters()), allow_unused=True)


def chain(x):
    with pyro.plate("data", x.shape[0]):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        b = pyro.sample("b", dist.Normal(a, 1.0))
        pyro.sample("x", dist.Normal(b, 1.0), obs=x)


@pytest.mark.parametrize("condition", [True, False])
def test_later_latents_see_earlier_ones(condition):
    guide = Derived(chain, hidden=[8], head_hidden=[8], condition=condition)
    _, q = run(chain, guide, torch.randn(B))
    a, b = q.nodes["a"], q.nodes["b"]
    if condition:
        (slope,) = torch.autograd.grad(b["fn"].mean.sum(), a["value"])
        assert (slope != 0).all()
    else:
        assert (
            not b["fn"].mean.requires_grad
            or not torch.autograd.grad(b["fn"].mean.sum(), a["value"], allow_unused=True)[0]
        )


def test_each_datum_has_its_own_posterior_at_any_batch_size():
    guide = Derived(chain, hidden=[8])
    guide(torch.randn(3))
    x = torch.randn(B)
    _, whole = run(chain, guide, x)
    for i in (0, B - 1):
        one = poutine.trace(guide).get_trace(x[i : i + 1])
        torch.testing.assert_close(one.nodes["a"]["fn"].loc[0], whole.nodes["a"]["fn"].loc[i])


def test_masks_and_scales_are_the_models_own():
    mask = torch.arange(B) < 4

    def model(x):
        with pyro.plate("data", x.shape[0]), poutine.mask(mask=mask), poutine.scale(scale=0.5):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    p, q = run(model, Derived(model), torch.randn(B))
    assert q.nodes["z"]["scale"] == p.nodes["z"]["scale"] == 0.5
    assert torch.equal(q.nodes["z"]["mask"], mask)
    assert (q.nodes["z"]["log_prob"][4:] == 0).all()


def test_the_decoder_is_not_run():
    calls = []

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            calls.append("decoder")
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    guide = Derived(model)
    guide(torch.randn(B))
    calls.clear()
    trace = poutine.trace(guide).get_trace(torch.randn(B))
    assert not calls
    assert "x" not in trace.nodes
    assert not pyro.poutine.runtime._PYRO_STACK
    with pyro.plate("free", 2) as _:  # the plates of the interrupted run have given back their axes
        assert pyro.sample("n", dist.Normal(0.0, 1.0)).shape == (2,)


def test_building_leaves_random_state_and_parameters_alone():
    def model(x):
        w = pyro.param("w", torch.tensor(2.0), constraint=dist.constraints.positive)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, w))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    x = torch.randn(B)
    state = torch.get_rng_state()
    prototype(model, (x,))
    assert torch.equal(state, torch.get_rng_state())
    pyro.clear_param_store()
    vae = pv.VAE(model, Derived(model))
    pv.prepare(vae, (x,))
    assert sum("w" in name.split(".") for name, _ in vae.named_parameters()) == 1
    bound = pv.objectives.ELBO()(vae, (x,), total=B)
    (-bound.surrogate).backward()
    assert all(p.grad is not None for p in vae.parameters())


def test_sites_that_the_model_sums_over_stay_out():
    def mixture(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample(
                "z",
                dist.Normal(0.0, 1.0),
            )
            k = pyro.sample("k", dist.Categorical(torch.ones(3)), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(z + k, 1.0), obs=x)

    trace = poutine.trace(Derived(mixture)).get_trace(torch.randn(B))
    assert "k" not in trace.nodes
    assert "z" in trace.nodes
    trace = poutine.trace(Derived(chain, hide=["b"])).get_trace(torch.randn(B))
    assert "b" not in trace.nodes


def test_units_of_the_prior():
    """A prior far from 0 and narrow is where the guide starts."""

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(1000.0, 0.01))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    p, q = run(model, Derived(model), torch.randn(64))
    kl = (q.nodes["z"]["log_prob"] - p.nodes["z"]["log_prob"]).mean()
    assert kl < 10  # in raw units it would be 1e10


def test_model_that_draws_its_own_minibatch():
    def model(x):
        with pyro.plate("data", x.shape[0], subsample_size=4) as index:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[index])

    x = torch.randn(B)
    guide = Derived(model, hidden=[8])
    p, q = run(model, guide, x)
    index = q.nodes["data"]["value"]
    assert torch.equal(index, p.nodes["data"]["value"])
    assert q.nodes["z"]["scale"] == B / 4
    h = guide.encoder(x)[index]
    torch.testing.assert_close(q.nodes["z"]["fn"].loc, guide.heads["z"](h, q.nodes["z"]["fn"]).loc)


def test_exact_posterior_of_a_conjugate_model():
    """z ~ N(0, 1), x ~ N(z, 1): the posterior N(x/2, 1/√2) is in the family, and is found."""

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    x = torch.randn(256) * math.sqrt(2)
    guide = Derived(model, hidden=[], head_hidden=[])
    vae = pv.VAE(model, guide)
    objective = pv.objectives.ELBO(kl="analytic", num_particles=8)
    pv.prepare(vae, (x,))
    optimizer = torch.optim.Adam(vae.parameters(), lr=0.03)
    for _ in range(300):
        optimizer.zero_grad()
        (-objective(vae, (x,), total=256).surrogate).backward()
        optimizer.step()
    q = poutine.trace(guide).get_trace(x).nodes["z"]["fn"]
    torch.testing.assert_close(q.loc, x / 2, atol=0.1, rtol=0)
    torch.testing.assert_close(q.scale, torch.full((256,), math.sqrt(0.5)), atol=0.1, rtol=0)


def test_built_from_a_spec_it_needs_no_data():
    spec = Spec((1, 8, 8), "binary", mean=torch.full((1, 8, 8), 0.4))
    model = pv.models.Hierarchical(spec)
    guide = Derived(model, spec)
    other = Derived(model, spec)
    other.load_state_dict(guide.state_dict())
    x = torch.rand(B, 1, 8, 8).round()
    torch.manual_seed(0)
    first = poutine.trace(guide).get_trace(x).nodes["z2"]["value"]
    torch.manual_seed(0)
    torch.testing.assert_close(poutine.trace(other).get_trace(x).nodes["z2"]["value"], first)
    assert not any(name.startswith("model") for name, _ in guide.named_parameters())


def test_a_standard_vae_gets_what_its_amortized_guide_would_be():
    spec = Spec((1, 8, 8), "binary")
    guide = Derived(pv.models.VAE(spec, latent_dim=3), spec, hidden=[16], head_hidden=[])
    assert not list(guide.parameters())  # before it has seen data
    trace = poutine.trace(guide).get_trace(torch.zeros(2, 1, 8, 8))
    assert sorted(tuple(p.shape) for p in guide.parameters()) == [(6,), (6, 16), (16,), (16, 64)]
    assert isinstance(trace.nodes["z"]["fn"].base_dist, dist.Normal)  # with a closed form of the KL


def test_an_encoder_of_ones_own():
    class Mean(torch.nn.Module):
        def forward(self, x, y=None):
            return x.mean(-1, keepdim=True)

    def model(x, y=None):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z.unsqueeze(-1), 1.0).expand([x.shape[0], 3]).to_event(1), obs=x)

    guide = Derived(model, encoder=Mean())
    x = torch.randn(B, 3)
    guide(x, torch.zeros(B))
    guide(x)
    guide = Derived(model)
    guide(x, torch.zeros(B))
    with pytest.raises(PplVaeError, match=r"argument 1 is a tensor.*encoder="):
        guide(x, None)


# Refusals, each with what to do.


def test_weights_before_networks_are_refused():
    guide = Derived(chain)
    guide(torch.zeros(B))
    with pytest.raises(PplVaeError, match=r"pv\.prepare\(vae, batch\)"):
        Derived(chain).load_state_dict(guide.state_dict())


def test_a_new_latent_is_refused():
    def model(x, steps):
        with pyro.plate("data", x.shape[0]):
            for t in range(steps):
                pyro.sample(f"z{t}", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    guide = Derived(model)
    guide(torch.ones(B), 2)
    with pytest.raises(PplVaeError, match=r"'y'.*one fixed set"):
        Derived.forward(guide_with(guide, lambda x, steps: pyro.sample("y", dist.Normal(0.0, 1.0))), torch.ones(B), 2)


def guide_with(guide, model):
    """The guide over another model than the one from which it was built."""
    object.__setattr__(guide, "model", model)
    return guide


def test_another_plate_size_is_refused():
    def model(x, steps):
        with pyro.plate("data", x.shape[0], dim=-2), pyro.plate("time", steps, dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x.unsqueeze(-1).expand(-1, steps))

    guide = Derived(model)
    guide(torch.zeros(B), 3)
    with pytest.raises(PplVaeError, match=r"'time' around 'z' has size 4, but 3.*Pad"):
        guide(torch.zeros(B), 4)


def test_a_latent_that_changes_its_size_is_refused():
    def model(x, size):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(size), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

    guide = Derived(model)
    guide(torch.zeros(B), 3)
    with pytest.raises(PplVaeError, match=r"'z' has event shape \(4,\), but \(3,\).*mask"):
        guide(torch.zeros(B), 4)


def test_plates_of_equal_size_are_told_apart():
    def model(x):
        with pyro.plate("other", B, dim=-2), pyro.plate("data", x.shape[0], dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("obs", x.shape[0]):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    guide = Derived(model)
    guide(torch.zeros(B))
    assert guide.prototype.data_plate == "data"


def test_a_latent_per_datum_needs_a_plate():
    def model(x):
        z = pyro.sample("z", dist.Normal(torch.zeros(x.shape[0]), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    with pytest.raises(PplVaeError, match=r"shape \(3,\), and \(6,\) on twice the data.*x\.shape\[0\]"):
        Derived(model)(torch.zeros(3))


def test_minibatches_out_of_sight_are_refused():
    everything = torch.randn(20)

    def model():
        with pyro.plate("data", 20, subsample_size=4) as index:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=everything[index])

    with pytest.raises(PplVaeError, match=r"draws 4 of 20.*argument of the model"):
        Derived(model)()


def test_a_plate_as_long_as_the_batch_by_accident_is_no_data_plate():
    def model(x):
        with pyro.plate("components", 5):
            w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("x", dist.Normal(w.mean(), 1.0), obs=x)

    guide = Derived(model)
    guide(torch.zeros(5))
    assert guide.prototype.data_plate is None
    guide(torch.zeros(3))


def test_sequential_data_are_refused():
    def model(x):
        for i in pyro.plate("data", x.shape[0]):
            pyro.sample(f"z{i}", dist.Normal(0.0, 1.0))

    with pytest.raises(PplVaeError, match="sequential"):
        Derived(model, data_plate="data")(torch.zeros(3))


def test_an_unknown_support_is_refused_by_name():
    class Odd(dist.Normal):
        support = dist.constraints.nonnegative_integer
        has_enumerate_support = False

    class Odder(Odd):
        support = (
            dist.constraints.integer_greater_than(3)
            if hasattr(dist.constraints, "integer_greater_than")
            else dist.constraints.positive_integer
        )

    def model(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("odd", Odder(0.0, 1.0))

    with pytest.raises(PplVaeError, match=r"'odd'.*Odder"):
        Derived(model)(torch.zeros(3))


MOVING = {
    "bounds per datum": lambda x: dist.Uniform(torch.zeros(len(x)), 1 + x),
    "a bound that is a latent": lambda x: dist.Uniform(torch.tensor(-1.0), pyro.sample("a", dist.Gamma(2.0, 1.0))),
    "a lower bound per datum": lambda x: dist.Pareto(1 + x, 3.0),
    "bounds per datum and element": lambda x: dist.Uniform(
        torch.zeros(len(x), 2), 1 + x[:, None] * torch.ones(2)
    ).to_event(1),
}


@pytest.mark.parametrize("name", MOVING)
def test_supports_that_move_with_data_or_latents(name):
    def model(x):
        with pyro.plate("data", x.shape[0]):
            u = pyro.sample("u", MOVING[name](x))
            pyro.sample("x", dist.Normal(u if u.dim() < 2 else u.sum(-1), 1.0), obs=x)

    guide = Derived(model, hidden=[8])
    for size in (6, 3):  # built from the first, used on another
        x = torch.rand(size)
        drawn = pyro.poutine.trace(guide).get_trace(x)
        theirs = pyro.poutine.trace(pyro.poutine.replay(model, trace=drawn)).get_trace(x)
        assert theirs.nodes["u"]["fn"].support.check(drawn.nodes["u"]["value"]).all()
        assert drawn.nodes["u"]["value"].shape[0] == size
    assert torch.isfinite(pv.objectives.ELBO(2)(pv.VAE(model, guide), torch.rand(6)).value)


def test_a_point_of_the_model_is_drawn_as_it_is():
    """The evidence of a model with a point in it is that of the model without, and the point's own density.

    x ~ N(0, 5); 2,000 particles, 5 standard errors.
    """

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            y = pyro.sample("y", dist.Delta(2 * z, log_density=0.5))
            pyro.sample("x", dist.Normal(y, 1.0), obs=x)

    x = torch.randn(B)
    vae = pv.VAE(model, Derived(model, hidden=[4]))
    pv.prepare(vae, (x,))
    assert pv.check(vae, x).clean
    summary = pv.evaluate(vae, x, num_particles=2000, seed=0).summary
    exact = float(dist.Normal(0.0, math.sqrt(5)).log_prob(x).mean()) + 0.5
    assert abs(-summary["nll"] - exact) < 5 * summary["nll_se"] + 0.01
    assert summary["elbo"] < exact


def test_a_prior_without_draws_is_refused():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("flat", dist.ImproperUniform(dist.constraints.real, (), ()))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(PplVaeError, match=r"'flat'.*ImproperUniform.*proper prior"):
        Derived(model)(torch.randn(B))


def test_numbers_of_trials_that_depend_on_a_latent_are_counts():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            n = pyro.sample("n", dist.Poisson(1.0)) if x.ndim == 1 else x[:, 0]
            k = pyro.sample("k", dist.Binomial(n + 1, torch.tensor(0.5)))
            pyro.sample("x", dist.Normal(k, 1.0), obs=x if x.ndim == 1 else x[:, 1])

    for seed in range(5):  # in some of these all numbers of trials are equal in one run
        torch.manual_seed(seed)
        guide = Derived(model, hidden=[4])
        guide(torch.randn(2))
        assert guide.heads["k"].family.label == "root_normal"
    # By data, which are alike at first:
    guide = Derived(model, hidden=[4])
    guide(torch.ones(3, 2))
    assert guide.heads["k"].family.label == "categorical"
    with pytest.raises(PplVaeError, match="'k' counts up to 3 now, and counted up to 2"):
        guide(torch.tensor([[2.0, 1.0]]))
