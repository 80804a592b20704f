"""A substitute is taken if it leaves behind what its program does: results, buffers, and random state."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from ppl_vae.compile.substitute import Original, attempt, verify
from ppl_vae.compile.verify import CaptureError, compare
from ppl_vae.schedules import linear

CPU = torch.device("cpu")


class Counter(nn.Module):
    """Counts its runs in a buffer, and draws noise."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("runs", torch.zeros(()))
        self.note = 0

    def forward(self, inputs):
        (x,) = inputs
        self.runs += 1
        return {"y": x + torch.randn(len(x))}


def silent(counter):
    """The same results without the buffer."""
    return lambda inputs: {"y": inputs[0] + torch.randn(len(inputs[0]))}


def greedy(counter):
    """The same results, and another draw."""
    return lambda inputs: (counter(inputs), torch.rand(()))[0]


def numpys(counter):
    return lambda inputs: (counter(inputs), np.random.rand())[0]  # noqa: NPY002


def constant(counter):
    """Right on what it was made with, and on nothing else."""
    torch.manual_seed(0)
    seen = torch.arange(3.0) + torch.randn(3)

    def run(inputs):
        counter(inputs)
        return {"y": seen}

    return run


def nothing(counter):
    return lambda inputs: {}


def failing(counter):
    return lambda inputs: {"y": inputs[1]}


def counting(counter):
    counter.register_forward_hook(lambda module, *_: setattr(module, "note", module.note + 1))
    return counter


CALLS = 0


class Held:
    calls = 0


def counting_globally(counter):
    def hook(*_):
        global CALLS
        CALLS += 1

    counter.register_forward_hook(hook)
    return counter


def counting_in_a_closure(counter):
    calls = 0

    def hook(*_):
        nonlocal calls
        calls += 1

    counter.register_forward_hook(hook)
    return counter


def counting_in_an_object(counter):
    counter.held = held = Held()
    counter.register_forward_hook(lambda *_: setattr(held, "calls", held.calls + 1))
    return counter


def counting_by_a_counter(counter):
    counter.ticks = itertools.count()
    counter.register_forward_hook(lambda *_: (next(counter.ticks), None)[1])
    return counter


WRONG = {
    silent: "buffer runs differs",
    greedy: "the random state 0 differs",
    numpys: "the random state",
    constant: "y differs",
    nothing: "y is missing",
    failing: r"it fails \(IndexError: tuple index out of range, at test_substitute.py",
    counting: "the program changes note as it runs",
    counting_globally: "the program changes CALLS as it runs",
    counting_in_a_closure: "the program changes calls as it runs",
    counting_in_an_object: r"the program changes held\.calls as it runs",
    counting_by_a_counter: "the program changes ticks as it runs",
}


@pytest.mark.parametrize("make", WRONG)
def test_what_leaves_something_else_is_refused_with_a_reason(make):
    counter = Counter()
    original = Original(counter, [counter], CPU)
    inputs = (torch.arange(3.0),)
    run = make(counter)
    trials = (original.perturbed(inputs) for _ in range(2))
    with pytest.raises(CaptureError, match=WRONG[make]):
        verify(original, run, trials, "captured", exact=True)


def test_what_leaves_the_same_is_taken():
    counter, copied = Counter(), Counter()

    def run(inputs):
        copied.runs.copy_(counter.runs)
        found = copied(inputs)
        counter.runs.copy_(copied.runs)
        return found

    original = Original(counter, [counter], CPU)
    verify(original, run, (original.perturbed((torch.arange(3.0),)) for _ in range(2)), "captured", exact=True)


def test_a_program_that_fails_on_the_trial_is_left_alone():
    original = Original(lambda inputs: {"y": 1 / inputs[0]} if inputs[0] else {}[0])
    verify(original, original.run, [(torch.ones(()),)], "captured")
    with pytest.raises(CaptureError, match=r"^on other noise and data the program fails \(KeyError: 0, at test_"):
        verify(original, original.run, [(torch.zeros(()),)], "captured")


def test_making_a_substitute_leaves_all_numbers_as_they_were():
    counter, beta = Counter(), linear(0.0, 1.0, over=9)
    original = Original(counter, [counter, beta], CPU, [beta])
    inputs = (torch.arange(3.0),)
    before = [counter.runs.clone(), beta.value.clone(), torch.random.get_rng_state()]

    def make():
        other = original.perturbed(inputs)
        assert not torch.equal(other[0], inputs[0])
        assert not torch.equal(beta.value, before[1])
        counter(other)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        original.kept(make)
    after = [counter.runs, beta.value, torch.random.get_rng_state()]
    assert all(map(torch.equal, before, after))


def test_what_cannot_be_made_says_why():
    with pytest.raises(CaptureError, match=r"^it cannot be compiled \(ZeroDivisionError: division by zero, at test_"):
        attempt("compiled", lambda: 1 / 0)
    with pytest.raises(CaptureError, match=r"^as it was said$"):
        attempt("compiled", lambda: (_ for _ in ()).throw(CaptureError("as it was said")))


INF, NAN = torch.inf, torch.nan


@pytest.mark.parametrize(
    ("expected", "found", "options", "same"),
    [
        ([1.0, 1e-9], [1.0 + 1e-5, 0.0], {}, True),
        ([1.0, 1e-9], [1.0 + 1e-3, 0.0], {}, False),
        ([1e-9], [0.0], {}, False),  # small, and no rounding of anything larger
        ([1e-9], [0.0], {"least": 1.0}, True),
        ([1.0], [1.0 + 1e-5], {"exact": True}, False),
        ([INF, 1.0], [INF, 1.0], {}, True),
        ([INF, 1.0], [INF, 2.0], {}, False),
        ([INF, 1.0], [1.0, 1.0], {}, False),
        ([INF], [-INF], {}, False),
        ([1.0], [INF], {}, False),
        ([NAN, 1.0], [NAN, 1.0], {}, True),
        ([NAN], [1.0], {}, False),
        ([1.0], [NAN], {}, False),
        ([1.0], [1.0, 1.0], {}, False),
        ([], [], {}, True),
    ],
)
def test_rounding_is_relative_to_the_largest(expected, found, options, same):
    for dtype, eps in ((torch.float32, None), (torch.float64, torch.float32)):
        sides = [{"x": torch.tensor(side, dtype=dtype)} for side in (expected, found)]
        given = options if eps is None else options | {"dtype": eps}
        if same:
            compare(*sides, "compiled", **given)
        else:
            with pytest.raises(CaptureError, match="compiled, x differs"):
                compare(*sides, "compiled", **given)
