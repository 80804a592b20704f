"""Every ready-made pair is a pair: same sites, same plates, any number of particles, and it learns."""

import inspect
import math
from dataclasses import dataclass, replace
from typing import Any

import pyro
import pytest
import torch
from pyro import poutine

import ppl_vae as pv
from ppl_vae import likelihoods
from ppl_vae.datasets.spec import Field, Spec
from ppl_vae.errors import DataError, PplVaeError

B = 12


def data(support: str, shape: tuple[int, ...], n: int = B) -> torch.Tensor:
    x = torch.rand(n, *shape)
    pattern = torch.rand(3, *shape)[torch.arange(n) % 3]  # three kinds of data: something to learn
    return {
        "binary": ((x + 3 * pattern) / 4 > 0.5).float(),
        "unit": (0.1 * x + 0.9 * pattern).clamp(0.01, 0.99),
        "counts": torch.poisson(5 * pattern),
        "integers": (16 * pattern).round(),
        "real": 3 * pattern + 0.1 * x,
    }[support]


@dataclass
class Pair:
    model: Any
    guide: Any
    support: str = "binary"
    shape: tuple[int, ...] = (1, 7, 5)
    options: dict[str, Any] | None = None
    guide_options: dict[str, Any] | None = None
    labels: bool = False
    discrete: bool = False

    def __call__(self) -> tuple[Any, Any, tuple[torch.Tensor, ...]]:
        x = data(self.support, self.shape)
        levels = 17 if self.support == "integers" else None
        fields = (Field("x", self.shape), *((Field("y", (), "int64"),) if self.labels else ()))
        spec = Spec(self.shape, self.support, levels, fields=fields, num_classes=4, mean=x.mean(0))
        own = {"spec": spec, **(self.options or {})}
        model = self.model(**own)
        named = {"spec": spec, "model": model}
        accepted = inspect.signature(self.guide).parameters
        guide = self.guide(**{k: v for k, v in named.items() if k in accepted}, **(self.guide_options or {}))
        y = (torch.arange(B) % 4,) if self.labels else ()
        return model, guide, (x, *y)


