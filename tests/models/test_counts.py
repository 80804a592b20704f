import numpy as np
import pyro.poutine as poutine
import pytest
import scipy.stats
import torch

import ppl_vae as pv
from ppl_vae.distributions import NegativeBinomialLog
from ppl_vae.errors import DataError
from ppl_vae.likelihoods import NegativeBinomial, Normal, Poisson, ZeroInflatedNegativeBinomial

CELLS, GENES = 12, 7
RNG = np.random.default_rng(0)
X = RNG.poisson(3.0, (CELLS, GENES)).astype("float64")
DATA = pv.datasets.from_arrays(
    {"x": torch.tensor(X), "batch": RNG.choice(["a", "b", "c"], CELLS), "age": RNG.uniform(1, 2, CELLS)}
)
LIKELIHOODS = {"poisson": Poisson, "negative_binomial": NegativeBinomial, "zinb": ZeroInflatedNegativeBinomial}


def pair(likelihood="negative_binomial", data=DATA, encode_covariates=False, **options):
    torch.manual_seed(0)
    made = LIKELIHOODS[likelihood](data.spec)
    model = pv.models.Counts(data.spec, made, latent_dim=3, hidden=[8], **options)
    if model.log_r is not None:
        torch.nn.init.normal_(model.log_r)
    guide = pv.guides.CountsAmortized(data.spec, model, hidden=[8], encode_covariates=encode_covariates)
    return pv.VAE(model, guide).double()


def log_densities(vae, batch):
    """log p(x | z, ℓ) per gene by scipy, and what the model itself says; at draws of the guide."""
    guide = poutine.trace(vae.guide).get_trace(*batch)
    trace = poutine.trace(poutine.replay(vae.model, guide)).get_trace(*batch)
    trace.compute_log_prob()
    model, z = vae.model, trace.nodes["z"]["value"]
    x, batch_code, age = batch
    if model.library == "latent":
        size = trace.nodes["log_library"]["value"].exp()
    else:
        size = (x.sum(-1) if model.exposure is None else age).unsqueeze(-1)
    mean = (size * model.proportions(z, *batch[1:])).detach().numpy()
    if model.dispersion is None:
        expected = scipy.stats.poisson(mean).logpmf(x)
    else:
        h = model._hidden(z, batch[1:])
        r = {
            "gene": lambda: model.log_r.expand(CELLS, GENES),
            "gene_batch": lambda: model.log_r[batch_code],
            "gene_cell": lambda: model.log_r_of(h),
        }[model.dispersion]()
        r = r.exp().detach().numpy()
        expected = scipy.stats.nbinom(r, r / (r + mean)).logpmf(x)
        if model.gate is not None:
            gate = model.gate(h).sigmoid().detach().numpy()
            expected = np.log(gate * (x.numpy() == 0) + (1 - gate) * np.exp(expected))
    return expected.sum(-1), trace.nodes["x"]["log_prob"].detach().numpy()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("dispersion", ["gene", "gene_batch", "gene_cell"])
@pytest.mark.parametrize("options", [{}, {"library": "latent"}, {"exposure": "age"}], ids=["sum", "latent", "field"])
def test_the_density_is_scipys(likelihood, dispersion, options):
    if likelihood == "poisson" and dispersion != "gene":
        pytest.skip("Poisson has no dispersion")
    expected, found = log_densities(pair(likelihood, dispersion=dispersion, **options), DATA.train.batch())
    assert np.allclose(found, expected, rtol=1e-10)


def test_proportions_add_up_and_start_at_those_of_the_data():
    model = pair().model
    with torch.no_grad():
        model.logits.weight.zero_()
        found = model.proportions(torch.randn(5, 3), torch.zeros(5, dtype=torch.long), torch.ones(5))
    assert torch.allclose(found, (DATA.spec.mean / DATA.spec.mean.sum()).expand(5, GENES))


def test_a_datum_without_counts_is_a_datum():
    batch = DATA.train.batch()
    batch = (torch.zeros_like(batch[0]), *batch[1:])
    assert torch.isfinite(pv.terms(pair("zinb"), batch).elbo).all()


