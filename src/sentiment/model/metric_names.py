"""Names of the metrics of an epoch, and which way each improves."""

from typing import Literal

# Figures of an epoch, by which checkpoints are chosen, rates lowered and trainings stopped.
CLASSIFIER_METRICS = (
    "val/accuracy", "val/f1", "val/auroc", "val/loss", "train/accuracy", "train/loss",
)  # fmt: skip

LANGUAGE_MODEL_METRICS = ("val/loss", "val/perplexity", "train/loss", "train/perplexity")


def best_mode(monitor: str | None) -> Literal["min", "max"]:
    """Whether the best value is the ``min`` (of a loss or a perplexity) or the ``max``."""
    falls = monitor is not None and monitor.endswith(("/loss", "/perplexity"))
    return "min" if falls else "max"
