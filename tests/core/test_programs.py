"""Programs own what they use: parameters, modules behind functions, and nothing of Pyro's store."""

import copy
import functools
import math
import multiprocessing
import threading
import weakref

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.contrib.easyguide import EasyGuide
from pyro.distributions import constraints
from pyro.nn import PyroModule
from torch import nn

import ppl_vae as pv
from ppl_vae.core.programs import FunctionProgram, Parameters, as_module

D = 3


def model(x):
    with pyro.plate("data", x.shape[0]):
        z = pyro.sample("z", dist.Normal(x.new_zeros(D), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def guide_of(net):
    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(net(x), 1.0).to_event(1))

    return guide


def step(vae, x, lr=0.1):
    pv.prepare(vae, x)
    optimizer = torch.optim.SGD(vae.parameters(), lr=lr)
    (-pv.objectives.ELBO()(vae, x).surrogate).backward()
    optimizer.step()
    optimizer.zero_grad()


class Holder:
    def __init__(self, net):
        self.nets = {"a": [net]}

    def run(self, x):
        return self.nets["a"][0](x)

    __call__ = run


NET = nn.Linear(D, D)


def _reads_a_global(x):
    return NET(x)


def _nested(net):
    def outer(x):
        def inner(y):
            return net(y)

        return inner(x)

    return outer


REACHED = {
    "closure": lambda net: lambda x: net(x),
    "nested function": _nested,
    "default argument": lambda net: lambda x, net=net: net(x),
    "keyword default": lambda net: lambda x, *, net=net: net(x),
    "bound method": lambda net: Holder(net).run,
    "callable object": Holder,
    "partial": lambda net: functools.partial(lambda f, x: f(x), net),
    "partial keyword": lambda net: functools.partial(lambda x, f: f(x), f=net),
    "handler": lambda net: poutine.scale(lambda x: net(x), scale=2.0),
    "two handlers": lambda net: poutine.mask(poutine.scale(lambda x: net(x), scale=2.0), mask=True),
    "list in a closure": lambda net: (lambda nets: lambda x: nets[0](x))([net]),
    "a function's function": lambda net: (lambda f: lambda x: f(x))(lambda x: net(x)),
    "wrapped": lambda net: functools.wraps(model)(lambda x: net(x)),
}


@pytest.mark.parametrize("way", REACHED)
def test_modules_are_found(way):
    net = nn.Linear(D, D)
    assert {id(p) for p in net.parameters()} <= {id(p) for p in as_module(REACHED[way](net)).parameters()}


def test_modules_in_globals_are_found():
    assert any(module is NET for module in as_module(_reads_a_global).modules())


def test_modules_are_owned_once():
    net = nn.Linear(D, D)
    program = as_module(lambda x: net(x) + Holder(net).run(x))
    assert len(list(program.parameters())) == 2


def test_a_module_behind_a_weak_proxy_is_the_module():
    """An object may hold one, as a parent that is not to be kept alive; a dead one stands for nothing."""
    net, gone = nn.Linear(D, D), nn.Linear(D, D)
    reached = {"net": net, "again": weakref.proxy(net), "gone": weakref.proxy(gone)}
    del gone

    def program(x):
        return reached["again"](x)

    found = as_module(program)
    assert [id(p) for p in found.parameters()] == [id(p) for p in net.parameters()]


def test_a_module_is_its_own_program():
    net = nn.Linear(D, D)
    assert as_module(net) is net


def test_what_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match="expected something that can be called"):
        pv.VAE(model, 3)
    with pytest.raises(TypeError, match="without calling it"):
        pv.VAE(model(torch.zeros(2, D)), model)


def test_parameters_keep_constraints():
    params = Parameters()
    value = params.value("scale", torch.tensor(2.0), constraints.positive)
    assert value.item() == pytest.approx(2.0)
    (raw,) = params.parameters()
    assert raw.item() == pytest.approx(torch.tensor(2.0).log().item())
    with torch.no_grad():
        raw.fill_(-3.0)
    assert params.value("scale", None, constraints.positive).item() == pytest.approx(torch.tensor(-3.0).exp().item())


