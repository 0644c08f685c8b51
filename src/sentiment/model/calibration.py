"""How far scores can be trusted, and the temperature that makes them so. Knows torch alone.

A score is the probability that a classifier gives to the class it chooses. It is calibrated when,
of the reviews with a score of 0.8, 80 % are right.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

BINS = 15
# Temperatures that are looked through; halving their ratio so often settles ten digits.
_SHARPEST, _FLATTEST, _HALVINGS = 0.01, 100.0, 40


class Reliability(NamedTuple):
    """Reviews in bins of equal width by their score.

    Attributes:
        reviews: (bins,) int64, how many there are.
        scores: (bins,) float64, the mean of their scores; NaN of none.
        accuracies: (bins,) float64, the share of them that is right; NaN of none.
    """

    reviews: Tensor
    scores: Tensor
    accuracies: Tensor

    @property
    def error(self) -> float:
        """Expected calibration error, from 0 to 1 (Guo et al., 2017, equation 3).

        The mean over reviews of how far the accuracy of their bin is from its mean score.
        """
        gaps = (self.accuracies - self.scores).abs().masked_fill(self.reviews == 0, 0)
        return float((gaps * self.reviews).sum() / self.reviews.sum())


def reliability(logits: Tensor, labels: Tensor) -> Reliability:
    """Sort reviews into 15 bins of scores; a bin holds its upper border, not its lower one.

    Args:
        logits: (reviews, classes).
        labels: (reviews,) int64.
    """
    scores, chosen = logits.double().softmax(1).max(1)
    bins = (scores * BINS).ceil().long().sub(1).clamp(0, BINS - 1)
    counts = torch.bincount(bins, minlength=BINS)

    def means(values: Tensor) -> Tensor:
        return torch.bincount(bins, values.double(), minlength=BINS) / counts

    return Reliability(counts, means(scores), means(chosen == labels))


def is_temperature(value: float) -> bool:
    """Whether ``fit_temperature`` may have given a number, which was rounded to float32 since."""
    return 0.999 * _SHARPEST <= value <= 1.001 * _FLATTEST


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature by which to divide logits so that their softmax can be trusted.

    It minimises the cross-entropy over n validation reviews (Guo et al., 2017, "On Calibration of
    Modern Neural Networks", section 4.2), in float64, with a share of 1 / (n + 1) of each label
    spread over all classes, much as Platt (1999, "Probabilistic Outputs for Support Vector
    Machines", section 2.2) does. So there is a minimum where all reviews are right too: the scores
    of two classes then come to about 1 - 1 / (2 n + 2). Of many reviews the share is next to none.

    Args:
        logits: (reviews, classes).
        labels: (reviews,) int64.

    Returns:
        From 0.01 to 100, the latter for logits that are worse than chance; 1.0 where there is
        nothing to go by: no reviews, all classes equal, or not all logits finite.
    """
    spread = (logits.amax(1) - logits.amin(1)).double().sum() if len(labels) else 0.0
    if not 0 < spread < math.inf:
        return 1.0
    logits = logits.double()
    logits = (logits - logits.mean(1, keepdim=True)).t().contiguous()  # (classes, reviews): faster
    # The slope of the cross-entropy along 1 / temperature, in which it is convex, is the logit that
    # the scores expect less the one that the label expects (of a label that may be any: 0).
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
