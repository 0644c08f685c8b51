"""Recurrent encoders whose result for a sequence does not depend on padding or on the batch.

Depends on torch alone. The input is vectors, so they may be text, pixels or measurements.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function

from sentiment.model.cudnn import call, compute_dtype, run_layer, runs_apart
from sentiment.model.dropout import Dropout
from sentiment.model.pieces import POSITIONS, layer_in_pieces, long_lstm
from sentiment.model.scan import scan_layer
from sentiment.model.settings import require_choice, require_fraction, require_positive

_MODULES: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
CELLS = tuple(_MODULES)
MERGES = ("concat", "sum", "mean")


class Encoded(NamedTuple):
    """The output of an encoder for a batch of sequences.

    Attributes:
        outputs: The top layer's state at each step, (batch, time, output_size). Steps of padding
            hold arbitrary finite values: mask them.
        final: The last state of each direction of the top layer, merged, (batch, output_size).
            The last state of the backward direction is that of the first step.
    """

    outputs: Tensor
    final: Tensor


class RecurrentEncoder(nn.Module):
    """A stack of recurrent layers over sequences of unequal lengths.

    The weights are those of one ordinary `nn.RNN` (tanh), `nn.GRU` or `nn.LSTM`, in `self.rnn`.
    A layer runs over a padded batch by one of two methods, with equal results:

    - Each direction by itself. The input of the backward one is reversed within each length, so
      that padding always follows the sequence and cannot affect it.
    - On CUDA, both directions of an LSTM or a GRU in one call. Padding closes a gate, which keeps
      the backward state at zero until the sequence begins; see `cudnn.py`.

    Packed sequences are not used, because they are slow: torch does not run a packed LSTM by oneDNN
    on a CPU, nor by the fast kernels of cuDNN on CUDA.

    Initial values: input weights Xavier-uniform and recurrent weights orthogonal, gate by gate;
    biases zero, but 1 for an LSTM's forget gate (Jozefowicz et al. 2015, "An Empirical
    Exploration of Recurrent Network Architectures", section 2.2).

    Args:
        cell: `rnn`, `gru` or `lstm`.
        input_size: Size of each step's input vector.
        hidden_size: Size of one direction's state.
        num_layers: Number of layers; each reads the states of the one below.
        bidirectional: Whether to read from both ends.
        dropout: Probability of dropping each value between layers in training; there is none
            between time steps or after the last layer, so it has no effect on a single layer.
        merge: How the top layer's directions become one vector: `concat`, `sum` or `mean`.
            Between layers they are always concatenated.

    Attributes:
        output_size: Size of the vectors that `forward` returns.
        together: Whether both directions of a layer run in one call, if that is possible; None
            (the default) chooses the faster method.

    Raises:
        ValueError: An argument is out of range, or an unknown choice.

    Example:
        >>> encoder = RecurrentEncoder(input_size=3, hidden_size=4)
        >>> outputs, final = encoder(torch.ones(2, 5, 3), torch.tensor([5, 2]))
        >>> outputs.shape, final.shape
        (torch.Size([2, 5, 8]), torch.Size([2, 8]))
    """

    def __init__(
        self,
        *,
        cell: str = "lstm",
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.0,
        merge: str = "concat",
    ) -> None:
        super().__init__()
        require_choice("cell", cell, CELLS)
        require_choice("merge", merge, MERGES)
        require_positive(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        require_fraction(dropout=dropout)
        self.cell = cell
        self.rnn = _MODULES[cell](input_size, hidden_size, num_layers, bidirectional=bidirectional)
        self.dropout = Dropout(dropout)
        self.merge = merge
        self.output_size = hidden_size * (2 if bidirectional and merge == "concat" else 1)
        self.together: bool | None = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial weights."""
        size = self.rnn.hidden_size
        for input_weight, recurrent_weight, input_bias, recurrent_bias in self.rnn.all_weights:
            gates = len(input_bias) // size
            for gate in input_weight.chunk(gates):
                nn.init.xavier_uniform_(gate)
            for gate in recurrent_weight.chunk(gates):
                nn.init.orthogonal_(gate)
            nn.init.zeros_(input_bias)
            nn.init.zeros_(recurrent_bias)
            if self.cell == "lstm":
                nn.init.ones_(input_bias[size : 2 * size])  # the order of the gates is i, f, g, o

    def forward(self, inputs: Tensor, lengths: Tensor) -> Encoded:
        """Encode a padded batch.

        Args:
            inputs: (batch, time, input_size), padded at the end of each row with finite values.
            lengths: (batch,) int64 on the CPU, the number of steps in each row, 1 to time.

        Raises:
            ValueError: The shapes disagree, or a length is 0 or above time.
        """
        _check_batch(inputs, lengths, self.rnn.input_size)
        states = inputs.transpose(0, 1).contiguous()  # faster for the kernels
        ends = lengths.to(states.device, non_blocking=True)
        run = self._run_together if self._is_together(states) else self._run_apart
        full = int(lengths.min()) == len(states)
        states = run(states, None if full else ends).transpose(0, 1)  # (batch, time, values)
        row = torch.arange(len(ends), device=ends.device)
        forward = states[row, ends - 1, : self.rnn.hidden_size]
        backward = states[:, 0, self.rnn.hidden_size :]  # of size 0 for one direction
        return Encoded(self._merge(states), self._merge(torch.cat([forward, backward], dim=-1)))

    def _is_together(self, states: Tensor) -> bool:
        """Whether to run both directions of a layer in one call."""
        if not self.rnn.bidirectional or self.cell == "rnn":
            return False
        if self.together is not None:
            return self.together
        size, batch, dtype = self.rnn.hidden_size, states.shape[1], compute_dtype(states)
        return states.is_cuda and not runs_apart(self.cell, size, batch, dtype)

    def _run_together(self, states: Tensor, ends: Tensor | None) -> Tensor:
        """Run both directions of each layer in one call.

        Args:
            states: (time, batch, input_size).
            ends: (batch,) lengths on the same device; None if no sequence is padded.

        Returns:
            (time, batch, directions * hidden_size).
        """
        padding = None
        if ends is not None:
            padding = torch.arange(len(states), device=ends.device).unsqueeze(1) >= ends
        for layer, weights in enumerate(self._layers()):
            if layer > 0:
                states = self.dropout(states)
            states = run_layer(self.cell, states, [*weights[0], *weights[1]], padding)
        return states

    def _run_apart(self, states: Tensor, ends: Tensor | None) -> Tensor:
        """Run each direction of each layer by itself; Args and Returns as ``_run_together``."""
        order = None if ends is None else _reversal(ends, len(states))
        on_cpu, is_long = states.device.type == "cpu", len(states) > POSITIONS
        for layer, weights in enumerate(self._layers()):
            if layer > 0:
                states = self.dropout(states)
            if on_cpu and is_long and not torch.is_grad_enabled():
                states = layer_in_pieces(self.cell, states, order, weights)
                continue
            inputs = [states, _reverse(states, order)][: len(weights)]
            if on_cpu and self.cell != "lstm":
                runs = scan_layer(self.cell, inputs, weights)
            elif on_cpu and is_long:
                runs = tuple(map(long_lstm, inputs, weights))
            else:
                run = run_layer if states.is_cuda else call
                runs = tuple(run(self.cell, *each) for each in zip(inputs, weights, strict=True))
            states = torch.cat([runs[0], *(_reverse(run, order) for run in runs[1:])], dim=-1)
        return states

    def _layers(self) -> list[list[list[nn.Parameter]]]:
        """The weights of each direction of each layer."""
        weights = self.rnn.all_weights
        step = 2 if self.rnn.bidirectional else 1
        return [weights[first : first + step] for first in range(0, len(weights), step)]

    def _merge(self, states: Tensor) -> Tensor:
        """Merge the top layer's directions, which are concatenated in the last dimension."""
        if self.merge == "concat" or not self.rnn.bidirectional:
            return states
        forward, backward = states.chunk(2, dim=-1)
        total = forward + backward
        return total if self.merge == "sum" else total / 2


