"""Several compiled steps in one call leave behind what they do one by one, to the bit."""

import dataclasses
import functools

import pytest
import torch

import ppl_vae as pv
from ppl_vae.compile import stepper
from ppl_vae.compile.kernels import steps
from tests.compile.test_stepper import by_compiler, inductor
from tests.training.pairs import adam, dataset, identical, pair, quiet, rows, weights

__all__ = ["by_compiler", "several_are_single", "taken"]

DATA = functools.partial(dataset, "dynamic", train=150)


def taken(most, make=pair, data=None, **options):
    """A run with at most so many steps in a call: its history, its weights, and how many there were in each call."""
    calls, own = [], stepper._Standing.several

    def count(self, batches, meter, told):
        calls.append(len(batches))
        return own(self, batches, meter, told)

    before = stepper.SEVERAL
    stepper.SEVERAL, stepper._Standing.several = most, count
    try:
        vae = make()
        chosen = {name: value() if name == "objective" else value for name, value in options.items()}
        told = {"batch_size": 8, "epochs": 3, "optimizer": adam, "seed": 1, **chosen}
        history = quiet(vae, DATA() if data is None else data(), compile="inductor", **told)
    finally:
        stepper.SEVERAL, stepper._Standing.several = before, own
    assert history.compiled == "inductor: asked for", history.compiled
    return history, weights(vae), calls


def several_are_single(name, *, together=True, **options):
    """Check the bits of runs with up to 1, 3 and 16 steps in a call, and whether there was such a call."""
    one, expected, calls = taken(1, **options)
    assert calls == [], name
    for most in (3, 16):
        found, now, calls = taken(most, **options)
        assert rows(found) == rows(one), (name, most)
        assert identical(now, expected), (name, most)
        assert (max(calls, default=1) == most) is together, (name, most, calls)


@inductor
def test_several_steps_of_a_call_have_the_bits_of_single_ones(tmp_path, repository):
    by_compiler(
        tmp_path,
        repository,
        """
        from tests.compile.kernels.test_steps import *
        from tests.compile.test_stepper import OBJECTIVES
        from torch.optim import lr_scheduler
        several_are_single("plain")
        several_are_single("steps that end within an epoch", steps=41)
        several_are_single("both limits", grad_clip=0.5, grad_clip_value=0.1)
        cycle = functools.partial(lr_scheduler.OneCycleLR, max_lr=[0.02, 0.01], total_steps=57)
        several_are_single("a learning rate of each step, by group",
                           optimizer=functools.partial(torch.optim.AdamW, lr=0.02, weight_decay=0.1),
                           groups={"guide": {"lr": 0.005}}, scheduler=pv.training.schedulers.PerStep(cycle))
        several_are_single("β warms up, then stays", objective=OBJECTIVES["warm-up"])
        several_are_single("averaged weights", together=False, ema=0.9)
        """,
    )


class Drawing:
    """Noise from the generator that programs draw from, too."""

    def __call__(self, x, draw):
        return (x + torch.randint_like(x.float(), 2)) % 2

    def mean(self, x):
        return x


def noisy():
    data = dataset("threshold", train=150)
    return dataclasses.replace(data, train=data.train.then(Drawing()))


class Constant(torch.nn.Module):
    """A program with a tensor that is neither parameter nor buffer, which torch hands to compiled code as well."""

    def __init__(self):
        super().__init__()
        self.inner = pair().model
        self.shift = (torch.tensor([0.5, -0.5]),)

    def forward(self, x, *_):
        import pyro
        import pyro.distributions as dist

        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1))
            logits = self.inner.decoder(z + self.shift[0]) + torch.tensor(0.25)
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)


def constant():
    torch.manual_seed(0)
    return pv.VAE(Constant(), pair().guide)


@inductor
def test_programs_with_constants_and_data_that_draw_for_themselves(tmp_path, repository):
    by_compiler(
        tmp_path,
        repository,
        """
        from tests.compile.kernels.test_steps import *
        from tests.compile.kernels.test_steps import constant, noisy
        several_are_single("constants", make=constant)
        several_are_single("a generator in common", together=False, data=noisy)
        """,
    )


@inductor
def test_a_signal_ends_training_after_the_call_at_hand_and_a_resumed_run_has_all_bits(tmp_path, repository):
    by_compiler(
        tmp_path,
        repository,
        f"""
        import signal
        from ppl_vae.compile import stepper
        from pathlib import Path
        from tests.compile.kernels.test_steps import *
        expected, bits, calls = taken(3)
        own, seen = stepper._Standing.several, []
        def stop(self, batches, meter, told):
            seen.append(len(batches))
            if len(seen) == 4:
                signal.raise_signal(signal.SIGINT)
            return own(self, batches, meter, told)
        stepper._Standing.several = stop
        where = Path({str(tmp_path)!r}) / "run"
        try:
            taken(3, directory=where)
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError("the signal was lost")
        assert len(seen) == 4, seen
        stepper._Standing.several = own
        found, now, calls = taken(3, make=lambda: pair(seed=5), directory=where, resume=True)
        assert rows(found) == rows(expected)
        assert identical(now, bits)
        """,
    )


@inductor
def test_without_that_call_steps_go_one_by_one_to_the_same_bits(tmp_path, repository):
    by_compiler(
        tmp_path,
        repository,
        """
        from tests.compile.kernels.test_steps import *
        from ppl_vae.compile import fused
        together, bits, calls = taken(16)
        assert max(calls) == 16, calls
        fused.in_a_row = lambda *_: None
        alone, found, calls = taken(16)
        assert calls == [], calls
        assert rows(alone) == rows(together)
        assert identical(found, bits)
        """,
    )


def test_a_function_that_is_no_generated_code_is_called_as_ever(monkeypatch):
    monkeypatch.setattr(steps, "_is_there", lambda: True)
    assert steps.in_a_row(lambda *tensors: [], [torch.zeros(2)], [torch.ones(2)]) is None


def test_batches_are_drawn_ahead_of_steps_only_where_they_hang_on_their_generator_alone():
    from ppl_vae.training.batches import Batches

    split = dataset("dynamic").train
    assert Batches(split, None).may_be_ahead
    assert not Batches(noisy().train, None).may_be_ahead

    class Own(type(split)):
        """A split of somebody's own may look at what a step has done."""

    assert not Batches(Own(*(getattr(split, name) for name in split.__dataclass_fields__)), None).may_be_ahead


class Slow:
    """A compiled step that takes so long."""

    takes_several = True

    def __init__(self, seconds):
        self.seconds = seconds


@pytest.mark.parametrize(("seconds", "most"), [(1e-4, 16), (0.01, 5), (0.06, 1), (10.0, 1)])
def test_a_call_lasts_a_twentieth_of_a_second_and_holds_64_megabytes(monkeypatch, seconds, most):
    monkeypatch.setattr(stepper, "FusedStep", Slow)
    standing = stepper._Standing(Slow(seconds), None)
    assert standing.most == 1  # nothing is known of it
    standing._took(seconds)
    assert standing.most == most
    small, large = (torch.zeros(4),), (torch.empty(20_000_000),)
    taking = stepper.Stepper.__new__(stepper.Stepper)
    taking._ways = {stepper._shape(batch): standing for batch in (small, large)}
    assert taking.at_once(small) == most
    assert taking.at_once(large) == 1
