# mypy: allow-untyped-calls
# (torch's Tensor.backward and Tensor.split are untyped)
"""The recurrent encoder: values and gradients, padding, both methods of running a layer."""

import copy
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from conftest import require_bf16
from sentiment.model.encoder import CELLS, MERGES, RecurrentEncoder, can_train

Array = npt.NDArray[np.float64]

lengths_of_batches = st.lists(st.integers(1, 9), min_size=1, max_size=5)
encoders = st.fixed_dictionaries(
    {
        "cell": st.sampled_from(CELLS),
        "num_layers": st.integers(1, 3),
        "bidirectional": st.booleans(),
        "merge": st.sampled_from(MERGES),
        "hidden_size": st.integers(1, 5),
        "input_size": st.integers(1, 4),
    }
)
no_deadline = settings(deadline=None, max_examples=60, derandomize=True)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Keep small tensors off the thread pool, which is very slow on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build(seed: int = 0, **arguments: Any) -> RecurrentEncoder:
    """Make an encoder in float64 whose biases are not zero, so that none can be forgotten."""
    torch.manual_seed(seed)
    encoder = RecurrentEncoder(**({"input_size": 3, "hidden_size": 4} | arguments)).double()
    for name, weights in encoder.rnn.named_parameters():
        if "bias" in name:
            nn.init.normal_(weights, std=0.5)
    return encoder


def batch_of(lengths: list[int], size: int, padding: int = 0) -> tuple[Tensor, Tensor]:
    """Make random sequences whose padding holds random values too."""
    inputs = torch.randn(len(lengths), max(lengths) + padding, size, dtype=torch.float64)
    return inputs, torch.tensor(lengths)


def real_steps(outputs: Tensor, lengths: Tensor) -> Tensor:
    return torch.cat([row[:length] for row, length in zip(outputs, lengths, strict=True)])


def sigmoid(values: Array) -> Array:
    return 1 / (1 + np.exp(-values))