PAIRS = {
    "vae": Pair(pv.models.VAE, pv.guides.Amortized),
    "vae, mixture prior": Pair(pv.models.VAE, pv.guides.Amortized, options={"prior": pv.nn.MixturePrior}),
    "vae, flow prior": Pair(pv.models.VAE, pv.guides.Amortized, options={"prior": pv.nn.FlowPrior}),
    "vae, grey": Pair(pv.models.VAE, pv.guides.Amortized, "unit"),
    "vae, table": Pair(pv.models.VAE, pv.guides.Amortized, "real", (6,)),
    "vae, integers": Pair(pv.models.VAE, pv.guides.Amortized, "integers"),
    "conv": Pair(pv.models.ConvVAE, pv.guides.ConvAmortized, "unit", (3, 9, 6)),
    "autoencoder": Pair(pv.models.Autoencoder, pv.guides.Deterministic, "unit"),
    "hierarchical, bottom up": Pair(pv.models.Hierarchical, pv.guides.BottomUp),
    "hierarchical, top down": Pair(
        pv.models.Hierarchical,
        pv.guides.TopDown,
        options={"latent_dim": [5, 4, 3], "hidden": [32, 16, 8], "depth": 2},
        guide_options={"hidden": [32, 16, 8]},
    ),
    "hierarchical, ladder": Pair(
        pv.models.Hierarchical,
        pv.guides.Ladder,
        options={"latent_dim": [5, 4, 3], "hidden": [32, 16, 8]},
        guide_options={"hidden": [32, 16, 8]},
    ),
    "conv hierarchy": Pair(
        pv.models.ConvHierarchy,
        pv.guides.ConvLadder,
        options={"latent_channels": [2, 3], "channels": 8},
        guide_options={"channels": 6},
    ),
    "conv hierarchy, grey": Pair(
        pv.models.ConvHierarchy,
        pv.guides.ConvLadder,
        "unit",
        (3, 9, 6),
        options={"latent_channels": [1, 2, 3], "channels": 4, "activation": "glu"},
        guide_options={"channels": 3, "activation": "glu"},
    ),
    "hierarchical, derived": Pair(pv.models.Hierarchical, pv.guides.Derived),
    "bits": Pair(pv.models.Discrete, pv.guides.DiscreteAmortized, options={"code": "bernoulli"}, discrete=True),
    "one-hot": Pair(
        pv.models.Discrete, pv.guides.DiscreteAmortized, options={"latent_dim": 3, "classes": 4}, discrete=True
    ),
    "quantized": Pair(pv.models.Quantized, pv.guides.QuantizedAmortized),
    "vq": Pair(pv.models.VectorQuantized, pv.guides.VectorQuantizedAmortized),
    "conv vq": Pair(pv.models.ConvVectorQuantized, pv.guides.ConvVectorQuantizedAmortized, "unit", (3, 9, 6)),
    "conditional": Pair(pv.models.Conditional, pv.guides.ConditionalAmortized, labels=True),
    "gmvae": Pair(pv.models.GMVAE, pv.guides.MixtureAmortized, discrete=True),
    "tabular": Pair(pv.models.Tabular, pv.guides.MixtureAmortized, "real", (6,), discrete=True),
    "gmvae, derived": Pair(pv.models.GMVAE, pv.guides.Derived, discrete=True),
    "semi-supervised, labelled": Pair(pv.models.SemiSupervised, pv.guides.SemiSupervisedAmortized, labels=True),
    "semi-supervised, unlabelled": Pair(pv.models.SemiSupervised, pv.guides.SemiSupervisedAmortized, discrete=True),
    "autoregressive": Pair(pv.models.AutoregressiveVAE, pv.guides.Amortized),
    "autoregressive, integers": Pair(pv.models.AutoregressiveVAE, pv.guides.Amortized, "integers", (2, 3, 2)),
    "iaf": Pair(pv.models.VAE, pv.guides.FlowAmortized),
    "coupling": Pair(pv.models.VAE, pv.guides.FlowAmortized, guide_options={"flow": "coupling"}),
    "full rank": Pair(pv.models.VAE, pv.guides.FullRank),
    "vamp": Pair(pv.models.Vamp, pv.guides.VampPosterior),
    "topics": Pair(pv.models.Topics, pv.guides.DirichletAmortized, "counts", (9,)),
    "topics, lda": Pair(pv.models.Topics, pv.guides.DirichletAmortized, "counts", (9,), options={"mixing": "mixture"}),
    "topics, derived": Pair(pv.models.Topics, pv.guides.Derived, "counts", (9,)),
    "counts": Pair(pv.models.Counts, pv.guides.CountsAmortized, "counts", (9,)),
    "counts, latent library": Pair(
        pv.models.Counts, pv.guides.CountsAmortized, "counts", (9,), options={"library": "latent"}, labels=True
    ),
    "counts, derived": Pair(pv.models.Counts, pv.guides.Derived, "counts", (9,)),
    "gamma": Pair(pv.models.GammaVAE, pv.guides.GammaAmortized),
    "gamma, derived": Pair(pv.models.GammaVAE, pv.guides.Derived),
    "vae, derived": Pair(pv.models.VAE, pv.guides.Derived),
    "conv, derived": Pair(pv.models.ConvVAE, pv.guides.Derived, guide_options={"channels": [4, 8]}),
    "conditional, derived": Pair(pv.models.Conditional, pv.guides.Derived, labels=True),
}
every_pair = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())


def traces(model, guide, batch, particles=None):
    def run():
        q = poutine.trace(guide).get_trace(*batch)
        p = poutine.trace(poutine.replay(model, q)).get_trace(*batch)
        q.compute_log_prob()
        p.compute_log_prob()
        return p, q

    if particles is None:
        return run()
    with pyro.plate("particles", particles, dim=-2):
        return run()


@every_pair
def test_sites_of_model_and_guide_match(pair):
    model, guide, batch = pair()
    p, q = traces(model, guide, batch)
    latent = {n for n in p.stochastic_nodes if n != "data"}
    assert latent == {n for n in q.stochastic_nodes if n != "data"} != set()
    for name in latent | {"x"}:
        assert p.nodes[name]["log_prob"].shape == (B,)
        assert [f.name for f in p.nodes[name]["cond_indep_stack"]] == ["data"]
    for name in latent:
        assert q.nodes[name]["log_prob"].shape == (B,)
        assert p.nodes[name]["value"].shape == q.nodes[name]["value"].shape


