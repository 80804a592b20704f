"""Variational autoencoders: one latent per datum, amortized guides."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn
from torch.nn import functional as F

from tests.catalogue.case import case

B, D, H, Z = 5, 6, 8, 2


def binary(*shape):
    return torch.bernoulli(torch.full(shape, 0.4))


class Encoder(nn.Module):
    def __init__(self, inputs=D, outputs=Z):
        super().__init__()
        self.hidden = nn.Linear(inputs, H)
        self.loc = nn.Linear(H, outputs)
        self.scale = nn.Linear(H, outputs)

    def forward(self, x):
        h = torch.tanh(self.hidden(x))
        return self.loc(h), F.softplus(self.scale(h)) + 1e-3


class Decoder(nn.Module):
    def __init__(self, inputs=Z, outputs=D):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(inputs, H), nn.Tanh(), nn.Linear(H, outputs))

    def forward(self, z):
        return self.net(z)


class PyroVAE(nn.Module):
    """Both programs as methods of one module, which they register with Pyro: the form of Pyro's first example."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            loc = torch.zeros(x.shape[0], Z, dtype=x.dtype, device=x.device)
            z = pyro.sample("latent", dist.Normal(loc, torch.ones_like(loc)).to_event(1))
            pyro.sample("obs", dist.Bernoulli(logits=self.decoder(z), validate_args=False).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            loc, scale = self.encoder(x)
            pyro.sample("latent", dist.Normal(loc, scale).to_event(1))


@case(kl=True)
def bound_methods():
    vae = PyroVAE()
    return vae.model, vae.guide, (binary(B, D),), (binary(3, D),)


@case(kl=True)
def closures_with_pyro_module():
    encoder, decoder = Encoder(), Decoder()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("batch", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(Z), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("batch", len(x)):
            loc, scale = encoder(x)
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))

    return model, guide, (binary(B, D),)


@case(kl=True)
def one_network_in_both():
    shared = nn.Linear(D, H)
    head, decoder = nn.Linear(H, 2 * Z), Decoder(Z, H)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(Z), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z) @ shared.weight, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            loc, scale = head(torch.tanh(shared(x))).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    return model, guide, (torch.randn(B, D),)


@case(kl=True, frozen=("encoder.hidden",))
def frozen_layer():
    vae = PyroVAE()
    vae.encoder.hidden.requires_grad_(False)
    return vae.model, vae.guide, (binary(B, D),)