def step(
    cell: str, x: Array, h: Array, c: Array, weights: tuple[Array, ...]
) -> tuple[Array, Array]:
    """One step of a cell by the equations in torch's documentation."""
    input_weight, recurrent_weight, input_bias, recurrent_bias = weights
    given_in = input_weight @ x + input_bias
    carried = recurrent_weight @ h + recurrent_bias
    if cell == "rnn":
        return np.tanh(given_in + carried), c
    if cell == "gru":
        (ri, zi, ni), (rh, zh, nh) = np.split(given_in, 3), np.split(carried, 3)
        r, z = sigmoid(ri + rh), sigmoid(zi + zh)
        return (1 - z) * np.tanh(ni + r * nh) + z * h, c
    i, f, g, o = np.split(given_in + carried, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def scan(cell: str, xs: list[Array], weights: tuple[Array, ...]) -> list[Array]:
    size = weights[1].shape[1]
    h, c, states = np.zeros(size), np.zeros(size), []
    for x in xs:
        h, c = step(cell, x, h, c, weights)
        states.append(h)
    return states


def loop(encoder: RecurrentEncoder, sequence: Array) -> tuple[Array, Array]:
    """Encode one sequence in NumPy: outputs of the top layer, and its final states."""
    flat = [tuple(w.detach().numpy() for w in group) for group in encoder.rnn.all_weights]
    directions = 2 if encoder.rnn.bidirectional else 1
    states, final = list(sequence), np.zeros(0)
    for layer in range(encoder.rnn.num_layers):
        forward = scan(encoder.cell, states, flat[layer * directions])
        final = forward[-1]
        if directions == 2:
            backward = scan(encoder.cell, states[::-1], flat[layer * 2 + 1])[::-1]
            final = np.concatenate([final, backward[0]])
            states = [np.concatenate(pair) for pair in zip(forward, backward, strict=True)]
        else:
            states = forward
    return np.stack(states), final


def test_published_forward_pass_of_an_elman_network() -> None:
    encoder = RecurrentEncoder(cell="rnn", input_size=1, hidden_size=2, bidirectional=False)
    recurrent = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    encoder.rnn.load_state_dict(
        {
            "weight_ih_l0": torch.tensor([[0.5], [0.6]]),
            "weight_hh_l0": recurrent.T,  # the book multiplies the state, a row, by the matrix
            "bias_ih_l0": torch.tensor([0.1, -0.1]),
            "bias_hh_l0": torch.zeros(2),
        }
    )
    encoded = encoder(torch.tensor([[[1.0], [2.0]]]), torch.tensor([2]))
    expected = torch.tensor([[0.537, 0.462], [0.860, 0.884]])
    torch.testing.assert_close(encoded.outputs[0], expected, atol=5e-4, rtol=0)
    torch.testing.assert_close(encoded.final, expected[1:], atol=5e-4, rtol=0)
    outputs = encoded.outputs[0] @ torch.tensor([1.0, 2.0]) + 0.1
    torch.testing.assert_close(outputs, torch.tensor([1.56, 2.73]), atol=5e-3, rtol=0)


@pytest.mark.parametrize("one_call", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_agrees_with_the_gate_equations(
    cell: str, num_layers: int, bidirectional: bool, one_call: bool
) -> None:
    encoder = build(cell=cell, num_layers=num_layers, bidirectional=bidirectional)
    encoder.together = one_call
    inputs, lengths = batch_of([4, 1, 7, 2], 3, padding=2)
    outputs, final = encoder(inputs, lengths)
    for row, length in enumerate(lengths.tolist()):
        states, last = loop(encoder, inputs[row, :length].numpy())
        np.testing.assert_allclose(outputs[row, :length].detach(), states, atol=1e-12)
        np.testing.assert_allclose(final[row].detach(), last, atol=1e-12)


@no_deadline
@given(encoders, lengths_of_batches, st.integers(0, 3), st.booleans(), st.integers(0, 99))
def test_a_sequence_alone_equals_itself_in_a_batch(
    arguments: dict[str, Any], lengths: list[int], padding: int, one_call: bool, seed: int
) -> None:
    encoder = build(seed, **arguments)
    encoder.together = one_call
    inputs, steps = batch_of(lengths, arguments["input_size"], padding)
    together = encoder(inputs, steps)
    for row, length in enumerate(lengths):
        alone = encoder(inputs[row : row + 1, :length], steps[row : row + 1])
        torch.testing.assert_close(together.outputs[row, :length], alone.outputs[0])
        torch.testing.assert_close(together.final[row], alone.final[0])


@no_deadline
@given(encoders, lengths_of_batches, st.integers(0, 3), st.integers(0, 99))
def test_both_methods_give_equal_results_and_gradients(
    arguments: dict[str, Any], lengths: list[int], padding: int, seed: int
) -> None:
    encoder = build(seed, **arguments)
    inputs, steps = batch_of(lengths, arguments["input_size"], padding)
    results, gradients = [], []
    for one_call in (False, True):
        encoder.together = one_call
        encoder.zero_grad()
        leaf = inputs.clone().requires_grad_()
        encoded = encoder(leaf, steps)
        values = torch.cat([real_steps(encoded.outputs, steps), encoded.final])
        values.square().sum().backward()
        results.append(values)
        gradients.append([leaf.grad, *(weights.grad for weights in encoder.parameters())])
    torch.testing.assert_close(results[0], results[1])
    torch.testing.assert_close(gradients[0], gradients[1])


@no_deadline
@given(encoders, lengths_of_batches, st.booleans(), st.integers(0, 99))
def test_agrees_with_torchs_module_on_packed_input(
    arguments: dict[str, Any], lengths: list[int], one_call: bool, seed: int
) -> None:
    encoder = build(seed, **(arguments | {"merge": "concat"}))
    encoder.together = one_call
    module = type(encoder.rnn)(
        arguments["input_size"],
        arguments["hidden_size"],
        arguments["num_layers"],
        batch_first=True,
        bidirectional=arguments["bidirectional"],
    ).double()
    module.load_state_dict(encoder.rnn.state_dict())
    inputs, steps = batch_of(lengths, arguments["input_size"])
    outputs, hidden = module(pack_padded_sequence(inputs, steps, True, enforce_sorted=False))
    hidden = hidden[0] if isinstance(hidden, tuple) else hidden
    encoded = encoder(inputs, steps)
    expected = real_steps(pad_packed_sequence(outputs, batch_first=True)[0], steps)
    torch.testing.assert_close(real_steps(encoded.outputs, steps), expected)
    top = hidden[-2:] if arguments["bidirectional"] else hidden[-1:]
    torch.testing.assert_close(encoded.final, torch.cat(list(top), dim=-1))


@pytest.mark.parametrize("one_call", [False, True])
def test_merges_the_directions(one_call: bool) -> None:
    inputs, lengths = batch_of([5, 3], 3)
    results = {}
    for merge in MERGES:
        encoder = build(merge=merge, num_layers=2)
        encoder.together = one_call
        results[merge] = encoder(inputs, lengths)
        assert results[merge].final.shape == (2, encoder.output_size)
    for kind in (0, 1):
        both = results["concat"][kind]
        total = both[..., :4] + both[..., 4:]
        torch.testing.assert_close(results["sum"][kind], total)
        torch.testing.assert_close(results["mean"][kind], total / 2)


@pytest.mark.parametrize("one_call", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_exact(cell: str, one_call: bool) -> None:
    encoder = build(cell=cell, num_layers=2, input_size=2, hidden_size=2)
    encoder.together = one_call
    inputs, lengths = batch_of([3, 1], 2, padding=1)
    names, weights = zip(*encoder.named_parameters(), strict=True)

    def encode(inputs: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        named = dict(zip(names, weights, strict=True))
        encoded = torch.func.functional_call(encoder, named, (inputs, lengths))
        return real_steps(encoded.outputs, lengths), encoded.final

    assert torch.autograd.gradcheck(encode, (inputs.requires_grad_(), *weights))


@pytest.mark.parametrize("one_call", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_padding_gets_no_gradient_and_gives_none(cell: str, one_call: bool) -> None:
    encoder = build(cell=cell, num_layers=2)
    encoder.together = one_call
    inputs, lengths = batch_of([2, 5], 3, padding=1)
    encoded = encoder(inputs.requires_grad_(), lengths)
    (real_steps(encoded.outputs, lengths).sum() + encoded.final.sum()).backward()
    assert inputs.grad is not None
    assert inputs.grad[0, :2].count_nonzero() == 6
    assert inputs.grad[0, 2:].count_nonzero() == inputs.grad[1, 5:].count_nonzero() == 0


def test_equal_lengths_need_no_index_and_change_nothing() -> None:
    encoder = build(num_layers=2)
    inputs, full = batch_of([6, 6, 6], 3)
    expected = encoder(inputs, full).outputs
    ragged = encoder(torch.cat([inputs, inputs[:, :1]], dim=1), full).outputs
    torch.testing.assert_close(ragged[:, :6], expected)


@pytest.mark.parametrize("one_call", [False, True])
def test_dropout_acts_in_training_between_layers_alone(one_call: bool) -> None:
    inputs, lengths = batch_of([5, 3], 3)
    single = build(dropout=0.9)
    single.together = one_call
    torch.testing.assert_close(single(inputs, lengths), single.eval()(inputs, lengths))

    stack = build(dropout=0.5, num_layers=3, hidden_size=50)
    stack.together = one_call
    dropped: list[float] = []
    stack.dropout.register_forward_hook(
        lambda _module, _inputs, output: dropped.append(float((output == 0).double().mean()))
    )
    torch.manual_seed(1)
    first = stack(inputs, lengths)
    assert len(dropped) == 2
    assert all(0.4 < fraction < 0.6 for fraction in dropped)
    assert real_steps(first.outputs, lengths).count_nonzero() == 8 * 100
    torch.manual_seed(1)
    torch.testing.assert_close(stack(inputs, lengths), first)
    other = stack(inputs, lengths)
    assert not torch.allclose(other.final, first.final)
    calm = stack.eval()(inputs, lengths)
    torch.testing.assert_close(stack(inputs, lengths), calm)
    assert not torch.allclose(calm.final, first.final)


@pytest.mark.parametrize("cell", CELLS)
def test_initial_weights(cell: str) -> None:
    torch.manual_seed(0)
    encoder = RecurrentEncoder(cell=cell, input_size=30, hidden_size=20, num_layers=2)
    for input_weight, recurrent_weight, *biases in encoder.rnn.all_weights:
        for gate in recurrent_weight.detach().split(20):
            torch.testing.assert_close(gate @ gate.T, torch.eye(20), atol=1e-5, rtol=0)
        for gate in input_weight.detach().split(20):
            bound = (6 / sum(gate.shape)) ** 0.5
            assert 0.9 * bound < gate.abs().max() <= bound
        total = sum(bias.detach() for bias in biases)
        expected = torch.zeros(len(biases[0]))
        if cell == "lstm":
            expected[20:40] = 1
        torch.testing.assert_close(total, expected)


def test_state_dict_round_trip_and_copies() -> None:
    encoder = build(num_layers=2)
    inputs, lengths = batch_of([4, 2], 3)
    expected = encoder(inputs, lengths)
    twin = build(seed=5, num_layers=2)
    assert not torch.allclose(twin(inputs, lengths).final, expected.final)
    twin.load_state_dict(encoder.state_dict())
    assert all(name.startswith("rnn.") for name in encoder.state_dict())
    for same in (twin, copy.deepcopy(encoder)):
        torch.testing.assert_close(same(inputs, lengths), expected)


@pytest.mark.parametrize("cell", CELLS)
def test_inference_mode(cell: str) -> None:
    encoder = build(cell=cell, num_layers=2).eval()
    inputs, lengths = batch_of([4, 2], 3)
    expected = encoder(inputs, lengths)
    with torch.inference_mode():
        encoded = encoder(inputs, lengths)
    assert not encoded.final.requires_grad
    torch.testing.assert_close(encoded, expected)


def test_gradients_in_eval_mode() -> None:
    encoder = build().float().eval()
    inputs = torch.randn(2, 4, 3, requires_grad=True)
    encoder(inputs, torch.tensor([4, 2])).final.sum().backward()
    assert inputs.grad is not None
    assert inputs.grad.abs().sum() > 0


CPU = torch.device("cpu")
half = pytest.param(torch.bfloat16, marks=pytest.mark.half_precision)


@pytest.mark.half_precision
def test_what_a_device_can_train_is_found_by_trying() -> None:
    state = torch.get_rng_state()
    assert can_train("gru", torch.bfloat16, CPU)
    assert torch.equal(torch.get_rng_state(), state)  # a training's first weights stay the same


@pytest.mark.half_precision
def test_an_lstm_without_the_hardware_for_it_is_found() -> None:
    code = """
import torch
from sentiment.config.resolvers import fast_precision
from sentiment.model.encoder import can_train
torch.cpu.get_capabilities = lambda: {"amx_bf16": True}
print(can_train("lstm", torch.bfloat16, torch.device("cpu")), fast_precision("cpu"))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
    )  # fmt: skip
    assert done.stdout == "False 32-true\n"


@pytest.mark.parametrize("kind", [torch.float32, half])
def test_an_lstm_stays_in_onednn(kind: torch.dtype) -> None:
    if kind == torch.bfloat16:
        require_bf16("lstm")
    encoder = RecurrentEncoder(input_size=8, hidden_size=16, num_layers=2)
    inputs = torch.randn(4, 9, 8, requires_grad=True)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        with torch.autocast("cpu", kind, enabled=kind == torch.bfloat16):
            outputs = encoder(inputs, torch.tensor([9, 7, 4, 1])).outputs
        outputs.float().sum().backward()
    calls = {event.key: event.count for event in profile.key_averages()}
    assert calls["aten::mkldnn_rnn_layer_backward"] == 4
    assert calls["aten::mkldnn_rnn_layer"] >= 4


@pytest.mark.half_precision
@pytest.mark.parametrize("one_call", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_half_precision_autocast_stays_close(cell: str, one_call: bool) -> None:
    if not one_call:
        require_bf16(cell)
    encoder = build(cell=cell, num_layers=2, hidden_size=16).float()
    encoder.together = one_call
    inputs, lengths = torch.randn(3, 20, 3), torch.tensor([20, 11, 1])
    expected = encoder(inputs, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        encoded = encoder(inputs, lengths)
    torch.testing.assert_close(encoded.final.float(), expected.final, atol=0.05, rtol=0)
    encoded.final.float().sum().backward()
    for weights in encoder.parameters():
        assert weights.grad is not None
        assert weights.grad.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        ({"cell": "lsmt"}, "cell='lsmt' .*rnn, gru, lstm"),
        ({"merge": "max"}, "merge='max' .*concat, sum, mean"),
        ({"input_size": 0}, "input_size=0 "),
        ({"hidden_size": -1}, "hidden_size=-1 "),
        ({"num_layers": 0}, "num_layers=0 "),
        ({"dropout": 1.0}, "dropout=1.0 "),
        ({"dropout": -0.1}, "dropout=-0.1 "),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], fact: str) -> None:
    with pytest.raises(ValueError, match=fact):
        RecurrentEncoder(**({"input_size": 3, "hidden_size": 4} | arguments))


@pytest.mark.parametrize("one_call", [False, True])
@pytest.mark.parametrize(
    ("shape", "lengths", "fact"),
    [
        ((2, 5, 3), [5, 0], "lengths .* 0 to 5"),
        ((2, 5, 3), [6, 2], "lengths .* 2 to 6"),
        ((2, 5, 3), [5], r"lengths .* \(1,\).* \(2,\)"),
        ((2, 5, 3), [[5, 2]], r"lengths .* \(1, 2\).* \(2,\)"),
        ((2, 5, 3), [5.0, 2.0], "lengths .*float32 .*int64"),
        ((2, 5, 4), [5, 2], r"inputs .* \(2, 5, 4\).* \(batch, time, 3\)"),
        ((5, 3), [5, 2], r"inputs .* \(5, 3\)"),
        ((0, 5, 3), [], r"inputs .* \(0, 5, 3\)"),
    ],
)
def test_bad_batches(shape: tuple[int, ...], lengths: list[Any], fact: str, one_call: bool) -> None:
    encoder = build()
    encoder.together = one_call
    with pytest.raises(ValueError, match=fact):
        encoder(torch.zeros(shape, dtype=torch.float64), torch.tensor(lengths))


def test_single_precision_agrees_with_double_for_every_cell_and_depth() -> None:
    for cell, num_layers in itertools.product(CELLS, (1, 2, 3)):
        encoder = build(cell=cell, num_layers=num_layers, hidden_size=32)
        inputs, lengths = batch_of([200, 3, 77], 3)
        expected = encoder(inputs, lengths).final
        single = encoder.float()(inputs.float(), lengths).final
        torch.testing.assert_close(single.double(), expected, atol=1e-5, rtol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("hidden_size", [64, 128, 192, 256])
@pytest.mark.parametrize("cell", CELLS)
def test_cuda_agrees_with_the_cpu(
    cell: str, hidden_size: int, half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    encoder = build(cell=cell, hidden_size=hidden_size, num_layers=2)
    inputs, lengths = batch_of([40, 1, 37, 39, 12, 40, 33, 2, 25, 40, 8, 17, 39], 3, padding=1)
    results = []
    for device in ("cpu", "cuda"):
        if device == "cuda":
            encoder = encoder.float().cuda()
        encoder.zero_grad()
        leaf = inputs.detach().to(next(encoder.parameters())).requires_grad_()
        with torch.autocast(device, torch.bfloat16, enabled=half and device == "cuda"):
            encoded = encoder(leaf, lengths)
        values = torch.cat([real_steps(encoded.outputs, lengths), encoded.final])
        values.square().sum().backward()
        results.append([values.detach().double().cpu()])
        for tensor in (leaf, *encoder.parameters()):
            assert tensor.grad is not None
            results[-1].append(tensor.grad.double().cpu().clone())  # moved with the encoder
    for expected, close in zip(*results, strict=True):
        assert (close - expected).norm() < (5e-3 if half else 5e-5) * expected.norm()
