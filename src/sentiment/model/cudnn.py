"""Recurrent layers in the form that cuDNN runs fastest, exact for padded sequences.

Depends on torch alone.

cuDNN's fast kernels keep the weights on the chip through all steps of a call; the others launch
several kernels for each step, which takes the CPU longer than the GPU needs to compute them. torch
chooses the fast ones by the rules below for padded input, and never for packed input. Under
autocast to any dtype, layers run in float16, because cuDNN has no fast kernel for bfloat16.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_FUNCTIONS: dict[str, Callable[..., Any]] = {  # the functions that torch's modules call
    "rnn": torch.rnn_tanh,
    "gru": torch.gru,
    "lstm": torch.lstm,
}
# Cells whose state a gate can keep at zero: index of the gate, and the bias that closes it.
_CLOSED = {"lstm": (0, -1e4), "gru": (1, 1e4)}
# Up to this hidden size a fast kernel runs both directions; above, one runs a single direction.
_SMALL = {"lstm": 128, "rnn": 256}


def runs_apart(cell: str, hidden_size: int, batch: int, dtype: torch.dtype) -> bool:
    """Whether the two directions of a layer should run one by one.

    A tanh layer has no gate to close, so its directions have to; those of others, if it is faster.
    """
    return cell not in _CLOSED or _is_fast_alone(cell, hidden_size, batch, dtype)


def _is_fast_alone(cell: str, hidden_size: int, batch: int, dtype: torch.dtype) -> bool:
    """Whether there is a fast kernel for a single direction but none for both."""
    return (
        dtype == torch.float16
        and cell in _SMALL
        and _SMALL[cell] < hidden_size <= 1024
        and hidden_size % 128 == 0
        and batch <= 128
    )


def compute_dtype(states: Tensor) -> torch.dtype:
    """The dtype in which a layer computes: float16 under autocast, else that of its input."""
    return torch.float16 if torch.is_autocast_enabled(states.device.type) else states.dtype


def call(cell: str, inputs: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Run a layer by torch's own function, from a zero state.

    Args:
        cell: `rnn` (tanh), `gru` or `lstm`.
        inputs: (time, batch, input_size).
        weights: The input and the recurrent weights and their biases, as in `all_weights` of
            torch's modules; those of the forward, then those of the backward direction if there
            are both.

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
        # Only means that a backward pass may follow, which cuDNN refuses otherwise.
        train=torch.is_grad_enabled(),
        bidirectional=directions == 2,
        batch_first=False,
    )[0]
    return states


def run_layer(
    cell: str, states: Tensor, weights: Sequence[Tensor], padding: Tensor | None = None
) -> Tensor:
    """Run one direction of a layer, or both in one call, from a zero state.

    The backward direction is exact although it begins with the padding: an additional input feature
    marks padding and closes the input gate of an LSTM, or the update gate of a GRU, so that the
    state stays zero there.

    In float16 the gradient is scaled in the backward pass, because small values would underflow.

    Args:
        cell: `rnn` (tanh), `gru` or `lstm`; both directions of `rnn` cannot run in one call.
        states: (time, batch, input_size).
        weights: As for ``call``.
        padding: (time, batch) bool, true at padding; None if there is none, and for a single
            direction, which padding follows.

    Returns:
        The states, (time, batch, directions * hidden_size), in float32 or wider under autocast.
    """
    batch, dtype = states.shape[1], compute_dtype(states)
    alone = len(weights) == 4 and _is_fast_alone(cell, weights[1].shape[1], batch, dtype)
    layout = _Layout(
        dtype=dtype,
        closed=None if padding is None else _CLOSED[cell],
        rows=_next_multiple(batch, 8 if alone else 1),
        multiple=128 if alone else 8,
    )
    scales: list[Tensor] = []  # set by `_Leave` for `_Enter` in the backward pass
    inputs, *flat = _Enter.apply(scales, layout, padding, states, *weights)  # type: ignore[no-untyped-call]
    kind = states.device.type
    with torch.autocast(kind, enabled=False):
        outputs = call(cell, inputs, flat)
    if layout.rows > batch:
        outputs = outputs[:, :batch]
    if dtype == torch.float16:
        wide = torch.promote_types(states.dtype, torch.float32)
        out_dtype = wide if torch.is_autocast_enabled(kind) else dtype
        outputs = _Leave.apply(scales, outputs, out_dtype)  # type: ignore[no-untyped-call]
    return outputs


class _Layout(NamedTuple):
    """The layout of inputs and weights for a call.

    Attributes:
        dtype: Of both.
        closed: The gate that padding closes, and what is added to its argument; or None.
        rows: Size of the batch, to which it is filled up with zeros.
        multiple: The input's size is filled up with zeros to a multiple of this.
    """

    dtype: torch.dtype
    closed: tuple[int, float] | None
    rows: int
    multiple: int


class _Enter(Function):
    """Lay out inputs and weights; in the backward pass, undo the scaling of `_Leave`."""

    @staticmethod
    def forward(
        ctx: Any,
        scales: list[Tensor],
        layout: _Layout,
        padding: Tensor | None,
        states: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        size = _next_multiple(states.shape[-1] + (padding is not None), layout.multiple)
        laid_out = (
            _widened(states, padding, layout.rows, size, layout.dtype),
            *_in_one_piece(weights, size, layout),
        )
        needed = ctx.needs_input_grad[3:]
        ctx.mark_non_differentiable(
            *(tensor for tensor, grad in zip(laid_out, needed, strict=True) if not grad)
        )
        ctx.scales, ctx.padding, ctx.states = scales, padding, (states.shape, states.dtype)
        ctx.weights = [(weight.shape, weight.dtype) for weight in weights]
        return laid_out

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, by_inputs: Tensor | None, *by_weights: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        by_states = None
        if by_inputs is not None:
            (_, batch, size), dtype = ctx.states
            by_states = _product(by_inputs[:, :batch, :size], ctx.scales)
            if ctx.padding is not None:
                by_states = by_states.masked_fill(ctx.padding.unsqueeze(-1), 0)
            by_states = by_states.to(dtype)
        if by_weights[0] is None:
            return None, None, None, by_states, *by_weights
        parts = [
            by_weight[..., : shape[-1]].flatten()
            for by_weight, (shape, _) in zip(by_weights, ctx.weights, strict=True)
            if by_weight is not None
        ]
        values = _product(torch.cat(parts), ctx.scales)
        pieces = torch.split(values, [len(part) for part in parts])
        return (
            *(None, None, None, by_states),
            *(
                piece.view(shape).to(dtype)
                for piece, (shape, dtype) in zip(pieces, ctx.weights, strict=True)
            ),
        )


class _Leave(Function):
    """Convert float16 outputs to a wider dtype, and scale their gradient to float16's range."""

    @staticmethod
    def forward(ctx: Any, scales: list[Tensor], outputs: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.scales = scales
        return outputs.to(dtype, copy=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        # Far below float16's largest value, so that sums over all steps do not overflow either.
        largest = torch.linalg.vector_norm(grad, torch.inf, dtype=torch.float32)
        scale = (8 * largest).clamp_min(torch.finfo(torch.float32).tiny).view(1)
        ctx.scales[:] = [scale]
        scaled = torch.empty_like(grad, dtype=torch.float16)
        return None, torch.div(grad, scale, out=scaled), None


def _product(values: Tensor, scales: Sequence[Tensor]) -> Tensor:
    """Multiply by the scale, if there is one, in its dtype, float32."""
    return values * scales[0] if scales else values


def _widened(
    states: Tensor, padding: Tensor | None, rows: int, size: int, dtype: torch.dtype
) -> Tensor:
    """Copy (time, batch, values) states into (time, rows, size); the value after marks padding."""
    time, batch, values = states.shape
    inputs = states.new_zeros(time, rows, size, dtype=dtype)
    inputs[:, :batch, :values] = states
    if padding is not None:
        inputs.masked_fill_(padding.unsqueeze(-1), 0)
        inputs[..., values] = padding
    return inputs


def _in_one_piece(weights: Sequence[Tensor], size: int, layout: _Layout) -> list[Tensor]:
    """Copy the weights into contiguous memory, which cuDNN needs and would otherwise do itself.

    Input weights are widened to an input of ``size``.
    """
    parts = list(weights)
    rows, given = weights[0].shape
    columns = weights[0].new_zeros(rows, size - given)
    if layout.closed is not None:
        gate, value = layout.closed
        units = weights[1].shape[1]
        columns[gate * units : (gate + 1) * units, 0] = value
    for first in range(0, len(parts), 4):
        parts[first] = torch.cat([parts[first], columns], dim=1)
    order = sorted(range(len(parts)), key=lambda index: -parts[index].dim())  # matrices first
    flat = torch.cat([parts[index].flatten() for index in order]).to(layout.dtype)
    pieces = torch.split(flat, [parts[index].numel() for index in order])
    for index, piece in zip(order, pieces, strict=True):
        parts[index] = piece.view(parts[index].shape)
    return parts


def _next_multiple(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