@every_pair
def test_particles(pair):
    model, guide, batch = pair()
    p, q = traces(model, guide, batch, particles=3)
    for node in (*p.nodes.values(), *(n for n in q.nodes.values() if not n.get("is_observed", True))):
        if node["type"] == "sample" and node["name"] not in ("data", "particles"):
            assert node["log_prob"].expand(3, B).isfinite().all()


@every_pair
def test_dtype_follows(pair):
    model, guide, (x, *rest) = pair()
    p, _ = traces(model.double(), guide.double(), (x.double(), *rest))
    assert p.nodes["x"]["log_prob"].dtype == torch.float64


@every_pair
def test_a_few_steps_improve_the_bound(pair):
    model, guide, batch = pair()
    vae = pv.VAE(model, guide)
    objective = pv.objectives.ELBO(num_particles=4)
    optimizer = torch.optim.Adam(vae.parameters(), lr=3e-3)

    def value() -> float:
        with torch.no_grad():
            torch.manual_seed(1)
            return pv.objectives.ELBO(num_particles=16)(vae, batch, total=B).value.item()

    before = value()
    torch.manual_seed(2)
    for _ in range(60):
        optimizer.zero_grad()
        (-objective(vae, batch, total=B).surrogate).backward()
        optimizer.step()
    assert value() > before


@every_pair
def test_every_parameter_gets_a_gradient(pair):
    model, guide, batch = pair()
    vae = pv.VAE(model, guide)
    (-pv.objectives.ELBO(num_particles=2)(vae, batch, total=B).surrogate).backward()
    without = [name for name, p in vae.named_parameters() if p.grad is None]
    assert not without


@every_pair
def test_codes_are_decoded_as_they_are(pair):
    """Also those of categories, whose `loc` are probabilities: the likeliest one is meant."""
    model, guide, batch = pair()
    vae = pv.VAE(model, guide)
    if not {name: site for name, site in pv.terms(vae, batch).latents.items() if site.is_local}:
        pytest.skip("no datum has a code")
    found = pv.decode(vae, pv.encode(vae, batch, num_particles=4), like=batch)
    x = found["x"] if isinstance(found, dict) else found
    assert x.shape == batch[0].shape
    assert x.isfinite().all()


def test_an_autoencoder_reconstructs_and_does_not_generate():
    model, guide, batch = PAIRS["autoencoder"]()
    p, q = traces(model, guide, batch)
    assert (p.nodes["z"]["log_prob"] == 0).all()
    assert (q.nodes["z"]["log_prob"] == 0).all()
    with pytest.raises(PplVaeError, match=r"no p\(z\) to draw from.*model=vae"):
        poutine.uncondition(model)(*batch)


@pytest.mark.parametrize("name", [n for n in PAIRS if n != "autoencoder"])
def test_models_generate(name):
    model, _, batch = PAIRS[name]()
    x = poutine.trace(poutine.uncondition(model)).get_trace(*batch).nodes["x"]
    assert x["value"].shape == batch[0].shape
    assert x["fn"].support.check(x["value"]).all()


def test_semi_supervised_model_weights_classification_in_the_bound_only():
    model, guide, batch = PAIRS["semi-supervised, labelled"]()
    p, _ = traces(model, guide, batch)
    assert p.nodes["y_aux"]["scale"] == model.alpha


def test_evidence_of_labelled_data_is_that_of_x_and_y():
    """The classifier's term is a part of training alone; the oracle is a sum over a grid of z."""
    torch.manual_seed(0)
    spec = Spec((4,), "binary", num_classes=3)
    model = pv.models.SemiSupervised(spec, latent_dim=1, hidden=[8])
    vae = pv.VAE(model, pv.guides.SemiSupervisedAmortized(spec, model, hidden=[8]))
    x, y = torch.rand(5, 4).round(), torch.tensor([0.0, 1.0, 2.0, 0.0, 1.0])
    z = torch.linspace(-8, 8, 4001)[:, None]
    found = pv.evaluate(vae, (x, y), 20_000, seed=0)
    for datum, hot in enumerate(torch.eye(3)[y.long()]):
        with torch.no_grad():
            px = model.likelihood(model.decoder(z, hot.expand(len(z), 3))).log_prob(x[datum])
        joint = px + torch.distributions.Normal(0.0, 1.0).log_prob(z[:, 0]) - math.log(3)
        exact = float(joint.logsumexp(0)) + math.log(16 / 4000)
        row = found.table.iloc[datum]
        assert abs(row["nll"] + exact) < 5 * row["nll_se"]  # log q(y | x), which would be added, is about 1


