"""Learning-rate schedules, in the form in which Lightning takes them.

Each function takes the optimizer and the number of optimizer steps of the whole training.
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
    """Up to the optimizer's rate in the first ``warmup`` share of the steps, then down by a cosine.

    Smith & Topin 2018, "Super-Convergence". The factors are shares of the optimizer's rate at the
    first and at the last step. Momentum is left as it is.
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
    """Linear warm-up over a share of the steps, then a cosine down to ``final_factor``.

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
    """Multiply the rate by ``factor`` after more than ``patience`` epochs without a better figure.

    ``SentimentModule`` steps it, in epochs that have the figure.

    Args:
        optimizer: whose rates are lowered.
        total_steps: not used; this schedule goes by epochs.
        factor: between 0 and 1.
        patience: epochs without a better figure that are let pass.
        monitor: the figure; a loss or a perplexity is better when lower, any other when higher.
    """
    del total_steps
    scheduler = ReduceLROnPlateau(
        optimizer, mode=best_mode(monitor), factor=factor, patience=patience
    )
    # Lightning would step it after an epoch's checkpoint, and not in a resumed epoch: the module
    # does.
    return {"scheduler": scheduler, "frequency": sys.maxsize, "monitor": monitor}
