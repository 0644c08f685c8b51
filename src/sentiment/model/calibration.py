"""Calibration: how reliable scores are, and the temperature that makes them so. Torch alone.

A score is the probability that a classifier gives to the class it chooses. Scores are calibrated
when, for example, 80 % of the reviews with a score of 0.8 are classified correctly.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

BINS = 15
# The searched range of temperatures; this number of bisections determines ten digits.
_SHARPEST, _FLATTEST, _HALVINGS = 0.01, 100.0, 40


class Reliability(NamedTuple):
    """Reviews in bins of equal width, by score.

    Attributes:
        reviews: (bins,) int64, reviews in each bin.
        scores: (bins,) float64, their mean score; NaN in an empty bin.
        accuracies: (bins,) float64, their accuracy; NaN in an empty bin.
    """

    reviews: Tensor
    scores: Tensor
    accuracies: Tensor

    @property
    def error(self) -> float:
        """Expected calibration error, from 0 to 1 (Guo et al., 2017, equation 3).

        The mean over reviews of the distance between the accuracy and the mean score of their bin.
        """
        gaps = (self.accuracies - self.scores).abs().masked_fill(self.reviews == 0, 0)
        return float((gaps * self.reviews).sum() / self.reviews.sum())


def reliability(logits: Tensor, labels: Tensor) -> Reliability:
    """Sort reviews into 15 bins by score; a bin includes its upper border, not its lower one.

    Args:
        logits: (reviews, classes).
        labels: (reviews,) int64.
    """
    scores, chosen = logits.double().softmax(1).max(1)
    return reliability_of_scores(scores, chosen == labels)


def reliability_of_scores(
    scores: Tensor | npt.NDArray[np.float64], right: Tensor | npt.NDArray[np.bool_]
) -> Reliability:
    """``reliability`` from the score of each review, and whether it is classified correctly."""
    scores, right = torch.as_tensor(scores), torch.as_tensor(right)
    bins = (scores * BINS).ceil().long().sub(1).clamp(0, BINS - 1)
    counts = torch.bincount(bins, minlength=BINS)

    def means(values: Tensor) -> Tensor:
        return torch.bincount(bins, values.double(), minlength=BINS) / counts

    return Reliability(counts, means(scores), means(right))


def is_temperature(value: float) -> bool:
    """Whether a number can be a result of ``fit_temperature``, perhaps rounded to float32."""
    return 0.999 * _SHARPEST <= value <= 1.001 * _FLATTEST


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature by which to divide logits so that their softmax is calibrated.

    It minimises the cross-entropy over n validation reviews (Guo et al., 2017, "On Calibration of
    Modern Neural Networks", section 4.2), in float64, with labels smoothed by 1 / (n + 1), much as
    Platt (1999, "Probabilistic Outputs for Support Vector Machines", section 2.2) does. So there is
    a minimum even if all reviews are classified correctly: for two classes, scores are then about
    1 - 1 / (2 n + 2). With many reviews the smoothing is negligible.

    Args:
        logits: (reviews, classes).
        labels: (reviews,) int64.

    Returns:
        From 0.01 to 100, the latter for logits that are worse than chance; 1.0 if it cannot be
        fitted: no reviews, equal logits for all classes, or logits that are not finite.
    """
    spread = (logits.amax(1) - logits.amin(1)).double().sum() if len(labels) else 0.0
    if not 0 < spread < math.inf:
        return 1.0
    logits = logits.double()
    logits = (logits - logits.mean(1, keepdim=True)).t().contiguous()  # (classes, reviews): faster
    # The cross-entropy is convex in 1 / temperature. Its derivative is the expected logit under the
    # scores minus the one under the smoothed labels (whose uniform part contributes 0).
    labelled = float(logits.gather(0, labels[None]).sum()) * len(labels) / (len(labels) + 1)
    lowest, highest = _SHARPEST, _FLATTEST
    for _ in range(_HALVINGS):
        middle = math.sqrt(lowest * highest)
        expected = float((logits * (logits / middle).softmax(0)).sum())
        if expected > labelled:
            lowest = middle
        else:
            highest = middle
    return math.sqrt(lowest * highest)
