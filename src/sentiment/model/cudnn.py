"""Recurrent layers as cuDNN runs them fastest, exact for padded sequences.

This file knows torch alone.

cuDNN's fast kernels keep the weights on the chip through all steps of a call; the others start
several kernels for each step, which takes a processor longer than the card needs to compute them.
torch chooses the fast ones by the rules below for padded input, and never for packed input. Under
autocast, whatever its type, it runs these layers in float16: cuDNN has no such kernel for bfloat16.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

_FUNCTIONS: dict[str, Callable[..., Any]] = {  # what torch's modules call
    "rnn": torch.rnn_tanh,
    "gru": torch.gru,
    "lstm": torch.lstm,
}
# Cells that one gate can keep at a state of zero: which gate, and what is added within it.
_CLOSED = {"lstm": (0, -1e4), "gru": (1, 1e4)}
# Units up to which a fast kernel runs both directions, and beyond which one runs a single one.
_SMALL = {"lstm": 128, "rnn": 256}


def runs_apart(cell: str, hidden_size: int, batch: int, dtype: torch.dtype) -> bool:
    """Whether the two directions of a layer are to be run one by one.

    Those of a tanh layer must be, which has no gate to close; others, where that is faster.
    """
    return cell not in _CLOSED or _is_fast_alone(cell, hidden_size, batch, dtype)


def _is_fast_alone(cell: str, hidden_size: int, batch: int, dtype: torch.dtype) -> bool:
    """Whether a fast kernel runs a single direction and none runs both."""
    return (
        dtype == torch.float16
        and cell in _SMALL
        and _SMALL[cell] < hidden_size <= 1024
        and hidden_size % 128 == 0
        and batch <= 128
    )


def compute_dtype(states: Tensor) -> torch.dtype:
    """The type in which a layer computes: float16 under autocast, else that of its input."""
    return torch.float16 if torch.is_autocast_enabled(states.device.type) else states.dtype


def call(cell: str, inputs: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Run a layer by torch's own function, from a state of zeros.

    Args:
        cell: `rnn` (tanh), `gru` or `lstm`.
        inputs: (time, batch, input_size).
        weights: The input and the recurrent weights and their biases, as `all_weights` of torch's
            modules gives them; of both directions one after the other, or of one.

    Returns:
        The states, (time, batch, directions * hidden_size).
    """
    directions = len(weights) // 4
    start: Any = inputs.new_zeros(directions, inputs.shape[1], weights[1].shape[1])
    states: Tensor = _FUNCTIONS[cell](
        inputs,
        (start, start) if cell == "lstm" else start,
        weights,
        has_biases=True,
        num_layers=1,
        dropout=0.0,
        # It means no more than that a backward pass may follow, which cuDNN refuses without it.
        train=torch.is_grad_enabled(),
        bidirectional=directions == 2,
        batch_first=False,
    )[0]
    return states


def run_layer(
    cell: str, states: Tensor, weights: Sequence[Tensor], padding: Tensor | None = None
) -> Tensor:
    """Run one direction of a layer, or both in one call, from a state of zeros.

    Both are exact although the backward one begins with the padding: there, a feature of its own
    closes the input gate of an LSTM, or the update gate of a GRU, so that the state stays zero.

    In float16 the gradient is scaled on its way through the layer, lest small values vanish.

    Args:
        cell: `rnn` (tanh), `gru` or `lstm`; both directions of `rnn` cannot be run in one call.
        states: (time, batch, input_size).
        weights: As ``call`` takes them.
        padding: (time, batch) bool, true where no step stands; None where there is no padding, and
            for a single direction, after which it comes.

    Returns:
        The states, (time, batch, directions * hidden_size), in float32 or wider under autocast.
    """
    dtype = out_dtype = compute_dtype(states)
    if torch.is_autocast_enabled(states.device.type):
        out_dtype = torch.promote_types(states.dtype, torch.float32)
    output: Tensor = _Layer.apply(  # type: ignore[no-untyped-call]
        cell, dtype, out_dtype, torch.is_grad_enabled(), padding, states, *weights
    )
    return output


