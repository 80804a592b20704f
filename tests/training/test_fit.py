"""What `fit` does with data, seeds and its caller's process."""

import functools
import math
import random
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.errors import ArgumentError, CheckError, DataError, PplVaeError, RunError
from ppl_vae.training import Store
from tests.training.pairs import Guide, Model, dataset, identical, pair, quiet, rows, weights


def test_training_raises_the_bound():
    history = quiet(pair(), dataset(), epochs=30, batch_size=16, optimizer=functools.partial(torch.optim.Adam, lr=0.02))
    assert history["validation/bound"][-1] > history["validation/bound"][0] + 0.3
    assert history.status == "finished"
    assert len(history) == 30
    assert history.last["step"] == 30 * math.ceil(50 / 16)


def test_equal_seeds_give_equal_runs_and_other_seeds_others():
    first, second, third = pair(), pair(), pair()
    histories = [
        quiet(v, dataset("dynamic"), epochs=3, batch_size=16, seed=s) for v, s in ((first, 5), (second, 5), (third, 6))
    ]
    assert rows(histories[0]) == rows(histories[1])
    assert identical(weights(first), weights(second))
    assert not identical(weights(first), weights(third))


def test_two_fits_in_one_process_never_meet():
    alone = quiet(pair(1), dataset(), epochs=2, seed=3)
    quiet(pair(0), dataset("dynamic"), epochs=1, seed=9, optimizer=torch.optim.AdamW)
    again = quiet(pair(1), dataset(), epochs=2, seed=3)
    assert rows(alone) == rows(again)


@pytest.mark.parametrize("fails", [False, True])
def test_the_callers_process_is_as_before(fails):
    vae = pair(dropout=True)
    vae.guide.eval()
    pyro.param("theirs", torch.tensor(1.0))
    state = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy())  # noqa: NPY002
    flags = (pyro.settings.get(), torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled())
    modes = {name: m.training for name, m in vae.named_modules()}

    def callback(row):
        torch.rand(3), random.random(), np.random.rand()  # noqa: NPY002
        torch.set_default_dtype(torch.float64)
        assert not vae.training
        if fails:
            raise ValueError("theirs")

    try:
        with torch.no_grad():
            quiet(vae, dataset(), epochs=2, callbacks=[callback])
    except ValueError:
        assert fails
    finally:
        now = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
    assert now == torch.float32
    assert torch.equal(state[0], torch.get_rng_state())
    assert state[1] == random.getstate()
    assert np.array_equal(state[2], np.random.get_state()[1])  # noqa: NPY002
    assert flags == (pyro.settings.get(), torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled())
    assert modes == {name: m.training for name, m in vae.named_modules()}
    assert list(pyro.get_param_store().keys()) == ["theirs"]
    pyro.clear_param_store()


def test_callbacks_get_rows_and_do_not_change_training():
    seen = []
    with_callback = quiet(pair(), dataset(), epochs=3, callbacks=[lambda row: (seen.append(row), torch.rand(7))])
    assert rows(with_callback) == rows(quiet(pair(), dataset(), epochs=3))
    assert seen == with_callback.rows


def test_the_last_partial_batch_counts_by_its_data():
    """With a learning rate of 0 the epoch's average is the average over all data."""
    vae = pair()
    x = dataset(train=7, validation=0).train
    objective = pv.objectives.ELBO(kl="analytic")

    class Mean(nn.Module):
        num_particles = 1

        def forward(self, vae, batch, total=None):
            bound = objective(vae, batch, total=total)
            exact = batch[0].sum(-1).mean()  # without noise, so that it can be computed by hand
            return pv.objectives.Bound(exact, bound.surrogate, {"elbo": exact})

    history = quiet(vae, x, Mean(), batch_size=3, epochs=1, optimizer=functools.partial(torch.optim.SGD, lr=0.0))
    (all_of_x,) = x.batch()
    assert history["train/bound"][0] == pytest.approx(float(all_of_x.sum(-1).mean()), rel=1e-6)


