"""`ema`: the average is the weighted mean of the weights after each step; validated with, kept, resumed to the bit."""

import functools
import math

import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.errors import ArgumentError, DamagedError, RunError
from ppl_vae.sweeps.lockstep import fit_together
from ppl_vae.training.average import Average
from ppl_vae.training.checkpoint import Store
from tests.training.pairs import adam, dataset, identical, interrupt_at, pair, quiet, rows, train, weights

EMA = functools.partial(train, ema=0.9)


class Recording(torch.optim.Adam):
    """Keeps the weights after each step."""

    def step(self, closure=None):
        result = super().step(closure)
        self.seen.append([p.detach().double().clone() for group in self.param_groups for p in group["params"]])
        return result


def recording(seen):
    def make(parameters):
        made = Recording(parameters, lr=0.05, fused=False)
        made.seen = seen
        return made

    return make


@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_it_is_the_weighted_mean_of_the_weights_after_each_step(decay):
    seen = []
    vae = pair()
    quiet(vae, dataset(), optimizer=recording(seen), epochs=3, batch_size=16, ema=decay, keep="last", compile="off")
    assert len(seen) == 12
    powers = [decay ** (len(seen) - 1 - i) for i in range(len(seen))]
    for place, parameter in enumerate(vae.parameters()):
        expected = sum(w * step[place] for w, step in zip(powers, seen, strict=True)) / math.fsum(powers)
        torch.testing.assert_close(parameter.detach().double(), expected, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(parameter.double(), seen[-1][place], atol=1e-4)


def test_validation_is_of_the_average_and_steps_are_of_the_weights():
    """The last row's bound is that of the pair as it is left, to the bit; training goes as it does without."""
    vae, plain = pair(norm=True), pair(norm=True)
    history, without = (train(v, None, ema=ema) for v, ema in ((vae, 0.9), (plain, None)))
    again = quiet(vae, dataset("dynamic"), pv.objectives.ELBO(), epochs=0, batch_size=16)
    assert again["validation/bound"][-1] == history["validation/bound"][-1] != without["validation/bound"][-1]
    assert history["train/bound"] == without["train/bound"]
    assert history["grad_norm"] == without["grad_norm"]
    buffers = [dict(v.named_buffers()) for v in (vae, plain)]
    assert identical(*buffers)  # those of batch norm are as the programs left them


def test_the_best_epochs_average_is_kept(tmp_path):
    seen = []

    def see(row):
        seen.append((row["validation/bound"], weights(vae)))

    vae = pair()
    EMA(vae, tmp_path / "run", keep="best", callbacks=[see])
    best = max(seen, key=lambda found: found[0])[1]
    assert identical(weights(vae), best)  # callbacks meet the averages
    assert identical(Store(tmp_path / "run").load_best(None)[0], best)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole") / "run"
    vae = pair(norm=True, dropout=True)
    return vae, EMA(vae, directory), directory


@pytest.mark.parametrize("step", [1, 6, 8, 20])
def test_a_resumed_run_ends_with_the_same_bits(step, whole, tmp_path):
    vae, history, directory = whole
    with pytest.raises(KeyboardInterrupt):
        EMA(pair(norm=True, dropout=True), tmp_path / "run", objective=interrupt_at(step))
    fresh = pair(seed=7, norm=True, dropout=True)
    resumed = EMA(fresh, tmp_path / "run", resume=True)
    assert rows(resumed) == rows(history)
    assert identical(weights(fresh), weights(vae))
    one, other = (Store(d).load() for d in (directory, tmp_path / "run"))
    assert identical(one["vae"], other["vae"])
    assert identical(one["average"], other["average"])
    assert not identical(one["vae"], weights(vae))  # a checkpoint holds both


def test_it_cannot_be_begun_in_between(whole, tmp_path):
    EMA(pair(), tmp_path / "run", epochs=1)
    with pytest.raises(RunError, match=r"ema None .* expected 0.9"):
        train(pair(), tmp_path / "run", resume=True)


def test_damaged_weights_are_taken_from_the_average_of_their_epoch(tmp_path):
    vae = pair()
    EMA(vae, tmp_path / "run", keep="last")
    path = tmp_path / "run" / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    store = Store(tmp_path / "run")
    with pytest.raises(DamagedError):
        store.load_best(99)
    assert "taken from" in store.mend()
    assert identical(store.load_best(None)[0], weights(vae))


def test_captured_steps_give_the_same_bits():
    vae, other = pair(), pair()
    EMA(vae, None, compile="off")
    assert EMA(other, None, compile="export").compiled.startswith("export")
    assert identical(weights(vae), weights(other))


def test_shares_of_a_batch(tmp_path):
    """Steps in two shares draw other noise; averages are of those steps: to the formula, of their own weights."""
    seen = []
    vae = pair()
    quiet(vae, dataset(), optimizer=recording(seen), epochs=2, batch_size=16, ema=0.5, keep="last", accumulate=2)
    powers = [0.5 ** (len(seen) - 1 - i) for i in range(len(seen))]
    for place, parameter in enumerate(vae.parameters()):
        expected = sum(w * step[place] for w, step in zip(powers, seen, strict=True)) / math.fsum(powers)
        torch.testing.assert_close(parameter.detach().double(), expected, rtol=1e-5, atol=1e-6)


def test_runs_in_lockstep_average_as_they_do_alone():
    """To the rounding that lockstep is allowed (ε of float32 times steps): 1e-3 of nats per datum after 20 steps."""
    pairs, alone = [pair(seed) for seed in range(3)], [pair(seed) for seed in range(3)]
    given = {"optimizer": adam, "epochs": 5, "batch_size": 16, "ema": 0.9, "keep": "last"}
    outcomes = fit_together([{"vae": v, "data": dataset(), "seed": n, **given} for n, v in enumerate(pairs)])
    for number, (outcome, vae, other) in enumerate(zip(outcomes, pairs, alone, strict=True)):
        assert outcome.error is None
        assert outcome.history.compiled.startswith("batched"), outcome.alone
        history = quiet(other, dataset(), seed=number, **given)
        assert outcome.history["validation/bound"] == pytest.approx(history["validation/bound"], abs=1e-3)
        for name, value in weights(other).items():
            torch.testing.assert_close(weights(vae)[name], value, rtol=1e-3, atol=1e-4)


def test_shared_parameters_are_averaged_once_and_named_as_often_as_they_are():
    tied = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    tied[1].weight = tied[0].weight
    average = Average(tied, list(tied.parameters()), 0.5)
    with torch.no_grad():
        tied[0].weight.fill_(2.0)
    average.update(1)
    found = average.weights()
    assert len(average.means) == 3
    assert torch.equal(found["0.weight"], found["1.weight"])
    assert torch.equal(found["1.weight"], torch.full((2, 2), 2.0))


def test_half_precision_is_averaged_in_float32():
    """bfloat16 has no number between 1 and 1 + 1/128: an average of it would stand still."""
    line = nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    average = Average(line, list(line.parameters()), 0.999)
    with torch.no_grad():
        line.weight.fill_(1.0)
    average.update(1)
    with torch.no_grad():
        line.weight.fill_(1.0 + 2**-7)
    for step in range(2, 2000):
        average.update(step)
    assert average.means[0].item() == pytest.approx(1 + 2**-7, abs=2e-5)
    assert average.weights()["weight"].dtype == torch.bfloat16


def test_parameters_that_are_not_trained_are_left_alone():
    vae = pair()
    vae.model.requires_grad_(False)
    before = weights(vae.model)
    EMA(vae, None)
    assert identical(before, weights(vae.model))


def test_a_skipped_step_counts_with_the_weights_it_left(tmp_path):
    from tests.training.pairs import breaking, fragile

    vae = fragile(norm=False)
    history = quiet(
        vae, breaking(3), epochs=2, batch_size=10, optimizer=adam, nonfinite="skip", ema=0.5, keep="last", seed=0
    )
    assert sum(history["skipped"]) == 2
    assert all(bool(torch.isfinite(w).all()) for w in weights(vae).values())


@pytest.mark.parametrize("ema", [1.0, 0.0, -0.5, 2, True, "0.9", float("nan")])
def test_what_is_no_decay_is_refused(ema):
    with pytest.raises(ArgumentError, match="Got ema"):
        quiet(pair(), dataset(), epochs=1, ema=ema)
