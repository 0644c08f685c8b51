"""Names of the metrics of an epoch, and whether each is minimised or maximised."""

from typing import Literal

# Metrics of an epoch, by which checkpoints are chosen, rates lowered and trainings stopped.
CLASSIFIER_METRICS = (
    "val/accuracy", "val/f1", "val/auroc", "val/loss", "train/accuracy", "train/loss",
)  # fmt: skip

AUTO = "auto"  # a monitor: val/accuracy, or val/f1 where one label is far more frequent than others
LANGUAGE_MODEL_METRICS = ("val/loss", "val/perplexity", "train/loss", "train/perplexity")
_LOWER_IS_BETTER = {"loss", "perplexity", "ece", "fit_seconds", "parameters", "latency_ms"}


def best_mode(monitor: str | None) -> Literal["min", "max"]:
    """Whether the best value is the ``min`` (of a loss or a perplexity) or the ``max``."""
    return "min" if is_lower_better(monitor or "") else "max"


def is_lower_better(metric: str) -> bool:
    """Whether less of a metric or of another number of ``results.json`` is better."""
    return metric.rpartition("/")[2] in _LOWER_IS_BETTER