def test_validation_is_at_final_weights_and_with_the_same_noise():
    """β is 0 while training, 1 at its end: the validation bound is the ELBO all along."""
    beta = pv.schedules.linear(0.0, 1.0, over=10_000)
    still = functools.partial(torch.optim.SGD, lr=0.0)
    history = quiet(pair(), dataset(), pv.objectives.ELBO(beta=beta, kl="sampled"), still, epochs=3, batch_size=16)
    assert history["validation/bound"] == history["validation/elbo"]
    assert len(set(history["validation/bound"])) == 1
    assert all(b > e for b, e in zip(history["train/bound"], history["train/elbo"], strict=True))
    assert history["beta"] == pytest.approx([3 / 10_000, 7 / 10_000, 11 / 10_000], rel=1e-3)


@pytest.mark.parametrize(
    ("batch_size", "train"),
    [(10_000, 50), (1, 5), (50, 50), (128, 1)],
    ids=["more than all", "one by one", "all", "one datum"],
)
def test_any_batch_size(batch_size, train):
    history = quiet(pair(), dataset(train=train), epochs=2, batch_size=batch_size)
    assert history.last["step"] == 2 * math.ceil(train / batch_size)
    assert math.isfinite(history.last["validation/bound"])


def test_data_as_arrays():
    x = (np.random.default_rng(0).random((20, 6)) > 0.5).astype(np.float32)
    expected = rows(quiet(pair(), x, epochs=2))
    assert rows(quiet(pair(), torch.from_numpy(x), epochs=2)) == expected
    assert rows(quiet(pair(), (x,), epochs=2)) == expected
    assert "validation/bound" not in expected[0]


class Sorted(pv.datasets.Split):
    """A user's own split with an order of its own."""

    order = torch.arange(19, -1, -1)

    def batches(self, size, **_):
        return iter([(x,) for x in self.tensors[0][self.order].split(size)])


class Lookalike:
    """What gives batches as a split does, and is none."""

    columns, device = None, torch.device("cpu")

    def __init__(self, tensors):
        self.tensors, self.indices = tensors, torch.arange(len(tensors[0]))

    def __len__(self):
        return len(self.indices)

    def to(self, device):
        return self

    def batch(self, index=None, generator=None):
        return (self.tensors[0] if index is None else self.tensors[0][index],)

    def batches(self, size, *, shuffle=False, generator=None):
        return iter([(x,) for x in self.tensors[0].split(size)])


def test_splits_of_a_users_own_give_their_batches_and_are_resumed(tmp_path):
    x = (torch.rand(20, 6, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    for made in (Sorted((x,)), Lookalike((x.flip(0),))):
        name = type(made).__name__
        whole = rows(quiet(pair(), made, epochs=3, batch_size=7, directory=tmp_path / f"{name}3"))
        quiet(pair(), made, epochs=1, batch_size=7, directory=tmp_path / name)
        rest = rows(quiet(pair(), made, epochs=3, batch_size=7, directory=tmp_path / name, resume=True))
        assert rest[-1]["train/bound"] == whole[-1]["train/bound"]


class Mixed(pv.datasets.Split):
    """Every third batch of x with its label."""

    def batches(self, size, *, shuffle=False, generator=None):
        (x,) = self.tensors
        yield from ((p, (p > 0).float()) if i % 3 == 0 else (p,) for i, p in enumerate(x.split(4)))


def test_what_the_elbo_is_made_of_sums_up_over_labelled_and_unlabelled_batches():
    def model(x, y=None):
        with pyro.plate("data", x.shape[0]):
            y = pyro.sample("y", dist.Bernoulli(torch.tensor(0.3)), obs=y)
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + y, 1.0), obs=x)

    def guide(x, y=None):
        a = pyro.param("a", torch.tensor(0.1))
        with pyro.plate("data", x.shape[0]):
            if y is None:
                pyro.sample("y", dist.Bernoulli(logits=a * x))
            pyro.sample("z", dist.Normal(a * x, 1.0))

    (row,) = quiet(pv.VAE(model, guide), Mixed((torch.randn(24),)), epochs=1, batch_size=4)
    assert {"train/kl/y", "train/kl/z"} <= row.keys()
    parts = row["train/log_likelihood"] - row["train/kl/y"] - row["train/kl/z"]
    assert row["train/elbo"] == pytest.approx(parts, abs=1e-5)


