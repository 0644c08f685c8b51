"""Recurrent encoders whose result for a sequence never depends on its padding or its neighbours.

This file knows torch alone. It takes vectors, so it encodes text, pixels or measurements alike.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sentiment.model.dropout import Dropout
from sentiment.model.pieces import POSITIONS, layer_in_pieces, long_lstm
from sentiment.model.scan import scan_layer

_MODULES: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
_FUNCTIONS: dict[str, Callable[..., Any]] = {  # what the modules call
    "rnn": torch.rnn_tanh,
    "gru": torch.gru,
    "lstm": torch.lstm,
}
CELLS = tuple(_MODULES)
MERGES = ("concat", "sum", "mean")

# cuDNN copies the weights of a layer that runs by itself: a few megabytes, once per batch.
warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous")


class Encoded(NamedTuple):
    """What an encoder makes of a batch of sequences.

    Attributes:
        outputs: The top layer's state at each step, (batch, time, output_size). Steps after the
            end of a sequence hold finite values that mean nothing: mask them.
        final: The last state of each direction of the top layer, merged, (batch, output_size).
            The backward direction ends on a sequence's first step.
    """

    outputs: Tensor
    final: Tensor


class RecurrentEncoder(nn.Module):
    """A stack of recurrent layers over sequences of unequal lengths.

    The weights are those of one ordinary `nn.RNN` (tanh), `nn.GRU` or `nn.LSTM`, in `self.rnn`.
    Two ways of running them give equal results:

    - On CUDA, packed sequences go to cuDNN.
    - Elsewhere, each direction of each layer runs by itself over the padded batch. The backward
      one reads its input reversed within each length, so that padding always comes after the
      sequence and cannot reach it. An LSTM then stays in oneDNN, which a packed one leaves.

    Initial values: input weights Xavier-uniform and recurrent weights orthogonal, gate by gate;
    biases zero, but 1 for an LSTM's forget gate (Jozefowicz et al. 2015, "An Empirical
    Exploration of Recurrent Network Architectures", section 2.2).

    Args:
        cell: `rnn`, `gru` or `lstm`.
        input_size: Size of each step's input vector.
        hidden_size: Size of one direction's state.
        num_layers: Layers, each reading the states of the one below.
        bidirectional: Whether to read from both ends.
        dropout: Share of the values dropped between layers in training; never along time and
            never after the last layer, so it does nothing to a single layer.
        merge: How the top layer's directions become one vector: `concat`, `sum` or `mean`.
            Lower layers always hand up both side by side.

    Attributes:
        output_size: Size of the vectors that `forward` gives.
        packed: Whether to run on packed sequences; None (the default) does so on CUDA alone.

    Raises:
        ValueError: An argument is out of its range, or names no known choice.

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
        require_share(dropout=dropout)
        self.cell = cell
        self.rnn = _MODULES[cell](input_size, hidden_size, num_layers, bidirectional=bidirectional)
        self.dropout = Dropout(dropout)
        self.merge = merge
        self.output_size = hidden_size * (2 if bidirectional and merge == "concat" else 1)
        self.packed: bool | None = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial weights anew."""
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
                nn.init.ones_(input_bias[size : 2 * size])  # the gates lie in the order i, f, g, o

    def forward(self, inputs: Tensor, lengths: Tensor) -> Encoded:
        """Encode a padded batch.

        Args:
            inputs: (batch, time, input_size), padded at the end of each row with finite values.
            lengths: (batch,) int64 on the CPU: the steps of each row that count, 1 to time.

        Raises:
            ValueError: The shapes disagree, or a length is 0 or above time.
        """
        _check_batch(inputs, lengths, self.rnn.input_size)
        packed = inputs.is_cuda if self.packed is None else self.packed
        run = self._run_packed if packed else self._run_padded
        states = run(inputs, lengths)  # (batch, time, directions * hidden_size)
        row = torch.arange(len(lengths), device=states.device)
        last = lengths.to(states.device) - 1
        forward = states[row, last, : self.rnn.hidden_size]
        backward = states[:, 0, self.rnn.hidden_size :]  # of size 0 for one direction
        return Encoded(self._merge(states), self._merge(torch.cat([forward, backward], dim=-1)))

    def _run_padded(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Run each direction of each layer by itself, over time first, as oneDNN likes it."""
        states = inputs.transpose(0, 1).contiguous()  # (time, batch, input_size)
        order = _reversal(lengths, len(states), states.device)
        on_cpu = inputs.device.type == "cpu"
        scanned = self.cell != "lstm" and on_cpu
        in_pieces = on_cpu and len(states) > POSITIONS and not torch.is_grad_enabled()
        for layer, weights in enumerate(self._layers()):
            if layer > 0:
                states = self.dropout(states)
            if in_pieces:
                states = layer_in_pieces(self.cell, states, order, weights)
                continue
            ways = [states, _reverse(states, order)][: len(weights)]
            if scanned:
                runs = scan_layer(self.cell, ways, weights)
            elif on_cpu and len(states) > POSITIONS:
                runs = tuple(map(long_lstm, ways, weights))
            else:
                runs = tuple(map(self._run, ways, weights))
            states = torch.cat([runs[0], *(_reverse(way, order) for way in runs[1:])], dim=-1)
        return states.transpose(0, 1)

    def _run_packed(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Run all layers in one call, or one by one where dropout acts between them.

        Dropout inside a stacked cuDNN call would differ from run to run under the same seed.
        """
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        states = packed.data  # (tokens, input_size)
        layers = self._layers()
        one_by_one = self.training and self.dropout.p > 0
        for number, call in enumerate([[layer] for layer in layers] if one_by_one else [layers]):
            if number > 0:
                states = self.dropout(states)
            weights = [weight for layer in call for direction in layer for weight in direction]
            states = self._run(states, weights, packed.batch_sizes, num_layers=len(call))
        packed = packed._replace(data=states)
        return pad_packed_sequence(packed, batch_first=True, total_length=inputs.shape[1])[0]

    def _layers(self) -> list[list[list[nn.Parameter]]]:
        """Give the weights of each direction of each layer."""
        weights = self.rnn.all_weights
        step = 2 if self.rnn.bidirectional else 1
        return [weights[first : first + step] for first in range(0, len(weights), step)]

    def _run(
        self,
        inputs: Tensor,
        weights: Sequence[Tensor],
        batch_sizes: Tensor | None = None,
        num_layers: int = 1,
    ) -> Tensor:
        """Run one direction over (time, batch, size), or whole layers over packed (tokens, size).

        Dropout is not cuDNN's business here, so `train` means only that a backward pass may
        follow, without which cuDNN refuses one in eval mode.
        """
        both = batch_sizes is not None and self.rnn.bidirectional
        batch = inputs.shape[1] if batch_sizes is None else int(batch_sizes[0])
        start: Any = inputs.new_zeros((1 + both) * num_layers, batch, self.rnn.hidden_size)
        if self.cell == "lstm":
            start = (start, start)
        options = {
            "has_biases": True,
            "num_layers": num_layers,
            "dropout": 0.0,
            "train": torch.is_grad_enabled(),
            "bidirectional": both,
        }
        run = _FUNCTIONS[self.cell]
        if batch_sizes is None:
            states: Tensor = run(inputs, start, weights, **options, batch_first=False)[0]
        else:
            states = run(inputs, batch_sizes, start, weights, **options)[0]
        return states

    def _merge(self, states: Tensor) -> Tensor:
        """Merge the top layer's directions, which stand side by side in the last dimension."""
        if self.merge == "concat" or not self.rnn.bidirectional:
            return states
        forward, backward = states.chunk(2, dim=-1)
        total = forward + backward
        return total if self.merge == "sum" else total / 2


def _reversal(lengths: Tensor, time: int, device: torch.device) -> Tensor | None:
    """Index the flat (time * batch) steps reversed within each length, padding left in place.

    None stands for lengths that all fill the batch, where a flip will do.

    >>> _reversal(torch.tensor([3, 1]), 3, torch.device("cpu")).view(3, 2).tolist()
    [[4, 1], [2, 3], [0, 5]]
    """
    if int(lengths.min()) == time:
        return None
    batch = len(lengths)
    lengths = lengths.to(device)
    step = torch.arange(time, device=device).unsqueeze(1)  # (time, 1)
    source = torch.where(step < lengths, lengths - 1 - step, step)  # (time, batch)
    return (source * batch + torch.arange(batch, device=device)).flatten()


def _reverse(states: Tensor, order: Tensor | None) -> Tensor:
    """Reverse (time, batch, size) states within each length."""
    if order is None:
        return states.flip(0)
    reversed_states: Tensor = _Reverse.apply(states, order)  # type: ignore[no-untyped-call]
    return reversed_states


class _Reverse(Function):
    """Take rows in an order that is its own inverse, so that the way back only takes them too."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, order: Tensor) -> Tensor:
        ctx.save_for_backward(order)
        return states.flatten(0, 1).index_select(0, order).view_as(states)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (order,) = ctx.saved_tensors
        return grad.flatten(0, 1).index_select(0, order).view_as(grad), None


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


def require_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a value that is none of the choices."""
    if value not in choices:
        raise ValueError(f"{name}={value!r} is unknown; choose one of {', '.join(choices)}")


def require_positive(**sizes: int) -> None:
    """Refuse sizes below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}={size} is too small; give 1 or more")


def require_share(**shares: float) -> None:
    """Refuse shares outside [0, 1)."""
    for name, share in shares.items():
        if not 0 <= share < 1:
            raise ValueError(f"{name}={share} is out of range; give 0 or more, below 1")