def test_parameters_adopt_the_same_object():
    params, own = Parameters(), nn.Parameter(torch.ones(2))
    params.value("w", own, constraints.real)
    assert next(params.parameters()) is own


def test_a_param_without_initial_value_names_what_there_is():
    params = Parameters()
    params.value("loc", torch.zeros(2), constraints.real)
    with pytest.raises(KeyError, match="loc"):
        params.value("lco", None, constraints.real)


def test_a_lazy_initial_value_is_called_once():
    calls = []

    def guide(x):
        loc = pyro.param("loc", lambda: calls.append(0) or torch.zeros(D))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(loc + x, 1.0).to_event(1))

    vae = pv.VAE(model, guide)
    step(vae, torch.randn(4, D))
    step(vae, torch.randn(4, D))
    assert len(calls) == 1


def test_pairs_with_equal_names_do_not_meet():
    """Two pairs of the same classes and parameter names train apart."""

    class Guide(PyroModule):
        def __init__(self):
            super().__init__()
            self.net = PyroModule[nn.Linear](D, D)

        def forward(self, x):
            shift = pyro.param("shift", torch.zeros(D))
            with pyro.plate("data", x.shape[0]):
                pyro.sample("z", dist.Normal(self.net(x) + shift, 1.0).to_event(1))

    x = torch.randn(6, D)
    first, second = pv.VAE(model, Guide()), pv.VAE(model, Guide())
    pv.prepare(first, x)
    pv.prepare(second, x)
    before = [p.clone() for p in second.parameters()]
    assert len(before) == 3
    for _ in range(3):
        step(first, x)
    assert all(torch.equal(p, q) for p, q in zip(second.parameters(), before, strict=True))


def test_pairs_that_share_a_network_train_it():
    net = nn.Linear(D, D)
    first, second = pv.VAE(model, guide_of(net)), pv.VAE(model, guide_of(net))
    x = torch.randn(6, D)
    for vae in (first, second):
        before = net.weight.detach().clone()
        step(vae, x)
        assert not torch.equal(net.weight, before)
    assert next(first.parameters()) is next(second.parameters())


def test_pyros_store_is_neither_read_nor_changed():
    pyro.param("loc", torch.full((D,), 9.0))

    def guide(x):
        loc = pyro.param("loc", torch.zeros(D))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))

    try:
        vae = pv.VAE(model, guide)
        step(vae, torch.randn(4, D))
        assert list(pyro.get_param_store().keys()) == ["loc"]
        assert torch.equal(pyro.param("loc").detach(), torch.full((D,), 9.0))
        assert vae.params.loc.abs().max() < 5
    finally:
        pyro.clear_param_store()


def test_an_error_inside_a_program_leaves_pyro_clean():
    def guide(x):
        pyro.param("loc", torch.zeros(D))
        raise RuntimeError("mine")

    vae = pv.VAE(model, guide)
    with pytest.raises(RuntimeError, match="mine"):
        pv.terms(vae, torch.randn(4, D))
    assert not list(pyro.get_param_store().keys())
    assert not pyro.settings.get("module_local_params")


def test_a_module_pair_is_copied_and_a_closure_refuses():
    """A copied closure would go on training the original's modules."""

    class Guide(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(D, D)

        def forward(self, x):
            guide_of(self.net)(x)

        def method(self, x):
            guide_of(self.net)(x)

    for guide in (Guide(), Guide().method):
        vae = pv.VAE(model, guide)
        x = torch.randn(4, D)
        pv.prepare(vae, x)
        other = copy.deepcopy(vae)
        before = [p.clone() for p in vae.parameters()]
        step(other, x)
        assert all(torch.equal(p, q) for p, q in zip(vae.parameters(), before, strict=True))
        assert not any(torch.equal(p, q) for p, q in zip(other.parameters(), before, strict=True))
    with pytest.raises(TypeError, match="cannot be copied"):
        copy.deepcopy(pv.VAE(model, guide_of(nn.Linear(D, D))))


def test_threads_take_turns():
    """Pairs in several threads give what they give alone, though Pyro keeps one handler stack a process."""
    pairs = [pv.VAE(model, guide_of(nn.Linear(D, D))) for _ in range(4)]
    x = torch.randn(4, D)
    failures = []

    def work(vae):
        try:
            for _ in range(20):
                t = pv.terms(vae, x, 2)
                assert t.log_weights.shape == (2, 4)
                assert set(t.guide) == {"z"}
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(vae,)) for vae in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert not poutine.runtime._PYRO_STACK