def test_data_of_several_tensors():
    def model(x, y):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(z * x, 1.0), obs=y)

    def guide(x, y):
        a = pyro.param("a", torch.tensor(0.1))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(a * x * y, 1.0))

    vae = pv.VAE(model, guide)
    quiet(vae, (torch.randn(20), torch.randn(20)), epochs=2)
    assert dict(vae.named_parameters())
    assert not pyro.get_param_store().keys()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_data_take_the_dtype_of_the_pair(dtype):
    vae = pair().to(dtype)
    quiet(vae, dataset(), epochs=1)
    assert {p.dtype for p in vae.parameters()} == {dtype}


def test_no_epochs_evaluate_only():
    vae = pair()
    before = weights(vae)
    history = quiet(vae, dataset(), epochs=0)
    assert identical(before, weights(vae))
    assert [row["epoch"] for row in history] == [0]
    assert {"train/bound", "validation/bound"} <= history.rows[0].keys()


def test_steps_in_place_of_epochs():
    history = quiet(pair(), dataset(), steps=6, batch_size=16)  # 4 steps an epoch
    assert [row["step"] for row in history] == [4, 6]
    assert history.status == "finished"


def test_frozen_parameters_stay_frozen():
    vae = pair()
    vae.model.requires_grad_(False)
    before = weights(vae)
    quiet(vae, dataset(), epochs=2)
    after = weights(vae)
    assert all(torch.equal(before[k], after[k]) for k in before if k.startswith("model"))
    assert not torch.equal(before["guide.encoder.0.weight"], after["guide.encoder.0.weight"])
    assert not any(p.requires_grad for p in vae.model.parameters())


def test_parts_in_evaluation_mode_stay_so_while_training():
    vae = pair(norm=True)
    vae.model.decoder[1].eval()
    before = vae.model.decoder[1].running_mean.clone()
    quiet(vae, dataset(), epochs=1)
    assert torch.equal(before, vae.model.decoder[1].running_mean)
    vae.eval()  # a pair that was evaluated as a whole is trained all the same
    quiet(vae, dataset(), epochs=1)
    assert not torch.equal(before, vae.model.decoder[1].running_mean)
    assert not vae.training


def test_early_stopping_keeps_the_best_weights():
    """With a learning rate far too high, the bound soon falls."""
    wild = functools.partial(torch.optim.SGD, lr=3.0)
    best = pair()
    history = quiet(best, dataset(), optimizer=wild, epochs=50, early_stopping=3, batch_size=16, seed=1)
    assert history.status == "stopped early"
    assert len(history) == history.best_epoch + 3 < 50
    last = pair()
    again = quiet(last, dataset(), optimizer=wild, epochs=50, early_stopping=3, batch_size=16, seed=1, keep="last")
    assert rows(again) == rows(history)
    assert not identical(weights(best), weights(last))
    assert quiet(best, dataset(), epochs=0, batch_size=16)["validation/bound"][0] == pytest.approx(
        history.best["validation/bound"]
    )
    assert quiet(last, dataset(), epochs=0, batch_size=16)["validation/bound"][0] == pytest.approx(
        history.last["validation/bound"]
    )
    assert history.loss == -history.best["validation/elbo"]
    assert again.loss == -history.last["validation/elbo"]


