"""Sums over discrete sites, against Pyro's TraceEnum_ELBO and against sums written out."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate

import ppl_vae as pv
from ppl_vae.errors import CheckError

PROBS = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
LOCS = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64)
X = torch.tensor([0.3, -1.2, 2.2, 0.8], dtype=torch.float64)
Y = torch.tensor([[0.1, -0.4, 1.9], [1.0, 0.2, -2.0]], dtype=torch.float64)


def one(value):
    return torch.tensor(value, dtype=torch.float64)


def chain_model(x):
    locs = pyro.param("locs", LOCS.clone())
    with pyro.plate("data", x.shape[0]):
        c = pyro.sample("c", dist.Categorical(PROBS))
        b = pyro.sample("b", dist.Bernoulli(torch.tensor([0.1, 0.6, 0.5], dtype=torch.float64)[c]))
        pyro.sample("x", dist.Normal(locs[c] + b, one(1.0)), obs=x)


def chain_guide(x):
    w = pyro.param("w", torch.tensor([0.5, -0.2, 0.9], dtype=torch.float64))
    with pyro.plate("data", x.shape[0]):
        c = pyro.sample("c", dist.Categorical(logits=w * x[:, None]))
        pyro.sample("b", dist.Bernoulli(logits=w[c]))


def empty_guide(x):
    pass


def words_model(y):
    with pyro.plate("data", y.shape[0], dim=-2):
        topic = pyro.sample("topic", dist.Categorical(PROBS))
        with pyro.plate("words", y.shape[1], dim=-1):
            word = pyro.sample("word", dist.Bernoulli(torch.tensor([0.2, 0.5, 0.7], dtype=torch.float64)[topic]))
            pyro.sample("y", dist.Normal(LOCS[topic] + word, one(1.0)), obs=y)


def words_guide(y):
    w = pyro.param("w", torch.tensor([0.5, -0.2, 0.9], dtype=torch.float64))
    with pyro.plate("data", y.shape[0], dim=-2):
        topic = pyro.sample("topic", dist.Categorical(logits=w * y.sum(-1, keepdim=True)[..., None]))
        with pyro.plate("words", y.shape[1], dim=-1):
            pyro.sample("word", dist.Bernoulli(logits=w[topic] * y))


def topic_guide(y):
    w = pyro.param("w", torch.tensor([0.5, -0.2, 0.9], dtype=torch.float64))
    with pyro.plate("data", y.shape[0], dim=-2):
        pyro.sample("topic", dist.Categorical(logits=w * y.sum(-1, keepdim=True)[..., None]))


def hmm(x):
    z = torch.tensor(0)
    for t in pyro.markov(range(x.shape[0])):
        z = pyro.sample(f"z{t}", dist.Categorical(torch.tensor([[0.9, 0.1], [0.3, 0.7]], dtype=torch.float64)[z]))
        pyro.sample(f"x{t}", dist.Normal(torch.tensor([-1.0, 1.0], dtype=torch.float64)[z], one(1.0)), obs=x[t])


CASES = {
    "guide chain": (chain_model, chain_guide, X, 1, len(X)),
    "model chain": (config_enumerate(chain_model), empty_guide, X, 1, len(X)),
    "guide, a plate within the data": (words_model, words_guide, Y, 2, len(Y)),
    "guide outside, model within": (config_enumerate(words_model), topic_guide, Y, 2, len(Y)),
    "model, a plate within the data": (config_enumerate(words_model), empty_guide, Y, 2, len(Y)),
    "markov": (config_enumerate(hmm), empty_guide, X, 0, len(X)),
}


@pytest.mark.parametrize("name", CASES)
def test_bound_and_gradient_equal_pyro(name):
    model, guide, data, depth, count = CASES[name]
    vae = pv.VAE(model, guide)
    bound = pv.objectives.ELBO()(vae, data)
    parameters = {n.removeprefix("params."): p for n, p in vae.named_parameters()}
    ours = torch.autograd.grad(bound.surrogate, list(parameters.values())) if parameters else ()
    with pyro.get_param_store().scope():
        for key, value in parameters.items():
            pyro.param(key, value.detach().clone())
        elbo = TraceEnum_ELBO(max_plate_nesting=depth)
        if parameters:
            loss = elbo.differentiable_loss(model, config_enumerate(guide), data)
            theirs = torch.autograd.grad(loss, [pyro.param(k).unconstrained() for k in parameters])
        else:
            loss, theirs = torch.tensor(elbo.loss(model, config_enumerate(guide), data), dtype=torch.float64), ()
    assert torch.allclose(bound.value, -loss / count)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, -b / count)


@pytest.mark.parametrize("strategy", ["plate", "tile", "loop"])
def test_particles_beside_enumeration(strategy):
    vae = pv.VAE(chain_model, chain_guide)
    alone = pv.terms(vae, X).elbo
    t = pv.terms(vae, X, particles=3, strategy=strategy)
    assert torch.allclose(t.elbo, alone)
    assert t.log_weights.shape == (3, len(X))
    log_p = [
        PROBS[c].log()
        + dist.Bernoulli(one((0.1, 0.6, 0.5)[c])).log_prob(one(float(b)))
        + dist.Normal(LOCS[c] + b, 1.0).log_prob(X)
        for c in range(3)
        for b in (0, 1)
    ]
    assert torch.allclose(t.log_weights, torch.stack(log_p).logsumexp(0).expand(3, -1))


def test_kl_and_likelihood_are_expectations_over_the_enumerated_sites():
    vae = pv.VAE(chain_model, chain_guide)
    t = pv.terms(vae, X)
    assert torch.allclose((t.log_likelihood - sum(t.kl().values())).mean(), t.elbo)


def test_estimators_may_enumerate_a_site_of_the_model_alone():
    marked = pv.VAE(config_enumerate(chain_model), empty_guide)
    named = pv.VAE(chain_model, empty_guide, estimators={n: pv.estimators.Enumerate() for n in ("c", "b")})
    assert torch.equal(pv.terms(marked, X).elbo, pv.terms(named, X).elbo)


def test_a_model_site_that_nothing_sums_is_refused():
    with pytest.raises(CheckError, match="the model samples 'b', which the guide does not"):
        pv.terms(pv.VAE(chain_model, lambda x: None), X)


def test_importance_weights_refuse_a_guide_that_enumerates_within_an_inner_plate():
    with pytest.raises(CheckError, match="plate of its own"):
        pv.objectives.IWAE(2)(pv.VAE(words_model, words_guide), Y)


def test_a_mixed_guide_is_unbiased():
    """Enumerated c, then a score-function z that depends on it: 200 batches of 200 data each, 5 standard errors."""

    def model(x):
        with pyro.plate("data", x.shape[0]):
            c = pyro.sample("c", dist.Categorical(PROBS))
            z = pyro.sample("z", dist.Normal(LOCS[c], one(1.0)))
            pyro.sample("x", dist.Normal(z, one(1.0)), obs=x)

    def guide(x):
        a = pyro.param("a", torch.tensor([0.2, -0.3, 0.4], dtype=torch.float64))
        with pyro.plate("data", x.shape[0]):
            c = pyro.sample("c", dist.Categorical(logits=a))
            pyro.sample("z", dist.Normal(a[c], one(0.7)))

    torch.manual_seed(3)
    x = torch.full((200,), 0.4, dtype=torch.float64)
    means = []
    for estimator in (pv.estimators.ScoreFunction(), pv.estimators.Pathwise()):
        vae = pv.VAE(model, guide, estimators={"z": estimator})
        pv.prepare(vae, x)
        objective = pv.objectives.ELBO()
        rows = [torch.autograd.grad(objective(vae, x).surrogate, vae.params.a)[0] for _ in range(200)]
        stacked = torch.stack(rows)
        means.append((stacked.mean(0), stacked.var(0) / len(rows)))
    (a, va), (b, vb) = means
    assert ((a - b).abs() / (va + vb).sqrt() < 5).all()


def test_a_site_is_not_summed_where_what_is_made_from_it_leaves_its_plate():
    """x sees Σⱼ zⱼ, each zⱼ drawn from cⱼ by the guide alone: one sum over c for all j at once is another number.

    The gradient by all 2 × 2 × 2 × 2 values; 300 batches of 50 equal data, 5 standard errors (false alarms: 6e-7).
    """
    x = torch.full((50,), 0.7, dtype=torch.float64)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            with pyro.plate("inner", 2, dim=-2):
                pyro.sample("c", dist.Bernoulli(one(0.5)))
                z = pyro.sample("z", dist.Bernoulli(one(0.3)))
            pyro.sample("x", dist.Normal(z.sum(-2, keepdim=True), one(1.0)), obs=x)

    def guide(x):
        s = pyro.param("s", one(0.8))
        with pyro.plate("data", x.shape[0]), pyro.plate("inner", 2, dim=-2):
            c = pyro.sample("c", dist.Bernoulli(one(0.4)))
            pyro.sample("z", dist.Bernoulli(logits=s * (2 * c - 1)))

    def log_mass(p, value):
        return dist.Bernoulli(p).log_prob(value)

    vae = pv.VAE(model, guide)
    assert isinstance(pv.prepare(vae, x).estimators["c"], pv.estimators.ScoreFunction)
    s, exact = vae.params.s, one(0.0)
    for c in torch.cartesian_prod(*[torch.arange(2.0, dtype=torch.float64)] * 2):
        for z in torch.cartesian_prod(*[torch.arange(2.0, dtype=torch.float64)] * 2):
            log_q = (log_mass(one(0.4), c) + dist.Bernoulli(logits=s * (2 * c - 1)).log_prob(z)).sum()
            log_p = (log_mass(one(0.5), c) + log_mass(one(0.3), z)).sum() + dist.Normal(z.sum(), one(1.0)).log_prob(
                x[0]
            )
            exact = exact + log_q.exp() * (log_p - log_q)
    want = torch.autograd.grad(exact, s)[0]
    pyro.set_rng_seed(0)
    found = torch.stack([torch.autograd.grad(pv.objectives.ELBO()(vae, x).surrogate, s)[0] for _ in range(300)])
    assert abs(float(found.mean() - want)) < 5 * float(found.std()) / 300**0.5
    with pytest.raises(CheckError, match="outside of its plate"):
        pv.prepare(pv.VAE(model, guide, estimators={"c": pv.estimators.Enumerate()}), x)


@pytest.mark.parametrize("name", ["data", "others"])
def test_the_plate_over_data_may_have_another_name_in_the_guide(name):
    """KL(q(c) | p(c)) of two coins per datum, written out: the sum within an inner plate finds the model's law."""
    x = torch.tensor([0.3, -0.5], dtype=torch.float64)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            with pyro.plate("inner", 2, dim=-2):
                pyro.sample("c", dist.Bernoulli(one(0.3)))
            pyro.sample("x", dist.Normal(one(0.0), one(1.0)), obs=x)

    def guide(x):
        with pyro.plate(name, x.shape[0]), pyro.plate("inner", 2, dim=-2):
            pyro.sample("c", dist.Bernoulli(pyro.param("q", one(0.6))))

    kl = 2 * (0.6 * math.log(0.6 / 0.3) + 0.4 * math.log(0.4 / 0.7))
    want = float(dist.Normal(one(0.0), one(1.0)).log_prob(x).mean()) - kl
    assert float(pv.objectives.ELBO()(pv.VAE(model, guide), x).value) == pytest.approx(want)