def test_an_exposure_is_no_covariate():
    assert pair().model.covariates.out_features == 4
    assert pair(exposure="age").model.covariates.out_features == 3
    assert pair(exposure="age", encode_covariates=True).guide.encoder.net[0].in_features == GENES + 3
    alone = pv.datasets.from_arrays({"x": torch.tensor(X), "age": torch.ones(CELLS)})
    assert pair(data=alone, exposure="age").model.covariates is None


def test_what_is_given_reaches_what_is_drawn():
    """10,000 draws; means of counts within 5 standard errors of exposure, false alarm below 6e-7 each."""
    vae = pair(exposure="age")
    for exposure in (10.0, 1000.0):
        x = (
            pv.generate(vae, 10_000, given={"age": exposure, "batch": 1}, like=DATA.train.batch(), seed=0)
            .sum(-1)
            .double()
        )
        assert abs(x.mean() - exposure) < 5 * x.std() / 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exposure": "aeg"}, r"exposure='aeg', expected one of batch, age"),
        ({"exposure": "age", "library": "latent"}, r"expected one of them"),
        ({"dispersion": "gene_batch", "batch": "age"}, r"name of a category of the data: batch"),
        ({"exposure": "batch"}, r"Got exposure='batch', which is a category, expected the name of a field of numbers"),
        ({"likelihood": "poisson", "dispersion": "gene_batch"}, r"dispersion='gene_batch' with Poisson, which has no"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, message):
    with pytest.raises(DataError, match=message):
        pair(**options)


def test_other_data_and_likelihoods_are_refused():
    real = pv.datasets.from_arrays(torch.randn(5, 3))
    with pytest.raises(DataError, match="model=counts is for vectors of counts"):
        pv.models.Counts(real.spec, Normal(real.spec))
    image = pv.datasets.from_arrays(torch.randint(0, 9, (5, 1, 2, 2)), support="counts")
    with pytest.raises(DataError, match="model=counts is for vectors of counts"):
        pv.models.Counts(image.spec)


def cells(seed, count=700, genes=30):
    """Two kinds of cells in two batches, negative binomial."""
    rng = np.random.default_rng(seed)
    law = np.random.default_rng(0)
    logits = law.normal(0, 1, genes) + law.normal(0, 1, (2, genes))[rng.integers(2, size=count)]
    batch = rng.integers(2, size=count)
    logits = logits + law.normal(0, 0.5, (2, genes))[batch]
    mean = rng.lognormal(6, 0.4, count)[:, None] * np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return rng.poisson(rng.gamma(3.0, mean / 3.0)).astype("float32"), batch


def alone(train, test):
    """log p of each held-out cell by the best negative binomial of each gene by itself, given library sizes."""
    log_r, logits = torch.zeros(30, requires_grad=True), train.sum(0).div(train.sum()).log().requires_grad_()
    optimizer = torch.optim.Adam([log_r, logits], lr=0.05)

    def log_prob(x):
        return NegativeBinomialLog(x.sum(1, keepdim=True).log() + logits, log_r).log_prob(x).sum(1)

    for _ in range(300):
        optimizer.zero_grad()
        (-log_prob(train).mean()).backward()
        optimizer.step()
    return log_prob(test).detach()


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", ["negative_binomial", "zinb"])
def test_beats_genes_by_themselves_on_held_out_cells(likelihood):
    """300 held-out cells: the ELBO is above the baseline by more than 10 standard errors of their difference."""
    train, batch = cells(1)
    test, test_batch = cells(2, 300)
    data = pv.datasets.from_arrays(
        {"x": train, "batch": batch}, None, {"x": test, "batch": test_batch}, categories=["batch"]
    )
    torch.manual_seed(0)
    model = pv.models.Counts(data.spec, LIKELIHOODS[likelihood](data.spec), latent_dim=3, hidden=[32])
    vae = pv.VAE(model, pv.guides.CountsAmortized(data.spec, model, hidden=[32]))
    pv.fit(vae, data.train, epochs=60, seed=0, progress=False)
    bound = pv.evaluate(vae, data.test, num_particles=50, seed=0).by_datum["elbo"]
    gain = bound - alone(torch.tensor(train), torch.tensor(test)).numpy()
    assert gain.mean() > 10 * gain.std() / len(gain) ** 0.5