class _Layer(Function):
    """A layer, whose own graph is kept for the way back."""

    @staticmethod
    def forward(
        ctx: Any,
        cell: str,
        dtype: torch.dtype,
        out_dtype: torch.dtype,
        keep: bool,
        padding: Tensor | None,
        states: Tensor,
        *weights: Tensor,
    ) -> Tensor:
        _, batch, input_size = states.shape
        directions, hidden_size = len(weights) // 4, weights[1].shape[1]
        alone = directions == 1 and _is_fast_alone(cell, hidden_size, batch, dtype)
        closed = None if padding is None else _CLOSED[cell]
        size = _next_multiple(input_size + (closed is not None), 128 if alone else 8)
        inputs = _widened(states, padding, size, _next_multiple(batch, 8 if alone else 1), dtype)
        flat = _in_one_piece(weights, size, closed, dtype)
        with torch.autocast(states.device.type, enabled=False), torch.set_grad_enabled(keep):
            for leaf in (inputs, *flat):
                leaf.requires_grad_(keep)
            output = call(cell, inputs, flat)
        if keep:
            ctx.save_for_backward(padding, inputs, output, *flat)
            ctx.shapes = [weight.shape for weight in weights]
            ctx.dtypes = states.dtype, weights[0].dtype
        return output.detach()[:, :batch].to(out_dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        padding, inputs, output, *flat = ctx.saved_tensors
        batch, input_size = grad.shape[1], ctx.shapes[0][1]
        scale = grad.new_ones(1)
        if output.dtype == torch.float16:
            # Sums over all steps must not exceed float16's largest value either.
            largest = torch.linalg.vector_norm(grad, torch.inf, dtype=torch.float32)
            scale = (8 * largest).clamp_min(torch.finfo(torch.float32).tiny).view(1)
            grad = grad / scale
        grad = functional.pad(grad, (0, 0, 0, output.shape[1] - batch)).to(output.dtype)
        by_inputs, *by_weights = torch.autograd.grad(
            output, [inputs, *flat], grad, retain_graph=True
        )
        by_states = by_inputs[:, :batch, :input_size] * scale
        if padding is not None:
            by_states.masked_fill_(padding.unsqueeze(-1), 0)
        parts = [
            by_weight[..., : shape[-1]].flatten()
            for by_weight, shape in zip(by_weights, ctx.shapes, strict=True)
        ]
        pieces = (torch.cat(parts) * scale).split([len(part) for part in parts])
        state_dtype, weight_dtype = ctx.dtypes
        return (
            *[None] * 5,
            by_states.to(state_dtype),
            *(
                piece.view(shape).to(weight_dtype)
                for piece, shape in zip(pieces, ctx.shapes, strict=True)
            ),
        )


def _widened(
    states: Tensor, padding: Tensor | None, size: int, batch: int, dtype: torch.dtype
) -> Tensor:
    """Copy (time, rows, values) states into (time, batch, size); the next value marks padding."""
    time, rows, values = states.shape
    inputs = states.new_zeros(time, batch, size, dtype=dtype)
    inputs[:, :rows, :values] = states
    if padding is not None:
        inputs.masked_fill_(padding.unsqueeze(-1), 0)
        inputs[..., values] = padding
    return inputs


def _in_one_piece(
    weights: Sequence[Tensor], size: int, closed: tuple[int, float] | None, dtype: torch.dtype
) -> list[Tensor]:
    """Copy weights into one piece of memory, laid out as cuDNN wants it, or it would do so.

    Args:
        weights: Four of each direction.
        size: Of the input, to which input weights are widened.
        closed: The gate that the first of the new values closes, and by what.
        dtype: Of the copy.
    """
    parts = list(weights)
    for first in range(0, len(parts), 4):
        weight, units = parts[first], parts[first + 1].shape[1]
        columns = weight.new_zeros(len(weight), size - weight.shape[1])
        if closed is not None:
            gate, value = closed
            columns[gate * units : (gate + 1) * units, 0] = value
        parts[first] = torch.cat([weight, columns], dim=1)
    order = sorted(range(len(parts)), key=lambda index: -parts[index].dim())  # matrices first
    flat = torch.cat([parts[index].flatten() for index in order]).to(dtype)
    pieces = flat.split([parts[index].numel() for index in order])
    for index, piece in zip(order, pieces, strict=True):
        parts[index] = piece.view(parts[index].shape)
    return parts


def _next_multiple(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