def test_a_mask_hides_no_dependence():
    """q(b | a) is masked away in the guide, and b is still drawn from what the two a of an inner plate sum to."""
    x = torch.tensor([0.3, -0.5], dtype=torch.float64)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            with pyro.plate("inner", 2, dim=-2):
                pyro.sample("a", dist.Bernoulli(one(0.3)))
            b = pyro.sample("b", dist.Bernoulli(one(0.5)))
            pyro.sample("x", dist.Normal(b, one(1.0)), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            with pyro.plate("inner", 2, dim=-2):
                a = pyro.sample("a", dist.Bernoulli(one(0.6)))
            pyro.sample("b", dist.Bernoulli(logits=a.sum(-2, keepdim=True)).mask(False))

    assert isinstance(pv.prepare(pv.VAE(model, guide), x).estimators["a"], pv.estimators.ScoreFunction)


def test_an_axis_out_of_its_place_is_refused():
    """A sum over the plate that drops its axis moves those of enumerated sites to the right."""
    x = torch.tensor([0.3, -0.5], dtype=torch.float64)

    def model(x):
        c = pyro.sample("c", dist.Bernoulli(one(0.3)))
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(c, one(1.0)))
            pyro.sample("x", dist.Normal(z, one(1.0)), obs=x)
        pyro.sample("t", dist.Normal(z.sum(-1), one(1.0)), obs=one(0.2))

    def guide(x):
        c = pyro.sample("c", dist.Bernoulli(one(0.6)))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(c + x, one(1.0)))

    estimators = {"c": pv.estimators.Enumerate()}
    with pytest.raises(CheckError, match="Site 't': Got a log-density of shape"):
        pv.objectives.ELBO(2)(pv.VAE(model, guide, estimators=estimators), x)


def test_shapes_that_fit_single_draws_alone_are_explained():
    """Pyro's own SVI draws: the program is right there, and may count axes from the left."""

    class Guide(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(3, 1)

        def forward(self, x):
            with pyro.plate("data", x.shape[0]):
                pyro.sample("f", dist.Bernoulli(logits=self.linear(x)[:, 0]))

    def model(x):
        with pyro.plate("data", x.shape[0]):
            f = pyro.sample("f", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Normal(f[:, None], 1.0).expand(x.shape).to_event(1), obs=x)

    x = torch.randn(20, 3)
    for run in (
        lambda vae: pv.objectives.ELBO()(vae, (x,)),
        lambda vae: pv.fit(vae, x, epochs=1, progress=False),
        lambda vae: pv.check(vae, (x,)),
    ):
        with pytest.raises(CheckError, match=r"Of 'f' all values.*z\[\.\.\., None\].*'f': pv.estimators.ScoreFunction"):
            run(pv.VAE(model, Guide()))
    drawn = pv.VAE(model, Guide(), estimators={"f": pv.estimators.ScoreFunction()})
    assert pv.fit(drawn, x, epochs=1, progress=False).rows
