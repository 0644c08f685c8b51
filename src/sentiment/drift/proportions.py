"""The class proportions of texts without labels, from the predictions of a classifier."""

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float64]

_MOST_STEPS, _CLOSE = 1_000, 1e-6


def estimated_proportions(
    probabilities: npt.NDArray[np.floating], confusion: npt.NDArray[np.int64]
) -> _Floats:
    """The class proportions under which the probabilities are most likely, (classes,).

    Expectation maximisation of Saerens, Latinne & Decaestecker (2002), "Adjusting the outputs of a
    classifier to new a priori probabilities". The texts of a class have to be as before, only
    their proportion another; the probabilities have to be calibrated.

    Args:
        probabilities: (texts, classes) of the classifier.
        confusion: of validation reviews, (classes, classes), true by predicted.
    """
    before = np.maximum(confusion.sum(1), 1) / np.maximum(confusion.sum(1), 1).sum()
    proportions: _Floats = before
    for _ in range(_MOST_STEPS):
        posteriors = probabilities * (proportions / before)
        posteriors /= posteriors.sum(1, keepdims=True)
        last, proportions = proportions, posteriors.mean(0, dtype=np.float64)
        if np.abs(proportions - last).max() < _CLOSE:
            break
    return proportions