def _reversal(lengths: Tensor, time: int) -> Tensor:
    """Indices that reverse the flat (time * batch) steps within each length; padding stays.

    >>> _reversal(torch.tensor([3, 1]), 3).view(3, 2).tolist()
    [[4, 1], [2, 3], [0, 5]]
    """
    batch = len(lengths)
    step = torch.arange(time, device=lengths.device).unsqueeze(1)  # (time, 1)
    source = torch.where(step < lengths, lengths - 1 - step, step)  # (time, batch)
    return (source * batch + torch.arange(batch, device=lengths.device)).flatten()


def _reverse(states: Tensor, order: Tensor | None) -> Tensor:
    """Reverse (time, batch, size) states within each length, or whole if there is no order."""
    if order is None:
        return states.flip(0)
    reversed_states: Tensor = _Reverse.apply(states, order)  # type: ignore[no-untyped-call]
    return reversed_states


class _Reverse(Function):
    """Reorder rows by a permutation that is its own inverse, so the backward pass does the same."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, order: Tensor) -> Tensor:
        ctx.save_for_backward(order)
        return states.flatten(0, 1).index_select(0, order).view_as(states)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (order,) = ctx.saved_tensors
        return grad.flatten(0, 1).index_select(0, order).view_as(grad), None


def can_train(cell: str, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether a device can train a cell under autocast to `dtype`, found by trying a tiny one.

    The hardware alone does not decide: oneDNN has no LSTM in bfloat16 for a CPU without AVX-512, or
    if an environment variable limits it to AVX2, but GRU and tanh layers run there.
    """
    with torch.random.fork_rng(devices=[]):
        encoder = RecurrentEncoder(cell=cell, input_size=8, hidden_size=8).to(device)
    inputs = torch.zeros(2, 3, 8, device=device)
    try:
        with torch.autocast(device.type, dtype):
            states = encoder(inputs, torch.tensor([3, 2])).outputs
        states.float().sum().backward()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        return False
    return True


def _check_batch(inputs: Tensor, lengths: Tensor, input_size: int) -> None:
    if inputs.dim() != 3 or inputs.shape[0] == 0 or inputs.shape[2] != input_size:
        raise ValueError(
            f"inputs have shape {tuple(inputs.shape)}; "
            f"expected (batch, time, {input_size}) with one sequence or more"
        )
    batch, time, _ = inputs.shape
    if lengths.shape != (batch,):
        raise ValueError(f"lengths have shape {tuple(lengths.shape)}; expected ({batch},)")
    if lengths.dtype != torch.int64 or lengths.device.type != "cpu":
        raise ValueError(
            f"lengths are {lengths.dtype} on {lengths.device}; give torch.int64 on the CPU"
        )
    shortest, longest = int(lengths.min()), int(lengths.max())
    if shortest < 1 or longest > time:
        raise ValueError(
            f"lengths run from {shortest} to {longest}; each must lie between 1 and the {time} "
            "steps of the batch"
        )
