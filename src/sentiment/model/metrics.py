"""The metrics of classifiers and language models, the same in training, test and evaluation."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC, MulticlassF1Score
from torchmetrics.utilities import dim_zero_cat

from sentiment.model.abstention import Answered, count_answered
from sentiment.model.calibration import Reliability, reliability


class ReviewMean(Metric):
    """Mean over reviews from the means of batches of unequal size, without waiting for the device.

    Its sums are part of a module's state, so that a checkpoint within an epoch holds them.
    torchmetrics' own ``MeanMetric`` either waits for the device or drops the weights.
    """

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "count"):
            self.add_state(name, torch.zeros(()), dist_reduce_fx="sum", persistent=True)

    def update(
        self, mean: Tensor, reviews: int | Tensor, weight: float | Tensor | None = None
    ) -> None:
        """Add the mean of a batch.

        Args:
            mean: over the batch.
            reviews: size of the batch.
            weight: how many reviews the mean counts as, instead of ``reviews``; the weights of the
                processes that split a batch add up to its size.
        """
        self.total += mean * (reviews if weight is None else weight)
        self.count += reviews

    def compute(self) -> Tensor:
        """The mean so far."""
        return self.total / self.count


class Perplexity(ReviewMean):
    """The exponential of the mean cross-entropy of words, in nats."""

    def compute(self) -> Tensor:
        """The perplexity so far."""
        return super().compute().exp()


class MacroAUROC(MulticlassAUROC):
    """Area under the ROC curve of each class against the rest, averaged over the classes present.

    torchmetrics' own mean counts an absent class as 0. NaN if all reviews have the same class.
    """

    def __init__(self, num_classes: int, ignore_index: int | None = None) -> None:
        super().__init__(
            num_classes, average="none", ignore_index=ignore_index, validate_args=False
        )

    def compute(self) -> Tensor:  # type: ignore[override]
        """The mean so far."""
        labels = dim_zero_cat(self.target)
        counts = torch.bincount(labels, minlength=self.num_classes)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*samples in target.*")
            areas: Tensor = super().compute()
        return areas[(counts > 0) & (counts < len(labels))].mean()


def classification_metrics(
    num_classes: int, prefix: str, ignore_index: int | None = None
) -> MetricCollection:
    """Accuracy over reviews, macro F1 and macro AUROC; ``update(probabilities, labels)``.

    Macro averages leave out absent classes (for F1, those neither present nor predicted). Reviews
    with the label ``ignore_index`` are left out everywhere.
    """
    options: Any = {"ignore_index": ignore_index, "validate_args": False}
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(num_classes, average="micro", **options),
            "f1": MulticlassF1Score(num_classes, average="macro", **options),
            "auroc": MacroAUROC(num_classes, ignore_index),
        },
        prefix=prefix,
    )


def summarise_predictions(logits: Tensor, labels: Tensor, prefix: str) -> dict[str, float]:
    """Accuracy, macro F1, macro AUROC, cross-entropy (in nats) and calibration error of a split.

    Args:
        logits: (reviews, classes).
        labels: (reviews,) int64.
        prefix: prefix of each name, such as ``test/``.
    """
    metrics = classification_metrics(logits.shape[1], prefix)
    metrics.update(logits.softmax(1), labels)
    values = {name: float(value) for name, value in metrics.compute().items()}
    values[f"{prefix}accuracy"] = int((logits.argmax(1) == labels).sum()) / len(labels)  # exact
    values[f"{prefix}loss"] = float(torch.nn.functional.cross_entropy(logits, labels))
    values[f"{prefix}ece"] = reliability(logits, labels).error
    return values


def confusion_counts(logits: Tensor, labels: Tensor) -> Tensor:
    """The confusion matrix, true class by row and predicted class by column; int64."""
    classes = logits.shape[1]
    pairs = labels * classes + logits.argmax(1)
    return torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def by_class(confusion: Tensor) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class; None where there is nothing to divide by.

    Args:
        confusion: see ``confusion_counts``.

    Returns:
        For each class also ``reviews``, how many have it, and ``predicted``, how many are given it.
    """
    rows = []
    counts = confusion.diag().tolist(), confusion.sum(1).tolist(), confusion.sum(0).tolist()
    for right, reviews, predicted in zip(*counts, strict=True):
        rows.append(
            {
                "precision": right / predicted if predicted else None,
                "recall": right / reviews if reviews else None,
                "f1": 2 * right / (reviews + predicted) if reviews + predicted else None,
                "reviews": reviews,
                "predicted": predicted,
            }
        )
    return rows


def mean_absolute_error(confusion: Tensor, values: Sequence[float]) -> float:
    """How far predicted labels are from true ones on average, where labels are numbers.

    Args:
        confusion: see ``confusion_counts``.
        values: the number that each label stands for.
    """
    numbers = torch.tensor(values, dtype=torch.float64)
    distances = (numbers[:, None] - numbers).abs()
    return float((confusion * distances).sum() / confusion.sum())


def accuracy_by_length(logits: Tensor, labels: Tensor, lengths: Tensor) -> list[dict[str, Any]]:
    """Accuracy in each fifth of the reviews by length, the shortest first.

    Reviews of equal length stay together, in the fifth of the middle one, so there are fewer rows
    if there are few lengths.

    Args:
        logits: (reviews, classes).
        labels: (reviews,) int64.
        lengths: (reviews,) int64, tokens of each.

    Returns:
        ``tokens`` (the shortest and the longest), ``reviews`` and ``accuracy`` for each fifth.
    """
    which = fifths(lengths.numpy())
    right = (logits.argmax(1) == labels).numpy()
    rows = []
    for fifth in np.unique(which):
        inside = which == fifth
        own = lengths.numpy()[inside]
        rows.append(
            {
                "tokens": [int(own.min()), int(own.max())],
                "reviews": len(own),
                "accuracy": float(right[inside].mean()),
            }
        )
    return rows


def fifths(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Which fifth each of some values is in, 0 for the lowest, (n,); equal ones stay together."""
    _, kinds, counts = np.unique(values, return_inverse=True, return_counts=True)
    middles = 2 * counts.cumsum() - counts  # in half values
    found: npt.NDArray[np.int64] = (5 * middles // (2 * len(values)))[kinds]
    return found


class Outcome(NamedTuple):
    """The results of a test that are more than one number.

    Attributes:
        confusion: see ``confusion_counts``.
        reliability: see ``sentiment.model.calibration``.
        by_length: see ``accuracy_by_length``.
        logits: (reviews, classes), calibrated.
        labels: (reviews,) int64.
        answered: the reviews that get a label, of a classifier that abstains.
    """

    confusion: Tensor
    reliability: Reliability
    by_length: list[dict[str, Any]]
    logits: Tensor
    labels: Tensor
    answered: Answered | None = None

    @classmethod
    def of(
        cls,
        logits: Tensor,
        labels: Tensor,
        lengths: Tensor,
        thresholds: npt.NDArray[np.float64] | None = None,
    ) -> "Outcome":
        """The outcome of a test.

        Args:
            logits: (reviews, classes).
            labels: (reviews,) int64.
            lengths: (reviews,) int64, tokens of each.
            thresholds: (classes,), below which a review gets no label; None if all get one.
        """
        probabilities = logits.double().softmax(1).numpy()
        return cls(
            confusion_counts(logits, labels),
            reliability(logits, labels),
            accuracy_by_length(logits, labels, lengths),
            logits,
            labels,
            None
            if thresholds is None
            else count_answered(probabilities, labels.numpy(), thresholds),
        )
