"""Dropout whose masks are cheap to draw on a CPU. This file knows torch alone."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Dropout(nn.Dropout):
    """`nn.Dropout`, on a CPU several times as fast.

    torch draws a float for each value there; this draws 16 bits, so the share of values dropped is
    a multiple of 1/65536. The values kept are scaled by the exact inverse of their share.

    >>> dropped = Dropout(0.25).train()(torch.ones(10_000))
    >>> 0.7 < (dropped > 0).float().mean() < 0.8
    tensor(True)
    """

    def forward(self, values: Tensor) -> Tensor:
        """Drop values in training, and give all of them as they are otherwise."""
        if not self.training or self.p == 0:
            return values
        if values.device.type != "cpu":
            return functional.dropout(values, self.p)
        dropped = min(round(self.p * 65536), 65535)
        bits = random_bits(values.numel()).view(values.shape)
        return values * (bits >= dropped - 32768) * (65536 / (65536 - dropped))


def random_bits(count: int) -> Tensor:
    """Draw integers from torch's generator of the CPU, (count,) int16, each as likely as any."""
    quarter = torch.empty((count + 3) // 4, dtype=torch.int64)
    return quarter.random_(-(2**63), None).view(torch.int16)[:count]
