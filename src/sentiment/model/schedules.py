"""Learning-rate schedules, as the dictionaries that Lightning expects.

Each function takes the optimizer and the number of optimizer steps in the whole training.
"""

import math
import sys
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, ReduceLROnPlateau

from sentiment.model.metric_names import best_mode


def one_cycle(
    optimizer: Optimizer,
    total_steps: int,
    *,
    warmup: float = 0.3,
    start_factor: float = 0.04,
    final_factor: float = 4e-6,
) -> dict[str, Any]:
    """Raise the rate to the optimizer's in a ``warmup`` fraction of the steps, then a cosine down.

    Smith & Topin 2018, "Super-Convergence". The factors are the rates of the first and of the last
    step as fractions of the optimizer's rate. Momentum is constant.
    """
    scheduler = OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=total_steps,
        pct_start=warmup,
        div_factor=1 / start_factor,
        final_div_factor=start_factor / max(final_factor, 1e-12),
        cycle_momentum=False,
    )
    return {"scheduler": scheduler, "interval": "step"}


def cosine(
    optimizer: Optimizer, total_steps: int, *, warmup: float = 0.05, final_factor: float = 0.0
) -> dict[str, Any]:
    """Linear warm-up in a fraction of the steps, then a cosine down to ``final_factor``.

    Loshchilov & Hutter 2017, "SGDR", equation 5 without restarts.
    """
    warmup_steps = round(warmup * total_steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
        return final_factor + (1 - final_factor) * (1 + math.cos(math.pi * done)) / 2

    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}


def plateau(
    optimizer: Optimizer,
    total_steps: int,
    *,
    factor: float = 0.5,
    patience: int = 1,
    monitor: str = "val/loss",
) -> dict[str, Any]:
    """Multiply the rate by ``factor`` after more than ``patience`` epochs without improvement.

    ``SentimentModule`` steps it, in epochs that have the metric.

    Args:
        optimizer: the optimizer with the learning rates.
        total_steps: not used; this schedule counts epochs.
        factor: between 0 and 1.
        patience: epochs without improvement that are tolerated.
        monitor: the metric; a loss or a perplexity improves when it falls, any other when it rises.
    """
    del total_steps
    scheduler = ReduceLROnPlateau(
        optimizer, mode=best_mode(monitor), factor=factor, patience=patience
    )
    # Lightning would step it after the checkpoint of an epoch, and not at all in a resumed epoch,
    # so the module steps it.
    return {"scheduler": scheduler, "frequency": sys.maxsize, "monitor": monitor}
