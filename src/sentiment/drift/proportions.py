"""The class proportions of texts without labels, from the predictions of a classifier."""

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float64]

_MOST_STEPS, _CLOSE = 1_000, 1e-6


def estimated_proportions(
    probabilities: npt.NDArray[np.floating], before: npt.NDArray[np.floating]
) -> _Floats:
    """The class proportions under which the probabilities are most likely, (classes,).

    Expectation maximisation of Saerens, Latinne & Decaestecker (2002), "Adjusting the outputs of a
    classifier to new a priori probabilities". The texts of a class have to be as before, only
    their proportion another; the probabilities have to be calibrated.

    Args:
        probabilities: (texts, classes) of the classifier.
        before: (classes,) the means of the probabilities of validation reviews. Unlike the true
            proportions they suit the probabilities of classes that are not calibrated, such as
            rare ones (Alexandari, Kundaje & Shrikumar, 2020).
    """
    proportions: _Floats = before.astype(np.float64) / before.sum(dtype=np.float64)
    before = proportions
    for _ in range(_MOST_STEPS):
        posteriors = probabilities * (proportions / before)
        posteriors /= posteriors.sum(1, keepdims=True)
        last, proportions = proportions, posteriors.mean(0, dtype=np.float64)
        if np.abs(proportions - last).max() < _CLOSE:
            break
    return proportions
