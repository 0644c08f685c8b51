"""Optimizer steps that touch only the rows of an embedding that a batch has read.

This file knows torch alone.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class LazyRows:
    """Lets an optimizer step the rows of an embedding that have a gradient, and no others.

    A vocabulary is far larger than a batch: reading and writing all of its rows, their gradients
    and their moments can cost as much as the network itself. Here the rows that a batch has read
    are copied into a small parameter, stepped with their own share of the optimizer's state, and
    put back. The other rows wait: their moments do not fade and weight decay does not shrink them
    (as in `torch.optim.SparseAdam`, which can do neither another rule nor weight decay). Plain SGD
    gives the same weights as without this. The state stays in the optimizer's own layout, which
    must be zeros of the weight's shape at first (and single values that all rows share), as
    those of SGD, RMSprop, Adam and AdamW are.

    Args:
        optimizer: has the embedding in a parameter group of its own.
        weight: of the embedding, (words, size), whose gradients are sparse.
    """

    def __init__(self, optimizer: Optimizer, weight: Tensor) -> None:
        self._optimizer = optimizer
        self._weight = weight
        self._index = torch.empty(0, dtype=torch.int64)
        self._rows: Tensor | None = None
        optimizer.register_step_post_hook(self._put_back)

    def take(self) -> None:
        """Put the rows that have a gradient in the embedding's place, until the step is done.

        Call it when the gradient is complete; the rows' own gradient may then still be clipped.
        """
        grad = self._weight.grad
        if grad is None:
            return
        grad = grad.coalesce()
        self._index = grad.indices()[0]
        self._rows = nn.Parameter(self._weight.detach().index_select(0, self._index))
        self._rows.grad = grad.values()
        state = self._optimizer.state.get(self._weight, {})
        if state:
            self._optimizer.state[self._rows] = {
                name: value.index_select(0, self._index) if self._is_by_row(value) else value
                for name, value in state.items()
            }
        self._exchange(self._weight, self._rows)

    def _put_back(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._rows is None:
            return
        rows, self._rows = self._rows, None
        self._exchange(rows, self._weight)
        _write_rows(self._weight.detach(), self._index, rows.detach())
        state = optimizer.state[self._weight]
        for name, value in optimizer.state.pop(rows, {}).items():
            if isinstance(value, Tensor) and value.shape == rows.shape:
                if name not in state:
                    state[name] = torch.zeros_like(self._weight)
                _write_rows(state[name], self._index, value)
            else:
                state[name] = value

    def _exchange(self, old: Tensor, new: Tensor) -> None:
        for group in self._optimizer.param_groups:
            group["params"] = [new if weight is old else weight for weight in group["params"]]

    def _is_by_row(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value.shape == self._weight.shape


def _write_rows(target: Tensor, index: Tensor, rows: Tensor) -> None:
    """Replace distinct rows. Their order cannot matter, and torch's deterministic way is slow."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        target[index] = rows
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
