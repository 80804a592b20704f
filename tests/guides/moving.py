"""A seeded generator of models whose supports move with data or latents, with their evidence by quadrature.

A datum has a latent z whose support or number of trials follows from x, or from another latent a; then x ~ N(w z, s).
The midpoint rule in the distribution functions needs no density of the priors.
"""

import random
from math import sqrt

import torch

F64 = torch.float64
POINTS = 400

ABOVE = {
    "nothing": ("", lambda u: torch.ones(1, dtype=F64)),
    "uniform": ("dist.Uniform(0.5, 1.5)", lambda u: 0.5 + u),
    "exponential": ("dist.Exponential(1.0)", lambda u: -torch.log1p(-u)),
    "half normal": ("dist.HalfNormal(1.0)", lambda u: sqrt(2) * torch.erfinv(u)),
    "log normal": ("dist.LogNormal(0.0, 0.5)", lambda u: torch.exp(0.5 * sqrt(2) * torch.erfinv(2 * u - 1))),
}
"""Laws of a, and their quantiles."""


def _kumaraswamy(u):
    return (1 - (1 - u).sqrt()).sqrt()


BELOW = {
    "an interval": ("dist.Uniform(-{a}, {b} + 1)", lambda u, a, b: -a + (a + b + 1) * u),
    "a lower bound": ("dist.Pareto(0.5 + {a}, 4.0)", lambda u, a, b: (0.5 + a) * (1 - u) ** -0.25),
    "a scaled interval": (
        "dist.TransformedDistribution(dist.Kumaraswamy(torch.tensor(2.0), torch.tensor(2.0)).expand([]), "
        "[dist.transforms.AffineTransform(-{b}, 0.5 + {a})])",
        lambda u, a, b: -b + (0.5 + a) * _kumaraswamy(u),
    ),
    "a half-line downwards": (
        "dist.TransformedDistribution(dist.Exponential(torch.tensor(1.0)), "
        "[dist.transforms.AffineTransform({b}, -1.0 - {a})])",
        lambda u, a, b: b - (1 + a) * -torch.log1p(-u),
    ),
    "a half-line": ("dist.HalfNormal(0.5 + {a})", lambda u, a, b: (0.5 + a) * sqrt(2) * torch.erfinv(u)),
    "counts up to a number": ("dist.Binomial(1 + ({b} * 3).floor(), torch.tensor(0.4))", None),
}
"""Laws of z given a and b = |x|, and their quantiles; None for a sum over counts."""


def generate(seed):
    """The source of a model, its batch, and log p(x) in nats."""
    rng = random.Random(seed)
    above, below = rng.choice(list(ABOVE)), list(BELOW)[seed % len(BELOW)]
    b = rng.choice(["x.abs()", "a"]) if above != "nothing" else "x.abs()"
    a = rng.choice(["x.abs()", "a"]) if above != "nothing" else "x.abs()"
    weight, noise = round(rng.uniform(-1.2, 1.2), 2), round(rng.uniform(0.7, 1.5), 2)
    names = rng.sample(["z", "z.0", "a b", "loc", "value_0", "data_first"], 2)
    lines = ["def model(x):", '    with pyro.plate("data", x.shape[0]):']
    if ABOVE[above][0]:
        lines += [f"        a = pyro.sample({names[0]!r}, {ABOVE[above][0]})"]
    lines += [f"        z = pyro.sample({names[1]!r}, {BELOW[below][0].format(a=a, b=b)})"]
    lines += [f'        pyro.sample("x", dist.Normal({weight} * z, {noise}), obs=x)']
    torch.manual_seed(seed)
    x = torch.randn(3, dtype=F64).round(decimals=2)
    u = (torch.arange(POINTS, dtype=F64) + 0.5) / POINTS
    latent = ABOVE[above][1](u).reshape(-1, 1)  # (a, 1)
    total = 0.0
    for value in x:
        pick = {"a": latent, "x.abs()": value.abs()}
        quantile = BELOW[below][1]
        if quantile is None:
            trials = 1 + (pick[b] * 3).floor().expand(len(latent), 1)
            z = torch.arange(float(trials.max()) + 1, dtype=F64)
            inside = z <= trials
            law = torch.distributions.Binomial(trials, torch.tensor(0.4, dtype=F64), validate_args=False)
            log_mass = torch.where(inside, law.log_prob(torch.minimum(z, trials)), -torch.inf)
        else:
            z = quantile(u, pick[a], pick[b]).expand(len(latent), POINTS)
            log_mass = torch.full_like(z, POINTS).log().neg()
        seen = torch.distributions.Normal(weight * z, noise).log_prob(value)
        total += float(torch.logsumexp((seen + log_mass).flatten(), 0)) - torch.tensor(float(len(latent))).log().item()
    return "\n".join(lines) + "\n", (x,), total
