import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import ppl_vae as pv
from ppl_vae.core.run import terms
from ppl_vae.core.series import series, series_of, summed
from ppl_vae.diagnostics.latents import encodings
from ppl_vae.inference_data import _arviz
from tests.catalogue.case import CASES

N, T, D = 5, 4, 2
LENGTHS = torch.tensor([4, 1, 3, 2, 4])
PRESENT = torch.arange(T) < LENGTHS[:, None]


def pair(first=0, scale=0.5):
    """A random walk seen in noise, as Pyro's users write it, and a guide that knows nothing of the walk."""

    def model(x, present):
        with pyro.plate("data", x.shape[0]):
            z = x.new_zeros(D)
            for t in pyro.markov(range(T)):
                with poutine.mask(mask=present[:, t]):
                    z = pyro.sample(f"z_{t + first}", dist.Normal(z, 1.0).to_event(1))
                    pyro.sample(f"x_{t + first}", dist.Normal(z, scale).to_event(1), obs=x[:, t])

    def guide(x, present):
        with pyro.plate("data", x.shape[0]):
            for t in range(T):
                with poutine.mask(mask=present[:, t]):
                    pyro.sample(f"z_{t + first}", dist.Normal(0.8 * x[:, t], 0.4).to_event(1))

    return pv.VAE(model, guide)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(N, T, D) * PRESENT[..., None], PRESENT


@pytest.mark.parametrize(
    ("kinds", "stems"),
    [
        ({"z_0": 1, "z_1": 1, "z_2": 1}, {"z"}),
        ({"z_9": 1, "z_10": 1, "z_11": 1}, {"z"}),
        ({"obs_x_1": 1, "obs_x_2": 1, "obs_x_3": 1}, {"obs_x"}),
        ({"z_2": 1, "z_1": 1, "z_0": 1}, set()),  # a hierarchy from its top
        ({"z_0": 1, "z_1": 1}, set()),
        ({"z_0": 1, "z_1": 1, "z_3": 1}, set()),
        ({"z_0": 1, "z_1": 2, "z_2": 1}, set()),
        ({"z": 1, "z_0": 1, "z_1": 1, "z_2": 1}, set()),  # z is another variable
        ({"z_00": 1, "z_01": 1, "z_02": 1}, set()),
    ],
)
def test_series_are_of_one_stem_one_kind_and_ascending_numbers(kinds, stems):
    assert set(series(kinds)) == stems


def test_sums_over_a_series_are_those_of_its_sites(batch):
    t = terms(pair(), batch)
    assert set(series_of(t)) == {"z", "x"}
    kl = t.kl()
    assert torch.allclose(summed(t, kl)["z"], sum(kl[f"z_{i}"] for i in range(T)))
    assert set(summed(t, kl)) == {"z"}


@pytest.mark.parametrize("first", [0, 1])
def test_posterior_has_time_and_no_padding(batch, first):
    drawn = _arviz.to_tree(pv.posterior(pair(first), batch, draws=6, chains=2, predictive_draws=6))
    absent = ~PRESENT.numpy()
    for group, name in [("posterior", "z"), ("prior", "z"), ("posterior_predictive", "x"), ("prior_predictive", "x")]:
        value = drawn[group][name]
        assert value.dims[:4] == ("chain", "draw", "datum", "time"), group
        assert list(drawn[group].data_vars) == [name]
        assert value["time"].values.tolist() == [*range(first, first + T)]
        assert (value.isnull().all(("chain", "draw")).values == absent[..., None]).all(), group
        assert (value.isnull().any(("chain", "draw")).values == absent[..., None]).all(), group
    seen = drawn["observed_data"]["x"]
    assert seen.dims[:2] == ("datum", "time")
    assert (seen.isnull().values == absent[..., None]).all()
    # densities are sums over the steps that there are
    z, x = drawn["posterior"]["z"].values, batch[0].numpy()
    expected = dist.Normal(torch.tensor(z), 0.5, validate_args=False).log_prob(torch.tensor(x)).nansum((-1, -2)).numpy()
    assert drawn["log_likelihood"]["x"].dims == ("chain", "draw", "datum")
    assert abs(drawn["log_likelihood"]["x"].values - expected).max() < 1e-4


