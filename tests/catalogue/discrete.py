"""Discrete latents: enumerated in the guide, in the model, or scored."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import config_enumerate
from pyro.infer.autoguide import AutoNormal
from pyro.ops.indexing import Vindex
from torch import nn
from torch.distributions import constraints
from torch.nn import functional as F

from tests.catalogue.case import case

B, D, K, Z, H = 5, 4, 3, 2, 6


class SemiSupervised(nn.Module):
    """Kingma's M2 in the form of Pyro's example: labels observed in some batches, enumerated in others."""

    def __init__(self):
        super().__init__()
        self.classify = nn.Linear(D, K)
        self.encode = nn.Sequential(nn.Linear(D + K, H), nn.Tanh(), nn.Linear(H, 2 * Z))
        self.decode = nn.Sequential(nn.Linear(Z + K, H), nn.Tanh(), nn.Linear(H, D))

    def join(self, a, b):
        shape = torch.broadcast_shapes(a.shape[:-1], b.shape[:-1])
        return torch.cat([a.expand(*shape, a.shape[-1]), b.expand(*shape, b.shape[-1])], -1)

    def model(self, xs, ys=None):
        pyro.module("ss_vae", self)
        with pyro.plate("data", xs.shape[0]):
            zs = pyro.sample("z", dist.Normal(xs.new_zeros(Z), 1.0).to_event(1))
            ys = pyro.sample("y", dist.OneHotCategorical(xs.new_ones(K)), obs=ys)
            pyro.sample("x", dist.Bernoulli(logits=self.decode(self.join(zs, ys))).to_event(1), obs=xs)

    def guide(self, xs, ys=None):
        with pyro.plate("data", xs.shape[0]):
            if ys is None:
                ys = pyro.sample("y", dist.OneHotCategorical(logits=self.classify(xs)))
            loc, scale = self.encode(self.join(xs, ys)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, F.softplus(scale)).to_event(1))


def images(n=B):
    return torch.bernoulli(torch.full((n, D), 0.5))


def labels(n=B):
    return F.one_hot(torch.randint(K, (n,)), K).float()


@case(enumerated=True, warnings=("no gradient",))
def semi_supervised_by_enumeration():
    pair = SemiSupervised()
    return pair.model, pair.guide, (images(),), (images(4), labels(4))


@case(enumerated=True, warnings=("no gradient",))
def semi_supervised_by_enumeration_labels_first():
    pair = SemiSupervised()
    return pair.model, config_enumerate(pair.guide), (images(4), labels(4)), (images(),)


@case(enumerated=True)
def mixture_enumerated_in_the_guide():
    net, locs = nn.Linear(D, K), nn.Parameter(torch.randn(K, D))

    def model(x):
        means = pyro.param("locs", locs)
        with pyro.plate("data", x.shape[0]):
            k = pyro.sample("k", dist.Categorical(x.new_ones(K)))
            pyro.sample("x", dist.Normal(means[k], 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("k", dist.Categorical(logits=net(x)), infer={"enumerate": "parallel"})

    return model, guide, (torch.randn(B, D),)


@case(enumerated=True)
def mixture_enumerated_in_the_model():
    """Pyro's Gaussian mixture: assignments summed out, an autoguide for the globals."""

    @config_enumerate
    def model(x):
        weights = pyro.sample("weights", dist.Dirichlet(0.5 * x.new_ones(2)))
        scale = pyro.sample("scale", dist.LogNormal(x.new_zeros(()), 2.0))
        with pyro.plate("components", 2):
            locs = pyro.sample("locs", dist.Normal(x.new_zeros(()), 10.0))
        with pyro.plate("data", x.shape[0]):
            k = pyro.sample("assignment", dist.Categorical(weights))
            pyro.sample("obs", dist.Normal(locs[k], scale), obs=x)

    guide = AutoNormal(poutine.block(model, expose=["weights", "locs", "scale"]))
    return model, guide, (torch.randn(6),)


@case(enumerated=True)
def switches_in_the_model_with_amortized_codes():
    net, decode = nn.Linear(D, 2 * Z), nn.Linear(Z, D)

    def model(x):
        rate = pyro.param("rate", torch.tensor(0.3), constraint=constraints.unit_interval)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(Z), 1.0).to_event(1))
            outlier = pyro.sample("outlier", dist.Bernoulli(rate), infer={"enumerate": "parallel"})
            scale = 1.0 + 4 * outlier
            pyro.sample("x", dist.Normal(decode(z), scale.unsqueeze(-1)).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            loc, scale = net(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, F.softplus(scale)).to_event(1))

    return model, guide, (torch.randn(B, D),)