def test_clipping_bounds_what_the_optimizer_sees():
    seen = []

    class Watch(torch.optim.SGD):
        def step(self, closure=None):
            gradients = [p.grad for group in self.param_groups for p in group["params"]]
            seen.append((torch.nn.utils.get_total_norm(gradients).item(), max(g.abs().max().item() for g in gradients)))
            return super().step(closure)

    history = quiet(pair(), dataset(), optimizer=functools.partial(Watch, lr=0.01), epochs=1, grad_clip=0.1)
    assert max(norm for norm, _ in seen) <= 0.1 * (1 + 1e-5)
    assert history["grad_norm"][0] > 0.1  # reported as it was before
    seen.clear()
    quiet(pair(), dataset(), optimizer=functools.partial(Watch, lr=0.01), epochs=1, grad_clip_value=0.01)
    assert max(largest for _, largest in seen) <= 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": -1}, "epochs=-1"),
        ({"epochs": 1.5}, "epochs=1.5"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"seed": -1}, "seed=-1"),
        ({"steps": 0}, "steps=0"),
        ({"grad_clip": 0.0}, "grad_clip=0.0"),
        ({"grad_clip": math.nan}, "grad_clip=nan"),
        ({"early_stopping": 0}, "early_stopping=0"),
        ({"keep": "first"}, "keep='first'"),
        ({"compile": "always"}, "compile='always'"),
        ({"resume": True}, "directory"),
        ({"optimizer": functools.partial(torch.optim.SGD, lr=math.nan)}, "lr=nan"),
        ({"optimizer": torch.optim.LBFGS}, "closure"),
        ({"optimizer": lambda ps: None}, "NoneType"),
        ({"optimizer": "adam"}, r"optimizer='adam', expected .*partial\(torch.optim.Adam,"),
        ({"optimizer": "sgd"}, r"partial\(torch.optim.SGD,"),
        ({"optimizer": None}, "optimizer=None"),
        ({"optimizer": torch.optim.Adam(pair().parameters())}, "an Adam that is made already"),
        ({"optimizer": pyro.optim.Adam({"lr": 0.1})}, "of Pyro"),
        ({"optimizer": pyro.optim.Adam}, "of Pyro"),
        (
            {"optimizer": functools.partial(torch.optim.Adam, learning_rate=0.1)},
            "made: Adam says .*learning_ra",
        ),
        ({"epochs": True}, "epochs=True"),
        ({"batch_size": "8"}, "batch_size='8'"),
        ({"grad_clip": "1"}, "grad_clip='1'"),
        ({"epoch": 3}, r"epoch=… for fit, expected .*Did you mean epochs\?"),
        ({"callbacks": print}, "callbacks=.* expected a list"),
        ({"callbacks": [3]}, "callbacks=.* expected a list"),
        ({"groups": ["guide"]}, "groups=.* expected options by prefix"),
        ({"scheduler": "cosine"}, "scheduler='cosine'"),
        ({"scheduler": 3}, "scheduler=3"),
        ({"groups": {"gide": {"lr": 0.1}}}, "gide"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_nonsense_is_refused(arguments, message, tmp_path):
    with pytest.raises(PplVaeError, match=message) as error:
        quiet(
            pair(),
            dataset(),
            **({"directory": tmp_path / "run"} | arguments if "resume" not in arguments else arguments),
        )
    assert "expected" in str(error.value)
    assert not (tmp_path / "run").exists()


def test_what_is_no_pair_is_refused():
    with pytest.raises(ArgumentError, match=r"vae=a Model, expected a pair: pv.VAE"):
        quiet(Model(), dataset())
    with pytest.raises(ArgumentError, match="vae=the class VAE, expected a pair"):
        quiet(pv.VAE, dataset())


@pytest.mark.parametrize("directory", [3, ["runs"]])
def test_what_is_no_folder_is_refused(directory):
    with pytest.raises(ArgumentError, match="expected the path of a folder"):
        quiet(pair(), dataset(), directory=directory)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(RunError, match="which is a file"):
        quiet(pair(), dataset(), directory=tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"


def test_data_of_another_width_are_told_with_the_layer_that_they_do_not_fit():
    wide = torch.ones(20, 7)
    with pytest.raises(DataError, match=r"batch of \(20, 7\), .*guide.encoder.0 \(Linear\) takes 6 .* given 7"):
        quiet(pair(), wide)
    for door in (pv.evaluate, pv.posterior):
        with pytest.raises(DataError, match=r"guide.encoder.0 \(Linear\) takes 6 numbers"):
            door(pair(), wide)


def test_a_class_of_optimizers_is_a_function_of_parameters():
    assert quiet(pair(), dataset(), epochs=1, optimizer=torch.optim.Adam).last["lr"] == pytest.approx(1e-3)


def test_no_data_are_refused():
    with pytest.raises(DataError, match="no data"):
        quiet(pair(), dataset().train[:0])


def test_a_pair_without_trainable_parameters_is_refused():
    vae = pair().requires_grad_(False)
    with pytest.raises(PplVaeError, match="trainable"):
        quiet(vae, dataset())
    assert len(quiet(vae, dataset(), epochs=0)) == 1


def test_early_stopping_wants_validation_data():
    with pytest.raises(PplVaeError, match="validation"):
        quiet(pair(), dataset(validation=0), early_stopping=2)


def test_programs_that_make_their_parameters_when_run_are_trained():
    network = Model()
    vae = pv.VAE(network, pyro.infer.autoguide.AutoNormal(pyro.poutine.block(network, hide=["x"])))
    x = dataset(train=8, validation=0).train  # the whole data in one batch: an autoguide is not amortized
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quiet(vae, x, epochs=2, batch_size=8)
    assert any("guide" in name for name, _ in vae.named_parameters())


@pytest.mark.parametrize("mode", ["off", "export"])
def test_a_parameter_that_comes_too_late_to_be_trained_is_refused_by_name(mode):
    class Late(Model):
        def forward(self, x, *_):
            if len(x) == 14:  # as the last batch of 50 data is
                pyro.param("late", torch.zeros(()))
            super().forward(x)

    with pytest.raises(CheckError, match=r"Got pyro.param\('late'\) for the first time in a step of training"):
        quiet(pv.VAE(Late(), Guide()), dataset(), epochs=1, batch_size=18, compile=mode)


class Tabled(Model):
    """An offset by a table, whose gradient may be sparse."""

    def __init__(self, sparse: bool) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(4, 2, sparse=sparse)

    def forward(self, x, *_):
        rows = self.table((x[:, 0] + 2 * x[:, 1]).long())
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z + rows)).to_event(1), obs=x)


