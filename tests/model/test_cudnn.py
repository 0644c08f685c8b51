"""Layers as cuDNN runs them: torch's own numbers, the range of float16, and the fast kernels."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sentiment.model.cudnn import run_layer, runs_apart
from sentiment.model.encoder import CELLS

MODULES: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def module_of(cell: str, both: bool, hidden: int = 5) -> nn.RNNBase:
    torch.manual_seed(0)
    module = MODULES[cell](input_size=3, hidden_size=hidden, bidirectional=both)
    return module.double()


def distance(found: Tensor | None, expected: Tensor | None) -> float:
    assert found is not None
    assert expected is not None
    return float((found.detach().double().cpu() - expected).norm() / expected.norm())


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_agrees_with_torchs_module(cell: str, both: bool) -> None:
    module = module_of(cell, both)
    states = torch.randn(7, 4, 3, dtype=torch.float64)
    found = run_layer(cell, states, list(module.parameters()))
    torch.testing.assert_close(found, module(states)[0])


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e6])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_any_size_survive_half_precision(cell: str, size: float) -> None:
    module = module_of(cell, both=cell != "rnn", hidden=16)
    states = torch.randn(20, 4, 3, dtype=torch.float64, requires_grad=True)
    outputs = module(states)[0]
    grad = size * torch.randn_like(outputs)
    expected = torch.autograd.grad(outputs, [states, *module.parameters()], grad)
    weights = [weight.detach().float().requires_grad_() for weight in module.parameters()]
    leaf = states.detach().float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = run_layer(cell, leaf, weights)
    assert rounded.dtype == torch.float32
    assert distance(rounded, outputs.detach()) < 2e-3
    found = torch.autograd.grad(rounded, [leaf, *weights], grad.float())
    assert all(own.dtype == torch.float32 for own in found)
    assert max(map(distance, found, expected)) < 5e-3


def test_only_what_is_trained_gets_a_gradient() -> None:
    module, states = module_of("lstm", both=True), torch.randn(4, 2, 3, dtype=torch.float64)
    frozen = [weight.detach() for weight in module.parameters()]
    leaf = states.clone().requires_grad_()
    run_layer("lstm", leaf, frozen).sum().backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    run_layer("lstm", states, list(module.parameters())).sum().backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None for weight in module.parameters())
    assert not run_layer("lstm", states, frozen).requires_grad


@pytest.mark.parametrize(
    ("cell", "hidden_size", "batch", "dtype", "apart"),
    [
        ("rnn", 8, 64, torch.float32, True),
        ("lstm", 128, 64, torch.float16, False),
        ("lstm", 192, 64, torch.float16, False),
        ("lstm", 256, 64, torch.float16, True),
        ("lstm", 256, 64, torch.float32, False),
        ("lstm", 256, 129, torch.float16, False),
        ("lstm", 1152, 64, torch.float16, False),
        ("gru", 256, 64, torch.float16, False),
    ],
)
def test_when_directions_run_apart(
    cell: str, hidden_size: int, batch: int, dtype: torch.dtype, apart: bool
) -> None:
    assert runs_apart(cell, hidden_size, batch, dtype) == apart


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("cell", "hidden", "both"),
    [("lstm", 128, True), ("gru", 128, True), ("rnn", 256, False), ("lstm", 256, False)],
)
def test_cudnn_takes_its_fast_kernels(cell: str, hidden: int, both: bool) -> None:
    module = module_of(cell, both, hidden).float().cuda()
    states = torch.randn(100, 13, 3, device="cuda", requires_grad=True)
    cuda = torch.profiler.ProfilerActivity.CUDA
    for _ in range(2):  # the first call loads kernels
        with torch.profiler.profile(activities=[cuda]) as profile:
            with torch.autocast("cuda", torch.bfloat16):
                outputs = run_layer(cell, states, list(module.parameters()))
            outputs.sum().backward()  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
    kernels = [event.count for event in profile.key_averages() if event.device_type.name == "CUDA"]
    assert 0 < sum(kernels) < 100  # not several for each step