@case()
def counts_by_the_score_function():
    """A latent of infinite support: nothing but the score function is left."""
    net = nn.Linear(D, 1)

    def model(x):
        gain = pyro.param("gain", torch.ones(D))
        with pyro.plate("data", x.shape[0]):
            n = pyro.sample("n", dist.Poisson(x.new_tensor(2.0)))
            pyro.sample("x", dist.Normal(n.unsqueeze(-1) * gain, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("n", dist.Poisson(F.softplus(net(x)).squeeze(-1) + 0.1))

    return model, guide, (torch.randn(B, D),)


@case(enumerated=True)
def hidden_markov_model():
    """Discrete states summed out along time; global transition and emission parameters, autoguided."""

    @config_enumerate
    def model(x):
        transition = pyro.sample("transition", dist.Dirichlet(x.new_ones(2, 2)).to_event(1))
        locs = pyro.sample("locs", dist.Normal(x.new_tensor([-1.0, 1.0]), 1.0).to_event(1))
        with pyro.plate("series", x.shape[0]):
            state = 0
            for t in pyro.markov(range(x.shape[-1])):
                state = pyro.sample(f"state_{t}", dist.Categorical(Vindex(transition)[..., state, :]))
                pyro.sample(f"x_{t}", dist.Normal(Vindex(locs)[..., state], 1.0), obs=x[:, t])

    guide = AutoNormal(poutine.block(model, expose=["transition", "locs"]))
    return model, guide, (torch.randn(B, 4),)


@case()
def stochastic_binary_layer():
    """A sigmoid belief network: a vector of Bernoullis, too many to enumerate."""
    encode, decode = nn.Linear(D, 12), nn.Linear(12, D)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            h = pyro.sample("h", dist.Bernoulli(x.new_full((12,), 0.5)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decode(h)).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("h", dist.Bernoulli(logits=encode(x)).to_event(1))

    return model, guide, (images(),)


@case(random=True)
def relaxed_bernoulli_latents():
    encode, decode = nn.Linear(D, Z), nn.Linear(Z, D)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            t = x.new_tensor(0.5)
            h = pyro.sample("h", dist.RelaxedBernoulliStraightThrough(t, probs=x.new_full((Z,), 0.5)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decode(h)).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            t = x.new_tensor(0.5)
            pyro.sample("h", dist.RelaxedBernoulliStraightThrough(t, logits=encode(x)).to_event(1))

    return model, guide, (images(),)


@case(enumerated=True)
def discrete_within_a_plate_of_features():
    """One switch per datum and feature, enumerated inside an inner plate."""
    net = nn.Linear(D, D)

    def model(x):
        shift = pyro.param("shift", torch.ones(D))
        with pyro.plate("rows", x.shape[0], dim=-2), pyro.plate("columns", D, dim=-1):
            on = pyro.sample("on", dist.Bernoulli(x.new_tensor(0.3)))
            pyro.sample("x", dist.Normal(shift * on, 1.0), obs=x)

    def guide(x):
        with pyro.plate("rows", x.shape[0], dim=-2), pyro.plate("columns", D, dim=-1):
            pyro.sample("on", dist.Bernoulli(logits=net(x)), infer={"enumerate": "parallel"})

    return model, guide, (torch.randn(B, D),)


class AttendInferRepeat(nn.Module):
    """Attend, infer, repeat without its images: a chain of presence bits that masks what comes after."""

    steps = 3

    def __init__(self):
        super().__init__()
        self.predict, self.decode = nn.Linear(D + 2, 1 + 2 * Z), nn.Linear(Z, D)

    def model(self, data, batch_size=None):
        pyro.module("decode", self.decode)
        with pyro.plate("data", data.size(0)) as ix:
            batch = data[ix]
            n = batch.size(0)
            present, x = batch.new_ones(n, 1), batch.new_zeros(n, D)
            for t in range(self.steps):
                present = pyro.sample(f"z_pres_{t}", dist.Bernoulli(0.5 * present).to_event(1))
                with poutine.mask(mask=present.squeeze(-1).bool()):
                    what = pyro.sample(f"z_what_{t}", dist.Normal(batch.new_zeros(n, Z), 1.0).to_event(1))
                x = x + self.decode(what) * present
            pyro.sample("obs", dist.Normal(x, 0.5).to_event(1), obs=batch)

    def guide(self, data, batch_size=None):
        pyro.module("predict", self.predict)
        with pyro.plate("data", data.size(0), subsample_size=batch_size) as ix:
            batch = data[ix]
            present, last = batch.new_ones(batch.size(0), 1), batch.new_zeros(batch.size(0), 1)
            for t in range(self.steps):
                shape = torch.broadcast_shapes(batch.shape[:-1], present.shape[:-1])
                inputs = [part.expand(*shape, part.shape[-1]) for part in (batch, present, last)]
                out = self.predict(torch.cat(inputs, -1))
                probs = torch.sigmoid(out[..., :1]) * present
                present = pyro.sample(f"z_pres_{t}", dist.Bernoulli(probs).to_event(1))
                with poutine.mask(mask=present.squeeze(-1).bool()):
                    loc, scale = out[..., 1:].chunk(2, -1)
                    what = pyro.sample(f"z_what_{t}", dist.Normal(loc, F.softplus(scale)).to_event(1))
                last = what[..., :1]


@case()
def attend_infer_repeat():
    pair = AttendInferRepeat()
    return pair.model, pair.guide, (torch.randn(B, D),)


@case(random=True, warnings=("subsamples by itself",))
def attend_infer_repeat_with_own_subsampling():
    pair = AttendInferRepeat()
    return pair.model, pair.guide, (torch.randn(12, D), 4)