def test_series_of_other_numbers_have_a_dimension_of_their_own():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z_0", dist.Normal(x.new_zeros(()), 1.0))
            for t in range(1, T + 1):
                z = pyro.sample(f"z_{t}", dist.Normal(z, 1.0))
                pyro.sample(f"x_{t}", dist.Normal(z, 1.0), obs=x[:, t - 1])

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            for t in range(T + 1):
                pyro.sample(f"z_{t}", dist.Normal(x.mean(1), 1.0))

    drawn = _arviz.to_tree(pv.posterior(pv.VAE(model, guide), torch.randn(N, T), draws=3))
    assert drawn["posterior"]["z"].sizes["time"] == T + 1
    assert drawn["observed_data"]["x"]["time_x"].values.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("is_padding", [True, False])
def test_a_draw_of_what_is_missing_stays_and_padding_goes(is_padding):
    """Missing values are what a predictive draw is for; padding is masked as they are, and a program tells it."""

    def model(x, present):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            likelihood = dist.Normal(z[..., None], 1.0).expand([*z.shape, T]).mask(present & ~x.isnan())
            pyro.sample("x", likelihood.to_event(1), obs=x, infer={"padding": True} if is_padding else {})

    def guide(x, present):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x.nan_to_num().mean(1), 1.0))

    x = torch.randn(N, T)
    x[0, 0] = torch.nan
    drawn = _arviz.to_tree(pv.posterior(pv.VAE(model, guide), (x, PRESENT), draws=3))
    absent = drawn["posterior_predictive"]["x"].isnull().any(("chain", "draw")).values
    assert (absent == (~PRESENT.numpy() if is_padding else False)).all()
    assert drawn["observed_data"]["x"].isnull().values[0, 0]


def test_evaluation_has_a_row_per_unit_of_a_series(batch):
    vae = pair()
    evaluation = pv.evaluate(vae, batch, num_particles=50)
    assert set(evaluation.summary["kl_per_site"]) == {"z"}
    assert evaluation.units[["site", "unit"]].to_numpy().tolist() == [["z", 0], ["z", 1]]
    assert evaluation.units["kl"].sum() == pytest.approx(evaluation.summary["kl"], rel=0.2)
    means = 0.8 * batch[0][PRESENT]  # of the steps that there are
    assert torch.tensor(evaluation.units["variance"]).float().allclose(means.var(0), rtol=0.2)


def test_codes_of_padding_are_no_numbers(batch):
    codes = pv.encode(pair(), batch)
    for t in range(T):
        assert (codes[f"z_{t}"].loc.isnan().all(-1) == ~PRESENT[:, t]).all()
        assert torch.allclose(codes[f"z_{t}"].loc.nan_to_num(), 0.8 * batch[0][:, t])


def test_the_objective_tells_one_divergence_of_a_series(batch):
    metrics = pv.objectives.ELBO()(pair(), batch, total=N).metrics
    assert [name for name in metrics if name.startswith("kl/")] == ["kl/z"]


def test_refined_draws_have_time(batch):
    drawn = _arviz.to_tree(pv.refine(pair(), batch, draws=3, chains=2, warmup=2))
    z = drawn["posterior"]["z"]
    assert z.dims == ("chain", "draw", "datum", "time", "z_dim")
    assert (z.isnull().any(("chain", "draw")).values == ~PRESENT.numpy()[..., None]).all()


@pytest.mark.parametrize("name", ["deep_markov_model", "deep_markov_model_with_flows", "local_level_with_markov"])
def test_programs_of_the_catalogue(name):
    model, guide, batch, *_ = CASES[name].build()
    t = terms(pv.VAE(model, guide), batch)
    assert {len(names) for names in series_of(t).values()} == {5}


def test_codes_of_a_series_are_means_over_its_steps(batch):
    (code,) = encodings(pair(), batch, draws=2000)
    assert (code.name, code.shape) == ("z", (D,))
    x = batch[0].where(PRESENT[..., None], torch.nan)
    assert torch.allclose(torch.tensor(code.mean).float(), (0.8 * x).nanmean(1), atol=0.06)  # 6 of 0.4/√2000
    assert code.active.all()


def test_check_tells_a_series_in_one_line(batch):
    lines = str(pv.check(pair(), batch)).splitlines()
    assert [line.split("  ")[1] for line in lines if line.startswith("  z_")] == ["z_0 … z_3"]
