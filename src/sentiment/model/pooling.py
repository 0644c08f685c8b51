"""Pool the states of an encoder into one vector for each sequence, ignoring padding.

Depends on torch alone.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from sentiment.model.encoder import Encoded
from sentiment.model.settings import require_choice, require_positive

_STEPS_AT_A_TIME = 1 << 16
POOLINGS = ("last", "mean", "max", "max+mean", "attention")


def token_mask(lengths: Tensor, time: int) -> Tensor:
    """The (batch, time) bool mask of (batch,) lengths: true at tokens, false at padding.

    >>> token_mask(torch.tensor([3, 1]), 3).int().tolist()
    [[1, 1, 1], [1, 0, 0]]
    """
    return torch.arange(time, device=lengths.device) < lengths.unsqueeze(1)


class Pooling(nn.Module):
    """Pools the states of each sequence into one vector, in float32 (float64 stays float64).

    - `last`: the last state of each direction, as the encoder merged them.
    - `mean`: the average over the tokens.
    - `max`: the largest value of each feature over the tokens.
    - `max+mean`: both, concatenated (twice `input_size`).
    - `attention`: the average of the states h, weighted by softmax(u^T tanh(W h + b)) with one
      learned query u (Yang et al. 2016, "Hierarchical Attention Networks for Document
      Classification", equations 5 to 7).

    Args:
        mode: One of the names above.
        input_size: Size of the encoder's vectors, its `output_size`.

    Attributes:
        output_size: Size of the pooled vectors.

    Raises:
        ValueError: `mode` is none of the names above, or `input_size` is below 1.

    Example:
        >>> states = torch.tensor([[[1.0], [3.0], [9.0]]])
        >>> encoded = Encoded(outputs=states, final=states[:, 1])
        >>> Pooling(mode="max+mean", input_size=1)(encoded, token_mask(torch.tensor([2]), 3))
        tensor([[3., 2.]])
    """

    def __init__(self, *, mode: str, input_size: int) -> None:
        super().__init__()
        require_choice("pooling", mode, POOLINGS)
        require_positive(input_size=input_size)
        self.mode = mode
        self.output_size = 2 * input_size if mode == "max+mean" else input_size
        if mode == "attention":
            self.projection = nn.Linear(input_size, input_size)
            self.query = nn.Linear(input_size, 1, bias=False)

    def forward(self, encoded: Encoded, mask: Tensor) -> Tensor:
        """Pool a batch.

        Args:
            encoded: The output of the encoder for the batch, (batch, time, input_size).
            mask: (batch, time) bool, true at tokens; at least one in each row.

        Returns:
            (batch, output_size), in float32 or float64.
        """
        mask = mask.unsqueeze(-1)  # (batch, time, 1)
        if self.mode == "last":
            return widen(encoded.final)
        if self.mode == "mean":
            return _mean(encoded.outputs, mask)
        if self.mode == "max":
            return _max(encoded.outputs, mask)
        if self.mode == "max+mean":
            return torch.cat([_max(encoded.outputs, mask), _mean(encoded.outputs, mask)], dim=-1)
        return self._attend(encoded.outputs, mask)

    def _attend(self, states: Tensor, mask: Tensor) -> Tensor:
        pieces = torch.split(states, _STEPS_AT_A_TIME, dim=1)
        scores = torch.cat(
            [self.query(torch.tanh(self.projection(some))) for some in pieces], dim=1
        )  # (batch, time, 1)
        weights = widen(scores).masked_fill(~mask, -torch.inf).softmax(dim=1)
        return _weighted_sum(states, weights)


def widen(values: Tensor) -> Tensor:
    """Convert to float32, unless the values are float64."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _max(states: Tensor, mask: Tensor) -> Tensor:
    # The gradient of max goes to one step; that of amax is split among ties, at twice the cost.
    largest = [
        torch.where(own, some, -torch.inf).max(dim=1).values for some, own in _pieces(states, mask)
    ]
    return widen(largest[0] if len(largest) == 1 else torch.stack(largest).max(dim=0).values)


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    ones = mask.to(torch.promote_types(states.dtype, torch.float32))
    return _weighted_sum(states, ones / ones.sum(dim=1, keepdim=True))


def _weighted_sum(states: Tensor, weights: Tensor) -> Tensor:
    """Sum (batch, time, size) states over time, each times its (batch, time, 1) weight.

    Not a matrix product, because autocast would compute that in half precision.
    """
    sums = [(some * own).sum(dim=1) for some, own in _pieces(states, weights)]
    return sums[0] if len(sums) == 1 else torch.stack(sums).sum(dim=0)


def _pieces(states: Tensor, others: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Split both along time, because copies of whole, very long sequences would fill the memory."""
    pieces = [torch.split(each, _STEPS_AT_A_TIME, dim=1) for each in (states, others)]
    return zip(*pieces, strict=True)