def _train_in_child(vae, x, queue):
    torch.set_num_threads(1)
    step(vae, x)
    queue.put([p.detach().numpy() for p in vae.parameters()])


def test_a_child_process_trains_its_own_copy():
    context = multiprocessing.get_context("fork")
    vae, x = pv.VAE(model, guide_of(nn.Linear(D, D))), torch.randn(4, D)
    pv.prepare(vae, x)
    before = [p.detach().clone() for p in vae.parameters()]
    queue = context.Queue()
    child = context.Process(target=_train_in_child, args=(vae, x, queue))
    child.start()
    there = queue.get(timeout=60)
    child.join()
    assert all(torch.equal(p, q) for p, q in zip(vae.parameters(), before, strict=True))
    assert any((p.detach().numpy() != q).any() for p, q in zip(vae.parameters(), there, strict=True))


def test_function_programs_name_themselves():
    assert "guide_of" in repr(FunctionProgram(guide_of(nn.Linear(D, D))))


def test_modules_that_a_module_borrows_are_owned():
    """An EasyGuide, or any module, whose methods use a network out of a closure or a global."""
    net = nn.Linear(D, D)

    class Own(nn.Module):
        def forward(self, x):
            return self.helper(x)

        def helper(self, x):
            guide_of(net)(x)

    class Easy(EasyGuide):
        def guide(self, x):
            with self.plate("data", x.shape[0]):
                pyro.sample("z", dist.Normal(net(x), 1.0).to_event(1))

    for guide in (Own(), Easy(model)):
        vae = pv.VAE(model, guide)
        assert {id(p) for p in net.parameters()} <= {id(p) for p in vae.parameters()}
        before = net.weight.detach().clone()
        step(vae, torch.randn(4, D))
        assert not torch.equal(net.weight, before)


NOTEBOOK = """
class Guide(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.scale = torch.nn.Linear(3, 3), torch.nn.Parameter(torch.zeros(3))

    def forward(self, x):
        def loc():
            return self.encoder(x)

        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(loc(), self.scale.exp()).to_event(1))


def function(x):
    return settings.encoder(x)


encoder = torch.nn.Linear(3, 3)
scale = torch.nn.Linear(7, 7)
"""


def test_a_global_of_an_attributes_name_is_no_part_of_a_program():
    """As in a notebook, where networks are tried by the names that they will have in a class."""
    made = {"torch": torch, "pyro": pyro, "dist": dist, "settings": functools.partial(print)}
    exec(NOTEBOOK, made)
    guide = made["Guide"]()
    vae = pv.VAE(model, guide)
    assert vae.guide is guide
    assert {name for name, _ in vae.guide.named_parameters()} == {"encoder.weight", "encoder.bias", "scale"}
    assert not list(as_module(made["function"]).parameters())


NAMELESS = """
class Linear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 2)

    def forward(self, x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(self.linear(x), 1.0).to_event(1))


def model(x):
    with pyro.plate("data", x.shape[0]):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(torch.cat([z, -z], -1), 1.0).to_event(1), obs=x)
"""


@pytest.mark.parametrize("name", [{}, {"__name__": None}, {"__name__": 3}, {"__name__": "nowhere"}], ids=str)
def test_programs_run_by_exec_say_no_module_and_are_a_users(name):
    made = {"torch": torch, "pyro": pyro, "dist": dist, **name}
    exec(NAMELESS, made)
    vae = pv.VAE(made["model"], made["Linear"]())
    history = pv.fit(vae, pv.datasets.from_arrays(torch.zeros(20, 4)), epochs=1, batch_size=10, seed=0)
    assert len(history.rows) == 1
    assert math.isfinite(pv.evaluate(vae, torch.zeros(3, 4), num_particles=2).summary["elbo"])