@pytest.mark.parametrize("options", [{"grad_clip": 0.1, "grad_clip_value": 0.05}, {"nonfinite": "skip"}])
def test_sparse_gradients_train_as_dense_ones_do(options):
    found = []
    for sparse in (True, False):
        torch.manual_seed(0)
        vae = pv.VAE(Tabled(sparse), Guide())
        sgd = functools.partial(torch.optim.SGD, lr=0.1)
        history = quiet(vae, dataset(), optimizer=sgd, epochs=2, batch_size=16, compile="export", **options)
        found.append((history, weights(vae)))
    assert found[0][0].compiled == "eager: a gradient is sparse"
    for name, value in found[1][1].items():
        torch.testing.assert_close(found[0][1][name], value, msg=name)


def test_an_optimizer_that_takes_no_sparse_gradients_is_refused_in_words():
    with pytest.raises(PplVaeError, match=r"^Got Adam for this pair, .*Leave sparse=True out, or take torch.optim.SGD"):
        quiet(pv.VAE(Tabled(True), Guide()), dataset(), epochs=1)


def test_threads_train_as_if_they_were_alone():
    def trained(vae, seed):
        quiet(vae, dataset("dynamic"), seed=seed, epochs=2, batch_size=16, compile="export")
        return weights(vae)

    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(trained, [pair() for _ in range(3)], range(3)))
    alone = [trained(pair(), seed) for seed in range(3)]
    assert all(map(identical, together, alone))


def test_a_callback_may_train():
    other = pair(seed=1)
    vae = pair()
    quiet(vae, dataset(), epochs=2, callbacks=[lambda row: quiet(other, dataset(), epochs=1) and None])
    alone = pair()
    quiet(alone, dataset(), epochs=2)
    assert identical(weights(vae), weights(alone))


def test_the_guide_of_another_pair_is_not_touched():
    guide = Guide()
    other = pv.VAE(Model(), Guide())
    before = weights(other)
    quiet(pv.VAE(Model(), guide), dataset(), epochs=1)
    assert identical(before, weights(other))


def test_batch_norm_on_a_last_batch_of_one_is_explained():
    with pytest.raises(PplVaeError, match="17 data in batches of 16"):
        quiet(pair(norm=True), dataset(train=17), batch_size=16)


def test_a_row_that_could_not_be_written_is_none_of_the_history(tmp_path, monkeypatch):
    append = Store.append

    def full(store, row):
        if row["epoch"] == 2:
            raise RunError("no room left")
        append(store, row)

    monkeypatch.setattr(Store, "append", full)
    with pytest.raises(RunError) as error:
        quiet(pair(), dataset(), epochs=3, batch_size=16, directory=tmp_path)
    assert [row["epoch"] for row in error.value.history.rows] == [1]