class Convolutional(nn.Module):
    """Images with batch norm: axes counted from the left, statistics over the batch."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2 * Z)
        )
        self.decoder = nn.Sequential(
            nn.Linear(Z, 16), nn.Unflatten(-1, (4, 2, 2)), nn.ReLU(), nn.ConvTranspose2d(4, 1, 4, stride=2, padding=1)
        )

    def model(self, x):
        with pyro.plate("images", x.size(0)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(x.size(0), Z), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(3), obs=x)

    def guide(self, x):
        with pyro.plate("images", x.size(0)):
            loc, scale = self.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, F.softplus(scale)).to_event(1))


@case(kl=True)
def convolutions_and_batch_norm():
    vae = Convolutional()
    return vae.model, vae.guide, (binary(B, 1, 4, 4),)


@case(kl=True, random=True)
def dropout():
    encoder = nn.Sequential(nn.Linear(D, H), nn.Dropout(0.3), nn.Tanh(), nn.Linear(H, 2 * Z))
    decoder = nn.Sequential(nn.Linear(Z, H), nn.Dropout(0.3), nn.Tanh(), nn.Linear(H, D))

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(Z), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            loc, scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, F.softplus(scale)).to_event(1))

    return model, guide, (binary(B, D),)


class Ladder(nn.Module):
    """Two layers of latents; the guide goes bottom-up, the model top-down."""

    def __init__(self):
        super().__init__()
        self.up, self.top, self.down, self.out = Encoder(), Encoder(Z, 3), Encoder(3, Z), Decoder()

    def model(self, x):
        with pyro.plate("data", x.shape[0]):
            z2 = pyro.sample("z2", dist.Normal(x.new_zeros(3), 1.0).to_event(1))
            z1 = pyro.sample("z1", dist.Normal(*self.down(z2)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.out(z1)).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", x.shape[0]):
            z1 = pyro.sample("z1", dist.Normal(*self.up(x)).to_event(1))
            pyro.sample("z2", dist.Normal(*self.top(z1)).to_event(1))


@case()
def two_layers_bottom_up():
    pair = Ladder()
    return pair.model, pair.guide, (binary(B, D),)


class Conditional(nn.Module):
    """A conditional VAE: p(y | x, z) with a learned prior p(z | x)."""

    def __init__(self):
        super().__init__()
        self.prior, self.encoder, self.decoder = Encoder(D), Encoder(D + 3), Decoder(D + Z, 3)

    def model(self, x, y):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(*self.prior(x)).to_event(1))
            pyro.sample(
                "y", dist.Normal(self.decoder(torch.cat([x.expand(*z.shape[:-1], D), z], -1)), 0.5).to_event(1), obs=y
            )

    def guide(self, x, y):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(*self.encoder(torch.cat([x, y], -1))).to_event(1))


@case(kl=True)
def conditional():
    pair = Conditional()
    return pair.model, pair.guide, (torch.randn(B, D), torch.randn(B, 3))


class SemiSupervised(nn.Module):
    """Labelled batches are `(x, y)`, unlabelled ones `(x,)`: the label is then a latent."""

    def __init__(self):
        super().__init__()
        self.label, self.encoder, self.decoder = Encoder(D, 1), Encoder(D + 1, Z), Decoder(Z + 1)

    def model(self, x, y=None):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(Z), 1.0).to_event(1))
            y = pyro.sample("y", dist.Normal(x.new_zeros(1), 1.0).to_event(1), obs=y)
            y = y.expand(*z.shape[:-1], 1)
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(torch.cat([z, y], -1))).to_event(1), obs=x)

    def guide(self, x, y=None):
        with pyro.plate("data", x.shape[0]):
            if y is None:
                y = pyro.sample("y", dist.Normal(*self.label(x)).to_event(1))
            x = x.expand(*y.shape[:-1], D)
            pyro.sample("z", dist.Normal(*self.encoder(torch.cat([x, y], -1))).to_event(1))


@case(kl=True, warnings=("no gradient",))
def semi_supervised():
    pair = SemiSupervised()
    return pair.model, pair.guide, (binary(B, D),), (binary(4, D), torch.randn(4, 1))


@case(kl=True, warnings=("no gradient",))
def semi_supervised_labels_first():
    pair = SemiSupervised()
    return pair.model, pair.guide, (binary(4, D), torch.randn(4, 1)), (binary(B, D),)


@case(kl=True)
def missing_values_by_obs_mask():
    encoder = Encoder()

    def model(x, seen):
        scale = pyro.param("scale", torch.ones(D), constraint=dist.constraints.positive)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            with pyro.poutine.mask(mask=seen):
                pyro.sample("x", dist.Normal(z, scale).to_event(1), obs=x)

    def guide(x, seen):
        with pyro.plate("data", x.shape[0]):
            loc, scale = encoder(x)
            pyro.sample("z", dist.Normal(loc[..., :1], scale[..., :1]).to_event(1))

    encoder.loc, encoder.scale = nn.Linear(H, 1), nn.Linear(H, 1)
    return model, guide, (torch.randn(B, D), torch.tensor([True, False, True, True, False]))


@case(kl=True)
def outputs_of_several_kinds():
    encoder, decoder = Encoder(), Decoder(Z, D + 3)

    def model(x, y):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(Z), 1.0).to_event(1))
            out = decoder(z)
            pyro.sample("x", dist.Normal(out[..., :D], 1.0).to_event(1), obs=x)
            pyro.sample("y", dist.Categorical(logits=out[..., D:]), obs=y)

    def guide(x, y):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(*encoder(x)).to_event(1))

    return model, guide, (torch.randn(B, D), torch.randint(3, (B,)))


@case(kl=True)
def positive_latents():
    encoder, decoder = Encoder(), Decoder()

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Gamma(x.new_full((Z,), 2.0), 1.0).to_event(1))
            pyro.sample("x", dist.Poisson(F.softplus(decoder(z))).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            loc, scale = encoder(x)
            pyro.sample("z", dist.Gamma(F.softplus(loc) + 0.5, scale).to_event(1))

    return model, guide, (torch.poisson(torch.full((B, D), 2.0)),)


@case(kl=True)
def full_covariance_posterior():
    net, decoder = nn.Linear(D, Z + Z * Z), Decoder()

    def model(x):
        with pyro.plate("data", x.shape[0]):
            eye = torch.eye(Z, dtype=x.dtype)
            z = pyro.sample("z", dist.MultivariateNormal(x.new_zeros(Z), scale_tril=eye))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            out = net(x)
            tril = torch.tril(out[..., Z:].reshape(*out.shape[:-1], Z, Z), -1) + torch.diag_embed(
                out[..., Z : 2 * Z].exp()
            )
            pyro.sample("z", dist.MultivariateNormal(out[..., :Z], scale_tril=tril))

    return model, guide, (torch.randn(B, D),)


@case()
def spline_flow_posterior():
    encoder, decoder = Encoder(), Decoder()
    flow = dist.transforms.spline(Z, count_bins=4)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(Z), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("flow", flow)
        with pyro.plate("data", x.shape[0]):
            base = dist.Normal(*encoder(x)).to_event(1)
            pyro.sample("z", dist.TransformedDistribution(base, [flow]))

    return model, guide, (binary(B, D),)


@case(generic=False)  # Pyro inverts the flow in the default dtype
def autoregressive_flow_posterior():
    encoder, decoder = Encoder(), Decoder()
    flow = dist.transforms.affine_autoregressive(Z, hidden_dims=[8], stable=True)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(Z), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("flow", flow)
        with pyro.plate("data", x.shape[0]):
            base = dist.Normal(*encoder(x)).to_event(1)
            pyro.sample("z", dist.TransformedDistribution(base, [flow]))

    return model, guide, (binary(B, D),)


@case(kl=True)
def log_normal_latents():
    encoder, decoder = Encoder(), Decoder()

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.LogNormal(x.new_zeros(Z), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.LogNormal(*encoder(x)).to_event(1))

    return model, guide, (torch.randn(B, D),)


@case()
def auxiliary_latents():
    """A guide-only site that makes q(z | x) a mixture; the model has its reverse under another program name."""
    encoder, lift, decoder = Encoder(), Encoder(D + Z), Decoder()
    reverse = Encoder(Z)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(Z), 1.0).to_event(1))
            pyro.sample("a", dist.Normal(*reverse(z)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            a = pyro.sample("a", dist.Normal(*encoder(x)).to_event(1))
            x = x.expand(*a.shape[:-1], D)
            pyro.sample("z", dist.Normal(*lift(torch.cat([x, a], -1))).to_event(1))

    return model, guide, (binary(B, D),)


@case(kl=True, frozen=("guess",))
def plate_without_a_size():
    """The form of Pyro's conditional VAE: `pyro.plate("data")`, and a first guess that is not trained."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.guess = nn.Linear(D, D).requires_grad_(False)
            self.prior, self.recognition, self.generation = Encoder(), Encoder(), Decoder()

        def model(self, xs, ys=None):
            with pyro.plate("data"):
                with torch.no_grad():
                    y_hat = self.guess(xs)
                z = pyro.sample("z", dist.Normal(*self.prior(xs + y_hat)).to_event(1))
                probs = torch.sigmoid(self.generation(z))
                pyro.sample("y", dist.Bernoulli(probs).to_event(1), obs=ys)

        def guide(self, xs, ys=None):
            with pyro.plate("data"):
                if ys is None:
                    pyro.sample("z", dist.Normal(*self.prior(xs + self.guess(xs))).to_event(1))
                else:
                    pyro.sample("z", dist.Normal(*self.recognition(ys)).to_event(1))

    pair = Net()
    return pair.model, pair.guide, (torch.randn(B, D), binary(B, D))
