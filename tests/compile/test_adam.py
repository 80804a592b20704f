"""The kernel alone gives the bits of `optimizer.step()`."""

import copy

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW
from torch.optim.optimizer import register_optimizer_step_post_hook

from ppl_vae.compile.adam import Updater, adam


def trained(optimizer, lean, frozen=False, **options):
    """Weights and optimizer state after ten steps, with a learning rate that changes."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 33), nn.Tanh(), nn.Linear(33, 3))
    groups = [{"params": net[0].parameters()}, {"params": net[2].parameters(), "lr": 0.05}]
    opt = optimizer(groups, lr=0.01, **options)
    schedule = torch.optim.lr_scheduler.ExponentialLR(opt, 0.9)
    step = Updater(opt).step if lean else opt.step
    for i in range(10):
        opt.zero_grad()
        net(torch.randn(7, 5)).square().sum().backward()
        if frozen and i > 4:
            net[0].bias.grad = None
        step()
        schedule.step()
    return net.state_dict(), copy.deepcopy(opt.state_dict())


def tensors(value):
    if isinstance(value, dict):
        return [t for part in value.values() for t in tensors(part)]
    return [value] if isinstance(value, torch.Tensor) else []


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (Adam, {"fused": True}),
        (Adam, {"fused": True, "weight_decay": 0.1, "betas": (0.5, 0.9), "eps": 1e-4, "maximize": True}),
        (AdamW, {"fused": True, "weight_decay": 0.1}),
        (Adam, {"fused": True, "amsgrad": True}),
        (Adam, {"foreach": True}),
        (SGD, {"momentum": 0.9}),
    ],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_the_same_bits(optimizer, options, frozen):
    expected, found = (trained(optimizer, lean, frozen, **options) for lean in (False, True))
    for a, b in zip(expected, found, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))


def test_hooks_of_an_optimizer_run():
    parameter = nn.Parameter(torch.zeros(2))
    optimizer = Adam([parameter], fused=True)
    calls = []
    optimizer.register_step_post_hook(lambda *_: calls.append(1))
    updater = Updater(optimizer)
    for _ in range(3):
        parameter.grad = torch.ones(2)
        updater.step()
    assert len(calls) == 3


def loads(optimizer):
    state = copy.deepcopy(optimizer.state_dict())
    state["param_groups"][0]["lr"] = 0.3
    optimizer.load_state_dict(state)


CHANGES = {
    "another state": loads,
    "no state": lambda optimizer: optimizer.state.clear(),
    "another option": lambda optimizer: optimizer.param_groups[0].update(betas=(0.1, 0.2)),
    "another kernel": lambda optimizer: optimizer.param_groups[0].update(amsgrad=False, fused=False, foreach=True),
    "another group": lambda optimizer: optimizer.add_param_group({"params": [nn.Parameter(torch.ones(3))], "lr": 0.2}),
    "a hook": lambda optimizer: optimizer.register_step_pre_hook(lambda own, *_: own.param_groups[0].update(lr=0.5)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_done_to_the_optimizer_counts_once_it_is_taken_note_of(name):
    def after(lean):
        parameter = nn.Parameter(torch.ones(2))
        optimizer = Adam([parameter], lr=0.1, fused=True)
        updater = Updater(optimizer)
        for i in range(6):
            if i == 3:
                CHANGES[name](optimizer)
                updater.reset()
            for group in optimizer.param_groups:
                for p in group["params"]:
                    p.grad = p.detach() + i
            (updater if lean else optimizer).step()
        return [p.detach() for group in optimizer.param_groups for p in group["params"]]

    for expected, found in zip(after(False), after(True), strict=True):
        assert torch.equal(expected, found)


def test_hooks_of_all_optimizers_run():
    parameter, calls = nn.Parameter(torch.zeros(2)), []
    handle = register_optimizer_step_post_hook(lambda *_: calls.append(1))
    try:
        updater = Updater(Adam([parameter], fused=True))
        for _ in range(3):
            parameter.grad = torch.ones(2)
            updater.step()
    finally:
        handle.remove()
    assert len(calls) == 3


def test_a_parameter_whose_first_gradient_comes_late_is_trained():
    def late(lean):
        early, other = (nn.Parameter(torch.ones(2)) for _ in range(2))
        optimizer = Adam([early, other], lr=0.1, fused=True)
        step = Updater(optimizer).step if lean else optimizer.step
        for i in range(5):
            optimizer.zero_grad()
            (early.square().sum() + (other.square().sum() if i > 1 else 0)).backward()
            step()
        return early.detach(), other.detach()

    for expected, found in zip(late(False), late(True), strict=True):
        assert torch.equal(expected, found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("optimizer", [Adam, AdamW])
@pytest.mark.parametrize("maximize", [False, True])
def test_the_formula_is_that_of_the_kernel(dtype, optimizer, maximize):
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.randn(50, dtype=dtype))
    options = {"lr": 0.02, "betas": (0.7, 0.95), "eps": 1e-3, "weight_decay": 0.1, "maximize": maximize}
    kernel = optimizer([parameter], fused=True, **options)
    updater = Updater(kernel)
    ours = [parameter.detach().clone(), torch.zeros_like(parameter), torch.zeros_like(parameter)]
    for _ in range(5):
        parameter.grad = torch.randn_like(parameter)
        updater.step()
        numbers = torch.tensor(updater.groups[0].numbers(), dtype=dtype)
        adam([ours[0]], [parameter.grad], [ours[1]], [ours[2]], numbers)
    state = kernel.state[parameter]
    for expected, found in zip([parameter.detach(), state["exp_avg"], state["exp_avg_sq"]], ours, strict=True):
        torch.testing.assert_close(found, expected, rtol=10 * torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps)
