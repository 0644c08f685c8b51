"""A recurrent layer over sequences of any length on the CPU, in consecutive pieces of time.

oneDNN refuses a million steps at once, and the gates of all steps would fill the memory. Depends
on torch alone.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sentiment.model.scan import scan_layer

POSITIONS = 1 << 14  # steps times sequences in a piece


def layer_in_pieces(
    cell: str, inputs: Tensor, order: Tensor | None, weights: Sequence[Sequence[Tensor]]
) -> Tensor:
    """Run one layer without gradients, with the result of a single run up to rounding.

    Args:
        cell: `rnn`, `gru` or `lstm`.
        inputs: (time, batch, input_size).
        order: Indices that reverse the flat steps within each length, (time * batch,); None if no
            sequence is padded.
        weights: For each direction, as in `all_weights` of torch's modules.

    Returns:
        The states of all directions side by side, (time, batch, directions * hidden_size).
    """
    time, batch, _ = inputs.shape
    size = weights[0][1].shape[1]
    flat = inputs.flatten(0, 1)
    forward = torch.arange(len(flat))
    if order is None:
        order = forward.view(time, batch).flip(0).flatten()
    orders = [forward, order][: len(weights)]
    states = inputs.new_empty(len(flat), len(weights) * size)
    ends: Any = None
    step = max(1, POSITIONS // batch) * batch
    for first in range(0, len(flat), step):
        rows = [each[first : first + step] for each in orders]
        pieces = [flat[own].view(-1, batch, flat.shape[1]) for own in rows]
        if cell == "lstm":
            ends = ends or [(inputs.new_zeros(1, batch, size),) * 2 for _ in orders]
            runs, ends = zip(*map(_run_lstm, pieces, weights, ends), strict=True)
        else:
            runs = scan_layer(cell, pieces, weights, ends)
            ends = torch.stack([run[-1] for run in runs])
        for direction, (own, run) in enumerate(zip(rows, runs, strict=True)):
            first_column = direction * size
            states[own, first_column : first_column + size] = run.flatten(0, 1).to(states.dtype)
    return states.view(time, batch, -1)


def long_lstm(inputs: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Run one direction of an LSTM layer over many steps; gradients flow across pieces.

    Args:
        inputs: (time, batch, input_size).
        weights: Of this direction, as in `all_weights` of torch's modules.

    Returns:
        (time, batch, hidden_size).
    """
    end: Sequence[Tensor] = (inputs.new_zeros(1, inputs.shape[1], weights[1].shape[1]),) * 2
    runs = []
    for piece in torch.split(inputs, POSITIONS):
        run, end = _run_lstm(piece, weights, end)
        runs.append(run)
    return torch.cat(runs)


def _run_lstm(
    inputs: Tensor, weights: Sequence[Tensor], start: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Run one direction from a start state; returns its states and the state after the last."""
    state = [value.to(inputs.dtype) for value in start]
    states, hidden, cell = torch.lstm(
        inputs, state, list(weights), True, 1, 0.0, torch.is_grad_enabled(), False, False
    )
    return states, (hidden, cell)
