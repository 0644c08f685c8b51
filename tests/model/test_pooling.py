"""Pooling: worked examples, padding without effect, stable arithmetic."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sentiment.model.encoder import Encoded
from sentiment.model.pooling import POOLINGS, Pooling, token_mask


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Keep small tensors off the thread pool, which is very slow on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build(mode: str, size: int = 3) -> Pooling:
    torch.manual_seed(0)
    return Pooling(mode=mode, input_size=size).double()


def batch_of(lengths: list[int], size: int = 3, padding: int = 0) -> tuple[Encoded, Tensor]:
    """Make random states whose padding holds large values."""
    mask = token_mask(torch.tensor(lengths), max(lengths) + padding)
    states = torch.randn(*mask.shape, size, dtype=torch.float64)
    states = states.masked_fill(~mask.unsqueeze(-1), 1e6)
    last = torch.stack([row[length - 1] for row, length in zip(states, lengths, strict=True)])
    return Encoded(states, last), mask


def test_token_mask() -> None:
    mask = token_mask(torch.tensor([2, 4, 1]), 4)
    assert mask.dtype == torch.bool
    assert mask.int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]


def test_worked_example() -> None:
    states = torch.tensor([[[1.0, -5.0], [2.0, -7.0], [9.0, 9.0]]])
    encoded = Encoded(states, states[:, 1])
    mask = token_mask(torch.tensor([2]), 3)
    expected = {
        "last": [2.0, -7.0],
        "mean": [1.5, -6.0],
        "max": [2.0, -5.0],
        "max+mean": [2.0, -5.0, 1.5, -6.0],
    }
    for mode, values in expected.items():
        assert Pooling(mode=mode, input_size=2)(encoded, mask).tolist() == [values]


def test_attention_by_hand() -> None:
    pooling = build("attention", size=2)
    encoded, mask = batch_of([3, 1], size=2)
    with torch.no_grad():
        pooling.projection.weight.copy_(torch.tensor([[1.0, 0.5], [-0.5, 2.0]]))
        pooling.projection.bias.copy_(torch.tensor([0.1, -0.2]))
        pooling.query.weight.copy_(torch.tensor([[0.7, -1.1]]))
    exponentials = []
    for h0, h1 in encoded.outputs[0].tolist():
        u0, u1 = math.tanh(h0 + 0.5 * h1 + 0.1), math.tanh(-0.5 * h0 + 2 * h1 - 0.2)
        exponentials.append(math.exp(0.7 * u0 - 1.1 * u1))
    weights = torch.tensor(exponentials, dtype=torch.float64) / sum(exponentials)
    pooled = pooling(encoded, mask)
    torch.testing.assert_close(pooled[0], weights @ encoded.outputs[0])
    torch.testing.assert_close(pooled[1], encoded.outputs[1, 0])  # one token takes all


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.sampled_from(POOLINGS),
    st.lists(st.integers(1, 7), min_size=1, max_size=5),
    st.integers(0, 3),
)
def test_alone_equals_in_a_batch(mode: str, lengths: list[int], padding: int) -> None:
    pooling = build(mode)
    encoded, mask = batch_of(lengths, padding=padding)
    together = pooling(encoded, mask)
    assert together.shape == (len(lengths), pooling.output_size)
    for row, length in enumerate(lengths):
        own = Encoded(encoded.outputs[row : row + 1, :length], encoded.final[row : row + 1])
        alone = pooling(own, mask[row : row + 1, :length])
        torch.testing.assert_close(together[row], alone[0])


@pytest.mark.parametrize("mode", POOLINGS)
def test_gradients_are_exact_and_none_reaches_padding(mode: str) -> None:
    pooling = build(mode)
    encoded, mask = batch_of([4, 2], padding=1)
    outputs = encoded.outputs.clone().requires_grad_()
    final = encoded.final.clone().requires_grad_()
    pooling(Encoded(outputs, final), mask).square().sum().backward()
    if mode == "last":
        assert outputs.grad is None
        assert final.grad is not None
    else:
        assert outputs.grad is not None
        assert outputs.grad[~mask].count_nonzero() == 0
        assert outputs.grad[mask].count_nonzero() > 0

    def pool(real: Tensor, final: Tensor) -> Tensor:
        filled = encoded.outputs.clone().index_put((mask,), real)
        pooled: Tensor = pooling(Encoded(filled, final), mask)
        return pooled

    real = encoded.outputs[mask].clone().requires_grad_()
    assert torch.autograd.gradcheck(pool, (real, final))


def test_max_of_negative_states_is_negative() -> None:
    states = torch.full((1, 5, 2), -3.0)
    pooled = Pooling(mode="max", input_size=2)(
        Encoded(states.masked_fill(~token_mask(torch.tensor([2]), 5).unsqueeze(-1), 0), states),
        token_mask(torch.tensor([2]), 5),
    )
    assert pooled.tolist() == [[-3.0, -3.0]]


@pytest.mark.parametrize("mode", POOLINGS)
def test_half_precision_is_pooled_in_single(mode: str) -> None:
    torch.manual_seed(0)
    pooling = Pooling(mode=mode, input_size=2)
    states = (torch.randn(2, 3000, 2) + 1).bfloat16()
    mask = token_mask(torch.tensor([3000, 1500]), 3000)
    exact = pooling(Encoded(states.float(), states.float()[:, -1]), mask)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = pooling(Encoded(states, states[:, -1]), mask)
    assert pooled.dtype == torch.float32
    # a running sum of 3,000 values in bfloat16 would be off by far more
    tolerance = 1e-2 if mode == "attention" else 1e-5
    torch.testing.assert_close(pooled, exact, atol=tolerance, rtol=0)


def test_attention_with_huge_scores_is_finite() -> None:
    pooling = build("attention", size=2)
    with torch.no_grad():
        pooling.query.weight.fill_(1e5)
    encoded, mask = batch_of([4, 1], size=2)
    pooled = pooling(encoded, mask)
    assert pooled.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        ({"mode": "sum"}, r"pooling='sum' .*last, mean, max, max\+mean"),
        ({"input_size": 0}, "input_size=0 "),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], fact: str) -> None:
    with pytest.raises(ValueError, match=fact):
        Pooling(**{"mode": "mean", "input_size": 2, **arguments})


@pytest.mark.parametrize("mode", ["max+mean", "attention"])
def test_a_very_long_sequence_is_pooled_whole(mode: str) -> None:
    torch.manual_seed(0)
    pooling = Pooling(mode=mode, input_size=2).double()
    states = torch.randn(1, 200_000, 2, dtype=torch.float64)
    length = 150_000  # the rest is padding
    pooled = pooling(Encoded(states, states[:, -1]), token_mask(torch.tensor([length]), 200_000))
    real = states[:, :length]
    if mode == "max+mean":
        expected = torch.cat([real.max(dim=1).values, real.mean(dim=1)], dim=-1)
    else:
        scores = pooling.query(torch.tanh(pooling.projection(real)))
        expected = (real * scores.softmax(dim=1)).sum(dim=1)
    torch.testing.assert_close(pooled, expected)
