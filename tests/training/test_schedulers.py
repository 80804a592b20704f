"""Learning rates over time."""

import functools
import itertools

import pytest
import torch

from ppl_vae.errors import PplVaeError
from ppl_vae.training import schedulers
from ppl_vae.training.schedulers import Pacer
from tests.training.pairs import dataset, pair, quiet

sgd = functools.partial(torch.optim.SGD, lr=0.5)


def rates(schedule, steps=12, epochs=3, losses=(3.0, 2.0, 1.0)):
    """The learning rate of every step."""
    optimizer = sgd([torch.nn.Parameter(torch.zeros(1))])
    pacer = Pacer(schedule, optimizer, steps=steps, epochs=epochs, validated=True)
    found = []
    for epoch in range(epochs):
        for _ in range(steps // epochs):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            pacer.after_step()
        pacer.after_epoch(losses[epoch])
    return found


@pytest.mark.parametrize("schedule", [None, schedulers.constant()], ids=["none", "constant"])
def test_constant(schedule):
    assert set(rates(schedule)) == {0.5}


def test_warmup():
    assert rates(schedulers.warmup(4)) == pytest.approx([0.125, 0.25, 0.375, *[0.5] * 9])


def test_cosine():
    found = rates(schedulers.cosine(warmup=2, floor=0.1))
    assert found[:3] == pytest.approx([0.25, 0.5, 0.5])
    assert found[7] == pytest.approx(0.5 * 0.55)  # half of the way
    assert all(a >= b for a, b in itertools.pairwise(found[2:]))
    assert schedulers.cosine(floor=0.1).factor(12, 12) == pytest.approx(0.1)


def test_step():
    assert rates(schedulers.step(every=2, factor=0.1)) == pytest.approx([0.5] * 8 + [0.05] * 4)


def test_plateau_follows_the_validation_loss():
    assert rates(schedulers.plateau(patience=0), losses=(3.0, 4.0, 1.0)) == [0.5] * 8 + [0.25] * 4
    with pytest.raises(PplVaeError, match="validation"):
        quiet(pair(), dataset(validation=0), scheduler=schedulers.plateau())


def test_burda_is_the_papers():
    """Stages i = 1, …, 8 of 3^(i-1) epochs at 1e-4 · round(10^(1-(i-1)/7), 1), with lr=1e-3."""
    expected = [1e-4 * round(10 ** (1 - i / 7), 1) for i in range(8) for _ in range(3**i)]
    assert len(expected) == 3280
    factor = schedulers.burda().factor
    assert [1e-3 * factor(e, 3280) for e in range(3280)] == pytest.approx(expected, rel=1e-12)
    assert [factor(e, 82) for e in (0, 81)] == [1.0, 0.1]
    assert sum(factor(e, 328) == factor(3279, 3280) for e in range(328)) == pytest.approx(218.7, abs=1)


def test_torchs_own_per_epoch_and_per_step():
    own = functools.partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.1)
    assert rates(own) == pytest.approx([0.5] * 4 + [0.05] * 4 + [0.005] * 4)
    assert rates(schedulers.PerStep(own))[:3] == pytest.approx([0.5, 0.05, 0.005])


class Looking(torch.optim.lr_scheduler.LRScheduler):
    """Somebody's own, which goes by the weights."""

    def get_lr(self):
        return [0.1 / (1 + float(group["params"][0].detach().norm())) for group in self.optimizer.param_groups]


LR = torch.optim.lr_scheduler


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (None, True),
        (schedulers.cosine(), True),
        (Looking, True),  # once an epoch
        (schedulers.PerStep(functools.partial(LR.StepLR, step_size=3)), True),
        (schedulers.PerStep(functools.partial(LR.OneCycleLR, max_lr=0.1, total_steps=9)), True),
        (schedulers.PerStep(lambda o: LR.SequentialLR(o, [LR.ConstantLR(o), LR.ExponentialLR(o, 0.9)], [3])), True),
        (schedulers.PerStep(Looking), False),
        (schedulers.PerStep(lambda o: LR.SequentialLR(o, [LR.ConstantLR(o), Looking(o)], [3])), False),
        (schedulers.PerStep(lambda o: LR.ChainedScheduler([Looking(o)])), False),
        (schedulers.PerStep(lambda o: LR.LambdaLR(o, lambda t: 1.0)), False),
        (schedulers.Schedule(lambda t, end: 1.0), False),
    ],
)
def test_several_steps_are_one_call_only_where_nobody_looks_between_them(schedule, expected):
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))])
    pacer = schedulers.Pacer(schedule, optimizer, steps=9, epochs=3, validated=False)
    assert pacer.looks_at_nothing is expected


def test_the_rate_is_in_the_history():
    history = quiet(pair(), dataset(), epochs=3, optimizer=sgd, scheduler=schedulers.step(1), batch_size=16)
    assert history["lr"] == [0.5, 0.25, 0.125]


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: schedulers.warmup(0), "steps"),
        (lambda: schedulers.cosine(warmup=-1), "warmup"),
        (lambda: schedulers.step(every=0), "every"),
        (lambda: schedulers.step(factor=float("nan")), "factor"),
        (lambda: schedulers.burda(stages=0), "stages"),
    ],
)
def test_nonsense_is_refused(make, name):
    with pytest.raises(PplVaeError, match=f"{name}=.*expected"):
        make()