def test_missing_labels_name_the_fix():
    with pytest.raises(DataError, match=r"batches \(x, y\)"):
        pv.models.Conditional(Spec((4,), "binary"))
    with pytest.raises(DataError, match="num_classes"):
        pv.models.SemiSupervised(Spec((4,), "binary"))


def test_topics_want_vectors_of_counts():
    with pytest.raises(DataError, match=r"support 'unit'.*model=vae"):
        pv.models.Topics(Spec((4,), "unit"))


def test_models_of_counts_say_what_to_say_of_a_table_that_was_standardized():
    counts = torch.poisson(torch.full((30, 4), 3.0))
    spec = pv.datasets.from_arrays(counts, standardization="zscore").spec
    for model in (pv.models.Topics, pv.models.Counts):
        with pytest.raises(DataError, match=r"support='counts'"):
            model(spec, **({} if model is pv.models.Topics else {"likelihood": pv.likelihoods.Normal(spec)}))


def test_hierarchical_wants_one_width_per_layer():
    with pytest.raises(PplVaeError, match=r"latent_dim=\[16,8\] hidden=\[256,128\]"):
        pv.models.Hierarchical(Spec((4,), "binary"), latent_dim=[3, 2], hidden=[8])


@pytest.mark.parametrize("wrong", [{"latent_dim": 0}, {"latent_dim": -1}, {"hidden": [16, 0]}])
def test_sizes_below_one_are_refused(wrong):
    with pytest.raises(PplVaeError, match="at least 1"):
        pv.models.VAE(Spec((4,), "binary"), **wrong)


def test_a_likelihood_of_ones_own():
    """Any module with `num_params` and a forward to a distribution will do."""

    class Rounded(torch.nn.Module):
        num_params = 2

        def forward(self, params):
            loc, raw = params.unbind(-2)
            return pyro.distributions.Normal(loc, raw.exp()).to_event(1)

    model = pv.models.VAE(Spec((4,), "real"), Rounded())
    assert poutine.trace(model).get_trace(torch.zeros(3, 4)).nodes["x"]["fn"].event_shape == (4,)


def test_burda_architectures():
    """Sizes of Burda et al. (2016): 784-200-200-50 and 784-200-200-100-100-100-50."""
    spec = Spec((1, 28, 28), "binary", mean=torch.full((1, 28, 28), 0.1))
    one = pv.models.VAE(spec, latent_dim=50, hidden=[200, 200], activation="tanh")
    widths = [m.out_features for m in one.modules() if isinstance(m, torch.nn.Linear)]
    assert widths == [200, 200, 784]
    two = pv.models.Hierarchical(spec, latent_dim=[100, 50], hidden=[200, 100], depth=2, activation="tanh")
    shapes = [(m.in_features, m.out_features) for m in two.modules() if isinstance(m, torch.nn.Linear)]
    assert shapes == [(50, 100), (100, 100), (100, 200), (100, 200), (200, 200), (200, 784)]
    guide = pv.guides.BottomUp(spec, two, hidden=[200, 100], depth=2, activation="tanh")
    shapes = [(m.in_features, m.out_features) for m in guide.modules() if isinstance(m, torch.nn.Linear)]
    assert shapes == [(784, 200), (200, 200), (200, 200), (100, 100), (100, 100), (100, 100)]
    torch.testing.assert_close(one.decoder.net[-1].bias.sigmoid(), torch.full((784,), 0.1))


def test_unlabelled_and_labelled_batches_alternate():
    pair = PAIRS["semi-supervised, labelled"]
    model, guide, (x, y) = replace(pair)()
    vae = pv.VAE(model, guide)
    for batch in ((x, y), (x,), (x, y)):
        bound = pv.objectives.ELBO()(vae, batch, total=B)
        assert bound.value.isfinite()


def test_likelihood_is_shared_by_name():
    spec = Spec((4,), "unit")
    likelihood = likelihoods.Normal(spec, scale="fixed", value=0.1)
    assert pv.models.VAE(spec, likelihood).likelihood is likelihood
