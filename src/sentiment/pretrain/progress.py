"""Log the progress of a pretraining."""

import logging
import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

log = logging.getLogger(__name__)


class Progress(Callback):
    """Logs the progress within a long epoch.

    Args:
        seconds: time between two lines.
    """

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._logged_at = 0.0
        self._losses: list[Tensor] = []  # since the last line
        self._tokens = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, in the middle of an epoch too."""
        self._begin()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start it anew."""
        self._begin()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the batches since the last line, if it is time."""
        # Lightning has divided it by the batches of a step.
        self._losses.append(outputs["loss"].detach() * trainer.accumulate_grad_batches)
        self._tokens += int(batch.lengths.sum())
        seconds = time.monotonic() - self._logged_at
        if seconds < self._seconds:
            return
        log.info(
            "  epoch %d: %.0f %%; perplexity of the last %d batches %.1f; %s tokens/s",
            trainer.current_epoch + 1,
            100 * (batch_idx + 1) / trainer.num_training_batches,
            len(self._losses),
            float(torch.stack(self._losses).mean().exp()),
            f"{self._tokens / seconds:,.0f}",
        )
        self._begin()

    def _begin(self) -> None:
        self._logged_at = time.monotonic()
        self._losses.clear()
        self._tokens = 0


def perplexity_line(metrics: Mapping[str, float]) -> str:
    """Format the log line of a language model's epoch."""
    train, val = (metrics.get(f"{split}/perplexity", math.nan) for split in ("train", "val"))
    line = f"perplexity of training {train:.1f}, of validation {val:.1f}"
    names = {name: f"val/perplexity_{name}" for name in ("forward", "backward")}
    if not metrics.keys() >= set(names.values()):
        return line
    return f"{line} ({', '.join(f'{name} {metrics[key]:.1f}' for name, key in names.items())})"
