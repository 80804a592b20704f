"""Text and counts: topic models, factor models, deep exponential families."""

import functools
from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.contrib.easyguide import EasyGuide
from pyro.distributions import constraints
from pyro.infer import config_enumerate
from pyro.nn import PyroModule
from torch import nn
from torch.nn import functional as F

from tests.catalogue.case import case

DOCS, WORDS, VOCABULARY, TOPICS, H = 4, 6, 7, 3, 5


def counts(docs=DOCS):
    return torch.poisson(torch.full((docs, VOCABULARY), 2.0)) + 1.0


@case()
def prod_lda():
    """ProdLDA: logistic-normal topics, batch norm without affine parameters, a multinomial over words."""

    class ProdLDA(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Sequential(nn.Linear(VOCABULARY, H), nn.Softplus(), nn.Linear(H, 2 * TOPICS))
            self.norm = nn.BatchNorm1d(2 * TOPICS, affine=False)
            self.beta, self.bn = nn.Linear(TOPICS, VOCABULARY, bias=False), nn.BatchNorm1d(VOCABULARY, affine=False)

        def model(self, docs):
            pyro.module("decoder", self.beta)
            with pyro.plate("documents", docs.shape[0]):
                loc = docs.new_zeros((docs.shape[0], TOPICS))
                logtheta = pyro.sample("logtheta", dist.Normal(loc, docs.new_ones(loc.shape)).to_event(1))
                theta = F.softmax(logtheta, -1)
                words = F.softmax(self.bn(self.beta(theta)), -1)
                total = int(docs.sum(-1).max())
                pyro.sample("obs", dist.Multinomial(total, words, validate_args=False), obs=docs)

        def guide(self, docs):
            pyro.module("encoder", self.fc)
            with pyro.plate("documents", docs.shape[0]):
                loc, scale = self.norm(self.fc(docs)).chunk(2, -1)
                pyro.sample("logtheta", dist.Normal(loc, (0.5 * scale).exp()).to_event(1))

    pair = ProdLDA()
    return pair.model, pair.guide, (counts(),)


@case(kl=True, warnings=("observed outside the support",))  # a multinomial of no fixed total
def collapsed_topics():
    """LDA with word assignments summed out: global topics, amortized local weights, Dirichlets throughout."""
    net = nn.Sequential(nn.Linear(VOCABULARY, H), nn.Tanh(), nn.Linear(H, TOPICS))

    def model(docs):
        with pyro.plate("topics", TOPICS):
            words = pyro.sample("words", dist.Dirichlet(docs.new_full((VOCABULARY,), 0.9)))
        with pyro.plate("documents", docs.shape[0]):
            weights = pyro.sample("weights", dist.Dirichlet(docs.new_full((TOPICS,), 0.8)))
            probs = (weights.unsqueeze(-2) @ words).squeeze(-2)
            pyro.sample("doc", dist.Multinomial(probs=probs, validate_args=False), obs=docs)

    def guide(docs):
        posterior = pyro.param(
            "posterior", lambda: torch.rand(TOPICS, VOCABULARY) + 0.5, constraint=constraints.greater_than(0.2)
        )
        with pyro.plate("topics", TOPICS):
            pyro.sample("words", dist.Dirichlet(posterior))
        with pyro.plate("documents", docs.shape[0]):
            pyro.sample("weights", dist.Dirichlet(F.softplus(net(docs)) + 0.3))

    return model, guide, (counts(),)


@case(random=True, warnings=("observed outside the support", "subsamples by itself"))
def amortized_topics_with_own_subsampling():
    """Pyro's LDA example with words summed out: the plate over documents draws its own minibatch."""
    everything = counts(12)
    predictor = nn.Sequential(nn.Linear(VOCABULARY, H), nn.Sigmoid(), nn.Linear(H, TOPICS), nn.Softmax(-1))

    def model(docs=None, batch_size=None):
        with pyro.plate("topics", TOPICS):
            weights = pyro.sample("topic_weights", dist.Gamma(1.0 / TOPICS, 1.0))
            words = pyro.sample("topic_words", dist.Dirichlet(torch.ones(VOCABULARY) / VOCABULARY + 0.5))
        with pyro.plate("documents", 12, batch_size) as index:
            data = docs[index]
            theta = pyro.sample("doc_topics", dist.Dirichlet(weights + 0.3))
            probs = (theta.unsqueeze(-2) @ words).squeeze(-2)
            pyro.sample("doc_words", dist.Multinomial(probs=probs, validate_args=False), obs=data)

    def guide(docs=None, batch_size=None):
        a = pyro.param("topic_weights_posterior", lambda: torch.ones(TOPICS), constraint=constraints.positive)
        b = pyro.param(
            "topic_words_posterior", lambda: torch.ones(TOPICS, VOCABULARY), constraint=constraints.greater_than(0.5)
        )
        with pyro.plate("topics", TOPICS):
            pyro.sample("topic_weights", dist.Gamma(a, 1.0))
            pyro.sample("topic_words", dist.Dirichlet(b))
        pyro.module("predictor", predictor)
        with pyro.plate("documents", 12, batch_size) as index:
            theta = predictor(docs[index])
            pyro.sample("doc_topics", dist.Delta(theta, event_dim=1))

    return model, guide, (everything, 4)


def sparse_gamma(x):
    """Two layers of gamma latents with gamma weights between them."""
    with pyro.plate("w_top_plate", 2 * TOPICS):
        w_top = pyro.sample("w_top", dist.Gamma(x.new_tensor(0.5), 0.5))
    with pyro.plate("w_bottom_plate", TOPICS * VOCABULARY):
        w_bottom = pyro.sample("w_bottom", dist.Gamma(x.new_tensor(0.5), 0.5))
    with pyro.plate("data", x.shape[0]):
        z_top = pyro.sample("z_top", dist.Gamma(x.new_tensor(0.5), 0.5).expand([2]).to_event(1))
        w_top = w_top.reshape(*w_top.shape[:-1], 2, TOPICS) if w_top.dim() == 1 else w_top.reshape(2, TOPICS)
        mean = z_top @ w_top
        z = pyro.sample("z", dist.Gamma(x.new_tensor(0.5), 0.5 / mean).to_event(1))
        rate = z @ w_bottom.reshape(TOPICS, VOCABULARY)
        pyro.sample("obs", dist.Poisson(rate).to_event(1), obs=x)


def _gamma(name, shape):
    alpha = pyro.param(f"alpha_{name}", lambda: torch.full(shape, 0.8), constraint=constraints.softplus_positive)
    mean = pyro.param(f"mean_{name}", lambda: torch.full(shape, 0.5), constraint=constraints.softplus_positive)
    return dist.Gamma(alpha, alpha / mean)


@case(warnings=("guide ignores the data", "one batch size"))
def sparse_gamma_with_a_custom_guide():
    """The guide holds a row of parameters per datum: legal on the full data, not amortized."""

    def guide(x):
        with pyro.plate("w_top_plate", 2 * TOPICS):
            pyro.sample("w_top", _gamma("w_top", (2 * TOPICS,)))
        with pyro.plate("w_bottom_plate", TOPICS * VOCABULARY):
            pyro.sample("w_bottom", _gamma("w_bottom", (TOPICS * VOCABULARY,)))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z_top", _gamma("z_top", (x.shape[0], 2)).to_event(1))
            pyro.sample("z", _gamma("z", (x.shape[0], TOPICS)).to_event(1))

    return sparse_gamma, guide, (counts(),)


class GammaEasyGuide(EasyGuide):
    """Sparse gamma with an EasyGuide: every site drawn by one rule."""

    def guide(self, x):
        for name in ("w_top", "w_bottom"):
            with self.plate(f"{name}_plate", 2 * TOPICS if name == "w_top" else TOPICS * VOCABULARY):
                pyro.sample(name, _gamma(name, (2 * TOPICS if name == "w_top" else TOPICS * VOCABULARY,)))
        with self.plate("data", x.shape[0]):
            pyro.sample("z_top", _gamma("z_top", (x.shape[0], 2)).to_event(1))
            pyro.sample("z", _gamma("z", (x.shape[0], TOPICS)).to_event(1))


@case(warnings=("guide ignores the data", "one batch size"))
def sparse_gamma_with_easy_guide():
    return sparse_gamma, GammaEasyGuide(sparse_gamma), (counts(),)


@case()
def mixture_with_assignments_summed_out():
    """A Gaussian mixture by `MixtureSameFamily`: global means and weights."""

    def model(x):
        weights = pyro.sample("weights", dist.Dirichlet(x.new_full((2,), 1.5)))
        with pyro.plate("components", 2):
            locs = pyro.sample("locs", dist.Normal(x.new_zeros(()), 3.0))
        with pyro.plate("data", x.shape[0]):
            mix, parts = dist.Categorical(weights), dist.Normal(locs, 1.0)
            pyro.sample("x", dist.MixtureSameFamily(mix, parts), obs=x)

    def guide(x):
        a = pyro.param("a", torch.tensor([2.0, 3.0]), constraint=constraints.positive)
        loc = pyro.param("loc", torch.tensor([-1.0, 1.0]))
        pyro.sample("weights", dist.Dirichlet(a))
        with pyro.plate("components", 2):
            pyro.sample("locs", dist.Normal(loc, 0.3))

    return model, guide, (torch.randn(6),)


class Scanvi(PyroModule):
    """Counts with a learned dispersion, batch labels as covariates, and a library size per cell."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(VOCABULARY + 2, H), nn.BatchNorm1d(H), nn.ReLU(), nn.Linear(H, 6))
        self.decoder = nn.Sequential(nn.Linear(4, H), nn.ReLU(), nn.Linear(H, VOCABULARY))
        self.inverse_dispersion = nn.Parameter(torch.zeros(VOCABULARY))

    def model(self, x, batch):
        pyro.module("cells", self)
        with pyro.plate("cells", len(x)):
            size = pyro.sample("size", dist.LogNormal(x.new_full((1,), 2.5), 0.5).to_event(1))
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            rate = F.softmax(self.decoder(torch.cat([z, batch], -1)), -1) * size
            total = self.inverse_dispersion.exp()
            logits = rate.log() - self.inverse_dispersion
            pyro.sample("x", dist.NegativeBinomial(total, logits=logits).to_event(1), obs=x)

    def guide(self, x, batch):
        pyro.module("cells", self)
        with pyro.plate("cells", len(x)):
            out = self.encoder(torch.cat([torch.log1p(x), batch], -1))
            pyro.sample("size", dist.LogNormal(out[..., :1], F.softplus(out[..., 1:2])).to_event(1))
            pyro.sample("z", dist.Normal(out[..., 2:4], F.softplus(out[..., 4:6])).to_event(1))


@case(kl=True)
def counts_with_library_size():
    pair = Scanvi()
    return pair.model, pair.guide, (counts(), F.one_hot(torch.tensor([0, 1, 1, 0]), 2).float())


@case(random=True, enumerated=True, generic=False)
def lda_with_words_enumerated():
    """Pyro's LDA: words along the first axis, documents subsampled by the guide, assignments summed out."""
    args = SimpleNamespace(num_topics=TOPICS, num_words=VOCABULARY, num_docs=10, num_words_per_doc=WORDS)
    predictor = nn.Sequential(nn.Linear(VOCABULARY, H), nn.Sigmoid(), nn.Linear(H, TOPICS), nn.Softmax(-1))

    def model(data=None, args=None, batch_size=None):
        with pyro.plate("topics", args.num_topics):
            topic_weights = pyro.sample("topic_weights", dist.Gamma(1.0 / args.num_topics, 1.0))
            topic_words = pyro.sample("topic_words", dist.Dirichlet(torch.ones(args.num_words) / args.num_words))
        with pyro.plate("documents", args.num_docs) as index:
            if data is not None:
                data = data[:, index]
            doc_topics = pyro.sample("doc_topics", dist.Dirichlet(topic_weights))
            with pyro.plate("words", args.num_words_per_doc):
                word_topics = pyro.sample("word_topics", dist.Categorical(doc_topics), infer={"enumerate": "parallel"})
                pyro.sample("doc_words", dist.Categorical(topic_words[word_topics]), obs=data)

    def parametrized_guide(predictor, data, args, batch_size=None):
        weights = pyro.param(
            "topic_weights_posterior", lambda: torch.ones(args.num_topics), constraint=constraints.positive
        )
        words = pyro.param(
            "topic_words_posterior",
            lambda: torch.ones(args.num_topics, args.num_words),
            constraint=constraints.greater_than(0.5),
        )
        with pyro.plate("topics", args.num_topics):
            pyro.sample("topic_weights", dist.Gamma(weights, 1.0))
            pyro.sample("topic_words", dist.Dirichlet(words))
        pyro.module("predictor", predictor)
        with pyro.plate("documents", args.num_docs, batch_size) as index:
            data = data[:, index]
            counts = torch.zeros(args.num_words, index.size(0)).scatter_add(0, data, torch.ones(data.shape))
            pyro.sample("doc_topics", dist.Delta(predictor(counts.transpose(0, 1)), event_dim=1))

    data = torch.randint(VOCABULARY, (WORDS, args.num_docs))
    return model, functools.partial(parametrized_guide, predictor), (data, args, 4)


class Scanvi2(nn.Module):
    """Single cells with cell types, as in Pyro's scANVI: labels enumerated or observed, a factor in the guide."""

    def __init__(self):
        super().__init__()
        self.z2_decoder, self.x_decoder = self.net(2 + 3, 4), self.net(2, 2 * VOCABULARY)
        self.z2l_encoder, self.classifier, self.z1_encoder = self.net(VOCABULARY, 6), self.net(2, 3), self.net(3 + 2, 4)

    @staticmethod
    def net(inputs, outputs):
        return nn.Sequential(nn.Linear(inputs, H), nn.BatchNorm1d(H), nn.ReLU(), nn.Linear(H, outputs))

    def run(self, net, *inputs):
        shape = torch.broadcast_shapes(*(i.shape[:-1] for i in inputs))
        joined = torch.cat([i.expand(*shape, i.shape[-1]) for i in inputs], -1)
        return net(joined.reshape(-1, joined.shape[-1])).reshape(*shape, -1).chunk(2, -1)

    def model(self, x, y=None):
        pyro.module("scanvi", self)
        theta = pyro.param("inverse_dispersion", x.new_ones(VOCABULARY), constraint=constraints.positive)
        with pyro.plate("batch", len(x)), poutine.scale(scale=0.1):
            z1 = pyro.sample("z1", dist.Normal(0, x.new_ones(2)).to_event(1))
            y = pyro.sample("y", dist.OneHotCategorical(logits=x.new_zeros(3)), obs=y)
            loc, scale = self.run(self.z2_decoder, z1, y)
            z2 = pyro.sample("z2", dist.Normal(loc, F.softplus(scale)).to_event(1))
            size = pyro.sample("l", dist.LogNormal(2.0, x.new_ones(1)).to_event(1))
            gate, mu = self.run(self.x_decoder, z2)
            logits = (theta + 1e-6).log() - (size * mu.softmax(-1) + 1e-6).log()
            gate = 1e-3 + 0.998 * gate.sigmoid()
            x_dist = dist.ZeroInflatedNegativeBinomial(gate=gate, total_count=theta, logits=logits)
            pyro.sample("x", x_dist.to_event(1), obs=x)

    def guide(self, x, y=None):
        pyro.module("scanvi", self)
        with pyro.plate("batch", len(x)), poutine.scale(scale=0.1):
            h1, h2 = self.run(self.z2l_encoder, x)
            pyro.sample("l", dist.LogNormal(h1[..., -1:], F.softplus(h2[..., -1:])).to_event(1))
            z2 = pyro.sample("z2", dist.Normal(h1[..., :-1], F.softplus(h2[..., :-1])).to_event(1))
            q = dist.OneHotCategorical(logits=torch.cat(self.run(self.classifier, z2), -1))
            if y is None:
                y = pyro.sample("y", q)
            else:
                pyro.factor("classification_loss", 0.1 * q.log_prob(y), has_rsample=False)
            loc, scale = self.run(self.z1_encoder, z2, y)
            pyro.sample("z1", dist.Normal(loc, F.softplus(scale)).to_event(1))


@case(enumerated=True, warnings=("no gradient",))
def cells_with_types():
    pair = Scanvi2()
    labels = F.one_hot(torch.tensor([0, 1, 2, 0]), 3).float()
    return pair.model, config_enumerate(pair.guide), (counts(),), (counts(), labels)
