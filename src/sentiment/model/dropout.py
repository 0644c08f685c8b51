"""Dropout whose masks are cheap to draw on a CPU. Depends on torch alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional


class Dropout(nn.Dropout):
    """`nn.Dropout`, but several times as fast on a CPU.

    torch draws a float for each value there; this draws 16 bits, so the probability of dropping a
    value is a multiple of 1/65536. Values that are kept are scaled by the exact inverse of the
    probability of keeping them.

    >>> dropped = Dropout(0.25).train()(torch.ones(10_000))
    >>> 0.7 < (dropped > 0).float().mean() < 0.8
    tensor(True)
    """

    def forward(self, values: Tensor) -> Tensor:
        """Drop values in training; return them unchanged otherwise."""
        if not self.training or self.p == 0:
            return values
        if values.device.type != "cpu":
            return functional.dropout(values, self.p)
        dropped = min(round(self.p * 65536), 65535)
        bits = random_bits(values.numel()).view(values.shape)
        return values * (bits >= dropped - 32768) * (65536 / (65536 - dropped))


def random_bits(count: int) -> Tensor:
    """Draw uniform integers from torch's CPU generator, (count,) int16."""
    quarter = torch.empty((count + 3) // 4, dtype=torch.int64)
    return quarter.random_(-(2**63), None).view(torch.int16)[:count]


def generator_state(device: torch.device) -> Tensor:
    """The state of the random generator that draws masks on a device."""
    source = torch if device.type == "cpu" else torch.get_device_module(device)
    state: Tensor = source.get_rng_state()
    return state


@contextmanager
def same_masks(state: Tensor, device: torch.device) -> Iterator[None]:
    """Draw the same masks as after ``state``; the generator continues as if nothing was drawn.

    >>> dropout, cpu, values = Dropout(0.5), torch.device("cpu"), torch.ones(100)
    >>> state = generator_state(cpu)
    >>> once = dropout(values)
    >>> with same_masks(state, cpu):
    ...     again = dropout(values)
    >>> torch.equal(once, again), torch.equal(once, dropout(values))
    (True, False)
    """
    source = torch if device.type == "cpu" else torch.get_device_module(device)
    after = source.get_rng_state()
    source.set_rng_state(state)
    try:
        yield
    finally:
        source.set_rng_state(after)
